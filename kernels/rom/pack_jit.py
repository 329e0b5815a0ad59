"""The compiled rounding of weights into the codes and scales of a hardwired matrix.

Every float operation is rounded once in a written order, here too, so that the same weights give
the same image on every machine. Importing this module compiles nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, prange, types
from numba.extending import intrinsic

from hardwire.kernels.jit import inner, inner_numpy
from hardwire.kernels.rom.rom_jit import CHUNK, PLANES, ROWS, WAYS, element, load, write, zeros

# A scale that lets the group's largest weight reach the end of the alphabet leaves the others
# coarse. Shares of it tried by `pack`, in 1/32: with Gaussian weights finer steps or a wider range
# gain less than 0.05 dB.
_SHARES = np.array([32, 34, 30, 28, 26, 24, 22, 20], np.float32) / np.float32(32)

_I8, _I32 = ir.IntType(8), ir.IntType(32)
_BYTES = ir.VectorType(_I8, ROWS * WAYS)
_INTS, _FLOATS = ir.VectorType(_I32, ROWS), ir.VectorType(ir.FloatType(), ROWS)

# numba's stubs type an intrinsic as called with its typing context, which the caller never passes.
_intrinsic: Any = intrinsic


@inner
def _to_half(value):  # type: ignore[no-untyped-def]
    """float32 to float16 bits, to nearest and ties to even; numba has no such conversion."""
    bits = np.float32(value).view(np.int32)
    sign, size = (bits >> 16) & 0x8000, bits & 0x7FFFFFFF
    if size >= 0x477FF000:  # 65520 and above
        return sign | 0x7C00
    if size < 0x38800000:  # below 2^-14: a subnormal float16 counts steps of 2^-24
        return sign | np.int32(np.rint(abs(value) * np.float32(2.0**24)))
    return sign | ((size + 0xFFF + ((size >> 13) & 1)) >> 13) - (112 << 10)


@inner
def _from_half(half):  # type: ignore[no-untyped-def]
    """float16 bits to float32, infinity included."""
    if half & 0x7C00 == 0x7C00:
        return np.float32(np.inf)
    moved = np.int32(half & 0x7FFF) << 13
    value = np.int32(moved).view(np.float32) * np.float32(2.0**112)
    return -value if half & 0x8000 else value


def _codes(builder: Any, weights: Any, inverse: Any, bits: int) -> Any:
    """16 weights times the inverse of their scales, rounded into the alphabet, as floats."""

    def constant(value: float) -> ir.Constant:
        return ir.Constant(_FLOATS, [value] * ROWS)

    magic = constant(1.5 * 2**23)  # float32 has no fraction here: adding it rounds ties to even
    code = builder.fmul(weights, inverse)
    code = builder.fsub(builder.fadd(code, magic), magic)
    low, high = constant(-(2.0 ** (bits - 1))), constant(2.0 ** (bits - 1) - 1)
    code = builder.select(builder.fcmp_ordered("<", code, low), low, code)
    return builder.select(builder.fcmp_ordered(">", code, high), high, code)


def _lanes(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    return load(builder, element(context, builder, array_type, array, index), _FLOATS, 4)


@_intrinsic
def _add_errors(
    typing: Any, planes: Any, errors: Any, w: Any, index: Any, step: Any, inverse: Any
) -> Any:
    """errors[0] += (w - code * step)^2 by lane, for 16 weights from flat element `index` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = context.get_constant(types.intp, 0)
        weights = _lanes(context, builder, w, args[2], args[3])
        steps = _lanes(context, builder, step, args[4], zero)
        inverses = _lanes(context, builder, inverse, args[5], zero)
        code = _codes(builder, weights, inverses, len(planes))
        wrong = builder.fsub(weights, builder.fmul(code, steps))
        total = builder.extract_value(args[1], 0)
        total = builder.fadd(total, builder.fmul(wrong, wrong))
        return builder.insert_value(args[1], total, 0)

    return errors(planes, errors, w, index, step, inverse), generate


@_intrinsic
def _write_chunk(
    typing: Any, planes: Any, w: Any, index: Any, inverse: Any, packed: Any, begin: Any
) -> Any:
    """Round the 32 x 16 weights from flat element `index` on, and store the chunk's bit planes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = len(planes)
        zero = context.get_constant(types.intp, 0)
        inverses = _lanes(context, builder, inverse, args[3], zero)
        narrow = ir.VectorType(_I8, ROWS)
        columns = []
        for i in range(CHUNK):
            place = builder.add(args[2], context.get_constant(types.intp, i * ROWS))
            weights = _lanes(context, builder, w, args[1], place)
            code = builder.fptosi(_codes(builder, weights, inverses, bits), _INTS)
            code = builder.add(code, ir.Constant(_INTS, [2 ** (bits - 1)] * ROWS))
            columns.append(builder.trunc(code, narrow))

        def join(left: Any, right: Any, order: list[int]) -> Any:
            kind = ir.VectorType(_I32, len(order))
            return builder.shuffle_vector(left, right, ir.Constant(kind, order))

        both, rows = list(range(2 * ROWS)), range(ROWS)
        vectors = []
        for i in range(0, CHUNK, WAYS):
            early, late = (join(columns[k], columns[k + 1], both) for k in (i, i + 2))
            vectors.append(join(early, late, [row + ROWS * k for row in rows for k in range(WAYS)]))

        def constant(value: int) -> ir.Constant:
            return ir.Constant(_BYTES, [value] * (ROWS * WAYS))

        pointer, low, plane = element(context, builder, packed, args[4], args[5]), 0, 0
        for width in PLANES[bits]:
            per_byte = 8 // width
            for v in range(width):
                value = constant(0)
                for m in range(per_byte):
                    part = builder.lshr(vectors[v * per_byte + m], constant(low))
                    part = builder.and_(part, constant((1 << width) - 1))
                    value = builder.or_(value, builder.shl(part, constant(width * m)))
                place = builder.gep(pointer, [ir.Constant(_I32, (plane + v) * ROWS * WAYS)])
                place = builder.bitcast(place, ir.PointerType(_BYTES))
                builder.store(value, place).align = 1
            low, plane = low + width, plane + width
        return context.get_dummy_value()

    return types.void(planes, w, index, inverse, packed, begin), generate


@inner_numpy
def _choose_scales(planes, one, w, shares, scales, inverse, errors):  # type: ignore[no-untyped-def]
    """The scales of one group of 16 rows, w (inputs, 16), and its squared errors added."""
    low = np.float32(-(1 << (len(planes) - 1)))
    largest, error = np.zeros(ROWS, np.float32), np.empty(ROWS, np.float32)
    best, step = np.full(ROWS, np.inf, np.float32), np.empty(ROWS, np.float32)
    for i in range(w.shape[0]):
        for lane in range(ROWS):
            if abs(w[i, lane]) > abs(largest[lane]):
                largest[lane] = w[i, lane]
    scales[:] = 0
    for share in shares:
        for lane in range(ROWS):
            step[lane] = _from_half(_to_half(largest[lane] / low * share))
            inverse[lane] = np.float32(1) / step[lane] if step[lane] != 0 else np.float32(0)
        total = zeros(one)
        for i in range(w.shape[0]):
            total = _add_errors(planes, total, w, i * ROWS, step, inverse)
        write(total, error)
        for lane in range(ROWS):
            if error[lane] < best[lane]:
                best[lane], scales[lane] = error[lane], _to_half(step[lane])
    for lane in range(ROWS):
        chosen = _from_half(np.int32(scales[lane]))
        inverse[lane] = np.float32(1) / chosen if chosen != 0 else np.float32(0)
        errors[lane] += best[lane]


@njit(cache=True, nogil=True, parallel=True)
def pack(planes, one, weights, rows, group, codes, scales, errors):  # type: ignore[no-untyped-def]
    """Round rows of weights to codes and scales, and lay them out.

    A scale is the one of eight that gives a row's group the least squared error: the scale with
    which the weight of largest magnitude becomes the code -2^(bits - 1), times 5/8 to 17/16.

    Parameters
    ----------
    planes, one
        As `product` takes them.
    weights
        float32 (outputs, inputs), C-contiguous.
    rows
        int32 (blocks, 16): the row of weights in each lane, or -1 for a lane of zeros.
    group
        Inputs per scale, a multiple of 32.
    codes, scales
        As `product` takes them, written.
    errors
        float64 (blocks, 16), written: squared error of each row, infinite if a weight is not finite
        or a scale exceeds float16.
    """
    inputs, chunks, size = weights.shape[1], codes.shape[1], codes.shape[2]
    for b in prange(rows.shape[0]):
        w, inverse = np.empty((group, ROWS), np.float32), np.empty(ROWS, np.float32)
        errors[b] = 0
        for g in range(scales.shape[1]):
            w[:] = 0
            for lane in range(ROWS):
                if rows[b, lane] >= 0:
                    values = weights[rows[b, lane], g * group : min((g + 1) * group, inputs)]
                    for i in range(values.size):
                        w[i, lane] = values[i]
            _choose_scales(planes, one, w, _SHARES, scales[b, g], inverse, errors[b])
            for c in range(0, group, CHUNK):
                begin = (b * chunks + (g * group + c) // CHUNK) * size
                _write_chunk(planes, w, c * ROWS, inverse, codes, begin)


@njit(cache=True, nogil=True, parallel=True)
def lay_out(planes, values, rows, codes):  # type: ignore[no-untyped-def]
    """Lay out rows of codes that are given as float32, (outputs, inputs), as `pack` does."""
    inputs, chunks, size = values.shape[1], codes.shape[1], codes.shape[2]
    for b in prange(rows.shape[0]):
        w, one = np.empty((CHUNK, ROWS), np.float32), np.ones(ROWS, np.float32)
        for c in range(chunks):
            w[:] = 0
            for lane in range(ROWS):
                if rows[b, lane] >= 0:
                    part = values[rows[b, lane], c * CHUNK : min((c + 1) * CHUNK, inputs)]
                    for i in range(part.size):
                        w[i, lane] = part[i]
            _write_chunk(planes, w, 0, one, codes, (b * chunks + c) * size)
