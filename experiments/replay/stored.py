"""Requests of a streamed replay in Parquet files, a file per server: written and read by parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hardwire.simulator.serving.cards.streamed import Part
from hardwire.simulator.serving.log import Status
from hardwire.simulator.serving.metrics import PERCENTILES, request_columns

GROUP = 1 << 17
"""Rows of a row group, at least: 14 MB, of which a reader takes the columns that it wants."""

_HIGH = 44  # bits of a float below its upper 20, which sort positive ones into 2^20 heaps
_STATUSES = tuple(status.name.lower() for status in Status)


class PartsFile:
    """A Parquet file to which tables are added.

    Parameters
    ----------
    path : of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add rows, which are written when there are enough of them."""
        self._tables.append(table)
        if sum(one.num_rows for one in self._tables) >= GROUP:
            self._write()

    def _write(self) -> None:
        table = pa.concat_tables(self._tables)
        if self._writer is None:
            names = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
            # Times are random in their last bits: packing them takes time and saves nothing.
            packed = {
                field.name: "none" if pa.types.is_floating(field.type) else "snappy"
                for field in table.schema
            }
            self._writer = pq.ParquetWriter(
                self.path, table.schema, compression=packed, use_dictionary=names
            )
        self._writer.write_table(table, row_group_size=len(table))
        self._tables = []

    def close(self) -> None:
        """Write what is left; a file to which nothing was added has the columns of an empty table.

        At least one table was added.
        """
        if self._tables:
            self._write()
        if self._writer is not None:
            self._writer.close()


def requests_table(part: Part, units: Sequence[str]) -> pa.Table:
    """A row per request, with the columns of ``save.requests_frame``.

    ``units`` are those of all servers.
    """
    workload, log = part.workload, part.log
    return pa.table(
        {
            **request_columns(workload, log),
            "request": part.numbers,
            "adapter": _words(workload.adapter, workload.adapters),
            "status": _words(log.status, _STATUSES),
            "unit": _words(log.unit, units),
            "adapter_hit": pa.array(log.adapter_hit == 1, mask=log.adapter_hit < 0),
        }
    )


def adapters_table(part: Part, units: Sequence[str]) -> pa.Table:
    """Loads and evictions of adapters, with the columns of ``save.adapters_frame``."""
    spans = part.log.spans
    kinds = np.repeat(np.arange(len(spans)), [len(one.begin_s) for one in spans])
    columns = {
        name: np.concatenate([getattr(one, name) for one in spans])
        for name in ("unit", "adapter", "begin_s", "end_s", "bytes")
    }
    return pa.table(
        {
            "kind": _words(kinds, [one.kind for one in spans]),
            "unit": _words(columns["unit"], units),
            "adapter": _words(columns["adapter"], part.workload.adapters),
            **{name: columns[name] for name in ("begin_s", "end_s", "bytes")},
        }
    )


def _words(codes: NDArray[Any], names: Sequence[str]) -> pa.DictionaryArray:
    """Names by number, none where it is negative."""
    places = pa.array(np.maximum(codes, 0).astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(places, pa.array(list(names), pa.string()))


def column_of(paths: Iterable[Path], name: str) -> Iterator[NDArray[np.float64]]:
    """A column of files, row group by row group."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=[name]).column(0).to_numpy()


def stored_percentiles(
    column: Callable[[], Iterable[NDArray[np.float64]]],
) -> dict[str, float | None]:
    """``metrics.percentiles`` of values that do not fit in memory, to the bit.

    Two passes: how many values have which upper 20 bits, that say in which heaps those are that
    percentiles lie between; then these heaps alone. Values that are not finite do not count.

    Parameters
    ----------
    column : gives the values, not negative, in pieces, each time it is called.
    """
    names = [f"p{level}" for level in PERCENTILES]
    heaps = np.zeros(1 << (64 - _HIGH), np.int64)
    for values in column():
        heaps += np.bincount(_heap(values[np.isfinite(values)]), minlength=len(heaps))
    total = int(heaps.sum())
    if not total:
        return dict.fromkeys(names)
    places = (total - 1) * (np.array(PERCENTILES) / 100)  # as np.percentile has it
    below = np.floor(places).astype(np.int64)
    ranks = np.unique(np.concatenate((below, np.minimum(below + 1, total - 1))))
    before = np.cumsum(heaps)
    wanted = np.unique(np.searchsorted(before, ranks, side="right"))
    chosen = np.zeros(len(heaps), np.bool_)
    chosen[wanted] = True
    found = []
    for values in column():
        finite = values[np.isfinite(values)]
        found.append(finite[chosen[_heap(finite)]])
    kept = np.sort(np.concatenate(found))
    first = np.cumsum(heaps[wanted]) - heaps[wanted]  # of each heap's values among those kept
    by_rank = {}
    for rank in ranks.tolist():
        place = int(np.searchsorted(before, rank, side="right"))
        heap = int(np.searchsorted(wanted, place))
        by_rank[rank] = kept[first[heap] + rank - (before[place] - heaps[place])]
    answers: dict[str, float | None] = {}
    for name, place, low in zip(names, places.tolist(), below.tolist(), strict=True):
        one, next_one = by_rank[low], by_rank[min(low + 1, total - 1)]
        share = place - low
        step = next_one - one
        value = one + step * share if share < 0.5 else next_one - step * (1 - share)
        answers[name] = float(value)
    return answers


def _heap(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The upper bits of floats that are not negative, which order them."""
    plus = values + 0.0  # no negative zero
    return (plus.view(np.uint64) >> np.uint64(_HIGH)).astype(np.int64)
