"""The report of ``hardwire run``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hardwire.experiments.report.boxes import Box, die, gantt
from hardwire.experiments.report.charts import Bar, Chart, Line, bars, plot, spans, stack
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    calibration_text,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.run.floorplan import floorplan
from hardwire.experiments.run.timeline import Bars, Timeline, Token
from hardwire.experiments.shared.headline import (
    CANNOT_BE_MADE,
    LARGER_DIE,
    against_target,
    answer,
    change,
    free_rank,
    mark,
    only_of_some,
    problem,
)
from hardwire.experiments.shared.style import (
    COLORS,
    MEMORY_COLORS,
    OPERATION_NAMES,
    PALE,
    SILVER,
    block_color,
    block_name,
    faded,
    ordered,
)
from hardwire.experiments.shared.tables import count, large, mib, own_words, si, span
from hardwire.models.language_model import TARGETS

Data = Mapping[str, Any]

_NONE_MEANS_NONE = (
    "adapter", "adapter_detail", "target_tokens_per_s", "target_met", "die_cost_usd",
    "usd_per_million_tokens", "published_transistors",
)  # fmt: skip


def run_page(
    data: Data, curve: Data | None, times: Data | None, configuration: Data | None
) -> Page:
    """The page of a run.

    Parameters
    ----------
    data : ``verdict.json``.
    curve : ``rank.json``, or None where the folder has none.
    times : ``timeline.json``, or None.
    configuration : ``configuration.json``, or None.
    """
    data = {k: v if k in _NONE_MEANS_NONE else _restored(v) for k, v in data.items()}
    wrong = problem(data)
    gap, target, inside = against_target(data)
    said = f"{answer(data)}: {gap} {target}{inside}" if gap else answer(data)
    load = (
        f"{count(data['prompt'])} + {count(data['output'])} tokens, "
        f"{data['users']} user{'s' * (data['users'] > 1)}, {data['issue']} issue"
    )
    lines = [f"{data['model']}, {load}, {data['engine']} engine"]
    if configuration is not None:
        lines.insert(0, configuration["chips"][0]["title"])
    own = data.get("own", {})
    if own:
        lines.append(f"the chip's file sets {own_words(own)}")
    what = [data["model"], *([data["adapter"]] if data["adapter"] else []), load]
    settings = " ".join(f"{k}={v}" for k, v in data["settings"].items() if k not in own)
    if settings:
        lines.append(f"set: {settings}")
        what.append(settings)
    sections = [_rates(data), _time(data)]
    if data["adapter_detail"] is not None:
        sections.append(_adapter(data))
    if curve is not None:
        sections.append(_ranks(data, curve))
    if times is not None:
        sections += _timelines(Timeline.from_dict(times))
    sections += [_memory(data), _area(data), _power(data), _uncertainty(data, configuration)]
    return Page(
        title=f"{data['chip']} · {', '.join(what)}",
        verdict=f"{wrong}. {said}" if wrong else said,
        good=False if data["obstacles"] else data["target_met"] or None,
        lines=lines,
        sections=[
            *sections,
            configuration_section(configuration),
            provenance_section(configuration),
        ],
        obstacles=list(data["obstacles"]),
    )


def _restored(value: Any) -> Any:
    """A value of the file; null, which JSON has for infinite, is infinite again."""
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return math.inf if value is None else value


_RATES = (
    ("Decode, one user, tokens/s", "decode_tokens_per_s_user", count),
    ("Decode, chip, tokens/s", "decode_tokens_per_s_chip", count),
    ("Time per token", "token_s", lambda v: si(v, "s", 4)),
    ("Time to first token", "ttft_s", lambda v: si(v, "s", 4)),
    ("Prefill, tokens/s", "prefill_tokens_per_s", count),
)


def _rates(data: Data) -> Section:
    detail = data["adapter_detail"]
    columns = ["", "base", "90% interval", *(["with adapter"] if detail else [])]
    rows = []
    for name, key, show in _RATES:
        row = [name, show(data[key]), span(data["interval"][key], show)]
        if detail:
            row.append(show(detail[key]) if key in detail else "")
        rows.append(row)
    return Section(f"Rates{mark(data)}", [Block(table=Table(columns, rows))])


def _time(data: Data) -> Section:
    blocks = []
    detail, cost = data["adapter_detail"], change(data)
    cases = [("Base", data)]
    if detail:
        cases.append((f"With {data['adapter']}", detail))
    for name, case in cases:
        parts = [
            Bar(
                OPERATION_NAMES[operation], value,
                f"{value * 1e6:.2f} µs, {value / case['token_s']:.1%}",
                COLORS[operation],
            )
            for operation, value in case["breakdown_s"].items()
            if value or operation not in ("waiting", "power_cap")
        ]  # fmt: skip
        caption = f"{name}: {case['token_s'] * 1e6:.2f} µs a token"
        most = max(parts, key=lambda part: part.value)
        text = f"{most.name} take {most.value / case['token_s']:.0%} of it."
        if detail is not None and case is detail:
            text = (
                f"The adapter changes the rate by {cost}."
                if cost[:1] in "+-"
                else ("No different from the base: the adapter hides behind the ROM.")
            )
        blocks.append(Block(caption=caption, text=text, chart=bars(parts, alt=caption)))
    is_or_would = "is" if data["issue"] == "pipelined" else "would be"
    blocks.append(
        Block(
            text=f"Pipelined issue {is_or_would} limited by {data['critical_unit']}, busy "
            f"{si(data['critical_unit_s'], 's')} a token: the shortest interval at which it can "
            "start tokens."
        )
    )
    return Section("Where a token's time goes", blocks)


def _adapter(data: Data) -> Section:
    detail, interval = data["adapter_detail"], data["interval"]
    room = detail.get("room_bytes", 0)  # runs saved before it was known have none
    rows = [
        ("Size", f"{count(detail['parameters'])} parameters, {mib(detail['bytes'])} in SRAM as "
         f"{detail['adapter_format']}, {mib(detail['file_bytes'])} on disk"),
        *([("Room", f"{mib(room)} of SRAM: its fullest layer decides, as every layer has a memory "
            "of its own")] if room > detail["bytes"] else []),
        ("Decode with it", f"{count(detail['decode_tokens_per_s_user'])} tokens/s, {change(data)} "
         f"({span(interval['adapter_decode_tokens_per_s_user'], count)})"),
        ("Free rank", free_rank(detail["free_rank"], interval["adapter_free_rank"])),
    ]  # fmt: skip
    swaps = {"cold": "from disk", "warm": "from host memory", "streamed": "by layer",
             "resident": "already in SRAM"}  # fmt: skip
    for key, where in swaps.items():
        seconds = detail["swap_s"][key]
        tokens = seconds / data["token_s"]
        lost = f" = {tokens:,.1f} tokens" if tokens >= 0.05 else ""
        rows.append((f"Swap, {key}", f"{si(seconds, 's')} {where}{lost}"))
    return Section(f"Adapter {data['adapter']}", [Block(table=Table(("", ""), rows, wide=True))])


def _ranks(data: Data, curve: Data) -> Section:
    ranks, key = curve["rank"], "decode_tokens_per_s_user"
    detail, target = data["adapter_detail"], data["target_tokens_per_s"]
    lines = [
        Line("base alone", [data[key]] * len(ranks), SILVER),
        Line("with adapter, 90% interval", curve[key], COLORS["lora"], curve["low"], curve["high"]),
    ]
    point = (curve["adapter_rank"], detail[key]) if detail else None
    everywhere = curve["targets"] in ("all-linear", "+".join(TARGETS))
    targets = "all linear layers" if everywhere else curve["targets"].replace("+", ", ")
    said = ", ".join(f"{count(curve[key][i])} at rank {ranks[i]}" for i in (0, -1))
    chart = plot(
        ranks, lines,
        x_label=f"rank, {targets}, {curve['format']}", y_label="tokens/s, one user",
        point=point, limit=target, x_range=(0, ranks[-1]),
        alt=f"Decode rate against the rank of an adapter, with its interval: {said}",
    )  # fmt: skip
    notes = [f"{said[:1].upper()}{said[1:]}."]
    notes += [] if target is None else [f"Dashed: {count(target)} tokens/s."]
    notes += ["The point is the adapter of this run."] if point else []
    caption = "Decode rate of one user by the rank of an adapter"
    block = Block(caption=caption, text=" ".join(notes), chart=chart)
    return Section("Rate against rank", [block])


def _memory(data: Data) -> Section:
    sram = data["sram"]
    parts = [
        Bar(name, sram[f"{key}_bytes"], mib(sram[f"{key}_bytes"]), color)
        for name, key, color in (
            ("KV cache", "kv", MEMORY_COLORS["kv"]),
            ("Adapters", "adapter", MEMORY_COLORS["adapters"]),
            ("Free", "free", MEMORY_COLORS["free"]),
        )
    ]
    for_whom = "one user" if data["users"] == 1 else f"{data['users']} users"
    text = (
        f"{mib(sram['capacity_bytes'])} fit {count(sram['max_users'])} users of "
        f"{count(data['prompt'] + data['output'])} tokens, or {count(sram['max_context_tokens'])} "
        f"tokens of context for {for_whom}."
    )
    caption = f"{mib(sram['kv_bytes'] + sram['adapter_bytes'])} of {mib(sram['capacity_bytes'])}"
    chart = stack(parts, sram["capacity_bytes"], alt=caption)
    return Section("SRAM", [Block(caption=caption, text=text, chart=chart)])


def _area(data: Data) -> Section:
    plan = floorplan(data)
    parts = [
        Bar(
            block_name(block.name), block.mm2,
            f"{block.mm2:,.1f} mm², {block.mm2 / plan.die_area_mm2:.1%}", block_color(block.name),
        )
        for block in plan.blocks
    ]  # fmt: skip
    if plan.free_mm2 > 0:
        parts.append(Bar("Free", plan.free_mm2, f"{plan.free_mm2:,.1f} mm²", PALE))
    against = f"Blocks against the die of {plan.die_area_mm2:,g} mm²"
    bar = stack(parts, plan.die_area_mm2, alt=against)
    note = (
        f"The die as a square of {plan.side_mm:.1f} mm. Areas are to scale; where a block lies is "
        "not modelled."
    )
    return Section(
        "Area",
        [
            Block(caption=against, text=f"{plan.finding} Dashed: the die.", chart=bar),
            Block(caption="Floorplan", text=note, chart=die(plan)),
        ],
    )


def _timelines(found: Timeline) -> list[Section]:
    asked, layer = found.tokens[-1], found.layer
    groups = [(name, COLORS[key]) for key, name in OPERATION_NAMES.items()
              if any(key in token.operation for token in found.tokens)]  # fmt: skip
    whole = _visits(asked, groups, asked.units, -1)
    case = "Base" if asked.name == "base" else f"With {asked.name}"
    caption = f"{case}: {asked.token_s * 1e6:.2f} µs at {count(asked.context)} tokens of context"
    blocks = [Block(caption=caption, text=found.token_finding, chart=whole)]
    inside = {asked.units[unit] for unit in asked.unit[asked.layer == layer]}
    units = [unit for unit in asked.units if unit in inside]
    for token in found.tokens:
        name = "without an adapter" if token.name == "base" else f"with {token.name}"
        first, last = token.layer_s(layer)
        caption = f"Layer {layer} {name}: {(last - first) * 1e9:,.0f} ns"
        blocks.append(Block(caption=caption, chart=_visits(token, groups, units, layer)))
    return [Section("A token at the units", blocks), _flights(found)]


def _visits(
    token: Token, groups: Sequence[tuple[str, str]], units: Sequence[str], layer: int
) -> Chart:
    """A token at the units of a layer, or at all of them where there is no such layer."""
    first, last = (0.0, token.token_s) if layer < 0 else token.layer_s(layer)
    boxes = [
        (token.units[unit], 1e6 * (start - first), 1e6 * (end - first), OPERATION_NAMES[operation])
        for unit, at, operation, start, end in zip(
            token.unit, token.layer, token.operation, token.start_s, token.end_s, strict=True
        )
        if layer in (-1, at)
    ]
    since = "its issue" if layer < 0 else f"it enters layer {layer}"
    return gantt(
        units, boxes, groups, x_label=f"µs since {since}", x_range=(0, 1e6 * (last - first)),
        legend=layer < 0, alt=f"When a token is at each of {len(units)} units",
    )  # fmt: skip


def _flights(found: Timeline) -> Section:
    blocks: list[Block] = []
    users = int(found.flights[0].spans.user.max()) + 1
    hues = ordered(max(users, 2))
    groups = []
    for user in range(users):
        whose = "" if users == 1 else f", user {user + 1}"
        groups += [
            (f"prompt token{whose}", faded(hues[user])),
            (f"decode token{whose}", hues[user]),
        ]
    names = [name for name, _ in groups]
    longest = 1e6 * max(flight.span_s for flight in found.flights)
    for flight in found.flights:
        own = ", as in this run" if flight.issue == found.own else ""
        caption = (
            f"{flight.issue.capitalize()} issue{own}: {1e6 * flight.span_s:,.0f} µs for "
            f"{flight.tokens} tokens"
        )
        rows = ["embedding", *(f"layer {layer}" for layer in range(flight.layers)), "LM head"]
        chart = gantt(
            rows, _bars(flight.spans, [rows[at + 1] for at in flight.spans.place], names), groups,
            x_label="µs", x_range=(0, longest), row_px=4, alt=caption,
            named=("layer 0", f"layer {flight.layers // 2}", "LM head"), legend=not blocks,
        )  # fmt: skip
        text = f"{found.flight_finding} The power limit is not applied." if not blocks else ""
        blocks.append(Block(caption=caption, text=text, chart=chart))
    visits, units = found.flights[1].visits, found.flights[1].units
    chart = gantt(
        units, _bars(visits, [units[at] for at in visits.place], names), groups, x_label="µs",
        x_range=(1e6 * float(visits.start_s.min()), 1e6 * float(visits.end_s.max())),
        alt="Which unit is at work on whose token", legend=False,
    )  # fmt: skip
    caption = f"Pipelined, the units of layer {found.layer}"
    return Section("Tokens in flight", [*blocks, Block(caption=caption, chart=chart)])


def _bars(bars: Bars, rows: Sequence[str], names: Sequence[str]) -> list[Box]:
    """Boxes in the groups of names: prompt and decode tokens of each user in turn."""
    groups = 2 * bars.user + (1 - bars.prompt.astype(int))
    return [
        (row, 1e6 * start, 1e6 * end, names[group])
        for row, start, end, group in zip(rows, bars.start_s, bars.end_s, groups, strict=True)
    ]


def _power(data: Data) -> Section:
    rows = [
        ("Card power", f"{data['power_w']:.0f} W", _span(data, "power_w", 1, "W", ".0f")),
        ("Card power, idle", f"{data['idle_w']:.0f} W", _span(data, "idle_w", 1, "W", ".0f")),
        ("Energy a decode token", si(data["energy_j_per_decode_token"], "J"),
         _span(data, "energy_j_per_decode_token", 1e3, "mJ", ".2f")),
        ("Energy a request, prompt included", si(data["energy_j_per_request"], "J"),
         _span(data, "energy_j_per_request", 1, "J", ".2f")),
        *_cost(data),
        ("Transistors of the blocks", large(data["transistors"], 3),
         _span(data, "transistors", 1e-9, "e9", ".0f")),
    ]  # fmt: skip
    table = Table(("", "as filed", "90% interval"), rows)
    blocks = [Block(table=table)]
    if some := only_of_some(data):
        blocks.append(Block(text=some))
    return Section(f"Power and cost{mark(data)}", blocks)


def _cost(data: Data) -> list[tuple[str, str, str]]:
    if data["die_cost_usd"] is None:
        return [(name, CANNOT_BE_MADE, "") for name in ("Die cost", "USD per million tokens")]
    whose = "" if data["fits_die"] else f", {LARGER_DIE}"
    return [
        (f"Die cost{whose}", f"{data['die_cost_usd']:.0f} USD",
         _span(data, "die_cost_usd", 1, "USD", ".0f")),
        (f"USD per million tokens{whose}", f"{data['usd_per_million_tokens']:.4f}",
         _span(data, "usd_per_million_tokens", 1, "", ".4f")),
    ]  # fmt: skip


def _span(data: Data, key: str, factor: float, unit: str, form: str) -> str:
    joined = unit if unit.startswith("e") else f" {unit}".rstrip()
    return span(data["interval"][key], lambda v: f"{v * factor:{form}}{joined}")


_INTERVALS = (
    ("Decode, one user", "decode_tokens_per_s_user"),
    ("Decode with adapter", "adapter_decode_tokens_per_s_user"),
    ("Time to first token", "ttft_s"),
    ("Area", "area_mm2.total"),
    ("Transistors", "transistors"),
    ("Card power", "power_w"),
    ("Energy a decode token", "energy_j_per_decode_token"),
    ("Energy a request", "energy_j_per_request"),
    ("Die cost", "die_cost_usd"),
    ("USD per million tokens", "usd_per_million_tokens"),
)


def _uncertainty(data: Data, configuration: Data | None) -> Section:
    detail = data["adapter_detail"] or {}
    point = {
        **{key: data[key] for _, key in _INTERVALS if key in data},
        "area_mm2.total": data["area_mm2"]["total"],
        "adapter_decode_tokens_per_s_user": detail.get("decode_tokens_per_s_user"),
    }
    rows = []
    for name, key in _INTERVALS:
        if key not in data["interval"] or not math.isfinite(point.get(key) or math.inf):
            continue
        low, high = (bound / point[key] for bound in data["interval"][key])
        said = f"{low - 1:+.0%} … {high - 1:+.0%}".replace("inf%", "∞")
        rows.append(Bar(name, 1.0, said, interval=(low, high)))
    text = (
        "90% intervals, from the 5th to the 95th percentile over draws of all parameters that "
        "have a range, against the prediction (the dashed line), on a logarithmic scale. They hold "
        "if the structure of the model and the ranges are right. A parameter that was set is not "
        "drawn."
    )
    caption = "Interval against the prediction"
    blocks = [Block(caption=caption, text=_widest(rows), chart=spans(rows, alt=caption))]
    blocks.append(Block(text=text))
    if configuration is not None and calibration_text(configuration):
        blocks.append(Block(text=calibration_text(configuration)))
    return Section("Uncertainty", blocks)


def _widest(rows: Sequence[Bar]) -> str:
    """What is known least, and best."""
    sized = [(row.interval[1] / max(row.interval[0], 1e-9), row) for row in rows if row.interval]
    least, best = (pick(sized, key=lambda item: item[0])[1] for pick in (max, min))
    return (
        f"Known least: {least.name.lower()}, {least.text}. Best: {best.name.lower()}, {best.text}."
    )
