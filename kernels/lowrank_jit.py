"""The compiled loops of the low-rank product, on groups of 32 lanes.

The result is defined bit for bit, so every sum has a written order. A dot product keeps 32 partial
sums, and partial sum `i % 32` adds the products `w[i] * x[i]` in order of `i`; they are then summed
by halving (lane j + lane j + 16, then + 8, + 4, + 2, + 1). A row is read as if zeros followed it up
to a multiple of 32. Each product and each sum rounds once to float32, without fused multiply-add,
so that NumPy, and machines with other vector widths, give the same bits.

LLVM may not reorder float sums by itself and would make scalar code of such a dot product. The 32
lanes are therefore one value here, an LLVM vector, with the few operations that the loops need;
LLVM cuts it into registers of the width that the machine has. It is all one file because numba's
cache is renewed only when the file of the cached function changes.

Importing this module imports numba and compiles nothing: `apply` is compiled at its first call for
each format and then cached on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic, models, register_model

from kernels.formats import BLOCK

LANES = BLOCK
CHUNK = 4  # groups of y kept in registers while every rank is added to them

_I8, _I32, _F32 = ir.IntType(8), ir.IntType(32), ir.FloatType()
_F32_LANES, _I32_LANES = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_PACKED = ir.VectorType(_I8, LANES // 2)

# numba's stubs type an intrinsic as called with its typing context, which the caller never passes.
_intrinsic: Any = intrinsic


class LanesType(types.Type):
    """numba's type of 32 float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="float32x32")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _F32_LANES)


_LANES = LanesType()


def _order(indices: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(indices)), indices)


def _load(builder: Any, pointer: Any, kind: Any, align: int) -> Any:
    value = builder.load(builder.bitcast(pointer, ir.PointerType(kind)))
    value.align = align
    return value


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of flat element `index` of a C-contiguous array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _half_to_float(builder: Any, bits: Any, to_ints: Any, to_floats: Any) -> Any:
    """float16 bits as float32, exactly and on any machine, for scalars and vectors alike.

    Sign, exponent and mantissa are moved into place. The difference of the exponents' biases, 112,
    is left to a multiplication, which also brings float16's subnormal numbers right.
    """

    def constant(kind: Any, value: float) -> ir.Constant:
        return ir.Constant(kind, [value] * LANES if isinstance(kind, ir.VectorType) else value)

    moved = builder.shl(builder.sext(bits, to_ints), constant(to_ints, 13))
    placed = builder.and_(moved, constant(to_ints, 0x8FFFE000 - 2**32))
    return builder.fmul(builder.bitcast(placed, to_floats), constant(to_floats, 2.0**112))


@_intrinsic
def _half(typing: Any, bits: Any) -> Any:
    """The float32 value of one float16 given as uint16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _half_to_float(builder, args[0], _I32, _F32)

    return types.float32(types.uint16), generate


@_intrinsic
def _zero(typing: Any) -> Any:
    """32 lanes of zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(_F32_LANES, [0.0] * LANES)

    return _LANES(), generate


@_intrinsic
def _spread(typing: Any, value: Any) -> Any:
    """One float32 in all 32 lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        undefined = ir.Constant(_F32_LANES, ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(_I32, 0))
        return builder.shuffle_vector(first, undefined, _order([0] * LANES))

    return _LANES(types.float32), generate


@_intrinsic
def _add(typing: Any, left: Any, right: Any) -> Any:
    """Sum by lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(args[0], args[1])

    return _LANES(_LANES, _LANES), generate


@_intrinsic
def _multiply(typing: Any, left: Any, right: Any) -> Any:
    """Product by lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(args[0], args[1])

    return _LANES(_LANES, _LANES), generate


@_intrinsic
def _sum(typing: Any, lanes: Any) -> Any:
    """Sum over the lanes, by halving."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            low = builder.shuffle_vector(value, value, _order(list(range(width))))
            high = builder.shuffle_vector(value, value, _order(list(range(width, 2 * width))))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return types.float32(_LANES), generate


@_intrinsic
def _read(typing: Any, array: Any, index: Any) -> Any:
    """32 stored weights, or activations, from flat element `index` on, as float32 lanes.

    The array's dtype tells the format: float32; uint16 for float16 bits; int8; uint8 for two int4
    codes per element, the earlier weight in the low half. An int4 code is left in the high half of
    its byte, which makes the value 16 times the code, as vector units do not shift bytes.
    """
    dtype = array.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        if dtype == types.float32:
            return _load(builder, pointer, _F32_LANES, 4)
        if dtype == types.uint16:
            bits = _load(builder, pointer, ir.VectorType(ir.IntType(16), LANES), 2)
            return _half_to_float(builder, bits, _I32_LANES, _F32_LANES)
        if dtype == types.int8:
            codes = _load(builder, pointer, ir.VectorType(_I8, LANES), 1)
        else:
            packed = _load(builder, pointer, _PACKED, 1)
            early = builder.shl(packed, ir.Constant(_PACKED, [4] * (LANES // 2)))
            late = builder.and_(packed, ir.Constant(_PACKED, [-16] * (LANES // 2)))
            pairs = [lane // 2 + lane % 2 * (LANES // 2) for lane in range(LANES)]
            codes = builder.shuffle_vector(early, late, _order(pairs))
        return builder.sitofp(builder.sext(codes, _I32_LANES), _F32_LANES)

    return _LANES(array, types.intp), generate


@_intrinsic
def _elements_per_group(typing: Any, array: Any) -> Any:
    """Elements that `_read` takes from such an array: 32, or 16 that hold two int4 codes each."""
    elements = LANES // 2 if array.dtype == types.uint8 else LANES

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, elements)

    return types.intp(array), generate


@_intrinsic
def _write(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Store 32 lanes to a float32 array from flat element `index` on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, ir.PointerType(_F32_LANES))
        builder.store(args[2], pointer).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, _LANES), generate


@njit
def _scale_values(codes, scales, counts):  # type: ignore[no-untyped-def]
    """What `_read` of the codes has to be multiplied by, as float32 (rank, groups), or None."""
    if scales is None:
        return None
    values = np.empty(scales.shape, np.float32)
    # An int4 code is read as 16 times itself; a power of two leaves the product exact.
    unit = np.float32(1 if _elements_per_group(codes) == LANES else 1 / 16)
    for k in range(scales.shape[0]):
        for g in range(scales.shape[1]):
            values[k, g] = _half(scales[k, g]) * unit
            if counts is not None:
                counts[1] += scales.itemsize
    return values


@njit
def _weights(codes, index, scale, k, g):  # type: ignore[no-untyped-def]
    """The 32 weights of group g of row k, whose codes begin at flat element `index`."""
    weights = _read(codes, index)
    if scale is not None:
        weights = _multiply(weights, _spread(scale[k, g]))
    return weights


@njit
def _tail(row, begin):  # type: ignore[no-untyped-def]
    """The elements of a row from `begin` on, followed by zeros up to 32 elements."""
    padded = np.zeros(LANES, row.dtype)
    for j in range(begin, row.shape[0]):
        padded[j - begin] = row[j]
    return padded


@njit
def _down(codes, scales, x, hidden, counts):  # type: ignore[no-untyped-def]
    """hidden[k] = sum over i of A[k, i] * x[i]."""
    scale = _scale_values(codes, scales, counts)
    stored, step = codes.shape[1], _elements_per_group(codes)
    groups, rest = x.shape[0] // LANES, x.shape[0] % LANES
    x_last = _zero()
    if rest:
        x_last = _read(_tail(x, groups * LANES), 0)
    for k in range(codes.shape[0]):
        total = _zero()
        for g in range(groups):
            weights = _weights(codes, k * stored + g * step, scale, k, g)
            total = _add(total, _multiply(weights, _read(x, g * LANES)))
            if counts is not None:
                counts[0] += LANES
                counts[1] += step * codes.itemsize
        if rest:
            tail = _tail(codes[k], groups * step)
            weights = _weights(tail, 0, scale, k, groups)
            total = _add(total, _multiply(weights, x_last))
            if counts is not None:
                counts[0] += rest
                counts[1] += (stored - groups * step) * codes.itemsize
        hidden[k] = _sum(total)


@njit
def _up(codes, scales, hidden, y, counts):  # type: ignore[no-untyped-def]
    """y[j] += hidden[k] * B[j, k] for every k in turn, from rows of B transposed.

    A few groups of y stay in registers while all ranks are added, so that y is read and written
    once; several groups at a time, because short pieces of each row defeat the prefetcher.
    """
    scale = _scale_values(codes, scales, counts)
    rank, stored, step = codes.shape[0], codes.shape[1], _elements_per_group(codes)
    groups, rest = y.shape[0] // LANES, y.shape[0] % LANES
    chunked = groups - groups % CHUNK
    for g in range(0, chunked, CHUNK):
        y0, y1 = _read(y, g * LANES), _read(y, (g + 1) * LANES)
        y2, y3 = _read(y, (g + 2) * LANES), _read(y, (g + 3) * LANES)
        for k in range(rank):
            h, i = _spread(hidden[k]), k * stored + g * step
            y0 = _add(y0, _multiply(h, _weights(codes, i, scale, k, g)))
            y1 = _add(y1, _multiply(h, _weights(codes, i + step, scale, k, g + 1)))
            y2 = _add(y2, _multiply(h, _weights(codes, i + 2 * step, scale, k, g + 2)))
            y3 = _add(y3, _multiply(h, _weights(codes, i + 3 * step, scale, k, g + 3)))
            if counts is not None:
                counts[0] += CHUNK * LANES
                counts[1] += CHUNK * step * codes.itemsize
        _write(y, g * LANES, y0)
        _write(y, (g + 1) * LANES, y1)
        _write(y, (g + 2) * LANES, y2)
        _write(y, (g + 3) * LANES, y3)
    for g in range(chunked, groups):
        lanes = _read(y, g * LANES)
        for k in range(rank):
            weights = _weights(codes, k * stored + g * step, scale, k, g)
            lanes = _add(lanes, _multiply(_spread(hidden[k]), weights))
            if counts is not None:
                counts[0] += LANES
                counts[1] += step * codes.itemsize
        _write(y, g * LANES, lanes)
    if rest:
        y_tail = _tail(y, groups * LANES)
        lanes = _read(y_tail, 0)
        for k in range(rank):
            tail = _tail(codes[k], groups * step)
            weights = _weights(tail, 0, scale, k, groups)
            lanes = _add(lanes, _multiply(_spread(hidden[k]), weights))
            if counts is not None:
                counts[0] += rest
                counts[1] += (stored - groups * step) * codes.itemsize
        _write(y_tail, 0, lanes)
        y[groups * LANES :] = y_tail[:rest]


@njit(cache=True, nogil=True)
def apply(a_codes, a_scales, b_codes, b_scales, scale, x, y, counts):  # type: ignore[no-untyped-def]
    """Add scale * B (A x) to y; unchecked, the caller has checked shapes and types.

    Parameters
    ----------
    a_codes, b_codes
        Stored weights, C-contiguous (rank, stored elements per row), B transposed.
    a_scales, b_scales
        float16 bits as uint16, (rank, groups), or None for the float formats.
    scale
        A float that float32 holds exactly.
    x, y
        float32, contiguous, (in_features,) and (out_features,); y is changed in place.
    counts
        None, or an int64 array [MACs, bytes] that each iteration adds its work to. numba drops the
        counting where this is None, so that one source is both the fast and the counting version.
    """
    hidden = np.empty(a_codes.shape[0], np.float32)
    _down(a_codes, a_scales, x, hidden, counts)
    for k in range(hidden.shape[0]):
        hidden[k] *= np.float32(scale)
    _up(b_codes, b_scales, hidden, y, counts)
