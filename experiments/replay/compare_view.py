"""The tables of a comparison, a column per server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.replay.compare import DID_NOT_RUN, Comparison
from hardwire.experiments.replay.fleet import NEEDED
from hardwire.experiments.replay.replay import Replay
from hardwire.experiments.replay.sound import ON_PAPER
from hardwire.experiments.replay.view import (
    LATENCIES,
    NEEDED_ROWS,
    NINETY,
    NONE,
    Definitions,
    drawn_words,
    four,
    goals,
    joule,
    losses,
    number,
    occurring,
    percent,
    seconds,
)
from hardwire.experiments.shared.nested import at
from hardwire.experiments.shared.style import BAD, GOOD
from hardwire.experiments.shared.tables import QUIET, count, plain_table, span, styled


@dataclass(frozen=True)
class _Row:
    name: str
    value: Callable[[dict[str, Any]], float | None]
    show: Callable[[Any], str]
    better: int = 0  # 1 where more is better, −1 where less is, 0 where neither
    path: str = ""  # in a summary, with dots

    @classmethod
    def of(cls, name: str, path: str, show: Callable[[Any], str], better: int = 0) -> _Row:
        """A number of the summary."""
        return cls(name, lambda data: at(data, path), show, better, path)


def _rows(comparison: Comparison) -> list[_Row]:
    data = comparison.done[0].summary
    rows = [
        _Row.of("Served, requests/s", "served.requests_per_s", four, 1),
        _Row.of("Served, output tok/s", "output_tokens_per_s", four, 1),
        _Row.of("Served, prompt tok/s", "served.prompt_tokens_per_s", four),
    ]
    if goals(data):
        rows += [
            _Row.of("Goodput, requests/s", "goodput", four, 1),
            _Row.of("Met the SLO", "slo_met", percent, 1),
        ]
    if needed := comparison.needed:

        def of_all(key: str) -> Callable[[dict[str, Any]], float | None]:
            return lambda data: getattr(needed[data["server"]], key, None)

        rows += [_Row(name, of_all(key), _or_none(show), -1) for name, key, show in NEEDED_ROWS]
    for key, name in LATENCIES.items():
        for level in ("p50", "p99"):
            rows.append(_Row.of(f"{name}, {level}", f"{key}.{level}", seconds, -1))
    if data["adapters"]:
        rows += [
            _Row.of("Adapter hit rate", "adapter_hit_rate", percent, 1),
            _Row.of("Swaps", "swaps", count),
            _Row.of("Waiting for swaps", "swap_wait_s", seconds, -1),
        ]
    return [
        _Row.of("Cards or GPUs", "units", count),
        _Row.of("Price, USD", "price_usd", count),
        *rows,
        _Row.of("Compute busy", "utilization.compute.mean", percent),
        _Row.of("Server power, W", "server_power_w", four, -1),
        _Row.of("Energy an output token", "server_energy_j_per_output_token", joule, -1),
        _Row.of("USD per M tokens", "usd_per_million_tokens", number, -1),
    ]


def _or_none(show: Callable[[float], str]) -> Callable[[float | None], str]:
    return lambda value: NONE if value is None else show(value)


def render(comparison: Comparison) -> RenderableType:
    """The tables of a comparison, as many beside each other as the terminal is wide."""
    parts: list[RenderableType] = []
    if comparison.done:
        parts += [_headline(comparison), _Columns(comparison)]
    for server, obstacle in comparison.obstacles.items():
        parts.append(Text(f"\n{server} {DID_NOT_RUN}: {obstacle}", style=BAD))
    for one in comparison.done:
        for sentence in (*one.summary["obstacles"], *losses(one.summary)):
            parts.append(Text(f"\n{one.summary['server']}: {sentence}", style=BAD))
    for one in comparison.done:
        if "intervals" in one.summary:
            parts.append(Text(f"\n{drawn_words(one.summary)}", style=QUIET))
    if comparison.done:
        parts.append(Definitions(_definitions(comparison)))
    return Group(*parts)


def _definitions(comparison: Comparison) -> list[tuple[str, str]]:
    """Words and meanings; where servers differ, one line for those that agree."""
    by_word: dict[str, dict[str, list[str]]] = {}
    for one in comparison.done:
        for word, meaning in occurring(one.summary).items():
            if word == "goodput" and not goals(one.summary):
                continue
            by_word.setdefault(word, {}).setdefault(meaning, []).append(one.summary["server"])
    if comparison.needed:
        by_word["needed"] = {NEEDED: [one.summary["server"] for one in comparison.done]}
    lines = []
    for word, meanings in by_word.items():
        shown = word
        for meaning, servers in meanings.items():
            of_all = len(servers) == len(comparison.done)
            lines.append((shown, meaning if of_all else f"{', '.join(servers)}: {meaning}"))
            shown = ""
    return lines


def _headline(comparison: Comparison) -> RenderableType:
    one = comparison.done[0]
    text = Text()
    text.append(one.words()[0], style="bold")
    offered = one.summary["offered"]
    text.append(
        f"\noffered: {number(offered['requests_per_s'], 4)} requests/s, "
        f"{number(offered['output_tokens_per_s'], 4)} output and "
        f"{number(offered['prompt_tokens_per_s'], 4)} prompt tokens/s",
    )
    goal = goals(one.summary)
    if one.summary["adapters"]:
        adapters = [word for word in one.words() if " adapter" in word]
        goal = ", ".join([*adapters, *([goal] if goal else [])])
    text.append(f"\n{goal or 'no adapters, no SLO'}", style=QUIET)
    return Panel(text, title="hardwire compare", title_align="left", expand=False)


class _Columns:
    """One column per server; a second table begins where the terminal ends."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = _rows(self.comparison)
        label = max(len(row.name) for row in rows) + 2
        group: list[Replay] = []
        width = label
        for one in self.comparison.done:
            cells = (len(cell) for row in rows for cell in _cells(row, one.summary))
            column = max(len(_name(one)), 9, *cells) + 2
            if group and width + column > options.max_width:
                yield self._table(rows, group)
                group, width = [], label
            group.append(one)
            width += column
        yield self._table(rows, group)

    def _table(self, rows: list[_Row], group: list[Replay]) -> RenderableType:
        table = plain_table("", "", *map(_name, group))
        every = [one.summary for one in self.comparison.done]
        for row in rows:
            values = [row.value(data) for data in every]
            known = [
                value
                for value, data in zip(values, every, strict=True)
                if value is not None and data["fits_die"]
            ]
            best = (max if row.better > 0 else min)(known) if row.better and known else None
            shown = [row.show(value) for value in values]
            # What reads alike leads alike, and nobody leads where all read alike.
            leader = row.show(best) if best is not None and len(set(shown)) > 1 else None
            cells = [row.show(row.value(one.summary)) for one in group]
            table.add_row(row.name, *(styled(c, GOOD if c == leader else "") for c in cells))
            drawn = [_interval(row, one.summary) for one in group]
            if any(drawn):
                table.add_row(styled(f"  {NINETY}", QUIET), *(styled(c, QUIET) for c in drawn))
        return table


def _interval(row: _Row, data: dict[str, Any]) -> str:
    found = data.get("intervals", {}).get(row.path)
    return (
        "" if found is None or row.show(found[0]) == row.show(found[1]) else span(found, row.show)
    )


def _cells(row: _Row, data: dict[str, Any]) -> tuple[str, str]:
    return row.show(row.value(data)), _interval(row, data)


def _name(one: Replay) -> str:
    """The server, marked where its chip cannot be made."""
    return one.summary["server"] + ("" if one.summary["fits_die"] else f", {ON_PAPER}")
