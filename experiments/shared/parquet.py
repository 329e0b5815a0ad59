"""Columns of numbers and words as a Parquet file, without pandas.

Pandas takes longer to import than most of what is saved; PyArrow imports it for whatever it makes
of a list or of a NumPy array, but not for buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]], **words: Sequence[str]) -> None:
    """Write arrays of one length as the columns of a file.

    Parameters
    ----------
    columns : integers or floats, by name.
    words : by the name of a column of integers, the words that they are the numbers of.
    """
    import pyarrow as pa  # noqa: PLC0415 - only for saving
    import pyarrow.parquet as pq  # noqa: PLC0415

    def numbers(values: NDArray[Any]) -> Any:
        buffer = pa.py_buffer(np.ascontiguousarray(values))
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])

    def texts(codes: NDArray[Any], known: Sequence[str]) -> Any:
        encoded = [word.encode() for word in known]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        buffers = [pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
        named = pa.StringArray.from_buffers(len(known), *buffers)
        return pa.DictionaryArray.from_arrays(numbers(codes), named).dictionary_decode()

    arrays = [
        texts(values, words[name]) if name in words else numbers(values)
        for name, values in columns.items()
    ]
    pq.write_table(pa.Table.from_arrays(arrays, names=list(columns)), path)
