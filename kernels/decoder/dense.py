"""A matrix in float32: the exact path beside the packed formats of `hardwire.kernels.rom.rom`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.lowrank.formats import BLOCK


@dataclass(frozen=True, eq=False)
class DenseMatrix:
    """A float32 matrix whose product with a token has the same bits in every batch.

    A library's matrix product sums in another order than its matrix-vector product, and in yet
    another with more threads. Here each output is one dot product in the order of
    `hardwire.kernels.decoder.norm.sum_lanes`, so a token's result depends on that token alone.

    Attributes
    ----------
    weights
        (out_features, in_features rounded up to a multiple of 32), zeros at the end of each row.
    in_features
    """

    weights: NDArray[np.float32]
    in_features: int

    @classmethod
    def from_blocks(
        cls, shape: tuple[int, int], blocks: Iterable[NDArray[np.float32]]
    ) -> DenseMatrix:
        """Gather a matrix of `shape` (out_features, in_features) from blocks of its rows."""
        out_features, in_features = shape
        weights = np.zeros((out_features, -(-in_features // BLOCK) * BLOCK), np.float32)
        begin = 0
        for block in blocks:
            weights[begin : begin + len(block), :in_features] = block
            begin += len(block)
        return cls(weights, in_features)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return self.weights.nbytes

    def apply(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """Return W x of each token.

        Parameters
        ----------
        x
            (tokens, in_features) float32.
        threads
            Threads that share the output rows; the result does not depend on it.

        Returns
        -------
        (tokens, out_features) float32.

        Raises
        ------
        ValueError
            If x has another shape or type.
        """
        # Imported on the first product, as numba takes longer to import than most uses need.
        from hardwire.kernels.decoder.dense_jit import product  # noqa: PLC0415

        if x.dtype != np.float32 or x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"x must be float32 of shape (tokens, {self.in_features}), not {x.dtype} {x.shape}"
            )
        if self.in_features != self.weights.shape[1]:
            x = np.pad(x, ((0, 0), (0, self.weights.shape[1] - self.in_features)))
        x = np.ascontiguousarray(x)
        rows = len(self.weights)
        y = np.empty((len(x), rows), np.float32)
        if threads == 1:
            product(self.weights, x, y, 0, rows)
            return y
        bounds = [rows * part // threads for part in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            parts = [
                pool.submit(product, self.weights, x, y, begin, end)
                for begin, end in itertools.pairwise(bounds)
            ]
        for part in parts:
            part.result()
        return y
