"""The exponential and the gated activations, operation by operation, as the compiled loops do them.

Libraries differ in the last bit of exp, so it is written out here in float32 operations that every
machine rounds alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXP_RANGE = np.float32(-87), np.float32(88)
"""`exp` takes what lies outside at the nearer end: beyond begin float32's subnormals and inf."""

LOG2_E = np.float32(1.44269504088896341)
ROUNDER = np.float32(12582912)
"""1.5 × 2²³: adding and then subtracting it rounds a small float32 to a whole number."""
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP_TERMS = tuple(
    map(
        np.float32,
        (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5),
    )
)
"""Polynomial of expf in the Cephes library (S. Moshier), highest power first."""


def exp_plain(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(x) within 2 units in the last place: x = k ln 2 + r, and a polynomial of r times 2^k."""
    x = np.minimum(np.maximum(x, EXP_RANGE[0]), EXP_RANGE[1])
    whole = (x * LOG2_E + ROUNDER) - ROUNDER
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW
    p = np.full_like(r, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        p = p * r + term
    power = ((whole.astype(np.int32) + 127) << 23).view(np.float32)
    value: NDArray[np.float32] = ((p * (r * r) + r) + np.float32(1)) * power
    return value


def silu_mul_plain(gate: NDArray[np.float32], up: NDArray[np.float32]) -> NDArray[np.float32]:
    """gate / (1 + exp(-gate)) · up, in float32: the definition, bit for bit."""
    value: NDArray[np.float32] = gate / (np.float32(1) + exp_plain(-gate)) * up
    return value


def relu2_mul_plain(gate: NDArray[np.float32], up: NDArray[np.float32]) -> NDArray[np.float32]:
    """max(gate, 0)² · up, in float32: the definition, bit for bit.

    Source: So et al., "Primer: Searching for Efficient Transformers", 2021.
    """
    positive = np.maximum(gate, np.float32(0))
    value: NDArray[np.float32] = positive * positive * up
    return value
