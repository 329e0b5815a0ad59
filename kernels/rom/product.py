"""The products of several hardwired matrices with the same input.

The q, k and v projections of a layer read one input, and so do gate and up: its activations are
rounded once, and the rows of all matrices are shared among threads as those of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.parts import by_parts

_FLOAT32 = np.dtype(np.float32)
_TOKENS = 6
"""Of a tile, which share one unpacking of the codes. 4 take 15 cycles for each token and chunk, 6
take 13, 8 little less (Zen 4, whose floor is 10: 8 products of bytes and 2 of floats), and a few
users fill them worse."""
_CHUNK = 32  # inputs of a chunk, as `rom_jit` describes it


class Packed(Protocol):
    """What a product needs of a `RomMatrix`, whose module this one must not import in a circle."""

    @property
    def in_features(self) -> int:
        """Inputs."""

    @property
    def out_features(self) -> int:
        """Outputs."""

    @property
    def group(self) -> int:
        """Inputs that share a scale."""

    @property
    def sections(self) -> tuple[Any, ...]:
        """The rows of each width, each a `RomSection`."""


def apply_all(
    matrices: Sequence[Packed], x: NDArray[np.float32], threads: int = 1
) -> list[NDArray[np.float32]]:
    """W x of each matrix W, for one token or several, in the arithmetic that `rom` defines.

    Parameters
    ----------
    matrices
        At least one; all have the same inputs and the same group.
    x
        (in_features,) or (tokens, in_features) float32, contiguous and finite.
    threads
        Threads to use; the results do not depend on it.

    Returns
    -------
    (out_features,) or (tokens, out_features) float32 for each matrix, to the bit what its own
    `RomMatrix.apply` gives.

    Raises
    ------
    ValueError
        If there is no matrix, two differ in inputs or group, x is no such array, or the threads are
        fewer than 1 or more than numba has.
    """
    import numba  # noqa: PLC0415

    from hardwire.kernels.rom.quantize_jit import quantize  # noqa: PLC0415
    from hardwire.kernels.rom.rom_jit import product  # noqa: PLC0415

    if not matrices:
        raise ValueError("a product of ROM matrices has at least one matrix")
    inputs, group = matrices[0].in_features, matrices[0].group
    for matrix in matrices[1:]:
        if (matrix.in_features, matrix.group) != (inputs, group):
            raise ValueError(
                f"ROM matrices of one product share inputs and group: {inputs} and {group}, not"
                f" {matrix.in_features} and {matrix.group}"
            )
    available = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if not 1 <= threads <= available:
        raise ValueError(f"threads must be from 1 to {available}, not {threads}")
    tokens = _tokens(x, inputs)
    count, groups = len(tokens), -(-inputs // group)
    rest = count % _TOKENS
    # One by one, a few tokens are computed sooner than as a tile.
    filled = count + _TOKENS - rest if rest > _TOKENS // 2 else count
    codes = np.empty((filled, groups * group), np.int8)
    steps = np.empty((filled, groups), np.float32)
    sums = np.empty((filled, groups), np.int32)
    outputs = [np.empty((filled, matrix.out_features), np.float32) for matrix in matrices]
    tables: dict[int, list[tuple[int, ...]]] = {}
    for matrix, y in zip(matrices, outputs, strict=True):
        for section in matrix.sections:
            row = (*section.addresses, y.ctypes.data, matrix.out_features, len(section.rows))
            tables.setdefault(section.bits, []).append(row)
    one, several, bad = (None,), (None,) * _TOKENS, []

    def rounded(begin: int, end: int) -> None:
        if not quantize(tokens, group, several, begin, end, codes, steps, sums):
            bad.append(begin)

    by_parts(rounded, filled, threads)
    if bad:
        raise ValueError("x holds values that are not finite")
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(threads)
        for bits, rows in tables.items():
            table = np.array(rows, np.int64)
            planes = (None,) * bits
            product(planes, one, several, table, group // _CHUNK, threads, codes, steps, sums)
    finally:
        numba.set_num_threads(before)
    return [y[:count].reshape((*x.shape[:-1], y.shape[1])) for y in outputs]


def _tokens(x: NDArray[np.float32], inputs: int) -> NDArray[np.float32]:
    """x as (tokens, inputs), checked."""
    if type(x) is not np.ndarray or x.dtype != _FLOAT32:
        raise ValueError("x must be a NumPy array of float32")
    if x.ndim not in (1, 2) or x.shape[-1] != inputs:
        raise ValueError(f"x must have shape ({inputs},) or (tokens, {inputs}), not {x.shape}")
    if not x.flags.c_contiguous:
        raise ValueError("x must be contiguous")
    return x.reshape(-1, inputs)
