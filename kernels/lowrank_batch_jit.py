"""The compiled loops of the low-rank product for a batch, on the 32-lane groups of `lowrank_jit`.

Every sum is the sum that `lowrank_jit` writes for one token, in the same order; the loops here only
choose which of the independent sums are in registers together. So the bits depend neither on which
tokens are in a batch, nor on how they are grouped, nor on the number of threads.

A batch is cut into tasks: 4 rows of an adapter's A for all of its tokens, then 1024 columns of its
B for all of them. Each task fetches its weights once: float32 rows are read in place, other formats
are expanded to float32, a piece at a time, in a buffer that stays in the first-level cache. Threads
claim tasks by counting up one shared number; every task of A is claimed before any of B, and B
begins once all of A is done.

x and y come padded with columns up to whole groups (x) and whole chunks of 4 groups (y). What y
holds there is of no use to anybody.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import (  # type: ignore[attr-defined]
    carray,
    njit,
    prange,
    types,
)

from kernels import lowrank_jit
from kernels.lowrank_jit import (
    CHUNK,
    LANES,
    _add,
    _elements_per_group,
    _half,
    _intrinsic,
    _multiply,
    _pointer,
    _read,
    _spread,
    _sum,
    _tail,
    _write,
)

ROWS = 4  # rows of A that a task takes, all of them in registers together
PIECE = 32  # groups of a row of A that are expanded together: 4 rows of them are 16 KiB
COLUMNS = 8 * CHUNK  # groups of a row of B that a task takes

# Columns of the table of images.
A_CODES, A_SCALES, B_CODES, B_SCALES, RANK = range(5)
# Places of the two numbers that threads share, each on a cache line of its own.
CLAIMED, DONE, SHARED = 0, 8, 16


@_intrinsic
def _count_up(typing: Any, counters: Any, index: Any) -> Any:
    """Add 1 to an element of an int64 array, atomically; its value before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters, types.intp), generate


@_intrinsic
def _current(typing: Any, counters: Any, index: Any) -> Any:
    """An element of an int64 array that other threads may be changing."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(counters, types.intp), generate


@_intrinsic
def _at(typing: Any, address: Any, like: Any) -> Any:
    """A pointer to an address, of elements of the type of an array's."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(types.int64, like), generate


@_intrinsic
def _has_scales(typing: Any, codes: Any) -> Any:
    """Whether such codes have to be multiplied by scales, known when it is compiled."""
    answer = codes.dtype in (types.int8, types.uint8)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, answer)

    return types.boolean(codes), generate


@_intrinsic
def _is_float32(typing: Any, array: Any) -> Any:
    """Whether an array holds float32, known when it is compiled."""
    answer = array.dtype == types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, answer)

    return types.boolean(array), generate


@_intrinsic
def _in_float32(typing: Any, codes: Any, buffer: Any) -> Any:
    """The codes where they are float32, or else the buffer that they are to be expanded to."""
    chosen = 0 if codes.dtype == types.float32 else 1

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        context.nrt.incref(builder, signature.return_type, args[chosen])
        return args[chosen]

    return buffer(codes, buffer), generate


@njit
def _scales_of(codes, scales, first, rows, begin, end):  # type: ignore[no-untyped-def]
    """What `_read` of some rows of codes has to be multiplied by, in their groups begin to end.

    float32 (rows, end - begin), of any content for the float formats.
    """
    values = np.empty((rows, end - begin), np.float32)
    if not _has_scales(codes):
        return values
    # An int4 code is read as 16 times itself; a power of two leaves the product exact.
    unit = np.float32(1 if _elements_per_group(codes) == LANES else 1 / 16)
    units, groups = _spread(unit), scales.shape[1]
    for k in range(rows):
        i, whole = (first + k) * groups + begin, (end - begin) // LANES * LANES
        for g in range(0, whole, LANES):
            _write(values, k * (end - begin) + g, _multiply(_read(scales, i + g), units))
        for g in range(whole, end - begin):
            values[k, g] = _half(scales[first + k, begin + g]) * unit
    return values


@njit
def _group(codes, index, scale, k, g):  # type: ignore[no-untyped-def]
    """The 32 weights whose codes begin at flat element `index`, in float32."""
    weights = _read(codes, index)
    if _has_scales(codes):
        weights = _multiply(weights, _spread(scale[k, g]))
    return weights


@njit
def _expand(codes, scale, first, rows, shift, begin, end, out):  # type: ignore[no-untyped-def]
    """Write groups begin to end of rows from `first` on, as float32, to the rows of `out`.

    A row's last group may be incomplete: it is read as if zeros followed. Element [0, 0] of `scale`
    belongs to row `first` and group `shift`.
    """
    stored, step = codes.shape[1], _elements_per_group(codes)
    whole = min(end, stored // step)
    for k in range(rows):
        i, to = (first + k) * stored, k * out.shape[1] - begin * LANES
        for g in range(begin, whole):
            _write(out, to + g * LANES, _group(codes, i + g * step, scale, k, g - shift))
        if whole < end:
            tail = _tail(codes[first + k], whole * step)
            _write(out, to + whole * LANES, _group(tail, 0, scale, k, whole - shift))


@njit
def _count(counts, codes, scales, rows, begin, end, n, count):  # type: ignore[no-untyped-def]
    """Count the work of groups begin to end of some rows: their MACs, and their bytes once."""
    step = _elements_per_group(codes)
    counts[0] += rows * (min(end * LANES, n) - begin * LANES) * count
    counts[1] += rows * (min(end * step, codes.shape[1]) - begin * step) * codes.itemsize
    if _has_scales(codes):
        counts[1] += rows * (end - begin) * scales.itemsize


@njit
def _down_one(w, i0, i1, i2, i3, x, j, groups, sums, at):  # type: ignore[no-untyped-def]
    """Add the products of 4 rows of weights and a token, group by group, to their 32-lane sums.

    w, x and sums are read from flat elements i0 … i3, j, and at on.
    """
    s0, s1 = _read(sums, at), _read(sums, at + LANES)
    s2, s3 = _read(sums, at + 2 * LANES), _read(sums, at + 3 * LANES)
    for i in range(0, groups * LANES, LANES):
        lanes = _read(x, j + i)
        s0 = _add(s0, _multiply(_read(w, i0 + i), lanes))
        s1 = _add(s1, _multiply(_read(w, i1 + i), lanes))
        s2 = _add(s2, _multiply(_read(w, i2 + i), lanes))
        s3 = _add(s3, _multiply(_read(w, i3 + i), lanes))
    _write(sums, at, s0)
    _write(sums, at + LANES, s1)
    _write(sums, at + 2 * LANES, s2)
    _write(sums, at + 3 * LANES, s3)


@njit
def _down_pair(w, i0, i1, i2, i3, x, j0, j1, groups, sums, at0, at1):  # type: ignore[no-untyped-def]
    """Add the products of 4 rows of weights and 2 tokens, group by group, to their 32-lane sums.

    w, x and sums are read from flat elements i0 … i3, j0 and j1, at0 and at1 on.
    """
    s00, s01 = _read(sums, at0), _read(sums, at1)
    s10, s11 = _read(sums, at0 + LANES), _read(sums, at1 + LANES)
    s20, s21 = _read(sums, at0 + 2 * LANES), _read(sums, at1 + 2 * LANES)
    s30, s31 = _read(sums, at0 + 3 * LANES), _read(sums, at1 + 3 * LANES)
    for i in range(0, groups * LANES, LANES):
        x0, x1 = _read(x, j0 + i), _read(x, j1 + i)
        weights = _read(w, i0 + i)
        s00 = _add(s00, _multiply(weights, x0))
        s01 = _add(s01, _multiply(weights, x1))
        weights = _read(w, i1 + i)
        s10 = _add(s10, _multiply(weights, x0))
        s11 = _add(s11, _multiply(weights, x1))
        weights = _read(w, i2 + i)
        s20 = _add(s20, _multiply(weights, x0))
        s21 = _add(s21, _multiply(weights, x1))
        weights = _read(w, i3 + i)
        s30 = _add(s30, _multiply(weights, x0))
        s31 = _add(s31, _multiply(weights, x1))
    _write(sums, at0, s00)
    _write(sums, at1, s01)
    _write(sums, at0 + LANES, s10)
    _write(sums, at1 + LANES, s11)
    _write(sums, at0 + 2 * LANES, s20)
    _write(sums, at1 + 2 * LANES, s21)
    _write(sums, at0 + 3 * LANES, s30)
    _write(sums, at1 + 3 * LANES, s31)


@njit
def _up_one(w, i, stride, rank, hidden, t, y, j):  # type: ignore[no-untyped-def]
    """y[j] += hidden[t, k] * w[k, j] for every k in turn, for 4 groups of y of a token.

    w is read from flat element i on, its rows `stride` elements apart, and y from j on.
    """
    y0, y1 = _read(y, j), _read(y, j + LANES)
    y2, y3 = _read(y, j + 2 * LANES), _read(y, j + 3 * LANES)
    for k in range(rank):
        h, at = _spread(hidden[t, k]), i + k * stride
        y0 = _add(y0, _multiply(h, _read(w, at)))
        y1 = _add(y1, _multiply(h, _read(w, at + LANES)))
        y2 = _add(y2, _multiply(h, _read(w, at + 2 * LANES)))
        y3 = _add(y3, _multiply(h, _read(w, at + 3 * LANES)))
    _write(y, j, y0)
    _write(y, j + LANES, y1)
    _write(y, j + 2 * LANES, y2)
    _write(y, j + 3 * LANES, y3)


@njit
def _up_pair(w, i, stride, rank, hidden, t0, t1, y, j0, j1):  # type: ignore[no-untyped-def]
    """y[j] += hidden[t, k] * w[k, j] for every k in turn, for 4 groups of y of 2 tokens.

    w is read from flat element i on, its rows `stride` elements apart, and y from j0 and j1 on.
    """
    y00, y01 = _read(y, j0), _read(y, j0 + LANES)
    y02, y03 = _read(y, j0 + 2 * LANES), _read(y, j0 + 3 * LANES)
    y10, y11 = _read(y, j1), _read(y, j1 + LANES)
    y12, y13 = _read(y, j1 + 2 * LANES), _read(y, j1 + 3 * LANES)
    for k in range(rank):
        h0, h1 = _spread(hidden[t0, k]), _spread(hidden[t1, k])
        weights = _read(w, i + k * stride)
        y00 = _add(y00, _multiply(h0, weights))
        y10 = _add(y10, _multiply(h1, weights))
        weights = _read(w, i + k * stride + LANES)
        y01 = _add(y01, _multiply(h0, weights))
        y11 = _add(y11, _multiply(h1, weights))
        weights = _read(w, i + k * stride + 2 * LANES)
        y02 = _add(y02, _multiply(h0, weights))
        y12 = _add(y12, _multiply(h1, weights))
        weights = _read(w, i + k * stride + 3 * LANES)
        y03 = _add(y03, _multiply(h0, weights))
        y13 = _add(y13, _multiply(h1, weights))
    _write(y, j0, y00)
    _write(y, j0 + LANES, y01)
    _write(y, j0 + 2 * LANES, y02)
    _write(y, j0 + 3 * LANES, y03)
    _write(y, j1, y10)
    _write(y, j1 + LANES, y11)
    _write(y, j1 + 2 * LANES, y12)
    _write(y, j1 + 3 * LANES, y13)


@njit
def _down_tokens(w, at, stride, rows, x, j, tokens, groups, sums):  # type: ignore[no-untyped-def]
    """Add some groups of up to 4 rows of weights times all tokens to the tokens' 32-lane sums.

    w is read from flat element `at` on, its rows `stride` elements apart, and x from column j on. A
    row that is missing is one that is there, computed again beside itself to the same bits.
    """
    n, size, count = x.shape[1], ROWS * LANES, tokens.shape[0]
    i1, i2 = at + min(1, rows - 1) * stride, at + min(2, rows - 1) * stride
    i3 = at + (rows - 1) * stride
    for m in range(0, count - 1, 2):
        j0, j1 = tokens[m] * n + j, tokens[m + 1] * n + j
        _down_pair(w, at, i1, i2, i3, x, j0, j1, groups, sums, m * size, (m + 1) * size)
    if count % 2:
        last = count - 1
        _down_one(w, at, i1, i2, i3, x, tokens[last] * n + j, groups, sums, last * size)


@njit
def _down_task(codes, scales, first, factor, x, n, tokens, hidden, counts):  # type: ignore[no-untyped-def]
    """hidden[t, k] = factor * sum over i of A[k, i] * x[t, i], for 4 rows k from `first` on."""
    rows, count, groups = min(ROWS, codes.shape[0] - first), tokens.shape[0], x.shape[1] // LANES
    scale = _scales_of(codes, scales, first, rows, 0, groups)
    sums = np.zeros((count, ROWS, LANES), np.float32)
    buffer = np.empty((ROWS, PIECE * LANES), np.float32)
    in_place = _is_float32(codes) and n == x.shape[1]
    w = _in_float32(codes, buffer) if in_place else buffer
    for begin in range(0, groups, PIECE):
        end, j = min(begin + PIECE, groups), begin * LANES
        at = first * n + j if in_place else 0
        if not in_place:
            _expand(codes, scale, first, rows, 0, begin, end, buffer)
        _down_tokens(w, at, w.shape[1], rows, x, j, tokens, end - begin, sums)
        _count(counts, codes, scales, rows, begin, end, n, count)
    for m in range(count):
        for k in range(rows):
            total = _sum(_read(sums, (m * ROWS + k) * LANES))
            hidden[tokens[m], first + k] = total * factor


@njit
def _up_tokens(w, at, stride, rank, hidden, tokens, y, j):  # type: ignore[no-untyped-def]
    """Add 4 groups of weights times every token's hidden values to y, from column j on.

    w is read from flat element `at` on, its rows `stride` elements apart.
    """
    n, count = y.shape[1], tokens.shape[0]
    for m in range(0, count - 1, 2):
        t0, t1 = tokens[m], tokens[m + 1]
        _up_pair(w, at, stride, rank, hidden, t0, t1, y, t0 * n + j, t1 * n + j)
    if count % 2:
        t = tokens[count - 1]
        _up_one(w, at, stride, rank, hidden, t, y, t * n + j)


@njit
def _up_task(codes, scales, first, hidden, n, tokens, y, counts):  # type: ignore[no-untyped-def]
    """y[t, j] += hidden[t, k] * B[j, k] for every k in turn, for 1024 columns j.

    `first` is the group that the columns begin with.
    """
    rank, groups = codes.shape[0], min(first + COLUMNS, -(-n // LANES))
    scale = _scales_of(codes, scales, 0, rank, first, groups)
    buffer = np.zeros((rank, CHUNK * LANES), np.float32)
    in_place = _is_float32(codes) and n == y.shape[1]
    w = _in_float32(codes, buffer) if in_place else buffer
    for begin in range(first, groups, CHUNK):
        end, j = min(begin + CHUNK, groups), begin * LANES
        if not in_place:
            _expand(codes, scale, 0, rank, first, begin, end, buffer)
        _up_tokens(w, j if in_place else 0, w.shape[1], rank, hidden, tokens, y, j)
        _count(counts, codes, scales, rank, begin, end, n, tokens.shape[0])


@njit
def _plan(table, adapter, width):  # type: ignore[no-untyped-def]
    """Tokens in order of adapter, the begin of each adapter's, and the tasks, as the rows
    [adapter, first row of A or first group of B].
    """
    begins = np.zeros(table.shape[0] + 1, np.int64)
    for a in adapter:
        if a >= 0:
            begins[a + 1] += 1
    downs, ups = 0, 0
    for a in range(table.shape[0]):
        if begins[a + 1] and table[a, RANK]:
            downs += -(-table[a, RANK] // ROWS)
            ups += -(-width // (COLUMNS * LANES))
        begins[a + 1] += begins[a]
    order, place = np.empty(begins[-1], np.int64), begins.copy()
    for t in range(adapter.shape[0]):
        a = adapter[t]
        if a >= 0:
            order[place[a]] = t
            place[a] += 1
    tasks = np.empty((downs + ups, 2), np.int64)
    down, up = 0, downs
    for a in range(table.shape[0]):
        if begins[a + 1] > begins[a] and table[a, RANK]:
            for first in range(0, table[a, RANK], ROWS):
                tasks[down, 0], tasks[down, 1] = a, first
                down += 1
            for first in range(0, -(-width // LANES), COLUMNS):
                tasks[up, 0], tasks[up, 1] = a, first
                up += 1
    return order, begins, tasks, downs


@njit
def _unknown(adapter, images):  # type: ignore[no-untyped-def]
    """The first token whose adapter is not there, or -1."""
    for t in range(adapter.shape[0]):
        if adapter[t] < -1 or adapter[t] >= images:
            return t
    return -1


@njit
def _work(table, factors, n_in, n_out, plan, x, y, hidden, shared, codes_like, scales_like, counts):  # type: ignore[no-untyped-def]
    """Claim and do tasks until none is left: one thread's part."""
    order, begins, tasks, downs = plan
    while True:
        i = _count_up(shared, CLAIMED)
        if i >= tasks.shape[0]:
            break
        is_down = i < downs
        while not is_down and _current(shared, DONE) < downs:
            pass
        a, first = tasks[i, 0], tasks[i, 1]
        tokens, rank = order[begins[a] : begins[a + 1]], table[a, RANK]
        n = n_in if is_down else n_out
        stored = (n * _elements_per_group(codes_like) + LANES - 1) // LANES
        codes = carray(_at(table[a, A_CODES if is_down else B_CODES], codes_like), (rank, stored))
        scales_at = table[a, A_SCALES if is_down else B_SCALES]
        scales = carray(_at(scales_at, scales_like), (rank, -(-n // LANES)))
        if is_down:
            _down_task(codes, scales, first, factors[a], x, n, tokens, hidden, counts)
            _count_up(shared, DONE)
        else:
            _up_task(codes, scales, first, hidden, n, tokens, y, counts)


def _entries(lanes_version: int) -> tuple[Any, Any]:
    """The compiled functions, cached under a version of `lowrank_jit`.

    numba renews a cached function when its own file changes, not when a file does that it calls
    into; but what an enclosing function gives it is part of the cache's key.
    """

    @njit(cache=True, nogil=True)
    def alone(  # type: ignore[no-untyped-def]
        table, factors, n_in, n_out, adapter, x, y, hidden, shared, codes_like, scales_like, counts
    ):
        """Add s[a] * B[a] (A[a] x[t]) to y[t] for every token t with an adapter a.

        Parameters
        ----------
        table
            int64 (images, 5): addresses of the codes and scales of A and of B, and the rank. Images
            of rank 0 are left out.
        factors
            float32 (images,), the factor s of each.
        n_in, n_out
            in_features and out_features.
        adapter
            int64 (tokens,), -1 for none.
        x, y
            float32, C-contiguous, (tokens, in_features) and (tokens, out_features), padded with
            columns up to a multiple of 32 and of 128; y is changed.
        hidden
            float32 (tokens, largest rank), for the values between A and B.
        shared
            int64 (16,), zeros: what threads share.
        codes_like, scales_like
            Empty arrays of the types of the images' codes and scales.
        counts
            int64 (threads, 8): each thread adds its MACs and bytes to the first two of its row.

        Returns
        -------
        -1, or the first token whose adapter is not there: then y is as it was.
        """
        _ = lanes_version
        bad = _unknown(adapter, table.shape[0])
        if bad < 0:
            plan = _plan(table, adapter, n_out)
            _work(
                table,
                factors,
                n_in,
                n_out,
                plan,
                x,
                y,
                hidden,
                shared,
                codes_like,
                scales_like,
                counts[0],
            )
        return bad

    @njit(cache=True, nogil=True, parallel=True)
    def team(  # type: ignore[no-untyped-def]
        table, factors, n_in, n_out, adapter, x, y, hidden, shared, codes_like, scales_like, counts
    ):
        """As `alone`, by as many threads as `counts` has rows."""
        _ = lanes_version
        bad = _unknown(adapter, table.shape[0])
        if bad < 0:
            plan = _plan(table, adapter, n_out)
            for i in prange(counts.shape[0]):
                _work(
                    table,
                    factors,
                    n_in,
                    n_out,
                    plan,
                    x,
                    y,
                    hidden,
                    shared,
                    codes_like,
                    scales_like,
                    counts[i],
                )
        return bad

    return alone, team


alone, team = _entries(zlib.crc32(Path(lowrank_jit.__file__).read_bytes()))
