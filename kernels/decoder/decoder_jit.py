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
    TANH_FROM_EXP,
    TANH_TERMS,
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

TOKENS = 8
"""Of a sequence that attend together: a page is brought to float32 once for them."""

_ONE, _TWO = np.float32(1), np.float32(2)
_LOW, _HIGH = EXP_RANGE
_T0, _T1, _T2, _T3, _T4, _T5 = EXP_TERMS
_H0, _H1, _H2, _H3, _H4 = TANH_TERMS


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


@inner
def _soft_cap(values, cap, power):  # type: ignore[no-untyped-def]
    """cap * tanh(value / cap) of each value, in place; `power` (2, length) is scratch, float32."""
    count = values.shape[0]
    for i in range(count):
        values[i] = values[i] / cap
        power[0, i] = abs(values[i]) + abs(values[i])
    _exp(power[0, :count], power[1, :count])
    for i in range(count):
        x = values[i]
        if abs(x) < TANH_FROM_EXP:
            s = x * x
            p = (((_H0 * s + _H1) * s + _H2) * s + _H3) * s + _H4
            values[i] = (p * s * x + x) * cap
        else:
            values[i] = np.copysign(_ONE - _TWO / (power[0, i] + _ONE), x) * cap


@njit(cache=True, nogil=True, error_model="numpy")  # without checks for zero: vector code
def silu_mul(gate, up):  # type: ignore[no-untyped-def]
    """gate = gate / (1 + exp(-gate)) * up, in place, for flat arrays of one length."""
    size = min(gate.shape[0], 4096)
    shares, power = np.empty(size, np.float32), np.empty(size, np.float32)
    for begin in range(0, gate.shape[0], size):
        # Slices, because indices that numba cannot see to be positive are no vector code.
        g, u = gate[begin : begin + size], up[begin : begin + size]
        share = shares[: g.shape[0]]
        for i in range(g.shape[0]):
            share[i] = -g[i]
        _exp(share, power[: g.shape[0]])
        for i in range(g.shape[0]):
            g[i] = g[i] / (_ONE + share[i]) * u[i]


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
def _values_of_keys(keys, count, stored, out):  # type: ignore[no-untyped-def]
    """The first elements of the first `count` tokens' keys as their values, one row per token."""
    for t in range(count):
        for i in range(stored):
            out[t * stored + i] = keys[i * LANES + t]


@inner
def _score(q, rows, first, share, factor, page, scores, at):  # type: ignore[no-untyped-def]
    """Scores of one page's tokens for some rows, in lanes by token.

    Row i is query head first + i % share of token i // share of q. Four rows at a time are as many
    chains of sums as hide the time of an addition.
    """
    dim, begin, end = q.shape[2], rows[0], rows[1]
    spread, width = _spread(factor), scores.shape[1]
    whole = end - (end - begin) % 4
    for i in range(begin, whole, 4):
        q0, q1 = q[i // share, first + i % share], q[(i + 1) // share, first + (i + 1) % share]
        q2 = q[(i + 2) // share, first + (i + 2) % share]
        q3 = q[(i + 3) // share, first + (i + 3) % share]
        s0, s1, s2, s3 = _zero(), _zero(), _zero(), _zero()
        for d in range(dim):
            key = _read(page, d * LANES)
            s0 = _add(s0, _multiply(_spread(q0[d]), key))
            s1 = _add(s1, _multiply(_spread(q1[d]), key))
            s2 = _add(s2, _multiply(_spread(q2[d]), key))
            s3 = _add(s3, _multiply(_spread(q3[d]), key))
        _write(scores, i * width + at, _multiply(s0, spread))
        _write(scores, (i + 1) * width + at, _multiply(s1, spread))
        _write(scores, (i + 2) * width + at, _multiply(s2, spread))
        _write(scores, (i + 3) * width + at, _multiply(s3, spread))
    for i in range(whole, end):
        q0 = q[i // share, first + i % share]
        s0 = _zero()
        for d in range(dim):
            s0 = _add(s0, _multiply(_spread(q0[d]), _read(page, d * LANES)))
        _write(scores, i * width + at, _multiply(s0, spread))


@inner
def _softmax(scores, skip, count, sink, power):  # type: ignore[no-untyped-def]
    """Replace one head's scores by exp(score - largest), with zeros around; return their sum.

    Tokens from `skip` to `count` are attended to. A sink above -inf is one more score, last in the
    sum, and has no value.
    """
    seen = scores[skip:count]
    largest, m1, m2, m3 = sink, sink, sink, sink  # as many chains as hide the time of a maximum
    whole_fours = seen.shape[0] - seen.shape[0] % 4
    for t in range(0, whole_fours, 4):
        largest, m1 = max(largest, seen[t]), max(m1, seen[t + 1])
        m2, m3 = max(m2, seen[t + 2]), max(m3, seen[t + 3])
    for t in range(whole_fours, seen.shape[0]):
        largest = max(largest, seen[t])
    largest = max(largest, m1, m2, m3)
    for t in range(seen.shape[0]):
        seen[t] -= largest
    _exp(seen, power[0, : seen.shape[0]])
    scores[:skip] = 0
    scores[count:] = 0
    total = _zero()
    for begin in range(0, scores.shape[0], LANES):
        total = _add(total, _read(scores, begin))
    whole = _sum(total)
    if sink > -np.inf:
        power[0, 0] = sink - largest
        _exp(power[0, :1], power[1, :1])
        whole += power[0, 0]
    return whole


@inner
def _add_values(weights, begin, end, page, sums):  # type: ignore[no-untyped-def]
    """Add values of a page's tokens, weighted, to one row of sums, groups of 32 elements."""
    groups = sums.shape[0] // LANES
    whole = groups - groups % 4
    for g in range(0, whole, 4):
        place = g * LANES
        s0, s1 = _read(sums, place), _read(sums, place + LANES)
        s2, s3 = _read(sums, place + 2 * LANES), _read(sums, place + 3 * LANES)
        for t in range(begin, end):
            weight, value = _spread(weights[t]), (t * groups + g) * LANES
            s0 = _add(s0, _multiply(weight, _read(page, value)))
            s1 = _add(s1, _multiply(weight, _read(page, value + LANES)))
            s2 = _add(s2, _multiply(weight, _read(page, value + 2 * LANES)))
            s3 = _add(s3, _multiply(weight, _read(page, value + 3 * LANES)))
        _write(sums, place, s0)
        _write(sums, place + LANES, s1)
        _write(sums, place + 2 * LANES, s2)
        _write(sums, place + 3 * LANES, s3)
    for g in range(whole, groups):
        s0 = _read(sums, g * LANES)
        for t in range(begin, end):
            s0 = _add(s0, _multiply(_spread(weights[t]), _read(page, (t * groups + g) * LANES)))
        _write(sums, g * LANES, s0)


@inner
def _together(t, tables, counts, owners):  # type: ignore[no-untyped-def]
    """How many tokens from t on, at most `TOKENS`, follow each other in one sequence."""
    n = 1
    while n < TOKENS and t + n < counts.shape[0]:
        if counts[t + n] != counts[t] + n or owners[t + n] != owners[t]:
            return n
        for column in range(tables.shape[1]):
            if tables[t + n, column] != tables[t, column]:
                return n
        n += 1
    return n


@inner
def _reaching(p, count, n, window, share):  # type: ignore[no-untyped-def]
    """First and last row, exclusive, of the tokens among n that attend to any of page p.

    `count` is how many tokens the sequence has up to the first of the n; each has `share` rows.
    """
    begin = max(0, p * LANES + 1 - count)
    end = min(n, (p + 1) * LANES + window - count)
    return begin * share, end * share


@inner
def _span(k, count, window, lead):  # type: ignore[no-untyped-def]
    """Of the scores from page `lead` on, the first and last, exclusive, of the token after k."""
    return max(0, count + k - window) - lead * LANES, count + k - lead * LANES


@njit(cache=True, nogil=True, error_model="numpy")
def attend(  # type: ignore[no-untyped-def]
    q,
    keys,
    key_scales,
    values,
    value_scales,
    page_owners,
    tables,
    counts,
    owners,
    factor,
    window,
    cap,
    sinks,
    out,
):
    """Causal attention of each token over its own sequence; unchecked but for the pages' owners.

    Parameters
    ----------
    q, out
        (tokens, heads, head_dim) float32; rows of `out` are as long as a value.
    keys, values
        One layer's pages: (pages, kv heads, head_dim, elements per 32 tokens) and (pages, kv heads,
        32 tokens, elements per row); the scales (pages, kv heads, groups, 32 tokens), or None.
        `values` without pages: the first elements of a key are its token's value.
    page_owners
        (pages,) int64.
    tables, counts, owners
        Pages of each token's sequence (tokens, most pages) in order, how many tokens it has up to
        this one, and whose pages it may read. Page p of a sequence stands in column p, or, where
        the columns are a ring, in p modulo their number.
    factor, window, cap, sinks
        Of the scores: multiplies them (float32); how many tokens are attended to at most; cap of
        their tanh (float32), 0 for none; and a further score of each head, (heads,) or (0,).

    Returns
    -------
    int
        -1, or a page that belongs to another owner: nothing has been written then.
    """
    most, columns = 0, tables.shape[1]
    for t in range(q.shape[0]):
        lead = max(0, counts[t] - window) // LANES
        pages = (counts[t] + LANES - 1) // LANES
        most = max(most, pages - lead)
        for p in range(lead, pages):
            if page_owners[tables[t, p % columns]] != owners[t]:
                return tables[t, p % columns]
    heads, dim, wide = q.shape[1], q.shape[2], out.shape[2]
    kv_heads = keys.shape[1]
    share = heads // kv_heads
    stored = (wide + LANES - 1) // LANES * LANES
    page = np.empty(LANES * max(dim, stored), np.float32)
    turned = np.empty(LANES * stored if values.shape[0] == 0 else 0, np.float32)
    power = np.empty((2, (most + 1) * LANES), np.float32)
    sums = np.empty((TOKENS * share, stored), np.float32)
    totals = np.empty(TOKENS * share, np.float32)
    t = 0
    while t < q.shape[0]:
        n, count = _together(t, tables, counts, owners), counts[t]
        lead, pages = max(0, count - window) // LANES, (count + n - 1 + LANES - 1) // LANES
        scores = np.empty((n * share, (pages - lead) * LANES), np.float32)
        for j in range(kv_heads):
            for p in range(lead, pages):
                _expand_keys(keys, key_scales, tables[t, p % columns], j, dim, page)
                rows = _reaching(p, count, n, window, share)
                at = (p - lead) * LANES
                _score(q[t : t + n], rows, j * share, share, factor, page, scores, at)
            for i in range(n * share):
                skip, end = _span(i // share, count, window, lead)
                if cap > 0:
                    _soft_cap(scores[i, skip:end], cap, power)
                sink = sinks[j * share + i % share] if sinks.shape[0] else np.float32(-np.inf)
                totals[i] = _softmax(scores[i], skip, end, sink, power)
            sums[:] = 0
            for p in range(lead, pages):
                here, at = tables[t, p % columns], (p - lead) * LANES
                present = min(LANES, count + n - 1 - p * LANES)
                if values.shape[0] == 0:
                    _expand_keys(keys, key_scales, here, j, dim, page)
                    _values_of_keys(page, present, stored, turned)
                else:
                    _expand_values(values, value_scales, here, j, present, page)
                source = turned if values.shape[0] == 0 else page
                begin, end = _reaching(p, count, n, window, share)
                for i in range(begin, end):
                    skip, last = _span(i // share, count, window, lead)
                    weights = scores[i, at : at + LANES]
                    _add_values(weights, max(0, skip - at), min(LANES, last - at), source, sums[i])
            for i in range(n * share):
                for d in range(wide):
                    out[t + i // share, j * share + i % share, d] = sums[i, d] / totals[i]
        t += n
    return -1
