"""What a replay prints: load, latencies, adapters, units, memory, energy, cost, and definitions."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.replay.refusals import refusal
from hardwire.experiments.shared.nested import at
from hardwire.experiments.shared.style import BAD, GOOD, MEMORY_COLORS, OF_NO_PART
from hardwire.experiments.shared.tables import QUIET, bar, count, mib, plain_table, si, span, styled

NONE = "–"
LATENCIES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "End to end"}
LEVELS = ("mean", "p50", "p90", "p99")
LARGE_BYTES = 8 * 2**30


def render(
    data: Mapping[str, Any], title: str, memory: str, setting: Iterable[str]
) -> RenderableType:
    """All tables of a replay.

    Parameters
    ----------
    data : what ``hardwire.simulator.serving.metrics.summarize`` gives.
    title : of the server.
    memory : what its memory for KV and adapters is called.
    setting : words that describe the run, joined by commas.
    """
    return Group(
        _headline(data, title, ", ".join(setting)),
        _load(data),
        _latency(data),
        *([_handover(data)] if "handover" in data else []),
        *([_adapters(data)] if data["adapters"] else []),
        _units(data),
        _memory(data, memory),
        _energy(data),
        *([_fleet(data)] if "fleet" in data else []),
        *([_intervals(data)] if "intervals" in data else []),
        Definitions(occurring(data).items()),
    )


def occurring(data: Mapping[str, Any]) -> dict[str, str]:
    """The definitions of what a replay has: of adapters only where there are some."""
    absent = set() if data["adapters"] else {"hit", "swap", "swap wait", "adapter slots"}
    return {word: text for word, text in data["definitions"].items() if word not in absent}


class Definitions:
    """The words of a table and their meanings, one line each where they fit, folded where not."""

    def __init__(self, words: Iterable[tuple[str, str]]) -> None:
        self.words = list(words)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fold each definition under its word."""
        width = max(len(word) for word, _ in self.words) + 2
        yield Text("\nDefinitions", style="bold")
        for word, meaning in self.words:
            first, *more = textwrap.wrap(meaning, max(options.max_width - width, 20)) or [""]
            yield Text(f"{word:{width}}{first}", style=QUIET)
            for line in more:
                yield Text(f"{'':{width}}{line}", style=QUIET)


def seconds(value: float | None) -> str:
    """A time in three digits, or a dash; zero is zero."""
    if value is None:
        return NONE
    return "0 s" if value == 0 else f"{count(value)} s" if value >= 1000 else si(value, "s")


def number(value: float | None, digits: int = 3) -> str:
    """A number in some significant digits with thousands separators, or a dash."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    decimals = max(digits - len(str(int(abs(value)))), 0)
    if abs(value) < 1:
        return f"{value:.{digits}g}"
    return f"{value:,.{decimals}f}"


def four(value: float | None) -> str:
    """A number in four digits, or a dash."""
    return number(value, 4)


NEEDED_ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("Needed, units", "units", count),
    ("Needed, price, USD", "price_usd", count),
    ("Needed, power, W", "fleet_power_w", four),
)
"""Of a comparison with goals: name, attribute of a ``Fleet``, and how it is shown."""


def joule(value: float | None) -> str:
    """An energy in three digits, or a dash."""
    return number(value) if value is None else si(value, "J")


def gib(value: float) -> str:
    """Bytes in GiB."""
    return f"{value / 2**30:,.2f} GiB"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


NINETY = "90% interval"

_DRAWN: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Served, requests/s", "served.requests_per_s", four),
    ("Served, output tok/s", "output_tokens_per_s", four),
    ("Goodput, requests/s", "goodput", four),
    ("Met the SLO", "slo_met", percent),
    *(
        (f"{name}, {level}", f"{key}.{level}", seconds)
        for key, name in LATENCIES.items()
        for level in ("p50", "p99")
    ),
    ("Adapter hit rate", "adapter_hit_rate", percent),
    ("Server power, W", "server_power_w", four),
    ("Energy an output token", "server_energy_j_per_output_token", joule),
    ("USD per M tokens", "usd_per_million_tokens", number),
)
"""What has an interval in tables: name, dotted name in a summary, and how it is shown."""


def goals(data: Mapping[str, Any]) -> str:
    """The SLO in words, empty where there is none."""
    parts = [
        f"{LATENCIES[key]} ≤ {si(value, 's')}"
        for key, value in data["slo"].items()
        if value is not None
    ]
    return ", ".join(parts)


def losses(data: Mapping[str, Any]) -> list[str]:
    """What to know before the figures, a sentence each.

    Of everything that was not served, of a run that was cut off, and of what goes beyond the
    measurements behind a server; results that were saved before these were told have none.
    """
    sentences = [f"Extrapolated: {sentence}." for sentence in data.get("warnings", ())]
    if data["interrupted"]:
        sentences.append(
            f"Interrupted {data['interrupted']}: figures are of what was done by then."
        )
    for reason, requests in data["refusals"].items():
        if requests:
            sentences.append(f"{refusal(data, reason)}.")
    if data["unfinished"]:
        sentences.append(f"{_requests(data['unfinished'])} unfinished when the run ended.")
    return sentences


def _requests(number_of: int) -> str:
    return f"{count(number_of)} request{'s' * (number_of != 1)}"


def _headline(data: Mapping[str, Any], title: str, setting: str) -> RenderableType:
    text = Text()
    for obstacle in data["obstacles"]:
        text.append(f"{obstacle}\n", style=f"bold {BAD}")
    paper = "" if data["fits_die"] else "On paper "
    text.append(f"{paper}{number(data['output_tokens_per_s'], 4)} output tokens/s", style="bold")
    text.append(": ")
    if data["requests"] == 0:
        text.append("no requests", style=f"bold {BAD}")
    elif data["completed"] == data["requests"]:
        text.append(f"all {_requests(data['requests'])} served", style=f"bold {GOOD}")
    else:
        text.append(
            f"{count(data['completed'])} of {_requests(data['requests'])} served",
            style=f"bold {BAD}",
        )
    if data.get("warnings"):
        text.append(" (extrapolated)", style=f"bold {BAD}")
    for sentence in losses(data):
        text.append(f"\n{sentence}", style=BAD)
    text.append(f"\n{title}")
    text.append(f"\n{setting}", style=QUIET)
    return Panel(
        text, title=Text(f"hardwire replay · {data['server']}"), title_align="left", expand=False
    )


def load_rows(data: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, offered, served and their ratio, for the rates and the duration."""
    rows = []
    for key, name in (
        ("requests_per_s", "Requests/s"),
        ("output_tokens_per_s", "Output tokens/s"),
        ("prompt_tokens_per_s", "Prompt tokens/s"),
    ):
        offered, served = data["offered"][key], data["served"][key]
        share = served / offered if offered and served is not None else None
        rows.append((name, number(offered, 4), number(served, 4), percent(share)))
    length, ended = data["offered"]["duration_s"], data["duration_s"]
    return [*rows, ("Duration", seconds(length), seconds(ended), "")]


def _load(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("Load", "", "offered", "served", "served / offered")
    for row in load_rows(data):
        table.add_row(*row)
    goal = goals(data)
    style = "" if data["slo_met"] is None else GOOD if data["slo_met"] >= 0.99 else BAD
    met = percent(data["slo_met"])
    table.add_row(
        "Goodput, requests/s",
        "",
        number(data["goodput"], 4),
        styled(met, style),
    )
    note = (
        f"Goodput: {goal}; the share is of all requests."
        if goal
        else "Goodput: no SLO given, every completed request counts."
    )
    return Group("", table, Text(note, style=QUIET))


def _latency(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("Latency of completed requests", "", *LEVELS)
    for key, name in LATENCIES.items():
        table.add_row(name, *(seconds(data[key][level]) for level in LEVELS))
    return Group("", table)


HANDOVER = {
    "queue_s": "Queue of the GPU server",
    "prefill_s": "Prompt, first token",
    "link_queue_s": "Queue of the link",
    "transfer_s": "KV over the link",
    "decode_queue_s": "Queue of the cards",
    "swap_s": "Adapter on the card",
    "second_s": "From first token to second",
}
"""What a disaggregated server's requests wait for, in order, by the names of a summary."""


def _handover(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("From prompt to decoding", "", *LEVELS)
    handed = data["handover"]
    for key, name in HANDOVER.items():
        table.add_row(name, *(seconds(handed[key][level]) for level in LEVELS))
    sent = f"{si(handed['kv_bytes'], 'B')} of keys and values went over the link."
    return Group("", table, Text(sent, style=QUIET))


def _adapters(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("Adapters", "", "", "")
    table.columns[2].justify = "left"

    def row(name: str, value: str, note: str = "") -> None:
        table.add_row(name, value, styled(note, QUIET))

    row("Hit rate", percent(data["adapter_hit_rate"]), f"{count(data['adapters'])} adapters")
    per_s = data["swaps"] / data["duration_s"] if data["duration_s"] > 0 else None
    row("Swaps", count(data["swaps"]), f"{number(per_s)} a second")
    each = data["swap_wait_s"] / data["requests"] if data["requests"] else None
    note = f"{seconds(each)} a request, {percent(data['swap_wait_share'])} of end-to-end time"
    row("Waiting for swaps", seconds(data["swap_wait_s"]), note)
    return Group("", table)


def _units(data: Mapping[str, Any]) -> RenderableType:
    several = data["units"] > 1
    table = plain_table("Utilization", "", "mean", *(["busiest"] if several else []))
    table.add_column("", justify="left", no_wrap=True)
    for name, share in data["utilization"].items():
        cells = [percent(share["mean"])]
        if several:
            cells.append(percent(share["max"]))
        table.add_row(name.replace("_", " ").capitalize(), *cells, bar(share["mean"] or 0.0))
    return Group("", table)


def _memory(data: Mapping[str, Any], memory: str) -> RenderableType:
    sram = data["sram"]
    of_one = " of one card" if data["units"] > 1 else ""
    size = gib if sram["capacity_bytes"] >= LARGE_BYTES else mib
    table = plain_table(f"{memory}{of_one}", "", "mean", "peak", "peak")
    table.add_column("", justify="left", no_wrap=True)

    def row(name: str, part: str, color: str) -> None:
        peak = sram[f"peak_{part}bytes"]
        mean = sram[f"mean_{part}bytes"]
        share = peak / sram["capacity_bytes"] if sram["capacity_bytes"] else 0.0
        shown = NONE if mean is None else size(mean)
        table.add_row(name, shown, size(peak), f"{share:.1%}", bar(share, color))

    row("KV cache", "kv_", MEMORY_COLORS["kv"])
    row("Adapters", "adapter_", MEMORY_COLORS["adapters"])
    row("Both", "", OF_NO_PART)
    table.add_row(styled("Capacity", "bold"), "", styled(size(sram["capacity_bytes"]), "bold"))
    extra = [
        f"{count(data[key])} {name}"
        for key, name in (
            ("preemptions", "preemptions"),
            ("reused_prompt_tokens", "prompt tokens reused from the prefix cache"),
        )
        if data[key]
    ]
    parts: list[RenderableType] = ["", table]
    if extra:
        parts.append(Text(", ".join(extra).capitalize() + ".", style=QUIET))
    return Group(*parts)


FLEET_COLUMNS = (
    "", "requests", "output tok/s", "TTFT, p50", "TTFT, p99", "met SLO", "hit rate", "busy", "W",
    "USD per M",
)  # fmt: skip


def fleet_rows(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of ``FLEET_COLUMNS`` for each of several servers, and one for all."""
    rows: list[tuple[str, ...]] = []
    for one in (*data["fleet"]["each"], {**data, "server": "all"}):
        rows.append((
            one["server"],
            f"{count(one['completed'])} of {count(one['requests'])}",
            four(one["output_tokens_per_s"]),
            seconds(one["ttft_s"]["p50"]),
            seconds(one["ttft_s"]["p99"]),
            percent(one["slo_met"]),
            percent(one["adapter_hit_rate"]),
            percent(one["utilization"]["compute"]["mean"]),
            number(one["server_power_w"], 4),
            number(one["usd_per_million_tokens"]),
        ))  # fmt: skip
    return rows


def fleet_words(data: Mapping[str, Any]) -> str:
    """How the requests of several servers were shared out, in a sentence."""
    return f"Each request goes to one server: {data['fleet']['routing'].replace('_', ' ')}."


def _fleet(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("Servers", *FLEET_COLUMNS)
    for row in fleet_rows(data):
        table.add_row(*row)
    return Group("", table, Text(fleet_words(data), style=QUIET))


def interval_rows(data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and interval of what a replay shows; none where it has no intervals."""
    rows = []
    for name, key, show in _DRAWN:
        found = data.get("intervals", {}).get(key)
        if found is None or (key in ("goodput", "slo_met") and not goals(data)):
            continue
        rows.append((name, show(at(data, key)), span(found, show)))
    return rows


def drawn_words(data: Mapping[str, Any]) -> str:
    """What the intervals of a replay are over, in a sentence."""
    words = (
        f"{data['server']}: 5th to 95th percentile over {count(data['interval_draws'])} draws of "
        "what is not known of it, with the same requests"
    )
    if lost := data["interval_not_started"]:
        words += (
            f"; {count(lost)} of them cannot start, for want of memory or power, and are left out"
        )
    return f"{words}."


def _intervals(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("Intervals", "", "as filed", NINETY)
    for row in interval_rows(data):
        table.add_row(*row)
    return Group("", table, Text(drawn_words(data), style=QUIET))


def _energy(data: Mapping[str, Any]) -> RenderableType:
    table = plain_table("Energy and cost of the server", "", "", "")
    table.columns[2].justify = "left"
    power = data["server_power_w"]
    parts = sorted(data["server_energy_by_part_j"].items(), key=lambda item: -item[1])
    total = sum(value for _, value in parts)
    split = ", ".join(
        f"{name.replace('_', ' ')} {value / total:.0%}"
        for name, value in parts
        if value > 0.005 * total
    )
    each = data["server_energy_j_per_output_token"]
    table.add_row(
        "Energy an output token",
        NONE if each is None else si(each, "J"),
        styled("" if power is None else f"{count(power)} W on average", QUIET),
    )
    if split and len(parts) > 1:
        table.add_row("", "", styled(split, QUIET))
    table.add_row(
        "USD per M tokens",
        number(data["usd_per_million_tokens"]),
        styled(f"{number(data['usd'])} USD for the run", QUIET),
    )
    return Group("", table)
