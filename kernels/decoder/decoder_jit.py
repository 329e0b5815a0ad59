"""The compiled loops of a decoder besides its matrices: norm, gated activation and attention.

Each is defined bit for bit by its plain version (`norm.rms_norm_plain`, `attention.attend_plain`,
`silu_mul_plain` and `relu2_mul_plain` of `activation`): every sum has a written order, and each
operation rounds once to float32. Sums run in 32 lanes, the groups of `lowrank_jit`. The exponential
is a polynomial of that kind too, as the libraries of two machines do not agree on the last bit of
theirs.

Importing this module compiles nothing: a loop is compiled at its first call and cached on disk.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hardwire.kernels.decoder.activation import (
    EXP_RANGE,
    EXP_TERMS,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    ROUNDER,
)
from hardwire.kernels.jit import inner
from hardwire.kernels.lowrank.lowrank_jit import (
    LANES,
    _add,
    _elements_per_group,
    _multiply,
    _read,
    _read_floats,
    _spread,
    _sum,
    _tail,
    _write,
    _zero,
)

_ONE = np.float32(1)
_LOW, _HIGH = EXP_RANGE
_T0, _T1, _T2, _T3, _T4, _T5 = EXP_TERMS


@inner
def _exp(values, power):  # type: ignore[no-untyped-def]
    """exp of each value, in place; `power` is a scratch array of the same length, float32."""
    bits = power.view(np.int32)
    for i in range(values.shape[0]):
        x = min(max(values[i], _LOW), _HIGH)
        whole = (x * LOG2_E + ROUNDER) - ROUNDER
        r = (x - whole * LN2_HIGH) - whole * LN2_LOW
        p = ((((_T0 * r + _T1) * r + _T2) * r + _T3) * r + _T4) * r + _T5
        values[i] = (p * (r * r) + r) + _ONE
        bits[i] = (np.int32(whole) + 127) << 23
    for i in range(values.shape[0]):
        values[i] *= power[i]


@njit(cache=True, nogil=True)
def silu_mul(gate, up):  # type: ignore[no-untyped-def]
    """gate = gate / (1 + exp(-gate)) * up, in place, for flat arrays of one length."""
    size = min(gate.shape[0], 4096)
    share, power = np.empty(size, np.float32), np.empty(size, np.float32)
    for begin in range(0, gate.shape[0], size):
        count = min(size, gate.shape[0] - begin)
        for i in range(count):
            share[i] = -gate[begin + i]
        _exp(share[:count], power[:count])
        for i in range(count):
            gate[begin + i] = gate[begin + i] / (_ONE + share[i]) * up[begin + i]


@njit(cache=True, nogil=True)
def relu2_mul(gate, up):  # type: ignore[no-untyped-def]
    """gate = max(gate, 0)² * up, in place, for flat arrays of one length."""
    for i in range(gate.shape[0]):
        positive = max(gate[i], np.float32(0))
        gate[i] = positive * positive * up[i]


@njit(cache=True, nogil=True)
def rms_norm(x, gain, eps, out):  # type: ignore[no-untyped-def]
    """out = x / sqrt(mean(x²) + eps) * gain for each row of x."""
    size = x.shape[1]
    groups, rest = size // LANES, size % LANES
    for t in range(x.shape[0]):
        total = _zero()
        for g in range(groups):
            lanes = _read(x, t * size + g * LANES)
            total = _add(total, _multiply(lanes, lanes))
        if rest:
            lanes = _read(_tail(x[t], groups * LANES), 0)
            total = _add(total, _multiply(lanes, lanes))
        factor = _ONE / np.sqrt(_sum(total) / np.float32(size) + np.float32(eps))
        for i in range(size):
            out[t, i] = x[t, i] * factor * gain[i]


@inner
def _unit(array):  # type: ignore[no-untyped-def]
    """What a scale is multiplied by: an int4 code is read as 16 times itself."""
    return np.float32(1 if _elements_per_group(array) == LANES else 1 / 16)


@inner
def _expand_keys(codes, scales, page, head, dim, out):  # type: ignore[no-untyped-def]
    """Keys of one page and KV head in float32, `dim` rows of one element of 32 tokens each."""
    step = codes.shape[3]
    at = (page * codes.shape[1] + head) * codes.shape[2] * step
    for d in range(dim):
        if scales is None:
            lanes = _read_floats(codes, at + d * step)
        else:
            groups = scales.shape[2]
            place = ((page * scales.shape[1] + head) * groups + d // LANES) * LANES
            factor = _multiply(_read(scales, place), _spread(_unit(codes)))
            lanes = _multiply(_read(codes, at + d * step), factor)
        _write(out, d * LANES, lanes)


@inner
def _expand_values(codes, scales, page, head, count, out):  # type: ignore[no-untyped-def]
    """Values of the first `count` tokens of a page and KV head in float32, one row per token."""
    step, stored = _elements_per_group(codes), codes.shape[3]
    groups = stored // step
    at = (page * codes.shape[1] + head) * LANES * stored
    scale = np.empty(LANES, np.float32)
    for g in range(groups):
        if scales is not None:
            place = ((page * scales.shape[1] + head) * groups + g) * LANES
            _write(scale, 0, _multiply(_read(scales, place), _spread(_unit(codes))))
        for t in range(count):
            if scales is None:
                lanes = _read_floats(codes, at + t * stored + g * step)
            else:
                lanes = _multiply(_read(codes, at + t * stored + g * step), _spread(scale[t]))
            _write(out, (t * groups + g) * LANES, lanes)


@inner
def _score(q, first, share, page, scores, at):  # type: ignore[no-untyped-def]
    """Scores of one page's tokens for the query heads that share its keys, in lanes by token."""
    dim = q.shape[1]
    factor = _spread(_ONE / np.sqrt(np.float32(dim)))
    for h in range(share):
        total = _zero()
        for d in range(dim):
            total = _add(total, _multiply(_spread(q[first + h, d]), _read(page, d * LANES)))
        _write(scores, h * scores.shape[1] + at, _multiply(total, factor))


@inner
def _softmax(scores, count, power):  # type: ignore[no-untyped-def]
    """Replace one head's scores by exp(score - largest) and zeros after them; return their sum."""
    largest = scores[0]
    for t in range(1, count):
        largest = max(largest, scores[t])
    for t in range(count):
        scores[t] -= largest
    _exp(scores[:count], power[:count])
    scores[count:] = 0
    total = _zero()
    for begin in range(0, scores.shape[0], LANES):
        total = _add(total, _read(scores, begin))
    return _sum(total)


@inner
def _add_values(scores, at, count, share, page, sums):  # type: ignore[no-untyped-def]
    """Add a page's values, weighted, to the sums (query heads, groups of 32 elements)."""
    groups = sums.shape[1] // LANES
    for h in range(share):
        for g in range(groups):
            place = (h * groups + g) * LANES
            total = _read(sums, place)
            for t in range(count):
                weight = _spread(scores[h, at + t])
                total = _add(total, _multiply(weight, _read(page, (t * groups + g) * LANES)))
            _write(sums, place, total)


@njit(cache=True, nogil=True)
def attend(  # type: ignore[no-untyped-def]
    q, keys, key_scales, values, value_scales, page_owners, tables, counts, owners, out
):
    """Causal attention of each token over its own sequence; unchecked but for the pages' owners.

    Parameters
    ----------
    q, out
        (tokens, heads, head_dim) float32.
    keys, values
        One layer's pages: (pages, kv heads, head_dim, elements per 32 tokens) and (pages, kv heads,
        32 tokens, elements per row); the scales (pages, kv heads, groups, 32 tokens), or None.
    page_owners
        (pages,) int64.
    tables, counts, owners
        Pages of each token's sequence (tokens, most pages) in order, how many tokens it attends to,
        itself included, and whose pages it may read.

    Returns
    -------
    int
        -1, or a page that belongs to another owner: nothing has been written then.
    """
    most = 0
    for t in range(q.shape[0]):
        pages = (counts[t] + LANES - 1) // LANES
        most = max(most, pages)
        for p in range(pages):
            if page_owners[tables[t, p]] != owners[t]:
                return tables[t, p]
    heads, dim = q.shape[1], q.shape[2]
    kv_heads = keys.shape[1]
    share = heads // kv_heads
    stored = (dim + LANES - 1) // LANES * LANES
    page = np.empty(LANES * max(dim, stored), np.float32)
    power = np.empty(most * LANES, np.float32)
    sums = np.empty((share, stored), np.float32)
    totals = np.empty(share, np.float32)
    for t in range(q.shape[0]):
        count = counts[t]
        pages = (count + LANES - 1) // LANES
        scores = np.empty((share, pages * LANES), np.float32)
        for j in range(kv_heads):
            for p in range(pages):
                _expand_keys(keys, key_scales, tables[t, p], j, dim, page)
                _score(q[t], j * share, share, page, scores, p * LANES)
            for h in range(share):
                totals[h] = _softmax(scores[h], count, power)
            sums[:] = 0
            for p in range(pages):
                present = min(LANES, count - p * LANES)
                _expand_values(values, value_scales, tables[t, p], j, present, page)
                _add_values(scores, p * LANES, present, share, page, sums)
            for h in range(share):
                for d in range(dim):
                    out[t, j * share + h, d] = sums[h, d] / totals[h]
    return -1
