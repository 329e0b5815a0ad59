"""Steps of the low-rank product on half of the 32 lanes, of float32 weights for several tokens."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import models, register_model

from hardwire.kernels.lowrank.lowrank_jit import _F32, _LANES, LANES, _intrinsic, _order
from hardwire.kernels.lowrank.steps import (
    _I64,
    HALF,
    _at,
    _fetch,
    _multiply_add,
    _present,
    _read,
)


class HalfType(types.Type):
    """numba's type of half of 32 float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="float32x16half")


@register_model(HalfType)
class _HalfModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, ir.VectorType(_F32, HALF))


_HALF = HalfType()


@_intrinsic
def half_zeros(typing: Any, rows: Any, several: Any) -> Any:
    """Halves of sums of no products yet, for so many rows of several tokens."""
    result = types.UniTuple(_HALF, len(rows) * len(several))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(result), [[0.0] * HALF] * len(result))

    return result(rows, several), generate


@_intrinsic
def half_load(typing: Any, rows: Any, several: Any, address: Any) -> Any:
    """Halves of sums that `half_store` has kept."""
    result = types.UniTuple(_HALF, len(rows) * len(several))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(len(result)):
            place = builder.add(args[2], ir.Constant(_I64, 4 * HALF * i))
            value = _read(builder, place, _F32, HALF, None)
            totals = builder.insert_value(totals, value, i)
        return totals

    return result(rows, several, types.int64), generate


@_intrinsic
def half_store(typing: Any, sums: Any, address: Any) -> Any:
    """Keep halves of sums, one after the other."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for i in range(len(sums)):
            value = builder.extract_value(args[0], i)
            builder.store(value, _at(builder, args[1], 4 * HALF * i, value.type)).align = 4
        return context.get_dummy_value()

    return types.void(sums, types.int64), generate


@_intrinsic
def add_half(
    typing: Any, sums: Any, codes: Any, rows: Any, size: Any, x: Any, ahead: Any, present: Any
) -> Any:
    """As `add_down`, for float32 and half of the lanes, from `codes` and the addresses x on.

    What lies `ahead` bytes behind the weights is fetched for later.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals, begin, places, step, vectors, further, _ = args
        limit = _present(signature, args)
        inputs = [
            _read(builder, builder.extract_value(vectors, t), _F32, HALF, limit)
            for t in range(len(x))
        ]
        for r in range(len(rows)):
            row = builder.mul(builder.extract_value(places, r), step)
            place = builder.add(begin, row)
            weights = _read(builder, place, _F32, HALF, limit)
            _fetch(builder, builder.add(place, further))
            for t, lanes in enumerate(inputs):
                i = t * len(rows) + r
                total = _multiply_add(builder, weights, lanes, builder.extract_value(totals, i))
                totals = builder.insert_value(totals, total, i)
        return totals

    return sums(sums, codes, rows, size, x, types.int64, present), generate


@_intrinsic
def whole(typing: Any, low: Any, high: Any) -> Any:
    """Sums of 32 lanes from their halves."""
    result = types.UniTuple(_LANES, len(low))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(len(low)):
            halves = [builder.extract_value(arg, i) for arg in args]
            lanes = builder.shuffle_vector(*halves, _order(list(range(LANES))))
            totals = builder.insert_value(totals, lanes, i)
        return totals

    return result(low, high), generate
