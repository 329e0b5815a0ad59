"""Servers side by side under one load: a table, a figure and files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.replay.replay import (
    Replay,
    Setup,
    prepare,
    refuse_what_is_never_served,
    run,
)
from hardwire.experiments.replay.view import (
    BAD,
    GOOD,
    LATENCIES,
    Definitions,
    goals,
    losses,
    number,
    percent,
    seconds,
)
from hardwire.experiments.shared.folder import to_json, write_all
from hardwire.experiments.shared.tables import QUIET, count, plain_table, si
from hardwire.models.errors import InputError

FILES = ("compare.png", "compare.json", "compare.csv", "configuration.json")
DID_NOT_RUN = "did not run"
"""How tables, plots and files say so."""


@dataclass(frozen=True)
class Comparison:
    """Replays of one load.

    Attributes
    ----------
    done : one per server that ran, in the order asked.
    obstacles : server to the reason why it did not run.
    servers : all, in the order asked.
    named : as they were named, which may be by file.
    setup : of the first, with the choices of all.
    """

    servers: tuple[str, ...]
    named: tuple[str, ...]
    setup: Setup
    done: tuple[Replay, ...]
    obstacles: dict[str, str]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C cut one off; those after it are missing."""
        return any(one.interrupted for one in self.done)

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "servers": [one.to_dict() for one in self.done],
            "did_not_run": self.obstacles,
        }


def compare(
    setup: Setup,
    servers: Sequence[str],
    progress: Callable[[str, float], Callable[[float], None] | None] | None = None,
) -> Comparison:
    """Replay the same load on several servers.

    Parameters
    ----------
    setup : of each; choices that a server does not have are left out for it.
    progress : given a server's name and the length of the load, what to call as it runs.

    Raises
    ------
    InputError
        On input that cannot be used, or with ``strict`` and a request that a server can never
        serve. A server that cannot run, for want of memory for instance, is an obstacle instead.
    """
    if len(set(servers)) < len(servers):
        raise InputError(f"--servers {','.join(servers)}: one is named twice")
    ready = [prepare(setup.only(server)) for server in servers]
    done: list[Replay] = []
    obstacles: dict[str, str] = {}
    for prepared in ready:
        name = prepared.server.name
        watch = progress(name, prepared.workload.duration_s) if progress else None
        try:
            one = run(prepared, watch)
        except InputError as error:
            obstacles[name] = str(error).removeprefix(f"{name}: ")
            continue
        refuse_what_is_never_served(one)
        done.append(one)
        if one.interrupted:
            later = ready[len(done) + len(obstacles) :]
            obstacles |= {p.server.name: "interrupted before its turn" for p in later}
            break
    names = tuple(one.server.name for one in ready)
    return Comparison(names, tuple(servers), setup, tuple(done), obstacles)


@dataclass(frozen=True)
class _Row:
    name: str
    value: Callable[[dict[str, Any]], float | None]
    show: Callable[[Any], str]
    better: int = 0  # 1 where more is better, −1 where less is, 0 where neither


def key_of(*path: str) -> Callable[[dict[str, Any]], Any]:
    """What takes a nested value out of a summary."""

    def value(data: dict[str, Any]) -> Any:
        item: Any = data
        for key in path:
            item = item[key]
        return item

    return value


def four(value: float | None) -> str:
    """A number in four digits, or a dash."""
    return number(value, 4)


def joule(value: float | None) -> str:
    """An energy in three digits, or a dash."""
    return number(value) if value is None else si(value, "J")


def _rows(data: dict[str, Any]) -> list[_Row]:
    rows = [
        _Row("Served, requests/s", key_of("served", "requests_per_s"), four, 1),
        _Row("Served, output tok/s", key_of("output_tokens_per_s"), four, 1),
        _Row("Served, prompt tok/s", key_of("served", "prompt_tokens_per_s"), four),
        _Row("Goodput, requests/s", key_of("goodput"), four, 1),
        _Row("Met the SLO", key_of("slo_met"), percent, 1),
    ]
    for key, name in LATENCIES.items():
        for level in ("p50", "p99"):
            rows.append(_Row(f"{name}, {level}", key_of(key, level), seconds, -1))
    if data["adapters"]:
        rows += [
            _Row("Adapter hit rate", key_of("adapter_hit_rate"), percent, 1),
            _Row("Swaps", key_of("swaps"), count),
            _Row("Waiting for swaps", key_of("swap_wait_s"), seconds, -1),
        ]
    return [
        *rows,
        _Row("Compute busy", key_of("utilization", "compute", "mean"), percent),
        _Row("Power, W", key_of("power_w"), four, -1),
        _Row("Energy a token", key_of("energy_j_per_token"), joule, -1),
        _Row("USD per M tokens", key_of("usd_per_million_tokens"), number, -1),
    ]


def render(comparison: Comparison) -> RenderableType:
    """The tables of a comparison, as many beside each other as the terminal is wide."""
    parts: list[RenderableType] = []
    if comparison.done:
        parts += [_headline(comparison), _Columns(comparison)]
    for server, obstacle in comparison.obstacles.items():
        parts.append(Text(f"\n{server} {DID_NOT_RUN}: {obstacle}", style=BAD))
    for one in comparison.done:
        for sentence in losses(one.summary):
            parts.append(Text(f"\n{one.summary['server']}: {sentence}", style=BAD))
    if comparison.done:
        parts.append(Definitions(_definitions(comparison)))
    return Group(*parts)


def _definitions(comparison: Comparison) -> list[tuple[str, str]]:
    """Words and meanings; where servers differ, one line for those that agree."""
    by_word: dict[str, dict[str, list[str]]] = {}
    for one in comparison.done:
        for word, meaning in one.summary["definitions"].items():
            by_word.setdefault(word, {}).setdefault(meaning, []).append(one.summary["server"])
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
        rows = _rows(self.comparison.done[0].summary)
        label = max(len(row.name) for row in rows) + 2
        group: list[Replay] = []
        width = label
        for one in self.comparison.done:
            column = max(len(one.summary["server"]), 9) + 2
            if group and width + column > options.max_width:
                yield self._table(rows, group)
                group, width = [], label
            group.append(one)
            width += column
        yield self._table(rows, group)

    def _table(self, rows: list[_Row], group: list[Replay]) -> RenderableType:
        table = plain_table("", "", *(one.summary["server"] for one in group))
        every = [one.summary for one in self.comparison.done]
        for row in rows:
            values = [row.value(data) for data in every]
            known = [value for value in values if value is not None]
            best = (max if row.better > 0 else min)(known) if row.better and known else None
            shown = [row.show(value) for value in values]
            # What reads alike leads alike, and nobody leads where all read alike.
            leader = row.show(best) if best is not None and len(set(shown)) > 1 else None
            cells = [row.show(row.value(one.summary)) for one in group]
            cells = [f"[{GOOD}]{cell}[/]" if cell == leader else cell for cell in cells]
            table.add_row(row.name, *cells)
        return table


def save(comparison: Comparison, folder: Path) -> list[Path]:
    """Write figure, numbers and a table to ``folder``, all or none.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    from hardwire.experiments.replay.plot import compare_figure  # noqa: PLC0415 - matplotlib is slow
    from hardwire.experiments.report.data import replay_configuration  # noqa: PLC0415
    from hardwire.experiments.shared.style import save_figure  # noqa: PLC0415

    setup = comparison.setup.model_dump(mode="json", exclude={"server"}, exclude_none=True)
    options = {**setup, "servers": list(comparison.named)}
    configuration = replay_configuration("compare", options, list(comparison.named))
    data = {
        "servers": [one.summary for one in comparison.done],
        "did_not_run": comparison.obstacles,
    }
    return write_all(
        folder,
        {
            "compare.png": lambda path: save_figure(compare_figure(comparison), path),
            "compare.json": lambda path: path.write_text(to_json(data) + "\n", encoding="utf-8"),
            "compare.csv": lambda path: path.write_text(_csv(comparison), encoding="utf-8"),
            "configuration.json": lambda path: path.write_text(
                to_json(configuration) + "\n", encoding="utf-8"
            ),
        },
    )


def _csv(comparison: Comparison) -> str:
    """A line per server: the plain numbers of the summary, nested ones by dotted names."""
    lines = []
    for one in comparison.done:
        flat = _flat({k: v for k, v in one.summary.items() if k != "definitions"})
        lines.append({**flat, DID_NOT_RUN: ""})
    lines += [{"server": name, DID_NOT_RUN: why} for name, why in comparison.obstacles.items()]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found
