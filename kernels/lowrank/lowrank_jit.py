"""Groups of 32 float32 lanes in numba: the type, and the few operations that kernels need.

LLVM may not reorder float sums by itself and would make scalar code of a dot product whose order is
written down. The 32 lanes are therefore one value here, an LLVM vector; LLVM cuts it into registers
of the width that the machine has. Each operation rounds once to float32, so that NumPy, and
machines with other vector widths, give the same bits.

Importing this module imports numba and compiles nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, models, register_model

from hardwire.kernels.jit import inner
from hardwire.kernels.lowrank.formats import BLOCK

LANES = BLOCK

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


def _spread_lanes(builder: Any, value: Any, count: int) -> Any:
    """One scalar in so many lanes."""
    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, _order([0] * count))


def _halved(builder: Any, value: Any) -> Any:
    """The sum over 32 lanes, by halving."""
    width = LANES
    while width > 1:
        width //= 2
        low = builder.shuffle_vector(value, value, _order(list(range(width))))
        high = builder.shuffle_vector(value, value, _order(list(range(width, 2 * width))))
        value = builder.fadd(low, high)
    return builder.extract_element(value, ir.Constant(_I32, 0))


def _half_to_float(builder: Any, bits: Any) -> Any:
    """32 float16, given as their bits, in float32, exactly and on any machine.

    Sign, exponent and mantissa are moved into place. The difference of the exponents' biases, 112,
    is left to a multiplication, which also brings float16's subnormal numbers right.
    """
    moved = builder.shl(builder.sext(bits, _I32_LANES), ir.Constant(_I32_LANES, [13] * LANES))
    placed = builder.and_(moved, ir.Constant(_I32_LANES, [0x8FFFE000 - 2**32] * LANES))
    scale = ir.Constant(_F32_LANES, [2.0**112] * LANES)
    return builder.fmul(builder.bitcast(placed, _F32_LANES), scale)


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
        return _spread_lanes(builder, args[0], LANES)

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
        return _halved(builder, args[0])

    return types.float32(_LANES), generate


_FLOATS = (types.float32, types.uint16)


def _load_floats(builder: Any, pointer: Any, dtype: Any) -> Any:
    """32 stored floats, or float16 bits in uint16, as float32 lanes."""
    if dtype == types.float32:
        return _load(builder, pointer, _F32_LANES, 4)
    bits = _load(builder, pointer, ir.VectorType(ir.IntType(16), LANES), 2)
    return _half_to_float(builder, bits)


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
        if dtype in _FLOATS:
            return _load_floats(builder, pointer, dtype)
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
def _read_floats(typing: Any, array: Any, index: Any) -> Any:
    """32 stored floats from flat element `index` on: float32, float16 bits in uint16, or the bits
    of e4m3 in int8, whose fields are moved into place as those of `_half_to_float` are.
    """
    dtype = array.dtype

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        if dtype in _FLOATS:
            return _load_floats(builder, pointer, dtype)
        bits = builder.sext(_load(builder, pointer, ir.VectorType(_I8, LANES), 1), _I32_LANES)
        moved = builder.shl(bits, ir.Constant(_I32_LANES, [20] * LANES))
        placed = builder.and_(moved, ir.Constant(_I32_LANES, [0x87F00000 - 2**32] * LANES))
        scale = ir.Constant(_F32_LANES, [2.0**120] * LANES)
        return builder.fmul(builder.bitcast(placed, _F32_LANES), scale)

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


@inner
def _tail(row, begin):  # type: ignore[no-untyped-def]
    """The elements of a row from `begin` on, followed by zeros up to 32 elements."""
    padded = np.zeros(LANES, row.dtype)
    for j in range(begin, row.shape[0]):
        padded[j - begin] = row[j]
    return padded
