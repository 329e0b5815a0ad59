"""Tables as CSV, Markdown or LaTeX instead of for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.text import Text

from hardwire.experiments.shared.fitted_view import FittedTable

if TYPE_CHECKING:
    import pandas as pd

WIDE = 10_000
"""Columns of a room in which no table is cut into blocks."""

BARS = "█▏"

BROKEN_NAME = re.compile(r"(?<=[_.])\n")
"""Where the head of a narrow column breaks a name at its joints."""

LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "…": r"\ldots{}",
    "µ": r"\textmu{}",
    "·": r"\textperiodcentered{}",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "½": r"$\frac12$",
    **{raised: f"$^{number}$" for number, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
"""Signs that LaTeX does not take as they are."""


@dataclass(frozen=True)
class Plain:
    """A table as text: heads, and rows of as many cells."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def written(form: str, renderable: RenderableType) -> str:
    """All tables of an answer in a form: ``csv``, ``markdown`` or ``latex``."""
    console = Console(width=WIDE, markup=False, highlight=False, emoji=False)
    tables = [plain(table, console) for table in _tables(renderable, console)]
    if form == "csv":
        return csv(tables)
    write = markdown if form == "markdown" else latex
    return "\n\n".join(write(table) for table in tables) + "\n"


def _tables(renderable: object, console: Console) -> Iterator[FittedTable]:
    """The tables in a group, however deep; what else there is, such as notes, has no such form."""
    if isinstance(renderable, FittedTable):
        yield renderable
    elif isinstance(renderable, Group):
        for one in renderable.renderables:
            yield from _tables(one, console)
    elif not isinstance(renderable, Text) and type(renderable).__module__.startswith("hardwire."):
        for one in renderable.__rich_console__(console, console.options):  # type: ignore[attr-defined]
            yield from _tables(one, console)


def plain(table: FittedTable, console: Console) -> Plain:
    """A table as text, without its bars; columns without a head are named by what they hold."""
    heads, columns = [], []
    for place, (head, cells) in enumerate(table.texts(console)):
        words = [" ".join(cell.strip(BARS).split()) for cell in cells]
        if head or any(words):
            whole = BROKEN_NAME.sub("", head)
            heads.append(" ".join(whole.split()) or ("name" if place == 0 else ""))
            columns.append(words)
    heads = _named(heads)
    return Plain(str(table.title or ""), tuple(heads), tuple(zip(*columns, strict=True)))


def _named(heads: list[str]) -> list[str]:
    """Heads with a name each: one that is empty or there before is numbered."""
    found: list[str] = []
    for head in heads:
        name, number = head or "value", 2
        while name in found:
            name, number = f"{head or 'value'} {number}", number + 1
        found.append(name)
    return found


def csv(tables: Sequence[Plain]) -> str:
    """One block of comma-separated values; several tables are told apart by their first column."""
    import pandas as pd  # noqa: PLC0415 - takes longer to import than most runs

    frames = [pd.DataFrame(list(table.rows), columns=list(table.heads)) for table in tables]
    if len(frames) == 1:
        return str(frames[0].to_csv(index=False))
    for table, one in zip(tables, frames, strict=True):
        one.insert(0, "table", table.title)
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return str(whole.to_csv(index=False))


def markdown(table: Plain) -> str:
    """A pipe table under its title in bold."""
    lines = [f"**{_piped(table.title)}**", ""] if table.title else []
    right = _numeric(table)
    lines.append(f"| {' | '.join(map(_piped, table.heads))} |")
    lines.append(f"|{'|'.join('---:' if number else '---' for number in right)}|")
    lines += [f"| {' | '.join(map(_piped, row))} |" for row in table.rows]
    return "\n".join(lines)


def latex(table: Plain) -> str:
    """A ``tabular`` with the rules of the package booktabs, for any engine."""
    columns = "".join("r" if number else "l" for number in _numeric(table))
    lines = [f"% {table.title}"] if table.title else []
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [_row(table.heads), r"\midrule", *map(_row, table.rows)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    return " & ".join("".join(LATEX.get(sign, sign) for sign in cell) for cell in cells) + r" \\"


def _piped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _numeric(table: Plain) -> list[bool]:
    """Which columns hold numbers, units and intervals of them: those begin with a digit or sign."""
    found = []
    for place in range(len(table.heads)):
        cells = [row[place] for row in table.rows if row[place]]
        found.append(bool(cells) and all(cell.lstrip("+-−≤≥ ")[:1].isdigit() for cell in cells))
    return found
