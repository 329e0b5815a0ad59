"""The hardwired matrix-vector product y = W x: weights in mask ROM, 8-bit activations.

A ROM cell holds a code of b bits, which stands for one of the 2^b integers of the alphabet
-2^(b - 1) ... 2^(b - 1) - 1. A group of successive inputs, 32 unless stated, shares one float16
weight scale per output and one float32 activation scale per token. For one token:

1. In each group, the activation scale is max|x| / 127, and an activation's code is x over that
   scale, rounded to nearest (ties to even) and clipped to -127 ... 127; where the scale is 0 (all
   zeros, or subnormal values beyond its reach) the codes are 0.
2. For each input in turn, all products of its code with the alphabet are formed once, each output's
   cell selects one of them, and each output adds it to its integer sum.
3. At the end of a group, y = y + (weight scale * activation scale) * sum in float32, each of the
   three operations rounded once, and before them a sum beyond 2^24; groups in order, from y = 0 on.

`product_select` does literally that; `RomMatrix.apply` gives the same bits. A matrix may mix two
widths, each output row having one of them, or be `Ternary`: the alphabet is then -1, 0, 1, stored
in 2 bits, and a product is the activation's code, its negative or nothing.

A group may be a whole row. Bits stored, and the width of a group's sum, are those of
`hardwire.models.rom.RomFormat`, by which area and energy go.

Source of the scheme: US 2025/0123802 A1 and US 2025/0225198 A1. Formats and scales are this
project's choice, as those of HC1 are not published.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.kernels.rom.product import apply_all
from hardwire.kernels.rom.ternary import Ternary
from hardwire.models.rom import RomFormat

BITS = (3, 4, 6)
"""Bits of a ROM cell's code."""

TERNARY_BITS = 2
"""Bits of a ternary code, of whose four values that of -2 is none."""

_PLANES = {2: (2,), 3: (2, 1), 4: (4,), 6: (4, 2)}
_ROWS, _CHUNK, _WAYS = 16, 32, 4  # the layout that `rom_jit` describes
_VECTOR = _ROWS * _WAYS
_TOP = 127
_MAX_GROUP = 65536  # 65536 * 63 * 127 < 2^31: a group's integer sum fits an int32
_CACHE_LINE = 64


@dataclass(frozen=True)
class Mix:
    """Two widths in one matrix: a share of the output rows takes the higher one.

    The rows taken are those whose squared error falls most by it. HC1 combines 3-bit and 6-bit
    parameters in a ratio that is not published; a sixth of the rows makes 3.5 bits per cell.
    """

    low: int = 3
    high: int = 6
    share: float = 1 / 6

    def __post_init__(self) -> None:
        if self.low not in BITS or self.high not in BITS or self.low >= self.high:
            raise ValueError(
                f"a mix takes two of {BITS} bits, the lower first, not {self.low} and {self.high}"
            )
        if not 0 < self.share < 1:
            raise ValueError(f"the share of a mix lies between 0 and 1, not {self.share}")


@dataclass(frozen=True, eq=False)
class RomSection:
    """The output rows of a matrix that have one width.

    Attributes
    ----------
    bits
        Bits of a code.
    codes
        uint8 (blocks, chunks, 64 * bits): bit planes in the order that
        `hardwire.kernels.rom.rom_jit` gives.
    scales
        float16 bits as uint16, (blocks, groups, 16).
    rows
        int32 (blocks, 16): the output in each lane, or -1 for none.
    """

    bits: int
    codes: NDArray[np.uint8]
    scales: NDArray[np.uint16]
    rows: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales; `rows` is wiring."""
        return self.codes.nbytes + self.scales.nbytes

    @functools.cached_property
    def addresses(self) -> tuple[int, int, int]:
        """Where codes, scales and rows lie, for the compiled loops."""
        return self.codes.ctypes.data, self.scales.ctypes.data, self.rows.ctypes.data

    def __getstate__(self) -> dict[str, Any]:
        # Addresses are not those of a copy's arrays.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _aligned_empty(size: int) -> NDArray[np.uint8]:
    buffer = np.empty(size + _CACHE_LINE, np.uint8)
    begin = -buffer.ctypes.data % _CACHE_LINE
    return buffer[begin : begin + size]


def _freeze(
    bits: int, codes: NDArray[np.uint8], scales: NDArray[np.uint16], rows: NDArray[np.int32]
) -> RomSection:
    """A section of read-only arrays, the codes beginning on a cache line."""
    if codes.ctypes.data % _CACHE_LINE or not codes.flags.c_contiguous:
        copy = _aligned_empty(codes.size).reshape(codes.shape)
        copy[...] = codes
        codes = copy
    # Views, so that the caller's own arrays stay as writeable as they were.
    codes, scales, rows = codes.view(), np.ascontiguousarray(scales).view(), rows.copy()
    for array in (codes, scales, rows):
        array.flags.writeable = False
    return RomSection(bits, codes, scales, rows)


def _pack_rows(
    weights: NDArray[np.float32], rows: NDArray[np.intp], bits: int, group: int
) -> tuple[RomSection, NDArray[np.float64]]:
    """Some rows of a matrix as one section, and their squared errors."""
    from hardwire.kernels.rom.pack_jit import pack  # noqa: PLC0415

    groups = -(-weights.shape[1] // group)
    blocks, chunks = -(-rows.size // _ROWS), groups * group // _CHUNK
    lanes = np.full((blocks, _ROWS), -1, np.int32)
    lanes.reshape(-1)[: rows.size] = rows
    codes = _aligned_empty(blocks * chunks * _VECTOR * bits).reshape(blocks, chunks, -1)
    scales = np.empty((blocks, groups, _ROWS), np.uint16)
    errors = np.empty((blocks, _ROWS))
    pack((None,) * bits, (None,), weights, lanes, group, codes, scales, errors)
    errors = errors.reshape(-1)[: rows.size]
    if not np.isfinite(errors).all():
        bad = weights[rows[np.argmin(np.isfinite(errors))]]
        if not np.isfinite(bad).all():
            raise ValueError("ROM weights hold values that are not finite")
        raise ValueError(
            f"a ROM weight of {np.abs(bad).max():.6g} needs a scale beyond float16 at {bits} bits:"
            f" weights reach up to {2 ** (bits - 1) * 65504} at most"
        )
    return _freeze(bits, codes, scales, lanes), errors


def _pack_ternary(weights: NDArray[np.float32], rule: Ternary, group: int) -> RomSection:
    """All rows of a matrix as one ternary section."""
    from hardwire.kernels.rom.pack_jit import lay_out  # noqa: PLC0415

    codes, found = rule.rounded(weights, group)
    outputs, groups = found.shape
    blocks, chunks = -(-outputs // _ROWS), groups * group // _CHUNK
    lanes = np.full((blocks, _ROWS), -1, np.int32)
    lanes.reshape(-1)[:outputs] = np.arange(outputs)
    packed = _aligned_empty(blocks * chunks * _VECTOR * TERNARY_BITS).reshape(blocks, chunks, -1)
    lay_out((None,) * TERNARY_BITS, codes, lanes, packed)
    scales = np.zeros((blocks, _ROWS, groups), np.float16)
    scales.reshape(-1, groups)[:outputs] = found
    halves = np.ascontiguousarray(scales.transpose(0, 2, 1)).view(np.uint16)
    return _freeze(TERNARY_BITS, packed, halves, lanes)


def _unpacked(section: RomSection) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes (lanes, inputs) and scales (lanes, groups), padding included."""
    blocks, chunks, _ = section.codes.shape
    vectors = np.zeros((blocks, chunks, _CHUNK // _WAYS, _VECTOR), np.uint8)
    begin, low = 0, 0
    for width in _PLANES[section.bits]:
        plane = section.codes[:, :, begin : begin + width * _VECTOR]
        plane = plane.reshape(blocks, chunks, width, 1, _VECTOR)
        shifts = np.arange(0, 8, width, dtype=np.uint8)[:, None]
        parts = plane >> shifts & np.uint8((1 << width) - 1)
        vectors |= (parts << np.uint8(low)).reshape(vectors.shape)
        begin, low = begin + width * _VECTOR, low + width
    codes = vectors.reshape(blocks, chunks, -1, _ROWS, _WAYS).transpose(0, 3, 1, 2, 4)
    scales = section.scales.view(np.float16).astype(np.float32).transpose(0, 2, 1)
    lanes = blocks * _ROWS
    return codes.reshape(lanes, -1), scales.reshape(lanes, -1)


@dataclass(frozen=True, eq=False)
class RomMatrix:
    """A matrix of weights as cast in ROM; made by `RomMatrix.pack`.

    Attributes
    ----------
    in_features, out_features
        Shape of the matrix, (out_features, in_features).
    group
        Inputs that share a scale.
    sections
        The rows of each width, by rising width.
    """

    in_features: int
    out_features: int
    group: int
    sections: tuple[RomSection, ...]

    @classmethod
    def pack(cls, weights: ArrayLike, bits: int | Mix | Ternary, group: int = 32) -> RomMatrix:
        """Round weights to codes and scales.

        Each group of a row takes the scale, of eight, with the least squared error: the scale with
        which the weight of largest magnitude becomes the code -2^(b - 1), times 1, 17/16, and 15/16
        down to 5/8 in steps of 1/16; rounded to float16. Ternary ones have a rule of their own.

        Parameters
        ----------
        weights
            (out_features, in_features), read as float32.
        bits
            3, 4 or 6, a `Mix` of two of them, or `Ternary`.
        group
            Inputs that share a scale: a multiple of 32, up to 65536. The last group of a row may
            cover fewer inputs; its cells are there all the same.

        Raises
        ------
        ValueError
            If the weights are no matrix, hold none or one that is not finite or beyond a float16
            scale, or if the bits or the group are not such values.
        """
        if not isinstance(bits, Mix | Ternary) and bits not in BITS:
            raise ValueError(
                f"ROM cells have 3, 4 or 6 bits, a Mix of two, or are Ternary, not {bits!r}"
            )
        if group % _CHUNK or not _CHUNK <= group <= _MAX_GROUP:
            raise ValueError(
                f"a ROM group is a multiple of {_CHUNK} inputs up to {_MAX_GROUP}, not {group}"
            )
        with np.errstate(over="ignore"):  # a float64 that float32 cannot hold is caught as infinite
            matrix = np.ascontiguousarray(weights, dtype=np.float32)
        if np.ndim(weights) != 2 or not matrix.size:
            raise ValueError(
                f"ROM weights must be a matrix with rows and columns, not of shape"
                f" {np.shape(weights)}"
            )
        out_features, in_features = matrix.shape
        if isinstance(bits, Ternary):
            section = _pack_ternary(matrix, bits, group)
            return cls(in_features, out_features, group, (section,))
        every = np.arange(out_features)
        if isinstance(bits, Mix):
            gain = _pack_rows(matrix, every, bits.low, group)[1]
            gain = gain - _pack_rows(matrix, every, bits.high, group)[1]
            order = np.argsort(-gain, kind="stable")
            count = round(bits.share * out_features)
            chosen = {bits.low: np.sort(order[count:]), bits.high: np.sort(order[:count])}
        else:
            chosen = {bits: every}
        sections = (
            _pack_rows(matrix, rows, width, group)[0] for width, rows in chosen.items() if rows.size
        )
        return cls(in_features, out_features, group, tuple(sections))

    @classmethod
    def stack(cls, parts: Sequence[RomMatrix]) -> RomMatrix:
        """One matrix with the rows of several, one below the other.

        So matrices that read the same input (q, k and v) become one product, and a matrix can be
        packed a few rows at a time.

        Raises
        ------
        ValueError
            If there is no part, or two differ in their inputs or their group.
        """
        if not parts:
            raise ValueError("a stack of ROM matrices has at least one part")
        first = parts[0]
        for part in parts[1:]:
            if (part.in_features, part.group) != (first.in_features, first.group):
                raise ValueError(
                    f"stacked ROM matrices share inputs and group: {first.in_features} and"
                    f" {first.group}, not {part.in_features} and {part.group}"
                )
        pieces: dict[int, list[RomSection]] = {}
        begin = 0
        for part in parts:
            for section in part.sections:
                rows = np.where(section.rows < 0, -1, section.rows + begin).astype(np.int32)
                moved = RomSection(section.bits, section.codes, section.scales, rows)
                pieces.setdefault(section.bits, []).append(moved)
            begin += part.out_features
        sections = (
            _freeze(
                bits,
                np.concatenate([piece.codes for piece in pieces[bits]]),
                np.concatenate([piece.scales for piece in pieces[bits]]),
                np.concatenate([piece.rows for piece in pieces[bits]]),
            )
            for bits in sorted(pieces)
        )
        return cls(first.in_features, begin, first.group, tuple(sections))

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales, the padding to 16 rows and whole groups included."""
        return sum(section.nbytes for section in self.sections)

    @property
    def format(self) -> RomFormat:
        """What a chip would store, without padding, and how wide its sums would be."""
        rows = [np.count_nonzero(section.rows >= 0) for section in self.sections]
        bits = sum(n * section.bits for n, section in zip(rows, self.sections, strict=True))
        ternary = all(section.bits == TERNARY_BITS for section in self.sections)
        return RomFormat(bits / self.out_features, self.group, ternary=ternary)

    def dequantized(self) -> NDArray[np.float32]:
        """The weights that the codes and scales stand for, (out_features, in_features)."""
        weights = np.empty((self.out_features, self.in_features), np.float32)
        for section in self.sections:
            codes, scales = _unpacked(section)
            values = codes.astype(np.float32) - np.float32(2 ** (section.bits - 1))
            values *= scales.repeat(self.group, axis=1)
            rows = section.rows.reshape(-1)
            weights[rows[rows >= 0]] = values[rows >= 0, : self.in_features]
        return weights

    def apply(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """W x for one token or several, in the arithmetic that this module's text defines.

        Parameters
        ----------
        x
            (in_features,) or (tokens, in_features) float32, contiguous and finite.
        threads
            Threads to use; the result does not depend on it.

        Returns
        -------
        (out_features,) or (tokens, out_features) float32.

        Raises
        ------
        ValueError
            If x is no such array, or the threads are fewer than 1 or more than numba has.
        """
        return apply_all((self,), x, threads)[0]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The matrix as named arrays, which `numpy.savez` can save."""
        shape = np.array([self.in_features, self.out_features, self.group], np.int64)
        arrays: dict[str, NDArray[np.generic]] = {"shape": shape}
        for section in self.sections:
            arrays[f"codes{section.bits}"] = section.codes
            arrays[f"scales{section.bits}"] = section.scales
            arrays[f"rows{section.bits}"] = section.rows
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> RomMatrix:
        """The matrix whose `arrays` these are.

        Raises
        ------
        ValueError
            If an array is missing or of the wrong type or shape, a scale is not finite, a ternary
            code is none, or an output is not stored exactly once.
        """
        shape = arrays.get("shape")
        if shape is None or shape.shape != (3,) or not np.issubdtype(shape.dtype, np.integer):
            raise ValueError("ROM arrays need a `shape` of three integers")
        in_features, out_features, group = (int(n) for n in shape)
        if (
            min(in_features, out_features) < 1
            or group % _CHUNK
            or not _CHUNK <= group <= _MAX_GROUP
        ):
            raise ValueError(
                f"ROM arrays have an impossible shape {in_features, out_features, group}"
            )
        groups = -(-in_features // group)
        sections = []
        stored = []
        for bits in (TERNARY_BITS, *BITS):
            if f"rows{bits}" not in arrays:
                continue
            rows = arrays[f"rows{bits}"]
            blocks = rows.shape[0] if rows.ndim else 0
            expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
                "rows": (np.int32, (blocks, _ROWS)),
                "codes": (np.uint8, (blocks, groups * group // _CHUNK, _VECTOR * bits)),
                "scales": (np.uint16, (blocks, groups, _ROWS)),
            }
            for name, (dtype, size) in expected.items():
                array = arrays.get(f"{name}{bits}")
                if array is None or array.dtype != dtype or array.shape != size:
                    raise ValueError(f"ROM array `{name}{bits}` must be {dtype.__name__} {size}")
            scales = np.ascontiguousarray(arrays[f"scales{bits}"]).view(np.uint16)
            if not np.isfinite(scales.view(np.float16)).all():
                raise ValueError(f"ROM array `scales{bits}` holds scales that are not finite")
            codes = np.asarray(arrays[f"codes{bits}"]).view(np.uint8)
            sections.append(_freeze(bits, codes, scales, rows.view(np.int32)))
            if bits == TERNARY_BITS and not _unpacked(sections[-1])[0].all():
                raise ValueError("ROM array `codes2` holds codes that are not ternary")
            stored.append(rows.reshape(-1))
        outputs = np.concatenate(stored) if stored else np.empty(0, np.int32)
        outputs = np.sort(outputs[outputs != -1])
        if not np.array_equal(outputs, np.arange(out_features)):
            raise ValueError(f"ROM arrays must hold each of {out_features} outputs exactly once")
        return cls(in_features, out_features, group, tuple(sections))


def product_select(matrix: RomMatrix, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """W x as the chip does it, step by step: the definition, plain and slow.

    Parameters
    ----------
    matrix
        The weights.
    x
        (in_features,) float32, finite.

    Returns
    -------
    (out_features,) float32.
    """
    group = matrix.group
    padded = np.zeros(-(-matrix.in_features // group) * group, np.float32)
    padded[: matrix.in_features] = x
    y = np.zeros(matrix.out_features, np.float32)
    for section in matrix.sections:
        cells, scales = _unpacked(section)
        half = 2 ** (section.bits - 1)
        alphabet = np.arange(-half, half, dtype=np.int32)
        total = np.zeros(len(cells), np.float32)
        for g in range(scales.shape[1]):
            activations = padded[g * group : (g + 1) * group]
            step = np.abs(activations).max() / np.float32(_TOP)
            sums = np.zeros(len(cells), np.int32)
            for i in range(group) if step > 0 else ():
                code = np.clip(np.rint(activations[i] / step), -_TOP, _TOP).astype(np.int32)
                products = code * alphabet
                sums += products[cells[:, g * group + i]]
            total = total + (scales[:, g] * step) * sums.astype(np.float32)
        rows = section.rows.reshape(-1)
        y[rows[rows >= 0]] = total[rows >= 0]
    return y
