"""The verdict of a run as an architect reads it: a few tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.run.several import several_dies
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
    BAD,
    COLORS,
    FAINT,
    GOOD,
    MEMORY_COLORS,
    OPERATION_NAMES,
    WARNING,
    block_color,
    block_name,
)
from hardwire.experiments.shared.tables import (
    QUIET,
    bar,
    count,
    large,
    mib,
    own_words,
    plain_table,
    si,
    span,
    styled,
    text_table,
)
from hardwire.models.energy import PJ_PER_WEIGHT_USE
from hardwire.simulator.single import Result

if TYPE_CHECKING:
    from hardwire.experiments.run.kernels import Execution
    from hardwire.experiments.run.tokens import ValueRun

MAX_USERS_SHOWN = 4
MAX_TOKENS_SHOWN = 10


def render(
    result: Result, execution: Execution | None = None, computed: ValueRun | None = None
) -> RenderableType:
    """All tables of a run, one under the other."""
    data = result.to_dict()
    parts: list[RenderableType] = [_headline(result, data), _rates(result, data)]
    parts.append(_breakdown(result))
    if result.adapter is not None:
        parts.append(_adapter(result, data))
    if execution is not None:
        parts.append(_execution(execution))
    if computed is not None:
        parts.append(_computed(computed))
    parts += [_sram(result), _silicon(result, data)]
    return Group(*parts)


def _headline(result: Result, data: dict[str, Any]) -> RenderableType:
    text = Text()
    wrong = problem(data)
    if wrong:
        text.append(f"{wrong}\n", style=f"bold {BAD}")
    text.append(answer(data), style="" if wrong else "bold")
    gap, target, inside = against_target(data)
    if gap:
        text.append(f"\n{gap}", style=f"bold {GOOD if result.target_met else BAD}")
        text.append(f" {target}{inside}")
    for obstacle in result.obstacles:
        if obstacle.help:
            text.append(f"\n{obstacle.help}", style=BAD)
    if several := several_dies(result):
        text.append(f"\n{several}", style=BAD)
    text.append(f"\n{result.chip.title}", style="")
    chip = result.chip
    settings = " ".join(f"{k}={v}" for k, v in chip.overrides.items() if k not in chip.own)
    text.append(
        f"\n{result.model.name}, {count(result.prompt)} + {count(result.output)} tokens, "
        f"{result.users} user{'s' * (result.users > 1)}, {result.chip.datapath.issue} issue, "
        f"{result.engine} engine",
        style=QUIET,
    )
    if chip.as_filed and chip.own:
        own = own_words({name: parameter.model_dump() for name, parameter in chip.own.items()})
        text.append(f"\nover {chip.as_filed.name}: {own}", style=WARNING)
    if settings:
        text.append(f"\nset: {settings}", style=WARNING)
    return Panel(
        text, title=Text(f"hardwire · {result.chip.name}"), title_align="left", expand=False
    )


def _rates(result: Result, data: dict[str, Any]) -> RenderableType:
    with_adapter, target = result.adapter, result.target_tokens_per_s
    if not result.fits_die:  # what cannot be made reaches nothing
        target = None
    columns = ["90% interval"]
    if with_adapter is not None:
        columns.append("with adapter")
    if target is not None:
        columns.append("of target")
    table = plain_table(f"Rates{mark(data)}", "", "base", *columns)

    def row(name: str, key: str, show: Any, higher: bool | None = None) -> None:
        cells: list[str | Text] = [
            name,
            show(getattr(result.base, key)),
            span(result.interval[key], show),
        ]
        if with_adapter is not None:
            cells.append(show(getattr(with_adapter.rates, key)))
        if target is not None and higher is not None:
            value = getattr(result.asked, key)
            ratio = value / target if higher else value * target
            good = (ratio >= 1 if higher else ratio <= 1) and not result.obstacles
            cells.append(styled(f"{ratio:.1%}", GOOD if good else BAD))
        table.add_row(*cells)

    row("Decode, one user, tok/s", "decode_tokens_per_s_user", count, True)
    row("Decode, chip, tok/s", "decode_tokens_per_s_chip", count)
    row("Time per token", "token_s", lambda v: si(v, "s", 4), False)
    row("Time to first token", "ttft_s", lambda v: si(v, "s", 4))
    row("Prefill, tok/s", "prefill_tokens_per_s", count)
    return Group("", table)


def _breakdown(result: Result) -> RenderableType:
    rates = [result.base]
    columns = ["base"]
    if result.adapter is not None:
        rates.append(result.adapter.rates)
        columns.append("with adapter")
    table = plain_table("Where a token's time goes", "", *columns, "share")
    table.add_column("", justify="left", no_wrap=True)
    for operation, name in OPERATION_NAMES.items():
        values = [r.breakdown_s[operation] for r in rates]
        if operation in ("waiting", "power_cap") and not any(values):
            continue
        share = values[-1] / rates[-1].token_s
        cells = [f"{value * 1e6:.2f} µs" for value in values]
        table.add_row(name, *cells, f"{share:.1%}", bar(share, COLORS[operation]))
    totals = [styled(f"{r.token_s * 1e6:.2f} µs", "bold") for r in rates]
    table.add_row(styled("Token", "bold"), *totals, "")
    busiest = max(result.base.breakdown_s, key=lambda op: result.base.breakdown_s[op])
    hz = result.chip.datapath.clock_ghz * 1e9
    is_or_would = "is" if result.chip.datapath.issue == "pipelined" else "would be"
    note = Text(
        f"Most of the time: {OPERATION_NAMES[busiest]}. Pipelined issue {is_or_would} limited by "
        f"{result.critical_unit},\nbusy {si(result.critical_cycles / hz, 's')} a token: the "
        "shortest interval at which it can start tokens.",
        style=QUIET,
    )
    return Group("", table, note)


def _adapter(result: Result, data: dict[str, Any]) -> RenderableType:
    report = result.adapter
    assert report is not None
    adapter, swap = report.adapter, report.swap
    low, high = result.interval["adapter_decode_tokens_per_s_user"]
    table = text_table(f"Adapter {adapter.name}", "", "")
    table.add_row(
        "Size",
        f"{count(adapter.parameters)} parameters, {mib(report.bytes)} in SRAM as "
        f"{report.adapter_format}, {mib(report.file_bytes)} on disk",
    )
    if report.room_bytes > report.bytes:
        table.add_row(
            "Room",
            f"{mib(report.room_bytes)} of SRAM: its fullest layer decides, as every layer has a "
            "memory of its own",
        )
    table.add_row(
        "Decode with it",
        f"{count(report.rates.decode_tokens_per_s_user)} tok/s, {change(data)}"
        f" ({count(low)} … {count(high)})",
    )
    table.add_row(
        "Free rank",
        free_rank(report.free_rank, result.interval["adapter_free_rank"]),
    )
    for name, seconds, where in (
        ("Swap, cold", swap.cold, "from disk"),
        ("Swap, warm", swap.warm, "from host memory"),
        ("Swap, streamed", swap.streamed, "from host memory, by layer"),
        ("Swap, resident", swap.resident, "already in SRAM"),
    ):
        tokens = seconds / result.base.token_s
        cost = f" = {tokens:,.1f} tokens" if tokens >= 0.05 else ""
        table.add_row(name, f"{si(seconds, 's')} {where}{cost}")
    share = report.swap_j / float(result.prediction.energy_j_per_decode_token)
    table.add_row(
        "Swap, energy", f"{si(report.swap_j, 'J')} from host memory = {share:,.1f} tokens' energy"
    )
    return Group("", table)


def _execution(execution: Execution) -> RenderableType:
    table = text_table("Adapter executed on its real weights", "", "")
    by_target = {name: value for name, value in execution.sqnr_db.items() if name != "all"}
    worst, best = (
        min(by_target, key=by_target.__getitem__),
        max(by_target, key=by_target.__getitem__),
    )
    table.add_row(
        "Numeric error",
        f"{execution.adapter_format} against float64: SQNR {execution.sqnr_db['all']:.1f} dB, "
        f"worst module {execution.max_relative_error:.2%}",
    )
    table.add_row(
        "SQNR by target",
        f"{by_target[worst]:.1f} ({worst}) to {by_target[best]:.1f} dB ({best})",
    )
    verdict = ("equal", GOOD) if execution.agrees else ("NOT equal", f"bold {BAD}")
    table.add_row(
        "Counted in kernels",
        f"{count(execution.counted.macs)} MACs, {count(execution.counted.bytes)} bytes",
    )
    table.add_row(
        "Charged by timing",
        Text.assemble(
            f"{count(execution.charged.macs)} MACs, {count(execution.charged.bytes)} bytes: ",
            verdict,
        ),
    )
    return Group("", table)


def _computed(run: ValueRun) -> RenderableType:
    table = text_table("Tokens computed on the clock", "", "")
    table.add_row("Formats", f"weights {run.weights}, KV cache {run.kv_format}")
    if run.load_s is not None:
        table.add_row("Adapter", f"streams in from 0, last slice at {si(run.load_s, 's')}")
    for number, user in enumerate(run.users[:MAX_USERS_SHOWN]):
        shown = " ".join(map(str, user.tokens[:MAX_TOKENS_SHOWN]))
        more = " …" if len(user.tokens) > MAX_TOKENS_SHOWN else ""
        table.add_row(
            f"User {number}",
            f"{shown}{more}\nfrom {si(user.first_token_s, 's')} to {si(user.last_token_s, 's')}, "
            f"adapter version {user.adapter_version}",
        )
    return Group("", table)


def _sram(result: Result) -> RenderableType:
    sram = result.sram
    table = plain_table("SRAM", "", "", "share")
    table.add_column("", justify="left", no_wrap=True)
    for name, value, color in (
        ("KV cache", sram.kv_bytes, MEMORY_COLORS["kv"]),
        ("Adapters", sram.adapter_bytes, MEMORY_COLORS["adapters"]),
        ("Free", sram.free_bytes, FAINT),
    ):
        share = value / sram.capacity_bytes
        table.add_row(name, mib(value), f"{share:.1%}", bar(share, color))
    table.add_row(styled("Capacity", "bold"), styled(mib(sram.capacity_bytes), "bold"), "")
    context = result.prompt + result.output
    note = Text(
        f"Fits {count(sram.max_users)} users of {count(context)} tokens, or "
        f"{count(sram.max_context_tokens)} tokens of context for "
        f"{'one user' if result.users == 1 else f'{result.users} users'}.",
        style=QUIET,
    )
    return Group("", table, note)


def _silicon(result: Result, data: dict[str, Any]) -> RenderableType:
    prediction, chip = result.prediction, result.chip
    die = chip.die.area_mm2
    table = plain_table("Area", "", "mm²", "of die")
    table.add_column("", justify="left", no_wrap=True)
    for block, value in sorted(prediction.area_mm2.items(), key=lambda item: -item[1]):
        if block != "total" and value >= 0.05:
            share = value / die
            table.add_row(
                block_name(block),
                f"{value:.1f}",
                f"{share:.1%}",
                bar(share, block_color(block)),
            )
    total = prediction.area_mm2["total"]
    fits = total <= die
    style = GOOD if fits else BAD
    note = f"of {die:g} mm²" if fits else f"does not fit, {total - die:.1f} mm² too large"
    table.add_row(
        styled("Total", "bold"),
        styled(f"{total:.1f}", "bold"),
        styled(f"{total / die:.1%}", style),
        styled(note, style),
    )
    facts = plain_table(f"Silicon, power and cost{mark(data)}", "", "", "90% interval", "")
    facts.columns[-1].justify = "left"

    def row(name: str, value: str, interval: str = "", note: str = "") -> None:
        facts.add_row(name, value, interval, styled(note, QUIET))

    spans = result.interval
    transistors = float(prediction.transistors["total"])
    published = chip.published_transistors(result.model)
    note = "" if published is None else f"published {large(published, 3)}; blocks only"
    low, high = spans["transistors"]
    if not note and not low <= transistors <= high:
        note = "as filed at an end of its range"
    row(
        "Transistors",
        large(transistors, 3),
        span(spans["transistors"], lambda v: large(v, 2)),
        note,
    )
    caps = [
        f"{what} at {float(report.throttle):.0%}"
        for what, report in (
            ("prefill", result.asked_prediction.prefill_power),
            ("decode", result.asked_prediction.power),
        )
        if float(report.throttle) < 1
    ]
    ends = (chip.as_filed or chip).parameters["power.limit_w"].range
    drawn = f" ({ends[0]:g} … {ends[1]:g} drawn)" if ends and result.power_capped else ""
    row(
        "Card power",
        f"{prediction.power_w:.0f} W",
        span(spans["power_w"], lambda v: f"{v:.0f} W"),
        f"limit {chip.power.limit_w:g} W{drawn}" + (f": {', '.join(caps)}" if caps else ""),
    )
    row(
        "Energy a decode token", si(float(prediction.energy_j_per_decode_token), "J"),
        span(spans["energy_j_per_decode_token"], lambda v: f"{v * 1e3:.2f} mJ"), "card",
    )  # fmt: skip
    idle, used = float(prediction.idle_w), float(chip.cost.utilization)
    row(
        "Card power, idle", f"{idle:.0f} W", span(spans["idle_w"], lambda v: f"{v:.0f} W"),
        f"{idle / float(prediction.power_w):.0%} of that under load",
    )  # fmt: skip
    full = float(data["full_activity_w"])
    row(
        "Card power, all at once", f"{full:,.0f} W", "",
        "if every unit worked in every cycle, whatever the limit",
    )  # fmt: skip
    utilized = float(prediction.energy_j_per_utilized_token)
    row(
        f"Energy a token at {used:.0%} use", si(utilized, "J"),
        span(spans["energy_j_per_utilized_token"], lambda v: f"{v * 1e3:.2f} mJ"),
        "card, waiting between requests included",
    )  # fmt: skip
    low, high = PJ_PER_WEIGHT_USE
    row(
        "Chip energy a weight", f"{data['pj_per_weight_use']:.2f} pJ", "",
        f"for each token; five published designs: {low:g} to {high:g} pJ",
    )  # fmt: skip
    whole = float(prediction.energy_j_per_request)
    row(
        "Energy a whole request", si(whole, "J"),
        span(spans["energy_j_per_request"], lambda v: f"{v:.2f} J"),
        f"{si(whole / result.output, 'J')} an output token",
    )  # fmt: skip
    costs = result.costs
    if costs["die_cost_usd"] is not None:
        row(
            "Die cost",
            f"{prediction.die_cost_usd:.0f} USD",
            span(spans["die_cost_usd"], lambda v: f"{v:.0f} USD"),
            "good die, Murphy yield" if result.fits_die else LARGER_DIE,
        )
        row(
            "USD per M tokens", f"{prediction.usd_per_million_tokens:.4f}",
            span(spans["usd_per_million_tokens"], lambda v: f"{v:.4f}"),
            "card and electricity" if result.fits_die else LARGER_DIE,
        )  # fmt: skip
    else:
        row("Die cost", CANNOT_BE_MADE)
        row("USD per M tokens", CANNOT_BE_MADE)
    parts: list[RenderableType] = ["", table, "", facts]
    if some := only_of_some(data):
        parts.append(Text(some, style=QUIET))
    return Group(*parts)
