"""The steps of the low-rank product for several rows and tokens at once, as numba intrinsics.

A step takes the sums of all its rows and tokens as one tuple of 32-lane values, adds one group of
products to each, and gives them back; LLVM keeps the whole tuple in registers of the width that the
machine has. How many rows, groups and tokens there are follows from the lengths of tuples, which
are part of their types, so numba compiles one function for each. Addresses are int64, in bytes.

The format of stored weights follows from the type of an empty array, `kind`: float32; uint16 for
float16 bits; int8; uint8 for two int4 codes per byte, the earlier weight in the low half; int16 for
four int2 codes per byte, the earliest in the lowest bits. An int4 or int2 code is left at the top
of its byte, which makes the value 16 or 64 times the code, as vector units do not shift bytes;
`expand_scales` makes up for it.

`present` is None for whole groups, or how many weights of the only group there are; those that
follow are read as zeros, and written nowhere.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from hardwire.kernels.lowrank.lowrank_jit import (
    _F32,
    _F32_LANES,
    _I8,
    _I32,
    _I32_LANES,
    _LANES,
    LANES,
    _half_to_float,
    _halved,
    _intrinsic,
    _order,
    _spread_lanes,
)

LANE_BYTES = 4 * LANES
HALF = LANES // 2  # the lanes of one register, which is as much as a cache line, where it is widest
AHEAD = 32  # groups: 32 tokens take 53 µs for B, 57 with 64 groups, 59 with 128, 62 without

_I1, _I16, _I64 = ir.IntType(1), ir.IntType(16), ir.IntType(64)
_GROUP_BYTES = {
    types.float32: 128, types.uint16: 64, types.int8: 32, types.uint8: 16, types.int16: 8,
}  # fmt: skip
_CODE_BITS = {types.int8: 8, types.uint8: 4, types.int16: 2}


def _at(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(address, ir.Constant(_I64, offset)), ir.PointerType(kind))


def _call(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    """Call an LLVM intrinsic function."""
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result, [arg.type for arg in args]), name
    )
    return builder.call(function, args)


def _mask(builder: Any, present: Any, count: int) -> Any:
    """Of so many lanes, which are among the first `present`."""
    lanes = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
    limit = _spread_lanes(builder, builder.trunc(present, _I32), count)
    return builder.icmp_signed("<", lanes, limit)


def _read(builder: Any, address: Any, element: Any, count: int, present: Any) -> Any:
    """So many elements, or the first `present` of them followed by zeros."""
    kind, is_float = ir.VectorType(element, count), element is _F32
    align = 4 if is_float else element.width // 8
    if present is None:
        value = builder.load(builder.inttoptr(address, ir.PointerType(kind)))
        value.align = align
        return value
    name = f"llvm.masked.load.v{count}{'f' if is_float else 'i'}{8 * align}.p0"
    zeros = ir.Constant(kind, [0.0 if is_float else 0] * count)
    mask = _mask(builder, present, count)
    pointer = builder.inttoptr(address, ir.PointerType(kind))
    return _call(builder, name, kind, [pointer, ir.Constant(_I32, align), mask, zeros])


def _read_spread(builder: Any, address: Any, offset: int) -> Any:
    """One float32 in all lanes."""
    value = builder.load(_at(builder, address, offset, _F32))
    value.align = 4
    return _spread_lanes(builder, value, LANES)


def _multiply_add(builder: Any, left: Any, right: Any, total: Any) -> Any:
    kind = total.type
    return _call(builder, f"llvm.fma.v{kind.count}f32", kind, [left, right, total])


def _fetch(builder: Any, address: Any) -> None:
    """Ask for the cache line at an address, which may be any."""
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    place = builder.inttoptr(address, ir.PointerType(_I8))
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [place, read, keep, data])


def _fetch_ahead(builder: Any, kind: Any, address: Any) -> None:
    """Ask for the cache lines that a group of stored weights will need some groups later."""
    size = _GROUP_BYTES[kind.dtype]
    for line in range(0, size, 64):
        _fetch(builder, builder.add(address, ir.Constant(_I64, AHEAD * size + line)))


def _floats(context: Any, builder: Any, bits: Any) -> Any:
    """32 float16, given as their bits, in float32."""
    if "+f16c" in context.codegen().magic_tuple()[2]:
        halves = builder.bitcast(bits, ir.VectorType(ir.HalfType(), LANES))
        return builder.fpext(halves, _F32_LANES)
    return _half_to_float(builder, bits)


def _weights(
    context: Any, builder: Any, kind: Any, address: Any, scale: tuple[Any, int], present: Any
) -> Any:
    """A group of 32 weights in float32, with the address and offset of its expanded scale."""
    if kind.dtype == types.float32:
        return _read(builder, address, _F32, LANES, present)
    if kind.dtype == types.uint16:
        return _floats(context, builder, _read(builder, address, _I16, LANES, present))
    bits = _CODE_BITS[kind.dtype]
    per_byte = 8 // bits
    if present is not None and per_byte > 1:
        present = builder.udiv(
            builder.add(present, ir.Constant(_I64, per_byte - 1)), ir.Constant(_I64, per_byte)
        )
    if bits == 4 and "+avx512f" in context.codegen().magic_tuple()[2]:
        return _looked_up(builder, address, _read_spread(builder, *scale), present)
    codes = _read(builder, address, _I8, LANES // per_byte, present)
    if per_byte > 1:
        codes = _spread_codes(builder, codes, bits)
    values = builder.sitofp(builder.sext(codes, _I32_LANES), _F32_LANES)
    return builder.fmul(values, _read_spread(builder, *scale))


def _looked_up(builder: Any, address: Any, scale: Any, present: Any) -> Any:
    """32 int4 codes times their scale, from a table of the 16 products that there are.

    As many results as a register holds are one look-up. It goes by the lowest 4 bits of each lane:
    a byte of two codes is spread to two lanes, and moved so that the later code ends up there.
    """
    half = ir.VectorType(_F32, HALF)
    order = _order(list(range(HALF)))
    values = [16.0 * (code - 16 if code > 7 else code) for code in range(16)]
    table = builder.fmul(builder.shuffle_vector(scale, scale, order), ir.Constant(half, values))
    wide, results = ir.VectorType(_I64, HALF // 2), []
    for part in range(2):
        size = HALF // 2
        place = builder.add(address, ir.Constant(_I64, part * size))
        left = None if present is None else builder.sub(present, ir.Constant(_I64, part * size))
        pairs = builder.zext(_read(builder, place, _I8, size, left), wide)
        pairs = builder.or_(pairs, builder.shl(pairs, ir.Constant(wide, [28] * size)))
        lanes = builder.bitcast(pairs, ir.VectorType(_I32, HALF))
        results.append(_call(builder, "llvm.x86.avx512.permvar.sf.512", half, [table, lanes]))
    return builder.shuffle_vector(*results, _order(list(range(LANES))))


def _spread_codes(builder: Any, packed: Any, bits: int) -> Any:
    """The codes of some bytes in order, each at the top of a byte of its own, zeros below it."""
    size, per_byte = packed.type.count, 8 // bits
    top = ir.Constant(packed.type, [256 - (1 << (8 - bits))] * size)
    parts = []
    for shift in range(8 - bits, -1, -bits):
        moved = builder.shl(packed, ir.Constant(packed.type, [shift] * size)) if shift else packed
        parts.append(builder.and_(moved, top))
    while len(parts) > 1:  # side by side, those of the first bits first
        both = _order(list(range(2 * parts[0].type.count)))
        parts = [
            builder.shuffle_vector(parts[i], parts[i + 1], both) for i in range(0, len(parts), 2)
        ]
    order = [lane // per_byte + lane % per_byte * size for lane in range(LANES)]
    return builder.shuffle_vector(parts[0], parts[0], _order(order))


def _present(signature: Any, args: Any) -> Any:
    """The value of the last argument, or None."""
    return None if signature.args[-1] == types.none else args[-1]


@_intrinsic
def stored_bytes(typing: Any, kind: Any, weights: Any) -> Any:
    """Bytes of so many consecutive stored weights of a row."""
    size = _GROUP_BYTES[kind.dtype]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        total = builder.mul(args[1], ir.Constant(_I64, size))
        rounded_up = builder.add(total, ir.Constant(_I64, LANES - 1))
        return builder.sdiv(rounded_up, ir.Constant(_I64, LANES))

    return types.int64(kind, types.int64), generate


@_intrinsic
def has_scales(typing: Any, kind: Any) -> Any:
    """Whether weights of this format have scales, known when it is compiled."""
    answer = kind.dtype in _CODE_BITS

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, answer)

    return types.boolean(kind), generate


@_intrinsic
def is_float32(typing: Any, kind: Any) -> Any:
    """Whether the format is float32, known when it is compiled."""
    answer = kind.dtype == types.float32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, answer)

    return types.boolean(kind), generate


@_intrinsic
def address_of(typing: Any, array: Any) -> Any:
    """Where an array begins. This keeps no array alive: numba frees one that a function made after
    the last use of its name, so pass such an array on, and ask where it begins in there.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, _I64)

    return types.int64(array), generate


@_intrinsic
def addresses(typing: Any, several: Any, base: Any, stride: Any, indices: Any) -> Any:
    """base + stride * index for each of some int64 at the address `indices`, as many as `several`
    is long.
    """
    result = types.UniTuple(types.int64, len(several))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(len(several)):
            index = builder.load(_at(builder, args[3], 8 * i, _I64))
            place = builder.add(args[1], builder.mul(args[2], index))
            places = builder.insert_value(places, place, i)
        return places

    return result(several, types.int64, types.int64, types.int64), generate


@_intrinsic
def move(typing: Any, places: Any, distance: Any) -> Any:
    """Each address that much further on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        moved = args[0]
        for i in range(len(places)):
            place = builder.add(builder.extract_value(moved, i), args[1])
            moved = builder.insert_value(moved, place, i)
        return moved

    return places(places, types.int64), generate


@_intrinsic
def zeros(typing: Any, rows: Any, several: Any) -> Any:
    """Sums of no products yet, for so many rows of several tokens."""
    result = types.UniTuple(_LANES, len(rows) * len(several))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(result), [[0.0] * LANES] * len(result))

    return result(rows, several), generate


@_intrinsic
def load(typing: Any, groups: Any, places: Any, present: Any) -> Any:
    """So many groups of float32 from each address on."""
    result = types.UniTuple(_LANES, len(groups) * len(places))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(len(result)):
            place = builder.extract_value(args[1], i // len(groups))
            place = builder.add(place, ir.Constant(_I64, i % len(groups) * LANE_BYTES))
            value = _read(builder, place, _F32, LANES, _present(signature, args))
            lanes = builder.insert_value(lanes, value, i)
        return lanes

    return result(groups, places, present), generate


@_intrinsic
def store(typing: Any, lanes: Any, places: Any, present: Any) -> Any:
    """Write groups of float32 from each address on, equally many to each."""
    groups = len(lanes) // len(places)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        limit = _present(signature, args)
        for i in range(len(lanes)):
            value = builder.extract_value(args[0], i)
            place = builder.extract_value(args[1], i // groups)
            pointer = _at(builder, place, i % groups * LANE_BYTES, _F32_LANES)
            if limit is None:
                builder.store(value, pointer).align = 4
            else:
                mask, name = _mask(builder, limit, LANES), f"llvm.masked.store.v{LANES}f32.p0"
                _call(builder, name, ir.VoidType(), [value, pointer, ir.Constant(_I32, 4), mask])
        return context.get_dummy_value()

    return types.void(lanes, places, present), generate


@_intrinsic
def add_down(
    typing: Any,
    sums: Any,
    kind: Any,
    codes: Any,
    rows: Any,
    size: Any,
    scales: Any,
    x: Any,
    present: Any,
) -> Any:
    """sums[t, r] += weights[r] * x[t] by lane: a group of several rows, for several tokens.

    The stored group of row rows[r] is `rows[r] * size` bytes from `codes` on, and its expanded
    scale is element rows[r] at `scales`; `x` has an address for each token.
    """  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals, _, begin, places, step, factors, vectors, _ = args
        limit = _present(signature, args)
        inputs = [
            _read(builder, builder.extract_value(vectors, t), _F32, LANES, limit)
            for t in range(len(x))
        ]
        for r in range(len(rows)):
            row = builder.extract_value(places, r)
            place = builder.add(begin, builder.mul(row, step))
            factor = builder.add(factors, builder.mul(row, ir.Constant(_I64, 4)))
            weights = _weights(context, builder, kind, place, (factor, 0), limit)
            for t, lanes in enumerate(inputs):
                i = t * len(rows) + r
                total = builder.extract_value(totals, i)
                total = _multiply_add(builder, weights, lanes, total)
                totals = builder.insert_value(totals, total, i)
        return totals

    return sums(sums, kind, codes, rows, size, scales, x, present), generate


@_intrinsic
def add_up(
    typing: Any, sums: Any, kind: Any, codes: Any, scales: Any, hidden: Any, present: Any
) -> Any:
    """sums[t, g] += weights[g] * hidden[t] by lane: several groups of a row, for several tokens.

    The stored groups follow each other at `codes`, their expanded scales at `scales`; `hidden` has
    an address for each token.
    """
    groups = len(sums) // len(hidden)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals, _, begin, factors, places, _ = args
        values = [
            _read_spread(builder, builder.extract_value(places, t), 0) for t in range(len(hidden))
        ]
        for g in range(groups):
            place = builder.add(begin, ir.Constant(_I64, g * _GROUP_BYTES[kind.dtype]))
            weights = _weights(
                context, builder, kind, place, (factors, 4 * g), _present(signature, args)
            )
            if len(values) > 1:  # a token alone has as many loads as the machine can do already
                _fetch_ahead(builder, kind, place)
            for t, value in enumerate(values):
                i = t * groups + g
                total = builder.extract_value(totals, i)
                totals = builder.insert_value(
                    totals, _multiply_add(builder, weights, value, total), i
                )
        return totals

    return sums(sums, kind, codes, scales, hidden, present), generate


@_intrinsic
def finish(typing: Any, sums: Any, factor: Any, hidden: Any) -> Any:
    """Write factor times the sum over the lanes, by halving, of each row to its token's address."""
    rows = len(sums) // len(hidden)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for i in range(len(sums)):
            total = builder.fmul(_halved(builder, builder.extract_value(args[0], i)), args[1])
            place = builder.extract_value(args[2], i // rows)
            builder.store(total, _at(builder, place, i % rows * 4, _F32)).align = 4
        return context.get_dummy_value()

    return types.void(sums, types.float32, hidden), generate


@_intrinsic
def expand_scales(typing: Any, kind: Any, scales: Any, out: Any, present: Any) -> Any:
    """Write 32 stored scales, or those present, as what the codes have to be multiplied by."""
    unit = 2.0 ** (_CODE_BITS.get(kind.dtype, 8) - 8)  # a power of two: products stay exact

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        limit = _present(signature, args)
        values = _floats(context, builder, _read(builder, args[1], _I16, LANES, limit))
        values = builder.fmul(values, ir.Constant(_F32_LANES, [unit] * LANES))
        builder.store(values, _at(builder, args[2], 0, _F32_LANES)).align = 4
        return context.get_dummy_value()

    return types.void(kind, types.int64, types.int64, present), generate
