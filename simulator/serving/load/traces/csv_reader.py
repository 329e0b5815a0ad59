"""Traces in CSV, with commas, semicolons or tabs."""

from __future__ import annotations

import csv
from pathlib import Path

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.traces.cells import BadCellError, shown
from hardwire.simulator.serving.load.traces.layout import FORMATS, Layout, csv_layout
from hardwire.simulator.serving.load.traces.source import open_text
from hardwire.simulator.serving.load.traces.table import Table, chunks
from hardwire.simulator.serving.load.workload import Workload


def read_csv(path: Path, delimiter: str, *, unit: str | None, sort: bool) -> Workload:
    """Read a trace with a header line; see `hardwire.simulator.serving.load.traces.read`."""
    with open_text(path) as file:
        reader = csv.reader(file, strict=True, delimiter=delimiter)
        try:
            # The reader gives an empty line as a row without cells.
            header = [name.strip() for name in next((row for row in reader if row), [])]
            names = [name.lower() for name in header]
            layout = _layout(f"{path}: line {reader.line_num}", header)
            table = Table(layout, is_text=True, unit=unit, sort=sort)
            for chunk in chunks(reader):
                rows = chunk
                if set(map(len, rows)) != {len(names)}:
                    rows = [row for row in rows if row]
                    _check_widths(rows, header)
                if rows:
                    table.add(dict(zip(names, zip(*rows, strict=True), strict=True)))
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: is not CSV ({error})") from None
        except BadCellError as bad:
            line = _line(path, delimiter, table.rows + bad.row)
            column = header[names.index(bad.column)]
            raise InputError(f"{path}: line {line}, column {column}: {bad.problem}") from None
    return table.workload(path)


def _layout(where: str, header: list[str]) -> Layout:
    names = [name.lower() for name in header]
    layout = csv_layout(names)
    for number, name in enumerate(names):
        if not layout.knows(name):
            raise InputError(
                f"{where}, column {shown(header[number])}: is not known; the header must be "
                f"{FORMATS}{layout.hint(name, names)}"
            )
        if name in names[:number]:
            raise InputError(f"{where}, column {header[number]}: stands there twice")
    return layout.present(where, names)


def _check_widths(rows: list[list[str]], header: list[str]) -> None:
    for number, row in enumerate(rows):
        if len(row) != len(header):
            column = header[min(len(row), len(header) - 1)].lower()
            problem = f"the line has {len(row)} cells where the header has {len(header)}"
            raise BadCellError(number, column, problem)


def _line(path: Path, delimiter: str, row: int) -> int:
    """The line on which a data row begins: a second pass, as only errors need it."""
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        number, before = -1, 0  # the header is row -1
        for cells in reader:
            if cells:
                if number == row:
                    break
                number += 1
            before = reader.line_num
    return before + 1
