"""The report of ``hardwire run``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hardwire.experiments.report.charts import Bar, Line, bars, plot, spans, stack
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    calibration_text,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.shared.headline import (
    CANNOT_BE_MADE,
    against_target,
    answer,
    change,
    mark,
    only_of_some,
    problem,
)
from hardwire.experiments.shared.style import (
    BLOCK_NAMES,
    COLORS,
    MEMORY_COLORS,
    OPERATION_NAMES,
    PLAIN,
    SILVER,
    block_color,
)
from hardwire.experiments.shared.tables import count, mib, own_words, si, span
from hardwire.models.language_model import TARGETS

Data = Mapping[str, Any]

SMALLEST_MM2 = 0.05
_NONE_MEANS_NONE = (
    "adapter", "adapter_detail", "target_tokens_per_s", "target_met", "die_cost_usd",
    "usd_per_million_tokens", "published_transistors",
)  # fmt: skip


def run_page(data: Data, curve: Data | None, configuration: Data | None) -> Page:
    """The page of a run.

    Parameters
    ----------
    data : ``verdict.json``.
    curve : ``rank.json``, or None where the folder has none.
    configuration : ``configuration.json``, or None.
    """
    data = {k: v if k in _NONE_MEANS_NONE else _restored(v) for k, v in data.items()}
    wrong = problem(data)
    gap, target, inside = against_target(data)
    said = f"{answer(data)}: {gap} {target}{inside}" if gap else answer(data)
    lines = [
        f"{data['model']}, {count(data['prompt'])} + {count(data['output'])} tokens, "
        f"{data['users']} user{'s' * (data['users'] > 1)}, {data['issue']} issue, "
        f"{data['engine']} engine"
    ]
    if configuration is not None:
        lines.insert(0, configuration["chips"][0]["title"])
    own = data.get("own", {})
    if own:
        lines.append(f"the chip's file sets {own_words(own)}")
    settings = " ".join(f"{k}={v}" for k, v in data["settings"].items() if k not in own)
    if settings:
        lines.append(f"set: {settings}")
    sections = [_rates(data), _time(data)]
    if data["adapter_detail"] is not None:
        sections.append(_adapter(data))
    if curve is not None:
        sections.append(_ranks(data, curve))
    sections += [_memory(data), _area(data), _power(data), _uncertainty(data, configuration)]
    return Page(
        title=f"hardwire · {data['chip']}",
        verdict=f"{wrong}. {said}" if wrong else said,
        good=data["target_met"],
        lines=lines,
        sections=[
            *sections,
            configuration_section(configuration),
            provenance_section(configuration),
        ],
        warnings=list(data["obstacles"]),
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
    columns = ["", "base", "90 % interval", *(["with adapter"] if detail else [])]
    rows = []
    for name, key, show in _RATES:
        row = [name, show(data[key]), span(data["interval"][key], show)]
        if detail:
            row.append(show(detail[key]) if key in detail else "")
        rows.append(row)
    return Section(f"Rates{mark(data)}", [Block(table=Table(columns, rows))])


def _time(data: Data) -> Section:
    blocks = []
    cases = [("Base", data)]
    if data["adapter_detail"]:
        cases.append((f"With {data['adapter']}", data["adapter_detail"]))
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
        blocks.append(Block(caption=caption, chart=bars(parts, alt=caption)))
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
    free = interval["adapter_free_rank"]
    rows = [
        ("Size", f"{count(detail['parameters'])} parameters, {mib(detail['bytes'])} in SRAM as "
         f"{detail['sram_format']}"),
        ("Decode with it", f"{count(detail['decode_tokens_per_s_user'])} tokens/s, {change(data)} "
         f"({span(interval['adapter_decode_tokens_per_s_user'], count)})"),
        ("Free rank", f"up to {detail['free_rank']} on the same targets ({free[0]:.0f} … "
         f"{free[1]:.0f})"),
    ]  # fmt: skip
    swaps = {"cold": "from disk", "warm": "from host memory", "streamed": "by layer",
             "resident": "already in SRAM"}  # fmt: skip
    for key, where in swaps.items():
        seconds = detail["swap_s"][key]
        tokens = seconds / data["token_s"]
        lost = f" = {tokens:.1f} tokens" if tokens >= 0.05 else ""
        rows.append((f"Swap, {key}", f"{si(seconds, 's')} {where}{lost}"))
    return Section(f"Adapter {data['adapter']}", [Block(table=Table(("", ""), rows, wide=True))])


def _ranks(data: Data, curve: Data) -> Section:
    ranks, key = curve["rank"], "decode_tokens_per_s_user"
    detail, target = data["adapter_detail"], data["target_tokens_per_s"]
    lines = [
        Line("base alone", [data[key]] * len(ranks), SILVER),
        Line(
            "with adapter, 90 % interval", curve[key], COLORS["lora"], curve["low"], curve["high"]
        ),
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
    notes = [] if target is None else [f"Dashed: {count(target)} tokens/s."]
    notes += ["The point is the adapter of this run."] if point else []
    texts = [Block(text=" ".join(notes))] if notes else []
    caption = "Decode rate of one user by the rank of an adapter"
    return Section("Rate against rank", [Block(caption=caption, chart=chart), *texts])


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
    return Section("SRAM", [Block(caption=caption, chart=chart), Block(text=text)])


def _area(data: Data) -> Section:
    blocks, die = data["area_mm2"], data["die_mm2"]
    names = {**BLOCK_NAMES, "total": "All blocks"}
    order = sorted(blocks, key=lambda name: (name != "total", -blocks[name]))
    rows = [
        Bar(
            names.get(name, name.replace("_", " ").capitalize()),
            blocks[name], f"{blocks[name]:.1f} mm², {blocks[name] / die:.1%}",
            PLAIN if name == "total" else block_color(name),
        )
        for name in order
        if blocks[name] >= SMALLEST_MM2
    ]  # fmt: skip
    caption = f"{blocks['total']:.1f} mm² of blocks; dashed: the die, {die:g} mm²"
    return Section("Area", [Block(caption=caption, chart=bars(rows, limit=die, alt=caption))])


def _power(data: Data) -> Section:
    rows = [
        ("Card power", f"{data['power_w']:.0f} W", _span(data, "power_w", 1, "W", ".0f")),
        ("Energy a token", si(data["energy_j_per_token"], "J"),
         _span(data, "energy_j_per_token", 1e3, "mJ", ".2f")),
        *_cost(data),
        ("Transistors of the blocks", f"{data['transistors'] / 1e9:.1f}e9",
         _span(data, "transistors", 1e-9, "e9", ".0f")),
    ]  # fmt: skip
    table = Table(("", "as filed", "90 % interval"), rows)
    blocks = [Block(table=table)]
    if some := only_of_some(data):
        blocks.append(Block(text=some))
    return Section(f"Power and cost{mark(data)}", blocks)


def _cost(data: Data) -> list[tuple[str, str, str]]:
    if not data["fits_die"]:
        return [(name, CANNOT_BE_MADE, "") for name in ("Die cost", "USD per million tokens")]
    return [
        ("Die cost", f"{data['die_cost_usd']:.0f} USD",
         _span(data, "die_cost_usd", 1, "USD", ".0f")),
        ("USD per million tokens", f"{data['usd_per_million_tokens']:.4f}",
         _span(data, "usd_per_million_tokens", 1, "", ".4f")),
    ]  # fmt: skip


def _span(data: Data, key: str, factor: float, unit: str, form: str) -> str:
    joined = unit if unit.startswith("e") else f" {unit}".rstrip()
    return span(data["interval"][key], lambda v: f"{v * factor:{form}}{joined}")


_INTERVALS = (
    ("Decode, one user", "decode_tokens_per_s_user"),
    ("Decode with adapter", "adapter_decode_tokens_per_s_user"),
    ("Time to first token", "ttft_s"),
    ("Area", "area_mm2"),
    ("Transistors", "transistors"),
    ("Card power", "power_w"),
    ("Energy a token", "energy_j_per_token"),
    ("Die cost", "die_cost_usd"),
    ("USD per million tokens", "usd_per_million_tokens"),
)


def _uncertainty(data: Data, configuration: Data | None) -> Section:
    detail = data["adapter_detail"] or {}
    point = {
        **{key: data[key] for _, key in _INTERVALS if key in data},
        "area_mm2": data["area_mm2"]["total"],
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
        "90 % intervals, from the 5th to the 95th percentile over draws of all parameters that "
        "have a range, against the prediction (the dashed line), on a logarithmic scale. They hold "
        "if the structure of the model and the ranges are right. A parameter that was set is not "
        "drawn."
    )
    caption = "Interval against the prediction"
    blocks = [Block(caption=caption, chart=spans(rows, alt=caption)), Block(text=text)]
    if configuration is not None and calibration_text(configuration):
        blocks.append(Block(text=calibration_text(configuration)))
    return Section("Uncertainty", blocks)
