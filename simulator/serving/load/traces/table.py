"""The requests of a trace, taken in chunk by chunk: memory follows them and not the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.traces.cells import BadCellError, instead, numbers, shown
from hardwire.simulator.serving.load.traces.layout import Layout
from hardwire.simulator.serving.load.traces.times import Clock
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS, Prefixes, Workload

MOST_TOKENS = 2**31 - 1
"""Longest prompt or output that a trace may state; what a server can take is the server's word."""

_CHUNK_ROWS = 1 << 16
T = TypeVar("T")


def chunks(rows: Iterator[T]) -> Iterator[list[T]]:
    """Rows in lists of a bounded length, none empty."""
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        yield chunk


@contextmanager
def naming(path: Path, place: Callable[[int], str]) -> Iterator[None]:
    """Turn a bad cell into the sentence for the user; ``place`` names the row of the chunk."""
    try:
        yield
    except BadCellError as bad:
        raise InputError(f"{path}: {place(bad.row)}, column {bad.column}: {bad.problem}") from None


class Table:
    """The requests of a file.

    Parameters
    ----------
    layout : which column holds what.
    is_text : whether cells are text, as in CSV, and no JSON values.
    unit : the user's word on the unit of times, or None.
    sort : put requests in order of arrival, and do not refuse those that come earlier.
    """

    def __init__(self, layout: Layout, *, is_text: bool, unit: str | None, sort: bool) -> None:
        self.layout, self.is_text, self.sort = layout, is_text, sort
        self.rows = 0  # of the file, failed ones too
        self.skipped = 0
        self._clock = Clock(layout.arrival, layout.times, unit, is_text)
        self._arrival: list[NDArray[np.float64]] = []
        self._prompt: list[NDArray[np.int64]] = []
        self._output: list[NDArray[np.int64]] = []
        self._adapter: list[NDArray[np.int32]] = []
        self._blocks: list[NDArray[np.int64]] = []
        self._hashes: list[NDArray[np.int64]] = []
        self._names: dict[str, int] = {}
        self._joined: dict[tuple[int, ...], int] = {}
        self._last = 0.0  # arrival of the last request

    def add(self, cells: Mapping[str, Sequence[Any]]) -> None:
        """Take in a chunk of rows, as cells by column; raises `BadCellError`."""
        count = len(cells[self.layout.prompt])
        if not self.layout.zero_is_failed:
            self._add(cells)
        else:
            kept = [k for k, cell in enumerate(cells[self.layout.output]) if cell.strip() != "0"]
            used = {name: [cells[name][k] for k in kept] for name in self.layout.columns}
            try:
                if kept:
                    self._add(used)
            except BadCellError as bad:
                bad.row = kept[bad.row]
                raise
            self.skipped += count - len(kept)
        self.rows += count

    def _add(self, cells: Mapping[str, Sequence[Any]]) -> None:
        layout = self.layout
        self._prompt.append(self._tokens(layout.prompt, cells))
        self._output.append(self._tokens(layout.output, cells))
        count = len(cells[layout.prompt])
        if layout.arrival:
            self._add_arrivals(cells[layout.arrival])
        else:
            self._arrival.append(np.zeros(count))
        if layout.adapter:
            self._add_adapters(cells[layout.adapter])
        else:
            self._adapter.append(np.full(count, BASE, dtype=np.int32))
        if layout.hashes:
            self._add_hashes(cells[layout.hashes])

    def _tokens(self, column: str, cells: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
        found = numbers(column, cells[column], int, 1, MOST_TOKENS, self.is_text)
        return found.astype(np.int64, copy=False)

    def _add_arrivals(self, cells: Sequence[Any]) -> None:
        arrival = self._clock.read(cells)
        if not self.sort:
            falls = np.diff(arrival, prepend=self._last) < 0
            if falls.any():
                row = int(falls.argmax())
                raise BadCellError(
                    row,
                    self.layout.arrival,
                    f"{shown(cells[row])} is earlier than the request before it; sort the file, "
                    "or give --sort",
                )
            self._last = float(arrival[-1])
        self._arrival.append(arrival)

    def _add_adapters(self, cells: Sequence[Any]) -> None:
        found: dict[str | None, int] = {}
        for row, cell in enumerate(cells):
            if type(cell) is not str and cell is not None:
                raise BadCellError(row, self.layout.adapter, instead("must be a name", cell))
            if cell not in found:
                name = (cell or "").strip()
                found[cell] = self._names.setdefault(name, len(self._names)) if name else BASE
        self._adapter.append(np.fromiter(map(found.__getitem__, cells), np.int32, len(cells)))

    def _add_hashes(self, cells: Sequence[Any]) -> None:
        column, tokens = self.layout.hashes, self.layout.block_tokens
        whole = -(-self._prompt[-1] // tokens)
        for row, cell in enumerate(cells):
            if type(cell) is not list or not set(map(type, cell)) <= {int}:
                raise BadCellError(row, column, instead("must be a list of whole numbers", cell))
            if cell and not (min(cell) >= 0 and max(cell) < 2**63):
                raise BadCellError(row, column, "holds a number outside 0 to 2^63 − 1")
            if len(cell) > whole[row]:
                raise BadCellError(
                    row,
                    column,
                    f"has {len(cell)} hashes, more than the {whole[row]} blocks of "
                    f"{tokens} tokens in the prompt",
                )
        if tokens < PREFIX_BLOCK_TOKENS:
            cells = [self._join(cell, PREFIX_BLOCK_TOKENS // tokens) for cell in cells]
        counts = np.fromiter(map(len, cells), np.int64, len(cells))
        flat = chain.from_iterable(cells)
        self._blocks.append(counts)
        self._hashes.append(np.fromiter(flat, np.int64, int(counts.sum())))

    def _join(self, hashes: list[int], count: int) -> list[int]:
        """Number whole blocks of ``count`` small ones by all that the prompt holds up to them."""
        found: list[int] = []
        for end in range(count, len(hashes) + 1, count):
            key = (*found[-1:], *hashes[end - count : end])
            found.append(self._joined.setdefault(key, len(self._joined)))
        return found

    def workload(self, path: Path) -> Workload:
        """All requests, in order of arrival.

        Raises
        ------
        InputError
            If there is none, or the unit of their times is in doubt.
        """
        if not self._prompt:
            failed = f": all {self.skipped} failed" if self.skipped else ""
            raise InputError(f"{path}: holds no requests{failed}")
        arrival = np.concatenate(self._arrival)
        order: NDArray[np.int64] | None = None
        if self.sort and self.layout.arrival:
            order = np.argsort(arrival, kind="stable")
            arrival = arrival[order]
            if self._clock.from_first:
                arrival -= arrival[0]
        try:
            self._clock.check(len(arrival), float(arrival[-1] - arrival[0]))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        prefixes = None
        if self.layout.hashes:
            first = np.zeros(len(arrival) + 1, dtype=np.int64)
            np.cumsum(np.concatenate(self._blocks), out=first[1:])
            prefixes = Prefixes(first, np.concatenate(self._hashes))
        prompt, output = np.concatenate(self._prompt), np.concatenate(self._output)
        adapter = np.concatenate(self._adapter)
        if order is not None:
            prompt, output, adapter = prompt[order], output[order], adapter[order]
            prefixes = None if prefixes is None else prefixes.take(order)
        return Workload(
            name=path.name,
            arrival_s=arrival,
            prompt=prompt,
            output=output,
            adapter=adapter,
            adapters=tuple(self._names),
            duration_s=float(arrival[-1]),
            prefixes=prefixes,
            skipped=self.skipped,
        )
