"""The compiled rounding of activations to 8 bits, into the tiles that `rom_jit` describes.

Importing this module compiles nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hardwire.kernels.jit import inner_numpy
from hardwire.kernels.rom.rom_jit import CHUNK

TOP = 127  # largest 8-bit activation code


@inner_numpy
def _quantize(values, written):  # type: ignore[no-untyped-def]
    """Round the values of one group to codes; their scale and the sum of the codes.

    The scale is negative if a value is not finite: nothing is written then.
    """
    # Of float32 magnitudes the bits order as the values do, and LLVM makes vector code of an
    # integer maximum only.
    bits = values.view(np.int32)
    top = np.int32(0)
    for i in range(bits.size):
        top = max(top, bits[i] & np.int32(0x7FFFFFFF))
    if top >= np.int32(0x7F800000):
        return np.float32(-1), np.int32(0)
    step = np.int32(top).view(np.float32) / np.float32(TOP)
    total = np.int32(0)
    written[:] = 0
    if step > 0:
        for i in range(values.size):
            code = np.rint(values[i] / step)
            # Beyond 127 only where the scale is subnormal and so has lost bits.
            code = min(max(code, np.float32(-TOP)), np.float32(TOP))
            written[i] = np.int8(code)
            total += np.int32(code)
    return step, total


@njit(cache=True, nogil=True)
def quantize(x, group, several, begin, end, codes, steps, sums):  # type: ignore[no-untyped-def]
    """8-bit activations: symmetric codes with one float32 scale per group of a token.

    Parameters
    ----------
    x
        float32 (tokens, inputs), C-contiguous; the last token fills up what a tile has over.
    group
        Inputs that share a scale.
    several
        As `rom_jit.product` takes it.
    begin, end
        Tokens to round.
    codes
        int8 (tokens, inputs, rounded up to whole groups), written in the order that
        `rom_jit` gives; zero beyond the last input.
    steps, sums
        float32 and int32 (tokens, groups), written in that order: the scales, and the sums of the
        codes.

    Returns
    -------
    False if a value is not finite; codes, steps and sums are then incomplete.
    """
    tokens, groups = steps.shape
    given = x.shape[0]
    flat, factors, totals = codes.reshape(-1), steps.reshape(-1), sums.reshape(-1)
    whole, written = tokens - tokens % len(several), np.empty(group, np.int8)
    for t in range(begin, end):
        tile = len(several) if t < whole else 1
        first, lane = t - t % tile, t % tile
        for g in range(groups):
            # Slices, because indices that numba cannot see to be positive are no vector code.
            values = x[min(t, given - 1), g * group : (g + 1) * group]
            step, total = _quantize(values, written)
            if step < 0:
                return False
            place = (first * groups + g * tile) * group
            for c in range(0, group, CHUNK):
                at = place + c * tile + lane * CHUNK
                flat[at : at + CHUNK] = written[c : c + CHUNK]
            factors[first * groups + g * tile + lane] = step
            totals[first * groups + g * tile + lane] = total
    return True
