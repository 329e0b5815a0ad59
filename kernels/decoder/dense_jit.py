"""The compiled loop of the float32 product, on the 32-lane groups of `lowrank_jit`.

Importing this module compiles nothing: the loop is compiled at its first call and cached on disk.
"""

from __future__ import annotations

from numba import njit

from hardwire.kernels.lowrank.lowrank_jit import LANES, _add, _multiply, _read, _sum, _zero

TOKENS = 4  # tokens whose sums are in registers together, for one fetch of a row of weights


@njit(cache=True, nogil=True)
def product(weights, x, y, begin, end):  # type: ignore[no-untyped-def]
    """y[t, o] = sum over i of weights[o, i] * x[t, i] for the rows o from begin to end.

    Unchecked: C-contiguous float32, rows of weights and x equally long, a multiple of 32.
    """
    size, tokens = weights.shape[1], x.shape[0]
    together = tokens - tokens % TOKENS
    for o in range(begin, end):
        row = o * size
        for t in range(0, together, TOKENS):
            s0, s1, s2, s3 = _zero(), _zero(), _zero(), _zero()
            for i in range(0, size, LANES):
                w = _read(weights, row + i)
                s0 = _add(s0, _multiply(w, _read(x, t * size + i)))
                s1 = _add(s1, _multiply(w, _read(x, (t + 1) * size + i)))
                s2 = _add(s2, _multiply(w, _read(x, (t + 2) * size + i)))
                s3 = _add(s3, _multiply(w, _read(x, (t + 3) * size + i)))
            y[t, o], y[t + 1, o], y[t + 2, o], y[t + 3, o] = _sum(s0), _sum(s1), _sum(s2), _sum(s3)
        for t in range(together, tokens):
            s0 = _zero()
            for i in range(0, size, LANES):
                s0 = _add(s0, _multiply(_read(weights, row + i), _read(x, t * size + i)))
            y[t, o] = _sum(s0)
