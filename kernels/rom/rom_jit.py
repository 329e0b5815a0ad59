"""The compiled loops of the hardwired matrix-vector product, on 16 output rows side by side.

Codes lie in the order in which the loops consume them. A block is 16 output rows, a chunk is 32
inputs of a block, and a chunk's 512 codes are cut into bit planes: one plane of 4 bits for 4-bit
weights, 2 and 1 for 3-bit, 4 and 2 for 6-bit, one of 2 for ternary ones, low bits first. A vector
of a chunk is 64 codes, of 16 rows and four successive inputs: code (row, k) at byte 4 * row + k. A
plane of w bits takes w vectors of 64 bytes, and byte j of the plane's vector v holds, from bit w *
m up, its bits of byte j of the chunk's vector v * (8 / w) + m.

Sums of a group are integers, in which order does not matter; the few float operations that follow
are written as LLVM vector operations with one rounding each, so that every machine gives the same
bits. Where the target has the AVX-512 instruction for products of bytes (VNNI) it is used, and
elsewhere the same integers come from vector code that LLVM lowers to any machine.

Importing this module compiles nothing. It is all one file because numba's cache is renewed only
when the file of the cached function changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, prange, types
from numba.extending import intrinsic, models, register_model

from hardwire.kernels.jit import inner

ROWS = 16  # output rows of a block: the float32 lanes of the widest registers
CHUNK = 32  # inputs of a chunk
WAYS = 4  # inputs that one byte product instruction takes per lane
TOKENS = 4  # tokens that share one unpacking of the codes
PLANES = {2: (2,), 3: (2, 1), 4: (4,), 6: (4, 2)}
TOP = 127  # largest 8-bit activation code
AHEAD = 8192  # bytes of codes fetched ahead: a tenth faster than the machine's own prefetching

_I8, _I16, _I32, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
_BYTES = ir.VectorType(_I8, ROWS * WAYS)
_INTS, _FLOATS = ir.VectorType(_I32, ROWS), ir.VectorType(_F32, ROWS)

# numba's stubs type an intrinsic as called with its typing context, which the caller never passes.
_intrinsic: Any = intrinsic


class IntsType(types.Type):
    """numba's type of 16 int32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="int32x16")


class FloatsType(types.Type):
    """numba's type of 16 float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


@register_model(IntsType)
class _IntsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _INTS)


@register_model(FloatsType)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _FLOATS)


_INT_LANES, _FLOAT_LANES = IntsType(), FloatsType()


def element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of flat element `index` of a C-contiguous array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def load(builder: Any, pointer: Any, kind: Any, align: int) -> Any:
    value = builder.load(builder.bitcast(pointer, ir.PointerType(kind)))
    value.align = align
    return value


def _spread(builder: Any, value: Any) -> Any:
    """One scalar in all 16 lanes."""
    kind = ir.VectorType(value.type, ROWS)
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * ROWS))


def _half_to_float(builder: Any, bits: Any) -> Any:
    """float16 bits as float32, exactly and without the help of the machine.

    Sign, exponent and mantissa are moved into place. The difference of the exponents' biases, 112,
    is left to a multiplication, which also brings float16's subnormal numbers right.
    """
    moved = builder.shl(builder.sext(bits, _INTS), ir.Constant(_INTS, [13] * ROWS))
    placed = builder.and_(moved, ir.Constant(_INTS, [0x8FFFE000 - 2**32] * ROWS))
    return builder.fmul(builder.bitcast(placed, _FLOATS), ir.Constant(_FLOATS, [2.0**112] * ROWS))


def _prefetch(builder: Any, pointer: Any, lines: int) -> None:
    """Ask for cache lines that follow the pointer at a distance; an address may be anything."""
    name = "llvm.prefetch.p0"
    kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(_I8), _I32, _I32, _I32])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    for line in range(lines):
        place = builder.gep(pointer, [ir.Constant(_I32, AHEAD + 64 * line)])
        builder.call(function, [place, read, keep, data])


def _vectors(builder: Any, pointer: Any, bits: int) -> list[Any]:
    """The eight vectors of a chunk, 64 codes each, from the chunk's bit planes."""
    words = ir.VectorType(_I16, ROWS * WAYS // 2)  # vector units do not shift bytes
    vectors: list[Any] = [None] * (CHUNK // WAYS)
    begin, low = 0, 0
    _prefetch(builder, pointer, bits)
    for width in PLANES[bits]:
        per_byte = 8 // width
        mask = ir.Constant(_BYTES, [((1 << width) - 1) << low] * (ROWS * WAYS))
        for v in range(width):
            place = builder.gep(pointer, [ir.Constant(_I32, begin + v * ROWS * WAYS)])
            plane = load(builder, place, words, 1)
            for m in range(per_byte):
                shift = low - width * m
                amount = ir.Constant(words, [abs(shift)] * (ROWS * WAYS // 2))
                moved = builder.shl(plane, amount) if shift > 0 else builder.lshr(plane, amount)
                part = builder.and_(builder.bitcast(moved, _BYTES), mask)
                before = vectors[v * per_byte + m]
                vectors[v * per_byte + m] = part if before is None else builder.or_(before, part)
        begin, low = begin + width * ROWS * WAYS, low + width
    return vectors


def _add_products(context: Any, builder: Any, total: Any, codes: Any, activations: Any) -> Any:
    """total[row] += the sum of codes[4 row + k] * activations[k] over the four k.

    Codes are unsigned bytes below 64, activations four signed bytes in an int32.
    """
    spread = _spread(builder, activations)
    if "+avx512vnni" in context.codegen().magic_tuple()[2]:
        name = "llvm.x86.avx512.vpdpbusd.512"
        function = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(_INTS, [_INTS, _INTS, _INTS]), name
        )
        return builder.call(function, [total, builder.bitcast(codes, _INTS), spread])
    # Four products of at most 63 * 127 fit an int16.
    wide = ir.VectorType(_I16, ROWS * WAYS)
    value = builder.mul(
        builder.zext(codes, wide), builder.sext(builder.bitcast(spread, _BYTES), wide)
    )
    count = ROWS * WAYS
    while count > ROWS:
        count //= 2
        lanes = ir.VectorType(_I32, count)
        even = builder.shuffle_vector(
            value, value, ir.Constant(lanes, list(range(0, 2 * count, 2)))
        )
        odd = builder.shuffle_vector(value, value, ir.Constant(lanes, list(range(1, 2 * count, 2))))
        value = builder.add(even, odd)
    return builder.add(total, builder.sext(value, _INTS))


@_intrinsic
def zeros(typing: Any, tokens: Any) -> Any:
    """16 float lanes of zero per token, of which there are as many as `tokens` is long."""
    result = types.UniTuple(_FLOAT_LANES, len(tokens))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(result), [[0.0] * ROWS] * len(tokens))

    return result(tokens), generate


@_intrinsic
def _offset(typing: Any, planes: Any, tokens: Any, sums: Any, index: Any, stride: Any) -> Any:
    """Per token, what codes 0, 1, ... add too much, negative: they stand for -2^(bits - 1), ...

    `sums` holds the group's sum of activations, at flat element `index + token * stride`.
    """
    result = types.UniTuple(_INT_LANES, len(tokens))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals = ir.Constant(context.get_value_type(result), ir.Undefined)
        place, factor = args[3], ir.Constant(_I32, -(2 ** (len(planes) - 1)))
        for token in range(len(tokens)):
            pointer = element(context, builder, signature.args[2], args[2], place)
            amount = builder.mul(load(builder, pointer, _I32, 4), factor)
            totals = builder.insert_value(totals, _spread(builder, amount), token)
            place = builder.add(place, args[4])
        return totals

    return result(planes, tokens, sums, index, stride), generate


@_intrinsic
def _accumulate(
    typing: Any, planes: Any, totals: Any, codes: Any, begin: Any, x: Any, index: Any, stride: Any
) -> Any:
    """Add one chunk's products of codes and activations to every token's totals.

    The chunk's codes begin at flat element `begin` of `codes`, the token's 32 activations at
    `index + token * stride` of `x`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, sums, packed, first, activations, place, step = args
        pointer = element(context, builder, signature.args[2], packed, first)
        vectors = _vectors(builder, pointer, len(planes))
        for token in range(len(totals)):
            # Two chains of sums, as each product waits for the sum before it.
            chains = [builder.extract_value(sums, token), ir.Constant(_INTS, [0] * ROWS)]
            source = element(context, builder, signature.args[4], activations, place)
            source = builder.bitcast(source, ir.PointerType(_I32))
            for v, vector in enumerate(vectors):
                four = builder.load(builder.gep(source, [ir.Constant(_I32, v)]))
                four.align = 4
                chains[v % 2] = _add_products(context, builder, chains[v % 2], vector, four)
            sums = builder.insert_value(sums, builder.add(*chains), token)
            place = builder.add(place, step)
        return sums

    return totals(planes, totals, codes, begin, x, index, stride), generate


@_intrinsic
def _add_scaled(
    typing: Any, y: Any, totals: Any, scales: Any, begin: Any, steps: Any, index: Any, stride: Any
) -> Any:
    """y += (weight scale * activation scale) * total by lane and token, each step rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result, sums, halves, first, factors, place, step = args
        pointer = element(context, builder, signature.args[2], halves, first)
        scale = _half_to_float(builder, load(builder, pointer, ir.VectorType(_I16, ROWS), 2))
        for token in range(len(totals)):
            source = element(context, builder, signature.args[4], factors, place)
            factor = builder.fmul(scale, _spread(builder, load(builder, source, _F32, 4)))
            value = builder.sitofp(builder.extract_value(sums, token), _FLOATS)
            lanes = builder.extract_value(result, token)
            lanes = builder.fadd(lanes, builder.fmul(factor, value))
            result = builder.insert_value(result, lanes, token)
            place = builder.add(place, step)
        return result

    return y(y, totals, scales, begin, steps, index, stride), generate


@_intrinsic
def write(typing: Any, y: Any, buffer: Any) -> Any:
    """Store every token's 16 lanes to a float32 array, one token after the other."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for token in range(len(y)):
            place = context.get_constant(types.intp, token * ROWS)
            pointer = element(context, builder, signature.args[1], args[1], place)
            pointer = builder.bitcast(pointer, ir.PointerType(_FLOATS))
            builder.store(builder.extract_value(args[0], token), pointer).align = 4
        return context.get_dummy_value()

    return types.void(y, buffer), generate


@inner
def _block(planes, tokens, codes, scales, x, steps, sums, b, t, buffer):  # type: ignore[no-untyped-def]
    """The outputs of block b for as many tokens from t on as `tokens` is long, into `buffer`."""
    groups, chunks = scales.shape[1], codes.shape[1]
    per_group, size = chunks // groups, codes.shape[2]
    y = zeros(tokens)
    for g in range(groups):
        totals = _offset(planes, tokens, sums, t * groups + g, groups)
        for c in range(g * per_group, (g + 1) * per_group):
            begin, inputs = (b * chunks + c) * size, chunks * CHUNK
            totals = _accumulate(planes, totals, codes, begin, x, t * inputs + c * CHUNK, inputs)
        begin = (b * groups + g) * ROWS
        y = _add_scaled(y, totals, scales, begin, steps, t * groups + g, groups)
    write(y, buffer)


@inner
def _outputs(planes, one, several, codes, scales, rows, x, steps, sums, b, y):  # type: ignore[no-untyped-def]
    """The outputs of block b for every token: all that a thread does, so that it is compiled once
    and not again for each way in which numba types a parallel loop.
    """
    tokens, together, t = y.shape[0], len(several), np.int64(0)
    buffer = np.empty(together * ROWS, np.float32)
    while t < tokens:
        if t + together <= tokens:
            taken = together
            _block(planes, several, codes, scales, x, steps, sums, b, t, buffer)
        else:
            taken = 1
            _block(planes, one, codes, scales, x, steps, sums, b, t, buffer)
        for k in range(taken):
            for lane in range(ROWS):
                if rows[b, lane] >= 0:
                    y[t + k, rows[b, lane]] = buffer[k * ROWS + lane]
        t += taken


@njit(cache=True, nogil=True, parallel=True)
def product(planes, one, several, codes, scales, rows, x, steps, sums, y):  # type: ignore[no-untyped-def]
    """y[t, rows] = the sum over groups of scale * step * (codes - offset) x, for every token t.

    Unchecked: the caller has checked shapes and types. Runs on the threads that numba is set to;
    every output is summed by one thread, in the same order whatever their number.

    Parameters
    ----------
    planes, one, several
        Tuples of None whose lengths are the bits of a code, 1, and the tokens taken at a time: a
        length is part of a tuple's type, so numba compiles one function for each.
    codes
        uint8 (blocks, chunks, 64 * bits), in the order that this module's text gives.
    scales
        float16 bits as uint16, (blocks, groups, 16).
    rows
        int32 (blocks, 16): the output of each lane, or -1 for none.
    x, steps, sums
        Of `quantize`.
    y
        float32 (tokens, outputs).
    """
    for b in prange(codes.shape[0]):
        _outputs(planes, one, several, codes, scales, rows, x, steps, sums, np.int64(b), y)


@njit(cache=True, nogil=True, error_model="numpy")
def quantize(x, group, codes, steps, sums):  # type: ignore[no-untyped-def]
    """8-bit activations: symmetric codes with one float32 scale per group of a token.

    Parameters
    ----------
    x
        float32 (tokens, inputs), C-contiguous.
    group
        Inputs that share a scale.
    codes
        int8 (tokens, inputs, rounded up to whole groups), written; zero beyond the last input.
    steps, sums
        float32 and int32 (tokens, groups), written: the scales, and the sums of the codes.

    Returns
    -------
    False if a value is not finite; codes, steps and sums are then incomplete.
    """
    for t in range(x.shape[0]):
        for g in range(steps.shape[1]):
            # Slices, because indices that numba cannot see to be positive are no vector code.
            values = x[t, g * group : (g + 1) * group]
            written = codes[t, g * group : (g + 1) * group]
            # Of float32 magnitudes the bits order as the values do, and LLVM makes vector code of
            # an integer maximum only.
            bits = values.view(np.int32)
            top = np.int32(0)
            for i in range(bits.size):
                top = max(top, bits[i] & np.int32(0x7FFFFFFF))
            if top >= np.int32(0x7F800000):
                return False
            step = np.int32(top).view(np.float32) / np.float32(TOP)
            steps[t, g] = step
            total = np.int32(0)
            written[:] = 0
            if step > 0:
                for i in range(values.size):
                    code = np.rint(values[i] / step)
                    # Beyond 127 only where the scale is subnormal and so has lost bits.
                    code = min(max(code, np.float32(-TOP)), np.float32(TOP))
                    written[i] = np.int8(code)
                    total += np.int32(code)
            sums[t, g] = total
    return True
