"""FP8 e4m3: a sign, 4 bits of exponent with bias 7, and 3 of mantissa, without infinities.

Largest 448, smallest 2^-9 (Micikevicius et al., arXiv 2209.05433; OCP OFP8). What exceeds 448 is
stored as 448, as a saturating converter does, so that the code of NaN is never written.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = np.float32(448)
_LOWEST = -6  # exponent of the smallest normal number, which subnormal ones share
_BIAS = 7


def to_e4m3(x: NDArray[np.float32]) -> NDArray[np.int8]:
    """The nearest codes, ties to even, of finite values."""
    size = np.minimum(np.abs(x), LARGEST)
    exponent = np.where(size > 0, np.frexp(size)[1] - 1, _LOWEST)
    exponent = np.maximum(exponent, _LOWEST)
    # In steps of the last bit of the mantissa: 8 to 16, where 16 is the next exponent's 8, and
    # fewer than 8 for subnormal numbers.
    steps = np.rint(np.ldexp(size, 3 - exponent)).astype(np.int32)
    codes = 8 * (exponent + _BIAS) + steps - 8
    return (codes | np.signbit(x) * 128).astype(np.uint8).view(np.int8)


def from_e4m3(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """The values of codes, exactly."""
    bits = codes.view(np.uint8).astype(np.int32)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    steps = np.where(exponent > 0, mantissa + 8, mantissa).astype(np.float32)
    size = np.ldexp(steps, np.maximum(exponent, 1) - _BIAS - 3)
    return np.copysign(size, np.where(bits & 128, -1, 1)).astype(np.float32)
