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


TANH_FROM_EXP = np.float32(0.625)
"""From here on, tanh is made of the exponential; below, that would cancel, and a polynomial is."""
TANH_TERMS = tuple(
    map(
        np.float32,
        (
            -5.70498872745e-3,
            2.06390887954e-2,
            -5.37397155531e-2,
            1.33314422036e-1,
            -3.33332819422e-1,
        ),
    )
)
"""Polynomial of tanhf in the Cephes library (S. Moshier), highest power first."""

_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_GELU_CUBE, _GELU_SLOPE = np.float32(0.044715), np.float32(0.7978845608028654)  # sqrt(2 / pi)


def tanh_plain(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """tanh(x) within 2 units in the last place: a polynomial, or 1 - 2 / (exp(2 |x|) + 1)."""
    size = np.abs(x)
    far = np.copysign(_ONE - _TWO / (exp_plain(size + size) + _ONE), x)
    square = x * x
    p = np.full_like(x, TANH_TERMS[0])
    for term in TANH_TERMS[1:]:
        p = p * square + term
    value: NDArray[np.float32] = np.where(size < TANH_FROM_EXP, p * square * x + x, far)
    return value


def soft_cap_plain(x: NDArray[np.float32], cap: float) -> NDArray[np.float32]:
    """cap · tanh(x / cap): values stay below ``cap``, and small ones as they are.

    Source: Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size", 2024.
    """
    value: NDArray[np.float32] = tanh_plain(x / np.float32(cap)) * np.float32(cap)
    return value


def gelu_mul_plain(gate: NDArray[np.float32], up: NDArray[np.float32]) -> NDArray[np.float32]:
    """gelu(gate) · up with the approximation of gelu by tanh, in float32: the definition.

    gelu(x) = x / 2 · (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))).

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    inner = _GELU_SLOPE * (gate + _GELU_CUBE * (gate * gate * gate))
    value: NDArray[np.float32] = _HALF * gate * (_ONE + tanh_plain(inner)) * up
    return value


def clamped_swiglu_plain(
    gate: NDArray[np.float32], up: NDArray[np.float32], alpha: float, limit: float
) -> NDArray[np.float32]:
    """g / (1 + exp(-alpha g)) · (u + 1), in float32: the definition, bit for bit.

    g is the gate, at most `limit`; u is `up` between -`limit` and `limit`.

    Source: OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, and its reference code.
    """
    top = np.float32(limit)
    gate, up = np.minimum(gate, top), np.minimum(np.maximum(up, -top), top)
    value: NDArray[np.float32] = gate / (_ONE + exp_plain(-np.float32(alpha) * gate)) * (up + _ONE)
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
