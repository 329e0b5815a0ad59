"""MXFP4: blocks of 32 four-bit floats (1 bit of mantissa, 2 of exponent) that share a power of two.

A code is 0, 0.5, 1, 1.5, 2, 3, 4 or 6, or its negative; two lie in a byte, the earlier in the low
half. A scale is a byte, the exponent of 2 with bias 127.

Source: Open Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0, 2023.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Weights that share a scale."""
BIAS = 127

_SIZES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_VALUES = np.array([*_SIZES, *(-size for size in _SIZES)], np.float32)


def from_mxfp4(blocks: NDArray[np.uint8], scales: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values of a matrix, exactly; 0 and infinity where they are beyond float32's.

    Parameters
    ----------
    blocks
        (rows, blocks, 16) bytes of two codes.
    scales
        (rows, blocks) bytes.

    Returns
    -------
    (rows, 32 blocks) float32.
    """
    pairs = np.stack([_VALUES[blocks & 0xF], _VALUES[blocks >> 4]], axis=-1)
    whole = pairs.reshape(*scales.shape, BLOCK)
    powers = scales.astype(np.int32)[..., None] - BIAS
    with np.errstate(over="ignore"):
        value: NDArray[np.float32] = np.ldexp(whole, powers).reshape(len(blocks), -1)
    return value
