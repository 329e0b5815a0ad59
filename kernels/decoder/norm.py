"""RMSNorm, in the order of sums that the compiled loop has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.lowrank.formats import BLOCK


def sum_lanes(terms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum over the last axis in float32 as the compiled loops do it.

    Lane `i % 32` adds the terms in order of `i`, as if zeros followed the last; the 32 lanes are
    then summed by halving (lane j + lane j + 16, then + 8, + 4, + 2, + 1).
    """
    groups = -(-terms.shape[-1] // BLOCK)
    padded = np.zeros((*terms.shape[:-1], groups, BLOCK), np.float32)
    padded.reshape(*terms.shape[:-1], -1)[..., : terms.shape[-1]] = terms
    lanes = np.zeros((*terms.shape[:-1], BLOCK), np.float32)
    for g in range(groups):
        lanes = lanes + padded[..., g, :]
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    total: NDArray[np.float32] = lanes[..., 0]
    return total


def rms_norm_plain(
    x: NDArray[np.float32], gain: NDArray[np.float32], eps: float
) -> NDArray[np.float32]:
    """Return x / sqrt(mean(x²) + eps) · gain over the last axis: the definition, bit for bit.

    Parameters
    ----------
    x
        (rows, size) float32.
    gain
        (size,) float32.
    eps
        Rounded to float32.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
    """
    mean = sum_lanes(x * x) / np.float32(x.shape[-1])
    factor = np.float32(1) / np.sqrt(mean + np.float32(eps))
    normed: NDArray[np.float32] = x * factor[..., None] * gain
    return normed


def rms_norm(x: NDArray[np.float32], gain: NDArray[np.float32], eps: float) -> NDArray[np.float32]:
    """`rms_norm_plain` of the last axis of any array, compiled."""
    from hardwire.kernels.decoder.decoder_jit import rms_norm as compiled  # noqa: PLC0415

    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    out = np.empty_like(rows)
    compiled(rows, gain, eps, out)
    return out.reshape(x.shape)
