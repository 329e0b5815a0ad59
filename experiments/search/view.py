"""A search as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hardwire.experiments.search.search import Search
from hardwire.experiments.shared.style import BAD, GOOD, WARNING
from hardwire.experiments.shared.tables import (
    QUIET,
    count,
    folded,
    number,
    plain_table,
    short_names,
    styled,
    text_table,
)
from hardwire.experiments.sweep.pareto import losses
from hardwire.experiments.sweep.view import unit_of

MOST_ROWS = 20


def render(found: Search) -> RenderableType:
    """The front, why trials fall out, and where the trials are."""
    parts: list[RenderableType] = [_headline(found)]
    if len(found.front):
        table = _front(found)
        parts += ["", table]
        if len(found.front) > table.row_count:
            note = f"{table.row_count} of {count(len(found.front))} shown; --save writes all."
            parts.append(Text(note, style=QUIET))
    failures = found.failures()
    if failures:
        table = plain_table("Why trials are infeasible, first reason", "", "trials", "share")
        for reason, number in failures.items():
            table.add_row(Text(reason), count(number), f"{number / found.trials:.1%}")
        parts += ["", table]
    facts = text_table("", "", "")
    made = " (new; --storage names another file)" if found.new else ""
    facts.add_row("Storage", Text(f"{found.storage}{made}"))
    facts.add_row("Optuna study", found.name)
    parts += ["", facts]
    return Group(*parts)


def _headline(found: Search) -> RenderableType:
    text = Text(found.study.title, style="bold")
    sides = ", ".join(f"{side} {name}" for name, side in found.study.objectives.items())
    earlier = f" ({count(found.before)} of earlier runs)" if found.before else ""
    feasible = int(found.feasible.sum())
    text.append(f"\n{sides}", style="default")
    text.append(f"\n{count(found.trials)} trials{earlier}, {count(feasible)} feasible, ")
    if feasible:
        designs = "design" if len(found.front) == 1 else "designs"
        text.append(f"{count(len(found.front))} {designs} on the Pareto front")
    else:
        text.append("no feasible design found", style=BAD)
    new = found.trials - found.before
    text.append(f"\n{found.seconds:.1f} s", style=QUIET)
    if new:
        text.append(f", {count(new / max(found.seconds, 1e-9))} trials/s", style=QUIET)
    if found.interrupted:
        text.append(", interrupted", style=WARNING)
    return text


def _front(found: Search) -> Table:
    """Designs along the front, the best of each objective among them, in bold.

    Of designs with the same objectives only the one that was found first.
    """
    front = found.front
    _, first = np.unique(losses(found.study, found.metrics)[front], axis=0, return_index=True)
    front = front[np.sort(first)]
    loss = losses(found.study, found.metrics)[front]
    best = loss.argmin(axis=0)
    shown = _thinned(len(front), best.tolist())
    objectives, axes = list(found.study.objectives), list(found.columns)
    names = short_names([*objectives, *axes])
    heads = [folded(names[n], unit_of(found.study, n)) for n in (*objectives, *axes)]
    table = plain_table("Pareto front", *heads)
    for column in table.columns:
        column.justify, column.no_wrap = "right", False
    for place in shown:
        row = found.row(int(front[place]))
        cells = [
            styled(number(row[name]), f"bold {GOOD}" if best[position] == place else "")
            for position, name in enumerate(objectives)
        ]
        table.add_row(*cells, *(number(row[name]) for name in axes))
    return table


def _thinned(length: int, kept: Iterable[int]) -> list[int]:
    """At most ``MOST_ROWS`` places, evenly spread, with some that must stay."""
    must = set(kept)
    spread = np.linspace(0, length - 1, min(length, MOST_ROWS)).round().astype(int).tolist()
    others = [place for place in spread if place not in must]
    room = min(length, MOST_ROWS) - len(must)
    chosen = np.linspace(0, len(others) - 1, min(room, len(others))).round().astype(int)
    return sorted(must | {others[place] for place in chosen})
