"""A sweep as tables for the terminal."""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from hardwire.experiments.shared.style import BAD
from hardwire.experiments.shared.tables import (
    QUIET,
    count,
    folded,
    number,
    plain_table,
    short_names,
    si,
)
from hardwire.experiments.sweep.design import NUMERIC
from hardwire.experiments.sweep.results import identifier
from hardwire.experiments.sweep.store import view_name
from hardwire.experiments.sweep.study import Study
from hardwire.experiments.sweep.summary import Summary, aims
from hardwire.simulator.pipelined import EXACT, FEW, FOLLOWED

MOST_ROWS = 40
"""Rows that ``hardwire results`` prints."""

MOST_METRICS = 5


def render(found: Summary) -> RenderableType:
    """Headline, best feasible points, and why the others fall out."""
    parts: list[RenderableType] = [_headline(found)]
    if len(found.best):
        parts += ["", _best(found)]
    if found.reasons:
        points = found.swept.counts.points
        table = plain_table("Why points are infeasible, first reason", "", "points", "share")
        for reason, number_of in found.reasons.items():
            table.add_row(Text(reason), count(number_of), f"{number_of / points:.1%}")
        parts += ["", table]
    if found.inexact:
        words = (
            f"At {count(found.inexact)} points tokens queue on shared units: times are within "
            f"{FOLLOWED:.0%} of the engine's, of two or three prompt tokens within {FEW:.0%}, "
            f"elsewhere within {EXACT:.1%} (closed_form_error_bound). fidelity: engine has none"
        )
        parts += ["", Text(words)]
    if found.swept.new:
        words = "is new and keeps the points; --store or HARDWIRE_STORE names another folder"
        parts += ["", Text(f"{found.swept.store} {words}")]
    if found.name_taken:
        words = (
            f"The name {view_name(found.swept.study)} is that of another study here, or of this "
            f"one before it or one of its files was edited: the view of this one is {found.name}"
        )
        parts += ["", Text(words)]
    name = found.name if found.name.isidentifier() else identifier(found.name)
    query = shlex.quote(f"SELECT * FROM {name} LIMIT 5")
    hint = f"hardwire results {query} --store {shlex.quote(str(found.swept.store))}"
    parts += ["", Text(hint, style=QUIET)]
    return Group(*parts)


def _headline(found: Summary) -> RenderableType:
    swept, counts = found.swept, found.swept.counts
    text = Text(swept.study.title, style="bold")
    text.append(f"\n{count(swept.study.points)} points, {swept.study.fidelity}: ", style="default")
    text.append(f"{count(counts.computed)} computed, {count(counts.reused)} reused, ")
    text.append(f"{count(counts.failed)} failed", style=BAD if counts.failed else "default")
    if swept.interrupted:
        left = swept.study.points - counts.points
        text.append(f", interrupted: {count(left)} left", style=BAD)
    if counts.feasible:
        text.append(f"; {count(counts.feasible)} feasible")
    else:
        text.append("; no feasible point", style=BAD)
    rate = counts.computed / swept.seconds
    text.append(f"\n{si(swept.seconds, 's', 2)}")
    if counts.computed:
        text.append(f", {rate:,.0f} points/s" if rate >= 10 else f", {rate:.2g} points/s")
    return text


def _best(found: Summary) -> RenderableType:
    study = found.swept.study
    metrics = list(dict.fromkeys([*aims(found.swept), *study.metrics]))[:MOST_METRICS]
    names = [*(axis.name for axis in study.axes), *metrics]
    short = short_names(names)
    first, side = next(iter(aims(found.swept).items()))
    words = "highest" if side == "max" else "lowest"
    title = f"Feasible points with the {words} {first}"
    table = plain_table(title, *(folded(short[name], unit_of(study, name)) for name in names))
    marks = found.marks()
    if any(marks):
        table.add_column("on paper", justify="left", style=BAD)
    bounds = found.bounds()
    loose = any(bound > EXACT for bound in bounds)
    if loose:
        table.add_column("times within")
    for (_, row), mark, bound in zip(found.best.iterrows(), marks, bounds, strict=True):
        cells = [Text(number(row[name])) for name in names]
        cells += [Text(mark)] if any(marks) else []
        cells += [Text(f"{bound:.0%}" if bound > EXACT else f"{bound:.1%}")] if loose else []
        table.add_row(*cells)
    return table


def unit_of(study: Study, name: str) -> str:
    """Unit of a metric or an axis for its head; nothing where the name says it."""
    what = study.known_metrics.get(name) or NUMERIC.get(name)
    unit = "" if what is None else what.unit
    return "" if unit.replace("/", "_") in name or unit == "tokens/s" else unit


def results_table(found: pd.DataFrame, most: int = MOST_ROWS) -> RenderableType:
    """The answer to a query: its first rows, at most so many; missing values empty."""
    table = plain_table("", *(str(name) for name in found.columns))
    shown = found.head(most)
    empty = shown.isna().to_numpy()
    for row, blank in zip(shown.itertuples(index=False), empty, strict=True):
        table.add_row(*(Text("" if b else _cell(v)) for v, b in zip(row, blank, strict=True)))
    if len(found) <= most:
        return table
    note = f"{most} of {len(found):,} rows shown; --csv and --json give all."
    return Group(table, Text(note, style=QUIET))


def _cell(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else str(value)
