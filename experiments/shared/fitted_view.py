"""Tables that fit the room they have without cutting a number."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Column, Table
from rich.text import Text

WORDS = 24
"""Columns of words are folded, down to this width."""

MOST_BLOCKS = 3
"""A table in more pieces than that is told field by field instead."""


class FittedTable(Table):
    """A table without rules in which nothing but words is folded, and nothing is cut.

    Where it is too wide for its room, its heads are folded; then its columns are set in a few
    blocks, each beside the first column; then every row is told field by field.

    Attributes
    ----------
    beneath : whether the last column, such as the source of a parameter, goes on lines of its own
        below each row where it does not fit beside it.
    """

    beneath = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The first of the forms that fits."""
        room = options.max_width
        heads = [self._widest([column.header], console) for column in self.columns]
        cells = [self._widest(column._cells, console) for column in self.columns]
        whole = self._total([max(pair) for pair in zip(heads, cells, strict=True)])
        if self.beneath and whole > room:
            yield from self._with_lines_beneath(console, room)
            return
        least = [
            width if column.no_wrap else min(width, WORDS)
            for width, column in zip(cells, self.columns, strict=True)
        ]
        if self._total([max(pair) for pair in zip(heads, least, strict=True)]) <= room:
            yield from super().__rich_console__(console, options)
            return
        folded = [
            _folded(self._text(column.header, console).plain, width) for width, column in
            zip(least, self.columns, strict=True)
        ]  # fmt: skip
        widths = [
            max(width, *(len(line) for line in head.split("\n")))
            for width, head in zip(least, folded, strict=True)
        ]
        blocks = self._blocks(widths, room)
        if not blocks:
            yield from self._by_field(console, options)
            return
        full = [self._text(column.header, console).plain for column in self.columns]
        for number, places in enumerate(blocks):
            whole = self._total([max(heads[place], least[place]) for place in places]) <= room
            part = self._part(places, full if whole else folded)
            if number:
                part.title = None
                yield Text()
            yield from Table.__rich_console__(part, console, options)

    def texts(self, console: Console) -> Iterator[tuple[str, list[str]]]:
        """Head and cells of every column, as text."""
        for column in self.columns:
            cells = [self._text(cell, console).plain for cell in column._cells]
            yield self._text(column.header, console).plain, cells

    @property
    def _gap(self) -> int:
        return self.padding[1]

    def _total(self, widths: Sequence[int]) -> int:
        return sum(widths) + self._gap * (len(widths) - 1)

    def _text(self, cell: RenderableType, console: Console) -> Text:
        if isinstance(cell, Text):
            return cell
        return console.render_str(str(cell))

    def _widest(self, cells: Sequence[RenderableType], console: Console) -> int:
        lines = [line for cell in cells for line in self._text(cell, console).split("\n")]
        return max((line.cell_len for line in lines), default=0)

    def _blocks(self, widths: list[int], room: int) -> list[list[int]]:
        """Columns of each block; none where that would be too many, or one is too wide."""
        blocks = [[0]]
        for place in range(1, len(widths)):
            if self._total([widths[p] for p in (*blocks[-1], place)]) <= room:
                blocks[-1].append(place)
            elif self._total([widths[0], widths[place]]) <= room:
                blocks.append([0, place])
            else:
                return []
        return blocks if len(blocks) <= MOST_BLOCKS else []

    def _part(self, places: Sequence[int], heads: Sequence[str]) -> Table:
        part = copy.copy(self)
        part.columns = [
            replace(self.columns[place], header=heads[place], _index=new)
            for new, place in enumerate(places)
        ]
        return part

    def _rows(self, console: Console) -> Iterator[list[Text]]:
        for cells in zip(*(column._cells for column in self.columns), strict=True):
            yield [self._text(cell, console) for cell in cells]

    def _by_field(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Every row as lines of name and value."""
        if self.title:
            yield Text(str(self.title), style="bold")
        heads = [self._text(column.header, console).plain for column in self.columns]
        names = [head.replace("\n", "") for head in heads]
        for number, row in enumerate(self._rows(console)):
            if number:
                yield Text()
            pairs = Table(box=None, pad_edge=False, padding=(0, self._gap, 0, 0), show_header=False)
            pairs.add_column(no_wrap=True, style=self.header_style)
            pairs.add_column(overflow="fold")
            for name, cell in zip(names, row, strict=True):
                if name or cell.plain:
                    pairs.add_row(name, cell)
            yield from pairs.__rich_console__(console, options)

    def _with_lines_beneath(self, console: Console, room: int) -> RenderResult:
        """Every row without its last column, which follows on lines of its own."""
        if self.title:
            yield Text(str(self.title), style="bold")
        rows = list(self._rows(console))
        heads = [self._text(column.header, console) for column in self.columns]
        widths = [
            max(cell.cell_len for cell in column)
            for column in zip(heads, *rows, strict=True)
        ][:-1]  # fmt: skip
        yield _line(heads[:-1], widths, self.columns, self._gap, str(self.header_style))
        for number, row in enumerate(rows):
            yield _line(row[:-1], widths, self.columns, self._gap)
            for line in textwrap.wrap(row[-1].plain, max(room - 4, 20)):
                yield Text(f"    {line}", style=self.header_style)
            if self.rows[number].end_section:
                yield Text()


def _line(
    cells: Sequence[Text],
    widths: Sequence[int],
    columns: Sequence[Column],
    gap: int,
    style: str = "",
) -> Text:
    line = Text(style=style)
    for cell, width, column in zip(cells, widths, columns, strict=False):
        padded = cell.copy()
        padded.align("right" if column.justify == "right" else "left", width)
        line.append_text(padded).append(" " * gap)
    line.rstrip()
    return line


def _folded(head: str, width: int) -> str:
    """A head on lines no longer than a width, broken at blanks, dots and underscores."""
    lines: list[str] = []
    for old in head.split("\n"):
        lines.append("")
        for word in _words(old):
            if lines[-1] and len(lines[-1] + word.rstrip()) > max(width, 1):
                lines.append("")
            lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def _words(head: str) -> list[str]:
    words = [""]
    for letter in head:
        words[-1] += letter
        if letter in " _.":
            words.append("")
    return words
