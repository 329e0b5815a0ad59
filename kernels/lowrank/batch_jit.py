"""The compiled loops of the low-rank products, for one token and for a batch.

The result is defined bit for bit, so every sum has a written order. A dot product with a row of A
keeps 32 partial sums, and partial sum `i % 32` adds the products `A[k, i] * x[i]` in order of `i`;
they are then summed by halving (lane j + lane j + 16, then + 8, + 4, + 2, + 1), and the sum is
multiplied by the scale. A row is read as if zeros followed it up to a multiple of 32. An output
adds the products with B to itself in order of rank. Each product is added by fused multiply-add,
which rounds once; the halving and the scale round once each. IEEE 754 defines all of these, so that
every machine gives the same bits. A stored weight stands for its exact float32 value.

The loops only choose which of the independent sums are in registers together. So the bits depend
neither on which tokens are in a batch, nor on how they are grouped, nor on the number of threads.

A batch is cut into tasks: 4 or 16 rows of an adapter's A for all of its tokens, then 1024 columns
of its B for all of them, in the order in which the weights lie. Threads claim tasks by counting up
one shared number; every task of A is claimed before any of B, and B begins once all of A is done.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, prange, types

from hardwire.kernels.jit import inner
from hardwire.kernels.lowrank import halves, lowrank_jit, plan_jit
from hardwire.kernels.lowrank import steps as lowrank_steps
from hardwire.kernels.lowrank.formats import DOWN_ROWS, UP_GROUPS
from hardwire.kernels.lowrank.halves import add_half, half_load, half_store, half_zeros, whole
from hardwire.kernels.lowrank.lowrank_jit import LANES, _intrinsic, _pointer
from hardwire.kernels.lowrank.plan_jit import (
    A_CODES,
    A_SCALES,
    B_CODES,
    B_SCALES,
    RANK,
    TILE,
    TILES,
    WIDE,
    plan_of,
    unknown,
)
from hardwire.kernels.lowrank.steps import (
    HALF,
    LANE_BYTES,
    add_down,
    add_up,
    address_of,
    addresses,
    expand_scales,
    finish,
    has_scales,
    is_float32,
    load,
    move,
    store,
    stored_bytes,
    zeros,
)

COLUMNS = 16  # groups of columns of A at a time: 8 KiB of four tokens, a quarter of a nearest cache

# Places of the two numbers that threads share, each on a cache line of its own.
CLAIMED, DONE = 0, 8
# What a loop takes together: a length is part of a tuple's type.
_ONE, _TWO, _FOUR = (None,), (None,) * 2, (None,) * 4


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


@inner
def _scratch_size(rank, n_in):  # type: ignore[no-untyped-def]
    """Float32 elements of scales that a task expands or sums that it keeps, and for alignment."""
    kept = WIDE * DOWN_ROWS * 4 * LANES  # of four tokens
    return max(DOWN_ROWS * -(-n_in // LANES), rank * UP_GROUPS, kept) + 2 * LANES


@inner
def _aligned(scratch):  # type: ignore[no-untyped-def]
    """The first cache line that begins in an array."""
    return (address_of(scratch) + 63) // 64 * 64


@inner
def _expand_scales(kind, scales, count, out):  # type: ignore[no-untyped-def]
    """Write some stored scales as float32, at an address with room for 31 more."""
    if has_scales(kind):
        whole = count - count % LANES
        for i in range(0, whole, LANES):
            expand_scales(kind, scales + 2 * i, out + 4 * i, None)
        if whole < count:
            expand_scales(kind, scales + 2 * whole, out + 4 * whole, count - whole)


@inner
def _down_set(several, m, rows, skipped, weights, block, vectors):  # type: ignore[no-untyped-def]
    """Write the hidden values of some rows, for tokens m and following.

    rows, skipped
        Rows of the block, and how many come before them.
    weights
        The kind of the codes, and the addresses of the block's codes and expanded scales.
    block
        Rows of the block, the first of them, weights of a row, and the factor s.
    vectors
        Addresses of x, of the tokens' indices and of hidden, and bytes of a row of x and of hidden.
    """
    kind, codes, scales = weights
    height, first, n, factor = block
    x, tokens, hidden, x_stride, hidden_stride = vectors
    size, rest = stored_bytes(kind, LANES), n % LANES
    inputs = addresses(several, x, x_stride, tokens + 8 * m)
    totals = zeros(rows, several)
    for _ in range(n // LANES):
        totals = add_down(totals, kind, codes, rows, size, scales, inputs, None)
        codes, scales, inputs = codes + height * size, scales + 4 * height, move(inputs, LANE_BYTES)
    if rest:
        size = stored_bytes(kind, rest)
        totals = add_down(totals, kind, codes, rows, size, scales, inputs, rest)
    outputs = addresses(several, hidden, hidden_stride, tokens + 8 * m)
    finish(totals, factor, move(outputs, 4 * (first + skipped)))


@inner
def _down_wide(codes, first, last, rank, factor, vectors, n, count, scratch):  # type: ignore[no-untyped-def]
    """As `_down_task`, for float32, rows from `first` to `last`, and tokens by fours.

    Whole sums of 4 rows and 4 tokens would not fit the registers; of half of their lanes they do,
    and each weight comes from a farther cache once for all four. Columns are cut, and the sums kept
    in between, so that the tokens' values stay in the nearest cache from rows to rows.
    """
    x, tokens, hidden, x_stride, hidden_stride = vectors
    kept, half_size, size = _aligned(scratch), 16 * 4 * HALF, 4 * LANES
    for m in range(0, count - 3, 4):
        inputs = addresses(_FOUR, x, x_stride, tokens + 8 * m)
        outputs = addresses(_FOUR, hidden, hidden_stride, tokens + 8 * m)
        for i in range(2 * -(-(last - first) // DOWN_ROWS)):
            half_store(half_zeros(_FOUR, _FOUR), kept + i * half_size)
        for begin in range(0, n // LANES, COLUMNS):
            groups = min(COLUMNS, n // LANES - begin)
            for k in range(first, last, DOWN_ROWS):
                height = min(DOWN_ROWS, rank - k)
                rows = (0, min(1, height - 1), min(2, height - 1), height - 1)
                # What comes next: the same columns of the next rows, or the next of the first ones.
                ahead = 4 * DOWN_ROWS * n
                if k + DOWN_ROWS >= last:
                    ahead = 4 * (first - k) * n + groups * height * size
                for half in range(2):
                    at = codes + 4 * n * k + begin * height * size + half * 4 * HALF
                    values = move(inputs, begin * LANE_BYTES + half * 4 * HALF)
                    place = kept + ((k - first) // DOWN_ROWS * 2 + half) * half_size
                    totals = half_load(rows, _FOUR, place)
                    for _ in range(groups):
                        totals = add_half(totals, at, rows, size, values, ahead, None)
                        at, values = at + height * size, move(values, LANE_BYTES)
                    half_store(totals, place)
        whole_groups, rest = n // LANES, n % LANES
        for k in range(first, last, DOWN_ROWS):
            height = min(DOWN_ROWS, rank - k)
            rows = (0, min(1, height - 1), min(2, height - 1), height - 1)
            place = kept + (k - first) // DOWN_ROWS * 2 * half_size
            low, high = half_load(rows, _FOUR, place), half_load(rows, _FOUR, place + half_size)
            if rest:
                at, values = (
                    codes + 4 * n * k + whole_groups * height * size,
                    move(inputs, whole_groups * LANE_BYTES),
                )
                low = add_half(low, at, rows, 4 * rest, values, 0, rest)
                at, values = at + 4 * HALF, move(values, 4 * HALF)
                high = add_half(high, at, rows, 4 * rest, values, 0, rest - HALF)
            finish(whole(low, high), np.float32(factor), move(outputs, 4 * k))


@inner
def _down_task(kind, codes, scales, first, rank, factor, vectors, n, count, scratch):  # type: ignore[no-untyped-def]
    """hidden[t, k] = factor * sum over i of A[k, i] * x[t, i], for 4 rows k from `first` on.

    `count` tokens, or None for one, known when it is compiled. As many sums at a time as fill the
    registers: more tokens share the conversion of a weight, more rows the fetching of x. A row that
    is missing is one that is there, computed again beside it. The MACs and bytes are given back.
    """
    height, groups, factors = min(DOWN_ROWS, rank - first), -(-n // LANES), _aligned(scratch)
    _expand_scales(kind, scales + 2 * first * groups, height * groups, factors)
    weights, block = (
        (kind, codes + first * stored_bytes(kind, n), factors),
        (height, first, n, np.float32(factor)),
    )
    low, high = (0, min(1, height - 1)), (min(2, height - 1), height - 1)
    macs, fetched = height * n, height * stored_bytes(kind, n)
    if has_scales(kind):
        fetched += 2 * height * groups
    if count is None:
        _down_set(_ONE, 0, low + high, 0, weights, block, vectors)
        return macs, fetched
    m = 0
    while not is_float32(kind) and m + 4 <= count:
        _down_set(_FOUR, m, low, 0, weights, block, vectors)
        _down_set(_FOUR, m, high, 2, weights, block, vectors)
        m += 4
    while m + 2 <= count:
        _down_set(_TWO, m, low + high, 0, weights, block, vectors)
        m += 2
    if m < count:
        _down_set(_ONE, m, low + high, 0, weights, block, vectors)
    return macs * count, fetched


@inner
def _down_tasks(kind, image, first, last, factor, vectors, n, count, scratch):  # type: ignore[no-untyped-def]
    """As `_down_task` for rows from `first` to `last`, a multiple of 4 of them or the last ones."""
    x, tokens, hidden, x_stride, hidden_stride = vectors
    codes, scales, rank, done = image[A_CODES], image[A_SCALES], image[RANK], 0
    if is_float32(kind):
        done = count - count % 4
        _down_wide(codes, first, last, rank, factor, vectors, n, count, scratch)
    left = x, tokens + 8 * done, hidden, x_stride, hidden_stride
    macs, fetched = (last - first) * n * done, 0
    for row in range(first, last, DOWN_ROWS):
        work = _down_task(kind, codes, scales, row, rank, factor, left, n, count - done, scratch)
        macs, fetched = macs + work[0], fetched + work[1]
    return macs, fetched


@inner
def _up_set(several, groups, m, weights, stride, rank, vectors, j, present):  # type: ignore[no-untyped-def]
    """Add the products with some groups of every row, in order of rank, for tokens m and following.

    weights
        The kind of the codes, and the addresses of the groups' codes and expanded scales.
    stride
        Bytes from row to row of the codes, and of the expanded scales.
    vectors
        Addresses of y, of the tokens' indices and of hidden, and bytes of a row of y and of hidden.
    """
    kind, codes, scales = weights
    y, tokens, hidden, y_stride, hidden_stride = vectors
    outputs = move(addresses(several, y, y_stride, tokens + 8 * m), 4 * j)
    inputs = addresses(several, hidden, hidden_stride, tokens + 8 * m)
    totals = load(groups, outputs, present)
    for _ in range(rank):
        totals = add_up(totals, kind, codes, scales, inputs, present)
        codes, scales, inputs = codes + stride[0], scales + stride[1], move(inputs, 4)
    store(totals, outputs, present)


@inner
def _up_tile(count, weights, stride, rank, vectors, j):  # type: ignore[no-untyped-def]
    """As `_up_set`, for so many tokens, None for one, and a whole tile."""
    if count is None:
        _up_set(_ONE, _FOUR, 0, weights, stride, rank, vectors, j, None)
    else:
        m = 0
        while m + 4 <= count:
            kind, codes, scales = weights
            late = kind, codes + 2 * stored_bytes(kind, LANES), scales + 8
            _up_set(_FOUR, _TWO, m, weights, stride, rank, vectors, j, None)
            _up_set(_FOUR, _TWO, m, late, stride, rank, vectors, j + 2 * LANES, None)
            m += 4
        while m + 2 <= count:
            _up_set(_TWO, _FOUR, m, weights, stride, rank, vectors, j, None)
            m += 2
        if m < count:
            _up_set(_ONE, _FOUR, m, weights, stride, rank, vectors, j, None)


@inner
def _up_task(kind, codes, scales, begin, end, rank, vectors, n, count, scratch):  # type: ignore[no-untyped-def]
    """y[t, j] += hidden[t, k] * B[j, k] for every k in turn, for tiles begin to end of columns j.

    `count` tokens, None for one. The MACs and bytes of the task are given back.
    """
    tokens = 1 if count is None else count
    size, factors = stored_bytes(kind, LANES), _aligned(scratch)
    macs, fetched = 0, 0
    for tile in range(begin, end):
        j = tile * TILE
        width = min(TILE, n - j)
        groups, row = -(-width // LANES), stored_bytes(kind, width)
        at, stride = codes + tile * rank * UP_GROUPS * size, (row, 4 * groups)
        _expand_scales(kind, scales + 2 * tile * rank * UP_GROUPS, rank * groups, factors)
        if width == TILE:
            _up_tile(count, (kind, at, factors), stride, rank, vectors, j)
        else:
            for g in range(groups):
                weights, present = (kind, at + g * size, factors + 4 * g), width - g * LANES
                for m in range(tokens):
                    _up_set(_ONE, _ONE, m, weights, stride, rank, vectors, j + g * LANES, present)
        macs += rank * width * tokens
        fetched += rank * row
        if has_scales(kind):
            fetched += 2 * rank * groups
    return macs, fetched


@inner
def _work(table, factors, plan, x, y, hidden, scratch, shared, kind, counts):  # type: ignore[no-untyped-def]
    """Claim and do tasks until none is left: one thread's part."""
    order, begins, tasks, downs, step = plan
    n_in, n_out, stride = x.shape[1], y.shape[1], 4 * hidden.shape[1]
    tiles, hiddens = -(-n_out // TILE), address_of(hidden)
    while True:
        i = _count_up(shared, CLAIMED)
        if i >= tasks.shape[0]:
            break
        while i >= downs and _current(shared, DONE) < downs:
            pass
        a, first = tasks[i, 0], tasks[i, 1]
        image, count, tokens = (
            table[a],
            begins[a + 1] - begins[a],
            address_of(order) + 8 * begins[a],
        )
        if i < downs:
            inputs = address_of(x), tokens, hiddens, 4 * n_in, stride
            last = min(first + step, image[RANK])
            macs, fetched = _down_tasks(
                kind, image, first, last, factors[a], inputs, n_in, count, scratch
            )
            _count_up(shared, DONE)
        else:
            outputs = address_of(y), tokens, hiddens, 4 * n_out, stride
            macs, fetched = _up_task(
                kind,
                image[B_CODES],
                image[B_SCALES],
                first,
                min(first + TILES, tiles),
                image[RANK],
                outputs,
                n_out,
                count,
                scratch,
            )
        counts[0] += macs
        counts[1] += fetched


def _entries(version: int) -> tuple[Any, Any, Any]:
    """The compiled functions, cached under a version of the files that they call into.

    numba renews a cached function when its own file changes, not when a file does that it calls
    into; but what an enclosing function gives it is part of the cache's key.
    """

    @njit(cache=True, nogil=True)
    def one(image, factor, x, y, kind):  # type: ignore[no-untyped-def]
        """Add s * B (A x) to y for one token.

        Parameters
        ----------
        image
            int64 (5,): addresses of the codes and scales of A and of B, and the rank.
        factor
            The factor s, a float that float32 holds exactly.
        x, y
            float32, contiguous, (in_features,) and (out_features,); y is changed.
        kind
            Empty array of the type of the image's codes.

        Returns
        -------
        MACs and bytes fetched.
        """
        _ = version
        n_in, n_out, rank = x.shape[0], y.shape[0], image[RANK]
        size = _scratch_size(rank, n_in)
        scratch = np.empty(size + rank + DOWN_ROWS, np.float32)
        # The only token is the first whatever its index: rows are 0 bytes apart.
        tokens, hidden = address_of(image), address_of(scratch) + 4 * size
        inputs, outputs = (
            (address_of(x), tokens, hidden, 0, 0),
            (address_of(y), tokens, hidden, 0, 0),
        )
        macs, fetched = 0, 0
        for first in range(0, rank, DOWN_ROWS):
            work = _down_task(
                kind,
                image[A_CODES],
                image[A_SCALES],
                first,
                rank,
                factor,
                inputs,
                n_in,
                None,
                scratch,
            )
            macs, fetched = macs + work[0], fetched + work[1]
        work = _up_task(
            kind,
            image[B_CODES],
            image[B_SCALES],
            0,
            -(-n_out // TILE),
            rank,
            outputs,
            n_out,
            None,
            scratch,
        )
        return macs + work[0], fetched + work[1]

    @njit(cache=True, nogil=True)
    def alone(table, factors, adapter, x, y, hidden, shared, kind, counts):  # type: ignore[no-untyped-def]
        """Add s[a] * B[a] (A[a] x[t]) to y[t] for every token t with an adapter a.

        Parameters
        ----------
        table
            int64 (images, 5): a row as in `one` for each image. Images of rank 0 are left out.
        factors
            float32 (images,), the factor s of each.
        adapter
            int64 (tokens,), -1 for none.
        x, y
            float32, C-contiguous, (tokens, in_features) and (tokens, out_features); y is changed.
        hidden
            float32 (tokens, largest rank, rounded up to a multiple of 4), for the values between A
            and B.
        shared
            int64 (16,), zeros: what threads share.
        kind
            Empty array of the type of the images' codes.
        counts
            int64 (threads, 8): each thread adds its MACs and bytes to the first two of its row.

        Returns
        -------
        -1, or the first token whose adapter is not there: then y is as it was.
        """
        _ = version
        bad = unknown(adapter, table.shape[0])
        if bad < 0:
            plan = plan_of(table, adapter, y.shape[1], counts.shape[0])
            size = _scratch_size(hidden.shape[1], x.shape[1])
            scratch = np.empty(size, np.float32)
            _work(table, factors, plan, x, y, hidden, scratch, shared, kind, counts[0])
        return bad

    @njit(cache=True, nogil=True, parallel=True)
    def team(table, factors, adapter, x, y, hidden, shared, kind, counts):  # type: ignore[no-untyped-def]
        """As `alone`, by as many threads as `counts` has rows."""
        _ = version
        bad = unknown(adapter, table.shape[0])
        if bad < 0:
            plan = plan_of(table, adapter, y.shape[1], counts.shape[0])
            size = _scratch_size(hidden.shape[1], x.shape[1])
            for i in prange(counts.shape[0]):
                scratch = np.empty(size, np.float32)
                _work(table, factors, plan, x, y, hidden, scratch, shared, kind, counts[i])
        return bad

    return one, alone, team


_MODULES = (halves, lowrank_jit, plan_jit, lowrank_steps)
_READ = b"".join(Path(str(module.__file__)).read_bytes() for module in _MODULES) + bytes(
    [DOWN_ROWS, UP_GROUPS]
)
one, alone, team = _entries(zlib.crc32(_READ))
