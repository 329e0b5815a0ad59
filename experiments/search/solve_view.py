"""The answer of a solve as tables for the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.search.solve import DIGITS, Point, Solution, adapter_name
from hardwire.experiments.shared.style import BAD, GOOD, WARNING
from hardwire.experiments.shared.tables import (
    LARGE,
    QUIET,
    count,
    plain_table,
    si,
    span,
    text_table,
)

SCALED = ("s", "J")
"""Units that are written with prefixes."""
UNITS = {"mm2": "mm²", "tokens/s": "tok/s"}


def render(found: Solution) -> RenderableType:
    """Where the goal holds, what the ends give, and what fails beyond them."""
    parts: list[RenderableType] = [_headline(found), "", _points(found)]
    table = text_table("Beyond", "", "")
    for low, high in found.spans:
        for end, where in ((low, "smallest"), (high, "largest")):
            if end.beyond is None:
                table.add_row(value(found, end.last.value), f"the {where} value that is allowed")
            else:
                table.add_row(value(found, end.beyond.value), "; ".join(end.beyond.reasons))
    if table.row_count:
        parts += ["", table]
    return Group(*parts)


def _headline(found: Solution) -> RenderableType:
    goal, design = found.goal, found.design
    text = Text()
    if found.spans:
        each = [
            value(found, low.last.value)
            if low.last.value == high.last.value
            else f"{value(found, low.last.value, unit=False)} to {value(found, high.last.value)}"
            for low, high in found.spans
        ]
        more = f" and {found.more} more stretches" if found.more else ""
        text.append(f"{found.name}: {', '.join(each)}{more}", style=f"bold {GOOD}")
    else:
        low, high = value(found, found.spec.low, unit=False), value(found, found.spec.high)
        text.append(f"{found.name}: no value from {low} to {high}", style=f"bold {BAD}")
    text.append(f"\n{goal.metric} {goal.side} {measured(found, goal.limit)}")
    for reason in found.anyway:
        text.append(f"\nWhatever the value: {reason}", style=BAD)
    for point, words in ((found.nearest, "Nearest"), (found.alone, "The goal alone")):
        if point is not None:
            reasons = "; ".join(point.reasons)
            if found.constant:
                reasons += f" whatever the {found.name}"
            text.append(f"\n{words}, at {value(found, point.value)}: {reasons}", style=BAD)
    text.append(f"\n{design.chip.title}")
    adapter = adapter_name(design)
    text.append(
        f"\n{design.model.name}, {f'with {adapter}' if adapter else 'no adapter'}, "
        f"{count(design.prompt)} + {count(design.output)} tokens, "
        f"{design.users} user{'s' * (design.users > 1)}, closed form",
        style=QUIET,
    )
    chip = design.chip
    settings = " ".join(f"{k}={v}" for k, v in chip.overrides.items() if k not in chip.own)
    if settings:
        text.append(f"\nset: {settings}", style=WARNING)
    number, whole = found.looked_at
    how = "all allowed values" if whole else f"{count(number)} values, then between them"
    exact = "" if found.spec.integer else f"; ends in {DIGITS} digits"
    text.append(f"\nlooked at {how}{exact}", style=QUIET)
    return Panel(text, title="hardwire solve", title_align="left", expand=False)


def _points(found: Solution) -> RenderableType:
    """As it is, and the ends of each stretch: value, metric, and how sure that is."""
    of_value = found.spec.unit or found.name.rpartition(".")[2]
    table = plain_table("", "", of_value, unit_of_metric(found), "90% interval", "holds in")

    def row(name: str, point: Point) -> None:
        ends = point.interval
        table.add_row(
            name,
            value(found, point.value, unit=False),
            measured(found, point.metric, unit=False),
            "" if ends is None else span(ends, lambda v: measured(found, v, unit=False)),
            "" if point.share is None else f"{point.share:.0%} of draws",
        )

    row("As it is", found.filed)
    for low, high in found.spans:
        if low.last.value == high.last.value:
            row("Only" if len(found.spans) == 1 else "At", low.last)
        else:
            row("Smallest" if low is found.spans[0][0] else "From", low.last)
            row("Largest" if high is found.spans[-1][1] else "to", high.last)
    if found.nearest is not None and found.nearest.value != found.filed.value:
        row("Nearest", found.nearest)
    if not found.filed.reasons:
        return table
    return Group(table, Text(f"As it is: {'; '.join(found.filed.reasons)}.", style=QUIET))


def value(found: Solution, number: float, *, unit: bool = True) -> str:
    """A value of the parameter, in its unit."""
    whole = float(number).is_integer() and abs(number) < LARGE
    text = f"{number:,.0f}" if whole else f"{number:,.{DIGITS + 1}g}"
    return f"{text} {found.spec.unit}".rstrip() if unit else text


def unit_of_metric(found: Solution) -> str:
    """The head of a column of the metric: its unit, or its name where it has none."""
    goal = found.goal
    scaled = goal.known.unit in SCALED
    return goal.metric if scaled else UNITS.get(goal.known.unit, goal.known.unit) or goal.metric


def measured(found: Solution, number: float, *, unit: bool = True) -> str:
    """A value of the metric, in its unit."""
    own = found.goal.known.unit
    if math.isnan(number):
        return "–"
    if own in SCALED:
        return si(number, own, 4)
    text = f"{number:,.0f}" if 1000 <= abs(number) < LARGE else f"{number:.4g}"
    return f"{text} {UNITS.get(own, own)}".rstrip() if unit else text
