"""The low-rank product y += s · B (A x) of a LoRA adapter, for one token and one module.

`LowRankImage` holds one module's weights as the adapter SRAM would: the r rows of A, and B
transposed as r rows, so that each rank costs one row of A and one row of B transposed. Both lie in
the order in which the loops fetch them, without gaps.
`phase_work` declares what one of the two phases multiplies and fetches, which the timing model
charges; `LowRankImage.apply_counted` observes it.

numba is imported by the first product only, so that sizes and work are available at no cost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.kernels.lowrank.formats import (
    BLOCK,
    CODES,
    DOWN_ROWS,
    UP_GROUPS,
    WEIGHT_BITS,
    Count,
    check_format,
    row_bytes,
)

_CACHE_LINE = 64
_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Work:
    """Work of a kernel: multiply-accumulate operations, and bytes of weights fetched from SRAM.

    Integers, or arrays with one element per design. Activations are not counted: they are broadcast
    to the adapter's MACs and are no traffic of the adapter SRAM.
    """

    macs: Count
    bytes: Count

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.bytes + other.bytes)


def phase_work(rank: Count, n: Count, fmt: str) -> Work:
    """Work of one phase of a low-rank product for one token.

    Phase A (`h = A x`) has `n = in_features`, phase B (`y += s · B h`) has `n = out_features`. Both
    read `rank` rows of `n` weights once and use each weight in one multiply-accumulate.

    Parameters
    ----------
    rank, n
        Rows, and weights per row: integers or arrays that broadcast.
    fmt
        One of `hardwire.kernels.FORMATS`.

    Returns
    -------
    Work
        `rank * n` MACs and `rank * row_bytes(n, fmt)` bytes.

    Raises
    ------
    ValueError
        If the format is unknown, or the rank or n is below 1.
    """
    if np.any(np.less(rank, 1)):
        raise ValueError("the rank of a low-rank product is at least 1")
    return Work(rank * n, rank * row_bytes(n, fmt))


def reference(a: ArrayLike, b: ArrayLike, scale: float, x: ArrayLike) -> NDArray[np.float64]:
    """scale · B (A x) in float64.

    Parameters
    ----------
    a, b
        (r, in_features) and (out_features, r).
    scale
        alpha / r, or alpha / sqrt(r) for rsLoRA.
    x
        (in_features,).

    Returns
    -------
    (out_features,) in float64.
    """
    a64, b64, x64 = (np.asarray(m, dtype=np.float64) for m in (a, b, x))
    product: NDArray[np.float64] = scale * (b64 @ (a64 @ x64))
    return product


@functools.cache
def _compiled() -> Callable[..., tuple[int, int]]:
    # Imported on the first product: numba takes longer to import than most uses of this module.
    from hardwire.kernels.lowrank.batch_jit import one  # noqa: PLC0415

    function: Callable[..., tuple[int, int]] = one
    return function


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    """A read-only C-contiguous copy that begins on a cache line.

    NumPy aligns to 16 bytes, with which every wide load of an otherwise aligned row straddles two
    lines: measured up to 1.5 times slower, in the second phase of the float32 product.
    """
    buffer = np.empty(values.nbytes + _CACHE_LINE, np.uint8)
    begin = -buffer.ctypes.data % _CACHE_LINE
    copy = buffer[begin : begin + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    copy.flags.writeable = False
    return copy


def _matrix(name: str, values: ArrayLike) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a float64 that float32 cannot hold is caught as infinite
        matrix = np.asarray(values, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError(f"low-rank {name} must be a matrix, not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"low-rank {name} holds values that are not finite")
    return matrix


def _as_float16(name: str, what: str, values: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        largest = float(np.abs(values).max())
        raise ValueError(
            f"low-rank {name}: {what} {largest:.6g} exceeds the largest float16, 65504"
        )
    return half


def _quantize(
    name: str, rows: NDArray[np.float32], fmt: str
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Codes (r, n) and scales (r, ceil(n / 32)) of rows in an integer format."""
    rank, n = rows.shape
    groups = -(-n // BLOCK)
    low, high = CODES[fmt]
    padded = np.zeros((rank, groups, BLOCK), np.float32)
    padded.reshape(rank, -1)[:, :n] = rows
    leading = np.take_along_axis(padded, np.abs(padded).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    largest = np.abs(leading)
    signed = largest if low == -high else np.where(leading > 0, -largest, largest)
    scales = _as_float16(name, "a scale of", (signed / np.float32(-low)).astype(np.float32))
    # Rounding to float16 may leave the scale too small for the group's largest weight, as far down
    # as to zero: the next float16 up keeps it within half a step.
    short = np.abs(scales.astype(np.float32)) * np.float32(0.5 - low) < largest
    away = np.copysign(np.float16(np.inf), scales)
    scales = np.where(short, np.nextafter(scales, away), scales)
    steps = scales.astype(np.float32)
    steps[largest == 0] = 1  # codes of a group of zeros are zero, whatever divides them
    codes = np.clip(np.rint(padded / steps[:, :, None]), low, high)
    return codes.reshape(rank, -1)[:, :n].astype(np.int8), scales


def _per_byte(fmt: str) -> int:
    """Codes of an integer format that share a byte."""
    return 8 // WEIGHT_BITS[fmt]


def _pack_bytes(codes: NDArray[np.int8], fmt: str) -> NDArray[np.uint8]:
    """Several codes per byte, the earliest in the lowest bits; a row's last byte ends in zeros."""
    (rank, n), count, bits = codes.shape, _per_byte(fmt), WEIGHT_BITS[fmt]
    parts = np.zeros((rank, -(-n // count), count), np.uint8)
    parts.reshape(rank, -1)[:, :n] = codes.view(np.uint8) & ((1 << bits) - 1)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(
        parts << np.arange(0, 8, bits, dtype=np.uint8), axis=2
    )
    return packed


def _unpack_bytes(packed: NDArray[np.uint8], n: int, fmt: str) -> NDArray[np.int8]:
    """The codes of rows that `_pack_bytes` packed, (rank, n)."""
    bits = WEIGHT_BITS[fmt]
    # Each code goes to the top of a byte, from where it is moved down with its sign.
    moved = packed[:, :, None] << np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    codes: NDArray[np.int8] = moved.view(np.int8) >> (8 - bits)
    return codes.reshape(len(packed), -1)[:, :n]


def _blocks(rank: int, width: int, rows: int, columns: int) -> NDArray[np.int64]:
    """Where each element of (rank, width) lies once it is cut into blocks of rows and columns.

    Blocks of the first rows come first, in order of columns; a block lies row by row.
    """
    k, j = np.arange(rank)[:, None], np.arange(width)[None]
    top, left = k // rows * rows, j // columns * columns
    height, breadth = np.minimum(rows, rank - top), np.minimum(columns, width - left)
    places: NDArray[np.int64] = top * width + left * height + (k - top) * breadth + (j - left)
    return places


def _in_blocks(matrix: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The elements in the order of `_blocks`, flat."""
    flat = np.empty(matrix.size, matrix.dtype)
    rank, width = matrix.shape
    flat[_blocks(rank, width, rows, columns)] = matrix
    return _aligned(flat)


def _store(
    name: str, rows: NDArray[np.float32], fmt: str, block: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.uint16] | None]:
    """Rows as they are stored: codes, and scales as float16 bits for the integer formats.

    `block` says how many rows, and how many groups of them, lie together.
    """
    per_group = BLOCK // _per_byte(fmt) if fmt in CODES else BLOCK
    codes, scales = _rounded(name, rows, fmt)
    stored = _in_blocks(codes, block[0], block[1] * per_group)
    return stored, None if scales is None else _in_blocks(scales.view(np.uint16), *block)


def _rounded(
    name: str, rows: NDArray[np.float32], fmt: str
) -> tuple[NDArray[Any], NDArray[np.float16] | None]:
    """Rows rounded to a format, in their own order."""
    if fmt == "float32":
        return rows, None
    if fmt == "float16":
        return _as_float16(name, "a weight of", rows).view(np.uint16), None
    codes, scales = _quantize(name, rows, fmt)
    return codes if fmt == "int8" else _pack_bytes(codes, fmt), scales


def _restore(
    stored: NDArray[Any],
    scales: NDArray[np.uint16] | None,
    shape: tuple[int, int],
    fmt: str,
    block: tuple[int, int],
) -> NDArray[np.float32]:
    """The float32 values of stored rows."""
    rank, n = shape
    per_group = BLOCK // _per_byte(fmt) if fmt in CODES else BLOCK
    codes = stored[_blocks(rank, stored.size // rank, block[0], block[1] * per_group)]
    if scales is None:
        return codes.view(fmt).astype(np.float32)
    if fmt != "int8":
        codes = _unpack_bytes(codes, n, fmt)
    groups = scales[_blocks(rank, scales.size // rank, *block)]
    return codes * groups.view(np.float16).astype(np.float32).repeat(BLOCK, axis=1)[:, :n]


def check_array(name: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array is as the compiled loops take it: float32 and contiguous."""
    if type(array) is not np.ndarray or not (array.dtype is _FLOAT32 or array.dtype == _FLOAT32):
        raise ValueError(f"{name} must be a NumPy array of float32")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} must be contiguous")


@dataclass(frozen=True, eq=False)
class LowRankImage:
    """One module's adapter weights as stored in SRAM; made by `LowRankImage.pack`.

    Attributes
    ----------
    rank, in_features, out_features
        Shape of the module's A (rank, in_features) and B (out_features, rank).
    fmt
        Number format, one of `hardwire.kernels.FORMATS`.
    scale
        The factor s, rounded to float32.
    a_codes, b_codes
        Stored rows of A and of B transposed, flat: float32; uint16 holding float16 bits; int8; or
        uint8 holding two int4 or four int2 codes. A is cut into blocks of `DOWN_ROWS` rows and one
        group of 32 columns, B transposed into blocks of all rows and `UP_GROUPS` groups; blocks
        side by side follow each other, then those below. A block lies row by row, smaller at an
        edge.
    a_scales, b_scales
        float16 bits as uint16, one per row and group in the same order, or None for the float
        formats.

    Notes
    -----
    A stored integer weight times its float16 scale is exact in float32, so the product with an
    image equals, bit for bit, the product with the float32 image of `dequantized()`.
    """

    rank: int
    in_features: int
    out_features: int
    fmt: str
    scale: float
    a_codes: NDArray[Any]
    a_scales: NDArray[np.uint16] | None
    b_codes: NDArray[Any]
    b_scales: NDArray[np.uint16] | None

    @classmethod
    def pack(cls, a: ArrayLike, b: ArrayLike, scale: float, fmt: str) -> LowRankImage:
        """Round weights to a format and lay them out.

        Parameters
        ----------
        a, b
            (rank, in_features) and (out_features, rank), read as float32.
        scale
            alpha / r, or alpha / sqrt(r) for rsLoRA.
        fmt
            One of `hardwire.kernels.FORMATS`. float16 rounds to nearest; int8, int4 and int2 have
            one float16 scale per 32 consecutive weights of a row, and codes from -127 to 127, from
            -7 to 7 and from -2 to 1.

        Raises
        ------
        ValueError
            If the format is unknown, the shapes do not fit each other or hold no weight, a value or
            the scale is not finite, or a weight or group scale exceeds float16.
        """
        check_format(fmt)
        down, up = _matrix("A", a), _matrix("B", b)
        (rank, in_features), (out_features, up_rank) = down.shape, up.shape
        if rank != up_rank:
            raise ValueError(
                f"low-rank A {down.shape} and B {up.shape} differ in rank: {rank} and {up_rank}"
            )
        if min(rank, in_features, out_features) < 1:
            raise ValueError(f"low-rank A {down.shape} or B {up.shape} is empty")
        with np.errstate(over="ignore"):
            factor = float(np.float32(scale))
        if not np.isfinite(factor):
            raise ValueError(f"the low-rank scale must be a finite float32, not {scale}")
        a_codes, a_scales = _store("A", down, fmt, (DOWN_ROWS, 1))
        b_codes, b_scales = _store("B", np.ascontiguousarray(up.T), fmt, (rank, UP_GROUPS))
        return cls(
            rank, in_features, out_features, fmt, factor, a_codes, a_scales, b_codes, b_scales
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the image: those of its arrays."""
        arrays = (self.a_codes, self.a_scales, self.b_codes, self.b_scales)
        return sum(array.nbytes for array in arrays if array is not None)

    def dequantized(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weights that the image stands for, as A (rank, in) and B (out, rank) in float32."""
        r, fmt = self.rank, self.fmt
        a = _restore(self.a_codes, self.a_scales, (r, self.in_features), fmt, (DOWN_ROWS, 1))
        b = _restore(self.b_codes, self.b_scales, (r, self.out_features), fmt, (r, UP_GROUPS))
        return a, np.ascontiguousarray(b.T)

    @functools.cached_property
    def row(self) -> NDArray[np.int64]:
        """What the compiled loops know of the image: addresses of its arrays, and the rank."""
        arrays = (self.a_codes, self.a_scales, self.b_codes, self.b_scales)
        places = [0 if array is None else array.ctypes.data for array in arrays]
        return np.array([*places, self.rank], np.int64)

    @functools.cached_property
    def kind(self) -> NDArray[Any]:
        """An empty array whose type tells the compiled loops the format."""
        # Of the codes, but for four to a byte, for which no type is left: int16 stands for them.
        return np.empty(0, np.int16) if self.fmt == "int2" else self.a_codes[:0]

    def __getstate__(self) -> dict[str, Any]:
        # Addresses are not those of a copy's arrays.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def apply(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Add s · B (A x) to y in place, in float32, in the order that `lowrank_batch_jit` defines.

        Parameters
        ----------
        x
            (in_features,) float32, contiguous.
        y
            (out_features,) float32, contiguous and writeable.

        Raises
        ------
        ValueError
            If x or y is not such an array; nothing has been written then.
        """
        self._run(x, y)

    def apply_counted(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> Work:
        """Do what `apply` does, to the same bits, and count the work.

        Returns
        -------
        Work
            Of both phases, added up by the loops as they multiply and fetch.

        Raises
        ------
        ValueError
            As `apply`.
        """
        return Work(*self._run(x, y))

    def _run(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[int, int]:
        check_array("x", x, (self.in_features,))
        check_array("y", y, (self.out_features,))
        if not y.flags.writeable:
            raise ValueError("y must be writeable")
        return self.run_unchecked(x, y)

    def run_unchecked(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[int, int]:
        """Do what `apply` does without looking at x and y; the MACs and bytes of the work."""
        return _compiled()(self.row, self.scale, x, y, self.kind)
