"""Number formats and layout of an adapter's SRAM image, and what a row of weights takes.

This module is arithmetic on sizes only: it declares how many bytes a row takes, once, for the
kernels that store the row and for the timing model that charges for fetching it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Count: TypeAlias = int | NDArray[np.int64]
"""A count of things (weights, bytes, operations), or an array of counts, one per design."""

BLOCK = 32
"""Consecutive weights of a row that share one scale in the integer formats."""

SCALE_BYTES = 2
"""A scale is stored as one float16."""

WEIGHT_BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4, "int2": 2}
"""Bits of one stored weight, without its share of a scale."""

FORMATS = tuple(WEIGHT_BITS)
"""Names of the formats, widest first."""

DOWN_ROWS = 4
"""Rows of A that are read side by side, one group of each after the other."""

UP_GROUPS = 4
"""Groups of 32 columns of B transposed that are read from one row before the next row."""

CODES = {"int8": (-127, 127), "int4": (-7, 7), "int2": (-2, 1)}
"""First and last code of the integer formats. int8 and int4 are symmetric. Of int2's four codes
none is given up for that: a group's scale has the sign that makes its largest weight code -2, as in
the Q4_0 blocks of llama.cpp."""


def check_format(fmt: str) -> None:
    """Raise ValueError unless `fmt` is one of `FORMATS`."""
    if fmt not in WEIGHT_BITS:
        raise ValueError(f"unknown number format {fmt!r}: choose from {', '.join(FORMATS)}")


def row_bytes(n: Count, fmt: str) -> Count:
    """Bytes of one stored row of `n` weights, scales included.

    Weights are packed without gaps and a row begins on a whole byte. The integer formats add one
    float16 scale per 32 consecutive weights, the last of which may cover fewer: 8.5 bits per weight
    for int8, 4.5 for int4 and 2.5 for int2 where `n` is a multiple of 32.

    Parameters
    ----------
    n
        Weights in the row, an integer or an array of integers, at least 1.
    fmt
        One of `FORMATS`.

    Returns
    -------
    Bytes, an integer or an array of the shape of `n`.

    Raises
    ------
    ValueError
        If the format is unknown or a row has no weight.
    """
    check_format(fmt)
    if np.any(np.less(n, 1)):
        raise ValueError("a row holds at least 1 weight")
    size = (n * WEIGHT_BITS[fmt] + 7) // 8
    return size + SCALE_BYTES * -(-n // BLOCK) if fmt in CODES else size
