"""Readers of request traces: whatever is wrong with a file is told with its line and column.

Formats are told apart by content, not by the file's ending; see `read_workload`. Files are read in
chunks, so memory follows the requests and not the text.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import file_size, reason
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS, Prefixes, Workload

MOST_TOKENS = 2**31 - 1
"""Longest prompt or output that a trace may state; what a server can take is the server's word."""

MOST_SECONDS = 1e9
"""Latest arrival, 31 years: beyond it stand dates, not times."""

_CHUNK_ROWS = 1 << 16
_LARGEST_JSON = 1 << 30  # bytes, of files that only parse as a whole
_DATE = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,18})?(?:Z|\+00:00)?", re.ASCII)
_FORMATS = (
    "arrival_s,prompt_tokens,output_tokens,adapter or TIMESTAMP,ContextTokens,GeneratedTokens"
)


@dataclass(frozen=True)
class _Layout:
    """Which column holds what; an empty name is a column that the file does not have."""

    prompt: str
    output: str
    arrival: str = ""
    adapter: str = ""
    hashes: str = ""
    arrival_is: str = "seconds"  # or milliseconds or dates, which count from the first request

    @property
    def columns(self) -> tuple[str, ...]:
        named = (self.arrival, self.prompt, self.output, self.adapter, self.hashes)
        return tuple(name for name in named if name)


_OURS = _Layout("prompt_tokens", "output_tokens", "arrival_s", "adapter")
_AZURE = _Layout("contexttokens", "generatedtokens", "timestamp", arrival_is="dates")
_MOONCAKE = _Layout(
    "input_length", "output_length", "timestamp", hashes="hash_ids", arrival_is="milliseconds"
)
_VLLM = _Layout("input_lens", "output_lens")


class _BadCellError(Exception):
    """A cell that cannot be used: its row in the chunk, its column and what is wrong."""

    def __init__(self, row: int, column: str, problem: str) -> None:
        super().__init__(problem)
        self.row, self.column, self.problem = row, column, problem


@dataclass
class _Table:
    """The requests of a file, chunk by chunk."""

    layout: _Layout
    is_text: bool  # cells are text, as in CSV, and no JSON values
    rows: int = 0
    arrival: list[NDArray[np.float64]] = field(default_factory=list)
    prompt: list[NDArray[np.int64]] = field(default_factory=list)
    output: list[NDArray[np.int64]] = field(default_factory=list)
    adapter: list[NDArray[np.int32]] = field(default_factory=list)
    blocks: list[NDArray[np.int64]] = field(default_factory=list)
    hashes: list[NDArray[np.int64]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    begin: tuple[float, float] | None = None  # the first time: whole and fraction
    last: float = 0.0  # arrival of the last request

    def add(self, cells: Mapping[str, Sequence[Any]]) -> None:
        """Take in a chunk of rows, as cells by column; raises `_BadCellError`."""
        layout = self.layout
        self.prompt.append(self._tokens(layout.prompt, cells))
        self.output.append(self._tokens(layout.output, cells))
        count = len(cells[layout.prompt])
        if layout.arrival:
            self._add_arrivals(cells[layout.arrival])
        else:
            self.arrival.append(np.zeros(count))
        if layout.adapter:
            self._add_adapters(cells[layout.adapter])
        else:
            self.adapter.append(np.full(count, BASE, dtype=np.int32))
        if layout.hashes:
            self._add_hashes(cells[layout.hashes])
        self.rows += count

    def _tokens(self, column: str, cells: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
        numbers = self._numbers(column, cells[column], int, 1, MOST_TOKENS)
        return numbers.astype(np.int64, copy=False)

    def _numbers(
        self, column: str, cells: Sequence[Any], kind: type, low: float, high: float
    ) -> NDArray[Any]:
        """Cells as numbers; the slow way through `_number` only where the fast one fails."""
        if self.is_text or set(map(type, cells)) <= {int, kind}:
            try:
                numbers = np.fromiter(map(kind, cells), np.dtype(kind), len(cells))
            except (ValueError, OverflowError):
                pass
            else:
                if numbers.min() >= low and numbers.max() <= high:  # false with a NaN
                    return numbers
        found = [_number(cell, kind, low, high, self.is_text) for cell in cells]
        if None in found:
            row = found.index(None)
            whole = "whole " if kind is int else ""
            wanted = f"must be a {whole}number from {low} to {high:.10g}"
            raise _BadCellError(row, column, _instead(wanted, cells[row]))
        return np.array(found)

    def _add_arrivals(self, cells: Sequence[Any]) -> None:
        layout, column = self.layout, self.layout.arrival
        if layout.arrival_is == "dates":
            whole, fraction = _dates(column, cells)
            if self.begin is None:
                self.begin = float(whole[0]), float(fraction[0])
            # Parts apart, so that a date takes no digits of the fraction.
            arrival = (whole - self.begin[0]) + (fraction - self.begin[1])
        elif layout.arrival_is == "milliseconds":
            whole = self._numbers(column, cells, float, 0, 1e15)
            if self.begin is None:
                self.begin = float(whole[0]), 0.0
            arrival = (whole - self.begin[0]) / 1e3
        else:
            arrival = self._numbers(column, cells, float, 0, MOST_SECONDS)
        falls = np.diff(arrival, prepend=self.last) < 0
        if falls.any():
            row = int(falls.argmax())
            problem = f"{_shown(cells[row])} is earlier than the request before it; sort the file"
            raise _BadCellError(row, column, problem)
        if arrival[-1] > MOST_SECONDS:
            row = int((arrival > MOST_SECONDS).argmax())
            problem = f"{_shown(cells[row])} is more than 1e9 s after the first request"
            raise _BadCellError(row, column, problem)
        self.last = float(arrival[-1])
        self.arrival.append(arrival)

    def _add_adapters(self, cells: Sequence[Any]) -> None:
        numbers: dict[str | None, int] = {}
        for row, cell in enumerate(cells):
            if type(cell) is not str and cell is not None:
                raise _BadCellError(row, self.layout.adapter, _instead("must be a name", cell))
            if cell not in numbers:
                name = (cell or "").strip()
                numbers[cell] = self.names.setdefault(name, len(self.names)) if name else BASE
        self.adapter.append(np.fromiter(map(numbers.__getitem__, cells), np.int32, len(cells)))

    def _add_hashes(self, cells: Sequence[Any]) -> None:
        column = self.layout.hashes
        whole = -(-self.prompt[-1] // PREFIX_BLOCK_TOKENS)
        for row, cell in enumerate(cells):
            if type(cell) is not list or not set(map(type, cell)) <= {int}:
                raise _BadCellError(row, column, _instead("must be a list of whole numbers", cell))
            if cell and not (min(cell) >= 0 and max(cell) < 2**63):
                raise _BadCellError(row, column, "holds a number outside 0 to 2^63 − 1")
            if len(cell) > whole[row]:
                raise _BadCellError(
                    row,
                    column,
                    f"has {len(cell)} hashes, more than the {whole[row]} blocks of "
                    f"{PREFIX_BLOCK_TOKENS} tokens in the prompt",
                )
        counts = np.fromiter(map(len, cells), np.int64, len(cells))
        flat = chain.from_iterable(cells)
        self.blocks.append(counts)
        self.hashes.append(np.fromiter(flat, np.int64, int(counts.sum())))

    def workload(self, path: Path) -> Workload:
        if not self.rows:
            raise InputError(f"{path}: holds no requests")
        prefixes = None
        if self.layout.hashes:
            first = np.zeros(self.rows + 1, dtype=np.int64)
            np.cumsum(np.concatenate(self.blocks), out=first[1:])
            prefixes = Prefixes(first, np.concatenate(self.hashes))
        return Workload(
            name=path.name,
            arrival_s=np.concatenate(self.arrival),
            prompt=np.concatenate(self.prompt),
            output=np.concatenate(self.output),
            adapter=np.concatenate(self.adapter),
            adapters=tuple(self.names),
            duration_s=self.last,
            prefixes=prefixes,
        )


def read_workload(path: str | Path) -> Workload:
    """Read a request trace.

    Formats:

    - CSV of the Azure LLM inference traces: ``TIMESTAMP,ContextTokens,GeneratedTokens``;
    - JSON Lines of Mooncake: ``timestamp`` (ms), ``input_length``, ``output_length`` and,
      optionally, ``hash_ids`` of 512-token prompt blocks, which become ``prefixes``;
    - plain CSV with the header ``arrival_s,prompt_tokens,output_tokens,adapter``, columns in any
      order, ``adapter`` optional and empty for the base model;
    - the same without ``arrival_s``, a list of lengths: all requests arrive at 0;
    - JSON Lines, or one JSON array, of objects with the plain CSV's columns;
    - a result of ``vllm bench serve --save-detailed``: ``input_lens`` and ``output_lens``.

    Times count from the first request, except for ``arrival_s``, which is taken as it is. Adapters
    are numbered in the order in which they first appear. A byte order mark, Windows line ends and
    empty lines are accepted.

    Parameters
    ----------
    path : path

    Returns
    -------
    Workload
        ``duration_s`` is the last arrival.

    Raises
    ------
    InputError
        If the file cannot be read or is of no known format, a cell is malformed, empty or out of
        range, or arrivals fall. The sentence names the file, the line as an editor counts (the
        entry, in a JSON array) and the column. Requests of 0 output tokens are refused as well.
    """
    path = Path(path)
    if file_size(path) == 0:
        raise InputError(f"{path}: is empty")
    try:
        with _open(path) as file:
            start = next((line for line in file if not line.isspace()), "")
        if start.lstrip().startswith("["):
            return _read_json(path)
        if start.lstrip().startswith("{"):
            try:
                first = json.loads(start)
            except (ValueError, RecursionError):
                return _read_json(path)  # one object over several lines, or a broken line
            return _read_json(path) if _VLLM.prompt in first else _read_lines(path)
        return _read_csv(path)
    except UnicodeDecodeError:
        _refuse_encoding(path)


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error


def _read_csv(path: Path) -> Workload:
    with _open(path) as file:
        reader = csv.reader(file, strict=True)
        try:
            # The reader gives an empty line as a row without cells.
            header = [name.strip() for name in next((row for row in reader if row), [])]
            names = [name.lower() for name in header]
            table = _Table(_csv_layout(f"{path}: line {reader.line_num}", header), is_text=True)
            while rows := list(islice(reader, _CHUNK_ROWS)):
                if set(map(len, rows)) != {len(names)}:
                    rows = [row for row in rows if row]
                    _check_widths(rows, header)
                if rows:
                    table.add(dict(zip(names, zip(*rows, strict=True), strict=True)))
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: is not CSV ({error})") from None
        except _BadCellError as bad:
            line = _csv_line(path, table.rows + bad.row)
            column = header[names.index(bad.column)]
            raise InputError(f"{path}: line {line}, column {column}: {bad.problem}") from None
    return table.workload(path)


def _csv_layout(where: str, header: list[str]) -> _Layout:
    names = [name.lower() for name in header]
    layout = _OURS
    if _AZURE.arrival in names or _AZURE.prompt in names:
        layout = _AZURE
    for number, name in enumerate(names):
        if name not in layout.columns:
            raise InputError(
                f"{where}, column {_shown(header[number])}: is not known; the header must be "
                f"{_FORMATS}{did_you_mean(name, layout.columns)}"
            )
        if name in names[:number]:
            raise InputError(f"{where}, column {header[number]}: stands there twice")
    return _present(where, layout, names)


def _present(where: str, layout: _Layout, names: Sequence[str]) -> _Layout:
    """The layout without the optional columns that a file does not have."""
    needed = [layout.prompt, layout.output]
    if layout.arrival_is != "seconds":
        needed.append(layout.arrival)
    for name in needed:
        if name not in names:
            raise InputError(f"{where}: column {name} is missing")
    optional = ("arrival", "adapter", "hashes")
    absent = {part: "" for part in optional if getattr(layout, part) not in names}
    return dataclasses.replace(layout, **absent)


def _check_widths(rows: list[list[str]], header: list[str]) -> None:
    for number, row in enumerate(rows):
        if len(row) != len(header):
            column = header[min(len(row), len(header) - 1)].lower()
            problem = f"the line has {len(row)} cells where the header has {len(header)}"
            raise _BadCellError(number, column, problem)


def _csv_line(path: Path, row: int) -> int:
    """The line on which a data row begins: a second pass, as only errors need it."""
    with _open(path) as file:
        reader = csv.reader(file)
        number, before = -1, 0  # the header is row -1
        for cells in reader:
            if cells:
                if number == row:
                    break
                number += 1
            before = reader.line_num
    return before + 1


def _read_lines(path: Path) -> Workload:
    def entries() -> Iterator[tuple[int, Any]]:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if line.isspace():
                    continue
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    problem = getattr(error, "msg", "nested too deeply, or a number too long")
                    raise InputError(f"{path}: line {number}: is not JSON ({problem})") from None

    return _read_objects(path, "line", entries())


def _read_json(path: Path) -> Workload:
    if file_size(path) > _LARGEST_JSON:
        raise InputError(f"{path}: is larger than 1 GiB; give one object per line instead")
    with _open(path) as file:
        try:
            data = json.load(file)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, character {error.colno}"
            raise InputError(f"{path}: {place}: is not JSON ({error.msg})") from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, UnicodeDecodeError):
                raise
            raise InputError(
                f"{path}: is not JSON (nested too deeply, or a number too long)"
            ) from None
    if isinstance(data, list):
        return _read_objects(path, "entry", iter(enumerate(data, 1)))
    table = _Table(_VLLM, is_text=False)
    for name in _VLLM.columns:
        if not isinstance(data.get(name), list):
            hint = f"as in {_FORMATS}, or a vLLM result with input_lens and output_lens"
            raise InputError(f"{path}: {name}: no such list; give objects one per line, {hint}")
    prompts, outputs = (data[name] for name in _VLLM.columns)
    if len(prompts) != len(outputs):
        raise InputError(
            f"{path}: output_lens: has {len(outputs)} entries, but input_lens {len(prompts)}"
        )
    if prompts:
        with _naming(path, lambda row: f"entry {row + 1}"):
            table.add({_VLLM.prompt: prompts, _VLLM.output: outputs})
    return table.workload(path)


def _read_objects(path: Path, word: str, entries: Iterator[tuple[int, Any]]) -> Workload:
    """Read objects numbered from 1, by line or by entry as ``word`` says."""
    table: _Table | None = None
    while chunk := list(islice(entries, _CHUNK_ROWS)):
        places, objects = zip(*chunk, strict=True)
        if table is None:
            layout = _json_layout(f"{path}: {word} {places[0]}", objects[0])
            table, keys = _Table(layout, is_text=False), objects[0].keys()
        for place, entry in chunk:
            if type(entry) is not dict or entry.keys() != keys:
                _check_keys(f"{path}: {word} {place}", entry, table.layout)
        cells = {name: [entry.get(name) for entry in objects] for name in table.layout.columns}
        with _naming(path, lambda row, places=places: f"{word} {places[row]}"):  # type: ignore[misc]
            table.add(cells)
    if table is None:
        raise InputError(f"{path}: holds no requests")
    return table.workload(path)


@contextmanager
def _naming(path: Path, place: Callable[[int], str]) -> Iterator[None]:
    try:
        yield
    except _BadCellError as bad:
        raise InputError(f"{path}: {place(bad.row)}, column {bad.column}: {bad.problem}") from None


def _json_layout(where: str, first: Any) -> _Layout:
    if not isinstance(first, dict):
        raise InputError(f"{where}: must be a JSON object with the fields of a request")
    if "conversations" in first:
        raise InputError(
            f"{where}: holds conversations as text; count their tokens first and give "
            "prompt_tokens and output_tokens"
        )
    layout = _MOONCAKE if _MOONCAKE.prompt in first or _MOONCAKE.arrival in first else _OURS
    _check_keys(where, first, layout)
    return _present(where, layout, tuple(first))


def _check_keys(where: str, entry: Any, layout: _Layout) -> None:
    """Refuse fields that would be lost: unknown ones, and known ones that the first lacked."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be a JSON object with the fields of a request")
    mooncake = layout.arrival_is == "milliseconds"
    for name in entry:
        # Mooncake's relatives add fields, such as a chat's number, that nothing here uses.
        if name not in layout.columns and (not mooncake or name == _MOONCAKE.hashes):
            raise InputError(
                f"{where}, column {_shown(name)}: is not known, or not in the first request"
                f"{did_you_mean(name, layout.columns)}"
            )


def _dates(column: str, cells: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds since 1970 and the fraction, of dates and times in UTC or without a zone."""
    matches = [_DATE.fullmatch(cell.strip()) for cell in cells]
    wanted = "must be a date and time such as 2023-11-16 18:15:46.6805900"
    if None in matches:
        row = matches.index(None)
        raise _BadCellError(row, column, _instead(wanted, cells[row]))
    texts = [match[1] for match in matches if match]
    try:
        whole = np.array(texts, dtype="datetime64[s]")
    except ValueError:  # a day or an hour that does not exist
        row = next(row for row, text in enumerate(texts) if not _exists(text))
        raise _BadCellError(row, column, _instead(wanted, cells[row])) from None
    fraction = [float(match[2]) if match[2] else 0.0 for match in matches if match]
    return whole.astype(np.int64).astype(np.float64), np.array(fraction)


def _exists(date: str) -> bool:
    try:
        np.datetime64(date, "s")
    except ValueError:
        return False
    return True


def _number(cell: Any, kind: type, low: float, high: float, is_text: bool) -> float | None:
    """A cell as int or float, or None where it is no such number or out of range."""
    if type(cell) not in ((str,) if is_text else (int, float)):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    if not low <= number <= high or (kind is int and not number.is_integer()):
        return None
    return int(number) if kind is int else number


def _instead(wanted: str, cell: Any) -> str:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return f"is empty; it {wanted}"
    return f"{wanted}, not {_shown(cell)}"


def _shown(cell: Any) -> str:
    try:
        text = str(cell)
    except ValueError:  # a whole number of thousands of digits
        text = "a number of thousands of digits"
    return f"{text[:40]!r}" + ("…" if len(text) > 40 else "")


def _refuse_encoding(path: Path) -> NoReturn:
    """Name the place that is not UTF-8: a second pass, as only errors need it."""
    header: list[bytes] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            header = header or line.split(b",")
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                column = f"byte {error.start + 1}"
                if number > 1 and not header[0].lstrip().startswith((b"{", b"[")):
                    cell = min(line[: error.start].count(b","), len(header) - 1)
                    column = f"column {header[cell].decode('utf-8-sig').strip()}"
                raise InputError(f"{path}: line {number}, {column}: is not UTF-8 text") from None
    raise InputError(f"{path}: is not UTF-8 text")  # it has changed since
