"""The compiled loops of the hardwired matrix-vector product, on 16 output rows side by side.

Codes lie in the order in which the loops consume them. A block is 16 output rows, a chunk is 32
inputs of a block, and a chunk's 512 codes are cut into bit planes: one plane of 4 bits for 4-bit
weights, 2 and 1 for 3-bit, 4 and 2 for 6-bit, one of 2 for ternary ones, low bits first. A vector
of a chunk is 64 codes, of 16 rows and four successive inputs: code (row, k) at byte 4 * row + k. A
plane of w bits takes w vectors of 64 bytes, and byte j of the plane's vector v holds, from bit w *
m up, its bits of byte j of the chunk's vector v * (8 / w) + m.

Activations lie as the loops fetch them, too: in tiles of several tokens, and of 1 for the few that
are left. A tile holds, for one chunk after the other, 32 codes of each of its tokens side by side,
and for one group after the other its tokens' scales. So one address serves the whole tile.

Several matrices of one input are one product: a table has a row for each of their sections, and
threads claim blocks of any of them by counting up one shared number, so that none waits at the end
of each matrix, nor for a thread that the machine has taken away in between.

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
CODES, SCALES, LANES, OUT, OUTPUTS, BLOCKS = range(6)  # columns of the table of sections
PLANES = {2: (2,), 3: (2, 1), 4: (4,), 6: (4, 2)}
CLAIM = 8  # blocks of rows that a thread claims at most: a quarter of a MB at 4096 inputs of 4 bits
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
def _starts(typing: Any, tokens: Any, offsets: Any, index: Any) -> Any:
    """16 lanes of each token's element of an int32 array, from flat element `index` on."""
    result = types.UniTuple(_INT_LANES, len(tokens))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        totals = ir.Constant(context.get_value_type(result), ir.Undefined)
        pointer = element(context, builder, signature.args[1], args[1], args[2])
        for token in range(len(tokens)):
            place = builder.gep(pointer, [ir.Constant(_I32, token)])
            value = _spread(builder, load(builder, place, _I32, 4))
            totals = builder.insert_value(totals, value, token)
        return totals

    return result(tokens, offsets, index), generate


@_intrinsic
def _accumulate(typing: Any, planes: Any, totals: Any, codes: Any, x: Any, index: Any) -> Any:
    """Add one chunk's products of codes and activations to every token's totals.

    The chunk's codes begin at the address `codes`, the activations at flat element `index` of `x`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, sums, address, activations, place = args
        pointer = builder.inttoptr(address, ir.PointerType(_I8))
        vectors = _vectors(builder, pointer, len(planes))
        source = element(context, builder, signature.args[3], activations, place)
        source = builder.bitcast(source, ir.PointerType(_I32))
        for token in range(len(totals)):
            # Each product waits for the sum before it: a token alone has two chains of them.
            chains = [builder.extract_value(sums, token)]
            if len(totals) == 1:
                chains.append(ir.Constant(_INTS, [0] * ROWS))
            for v, vector in enumerate(vectors):
                i = token * len(vectors) + v
                four = builder.load(builder.gep(source, [ir.Constant(_I32, i)]))
                four.align = 4
                chain = v % len(chains)
                chains[chain] = _add_products(context, builder, chains[chain], vector, four)
            total = chains[0] if len(chains) == 1 else builder.add(*chains)
            sums = builder.insert_value(sums, total, token)
        return sums

    return totals(planes, totals, codes, x, index), generate


@_intrinsic
def _add_scaled(typing: Any, y: Any, totals: Any, scales: Any, steps: Any, index: Any) -> Any:
    """y += (weight scale * activation scale) * total by lane and token, each step rounded once.

    16 weight scales at the address `scales`, the tokens' scales from flat element `index` on.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result, sums, address, factors, place = args
        pointer = builder.inttoptr(address, ir.PointerType(_I16))
        scale = _half_to_float(builder, load(builder, pointer, ir.VectorType(_I16, ROWS), 2))
        source = element(context, builder, signature.args[3], factors, place)
        for token in range(len(totals)):
            step = load(builder, builder.gep(source, [ir.Constant(_I32, token)]), _F32, 4)
            factor = builder.fmul(scale, _spread(builder, step))
            value = builder.sitofp(builder.extract_value(sums, token), _FLOATS)
            lanes = builder.extract_value(result, token)
            lanes = builder.fadd(lanes, builder.fmul(factor, value))
            result = builder.insert_value(result, lanes, token)
        return result

    return y(y, totals, scales, steps, index), generate


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


@_intrinsic
def _write_rows(typing: Any, y: Any, address: Any, stride: Any) -> Any:
    """Store every token's 16 lanes from an address on, so many bytes from token to token."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes, place, step = args
        for token in range(len(y)):
            pointer = builder.inttoptr(place, ir.PointerType(_FLOATS))
            builder.store(builder.extract_value(lanes, token), pointer).align = 4
            place = builder.add(place, step)
        return context.get_dummy_value()

    return types.void(y, types.int64, types.int64), generate


@_intrinsic
def _address(typing: Any, array: Any) -> Any:
    """Where an array begins."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), generate


@_intrinsic
def _int32_at(typing: Any, address: Any) -> Any:
    """The int32 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return load(builder, builder.inttoptr(args[0], ir.PointerType(_I32)), _I32, 4)

    return types.int32(types.int64), generate


@_intrinsic
def _put(typing: Any, address: Any, value: Any) -> Any:
    """Store a float32 at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.PointerType(_F32))).align = 4
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@_intrinsic
def _claim(typing: Any, counter: Any, count: Any) -> Any:
    """Add to the first element of an int64 array, atomically; its value before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", pointer, args[1], "monotonic")

    return types.int64(counter, types.int64), generate


@inner
def _tile(planes, tokens, codes, scales, shape, activations, t, out, stride):  # type: ignore[no-untyped-def]
    """A block's outputs for the tile of tokens that begins with token t, to the address `out`.

    `codes` and `scales` are addresses, `stride` the bytes from token to token; `shape` is the
    groups, the chunks of one, and their bytes.
    """
    x, steps, offsets = activations
    groups, per_group, size = shape
    count = len(tokens)
    place, group = t * groups * per_group * CHUNK, t * groups
    y = zeros(tokens)
    for _ in range(groups):
        totals = _starts(tokens, offsets, group)
        for _ in range(per_group):
            totals = _accumulate(planes, totals, codes, x, place)
            codes, place = codes + size, place + count * CHUNK
        y = _add_scaled(y, totals, scales, steps, group)
        scales, group = scales + 2 * ROWS, group + count
    _write_rows(y, out, stride)


@inner
def _block(planes, one, several, section, b, shape, activations, tokens, buffer):  # type: ignore[no-untyped-def]
    """The outputs of a section's block b for all tokens."""
    groups, per_group, size = shape
    codes = section[CODES] + b * groups * per_group * size
    scales = section[SCALES] + b * groups * 2 * ROWS
    rows, t, outputs = section[LANES] + b * 4 * ROWS, 0, section[OUTPUTS]
    first = _int32_at(rows)
    in_order = first >= 0
    for lane in range(ROWS):
        in_order &= _int32_at(rows + 4 * lane) == first + lane
    out, stride = _address(buffer), 4 * ROWS
    while t < tokens:
        taken = len(several) if t + len(several) <= tokens else 1
        if in_order:
            out, stride = section[OUT] + 4 * (t * outputs + first), 4 * outputs
        if taken > 1:
            _tile(planes, several, codes, scales, shape, activations, t, out, stride)
        else:
            _tile(planes, one, codes, scales, shape, activations, t, out, stride)
        for lane in range(0 if in_order else ROWS):
            row = _int32_at(rows + 4 * lane)
            if row >= 0:
                for k in range(taken):
                    place = section[OUT] + 4 * ((t + k) * outputs + row)
                    _put(place, buffer[k * ROWS + lane])
        t += taken


@njit(cache=True, nogil=True, parallel=True)
def product(planes, one, several, table, per_group, threads, x, steps, sums):  # type: ignore[no-untyped-def]
    """y[t, rows] = the sum over groups of scale * step * (codes - offset) x, for every token t.

    Unchecked: the caller has checked shapes and types, and keeps alive what the table points to.
    Every output is summed by one thread, in the same order whatever their number.

    Parameters
    ----------
    planes, one, several
        Tuples of None whose lengths are the bits of a code, 1, and the tokens of a tile: a length
        is part of a tuple's type, so numba compiles one function for each.
    table
        int64 (sections, 6): addresses of a section's codes, uint8 (blocks, chunks, 64 * bits) in
        the order that this module's text gives; of its scales, float16 (blocks, groups, 16); of its
        rows, int32 (blocks, 16), the output of each lane or -1 for none; of y, float32 (tokens,
        outputs); the outputs; and the blocks.
    per_group
        Chunks of a group.
    threads
        As many as numba is set to.
    x, steps, sums
        Of `quantize`.
    """
    tokens, groups = sums.shape
    shape = groups, per_group, 64 * len(planes)
    offsets = np.empty(tokens * groups, np.int32)
    for i in range(offsets.size):  # codes 0, 1, ... stand for -2^(bits - 1), ...
        offsets[i] = -(sums.reshape(-1)[i] << (len(planes) - 1))
    blocks = table[:, BLOCKS].sum()
    together = max(1, min(CLAIM, blocks // (4 * threads)))
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        buffer = np.empty(len(several) * ROWS, np.float32)
        activations = x, steps, offsets
        while True:
            first = _claim(counter, together)
            if first >= blocks:
                break
            for i in range(first, min(first + together, blocks)):
                s, b = 0, i
                while b >= table[s, BLOCKS]:
                    b -= table[s, BLOCKS]
                    s += 1
                _block(planes, one, several, table[s], b, shape, activations, tokens, buffer)
