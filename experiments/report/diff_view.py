"""The tables of a comparison of two things, A beside B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.report.diff_lines import Diff, Line, Part, Value
from hardwire.experiments.shared.style import BAD
from hardwire.experiments.shared.tables import (
    QUIET,
    count,
    mib,
    number,
    plain_table,
    si,
    span,
    styled,
    text_table,
)

NONE = "–"


def render(found: Diff) -> RenderableType:
    """What differs, below its headings, and what stands in the way of either."""
    parts: list[RenderableType] = [_headline(found)]
    for show, several in ((_parameters, found.parameters), (_results, found.results)):
        for part in several if not found.same else ():
            if part.only:
                name = found.names["ab".index(part.only)]
                parts += ["", Text.assemble((part.title, "bold"), f": only {name} has it")]
            else:
                parts += ["", show(found, part)]
    return Group(*parts)


def _headline(found: Diff) -> RenderableType:
    text = Text(f"{found.summary[:1].upper()}{found.summary[1:]}", style="bold")
    asked = found.question
    if asked and not found.same:
        users = f"{asked['users']} user{'s' * (asked['users'] > 1)}"
        text.append(
            f"\nboth with {asked['model']}, adapter {asked['adapter']}, "
            f"{count(asked['prompt'])} + {count(asked['output'])} tokens, {users}",
            style=QUIET,
        )
    if found.note and not found.same:
        text.append(f"\n{found.note}", style=QUIET)
    for name, obstacles in zip(found.names, found.obstacles, strict=True):
        for obstacle in obstacles:
            text.append(f"\n{name}: {obstacle}", style=BAD)
    names = " → ".join(found.names)
    return Panel(text, title=Text(f"hardwire diff · {names}"), title_align="left", expand=False)


def _parameters(found: Diff, part: Part) -> RenderableType:
    """A line for each parameter; its range and kind, where there are any, may go beneath it."""
    certified = any(one.kind for line in part.lines for one in (line.a, line.b) if one)
    if not certified:
        table = text_table(part.title, "", *found.names)
        for line in part.lines:
            table.add_row(line.name, *map(_filed, (line.a, line.b)))
        return table
    table = plain_table(part.title, "", "unit", *found.names, "change", "range and kind")
    for position in (1, -1):
        table.columns[position].justify = "left"
    table.beneath = True
    for line in part.lines:
        values = map(_filed, (line.a, line.b))
        origins = dict.fromkeys(_origin(one) for one in (line.a, line.b) if one)
        table.add_row(line.name, line.of.unit, *values, _change(line), " → ".join(origins))
    return table


def _results(found: Diff, part: Part) -> RenderableType:
    """A line for each result, and below the intervals of both sides and of the change."""
    a, b = found.names
    table = plain_table(part.title, "", a, b, "change")
    spans = plain_table(f"{part.title}, 90% intervals", "", a, b, "change")
    for one in (table, spans):
        one.columns[0].no_wrap, one.columns[0].overflow = False, "fold"
    for line in part.lines:
        name, show = _name(line), _shower(line)
        sides = (line.a, line.b)
        cells = [NONE if one is None else show(one.value) for one in sides]
        table.add_row(name, *cells, styled(_change(line), "bold"))
        if any(one.range for one in sides if one):
            ends = ["" if one is None or one.range is None else span(one.range, show)
                    for one in sides]  # fmt: skip
            moved = line.interval if line.differs else None
            spans.add_row(name, *ends, "" if moved is None else span(moved, _signed))
    parts: list[RenderableType] = [table]
    if part.equal:
        others = f"{part.equal} other{'s' * (part.equal > 1)} {'are' if part.equal > 1 else 'is'}"
        parts.append(Text(f"{others} the same.", style=QUIET))
    if spans.row_count:
        parts += ["", spans]
    return Group(*parts)


def _name(line: Line) -> str:
    """What a result means, with its unit where all values are in it."""
    name, unit = line.of.meaning or line.name, line.of.unit
    name = f"{name[:1].upper()}{name[1:]}" if line.of.meaning else name
    return name if not unit or unit in _SCALED else f"{name}, {_UNITS.get(unit, unit)}"


def _filed(one: Value | None) -> str:
    """A parameter as its file has it."""
    if one is None:
        return NONE
    value = one.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "no limit"
    return str(value) if isinstance(value, str) else number(value)


def _origin(one: Value | None) -> str:
    if one is None:
        return ""
    ends = "" if one.range is None else " … ".join(map(number, one.range))
    return ", ".join(filter(None, (ends, one.kind)))


def _change(line: Line) -> str:
    if not line.differs:
        return "="
    return "" if line.change is None else _signed(line.change)


def _signed(change: float) -> str:
    """A change as a percentage; a tenfold one as a factor."""
    if abs(change) < 5e-4:
        return f"{change:+.2%}" if abs(change) >= 5e-5 else "≈"
    return f"{change:+.1%}" if change < 9 else f"× {change + 1:,.3g}"


_UNITS = {"tokens/s": "tok/s", "mm2": "mm²"}
_SCALED: Mapping[str, Callable[[float], str]] = {
    "s": lambda v: si(v, "s", 4),
    "J": lambda v: si(v, "J"),
    "B": mib,
}
"""How results are written whose unit has prefixes."""


def _shower(line: Line) -> Callable[[Any], str]:
    """What writes the values of a line."""
    scaled = _SCALED.get(line.of.unit)

    def show(value: Any) -> str:
        if value is None:
            return NONE
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        return scaled(value) if scaled else number(value)

    return show
