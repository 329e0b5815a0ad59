"""Low-rank products y[t] += s[a] · B[a] (A[a] x[t]) for tokens t that use different adapters a.

The field calls these BGMV and SGMV (Punica, arXiv 2310.18547; S-LoRA, arXiv 2311.03285). Each token
gets, bit for bit, what `LowRankImage.apply` gives it alone; what the batch saves is the fetching of
weights, which its tokens share.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.lowrank.formats import DOWN_ROWS, FORMATS
from hardwire.kernels.lowrank.lowrank import LowRankImage, Work, check_array, phase_work

_INT64 = np.dtype(np.int64)
_MACS_PER_THREAD = 2**18  # about 13 µs; with less, waking a thread costs more than it saves


@functools.cache
def _compiled(several: bool) -> Callable[..., int]:
    # Imported on the first product: numba takes longer to import than most uses of this module.
    from hardwire.kernels.lowrank.batch_jit import alone, team  # noqa: PLC0415

    function: Callable[..., int] = team if several else alone
    return function


def _table(images: Sequence[LowRankImage], fmt: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The rows of the images, those of other formats being zeros; and the kind."""
    rows = [image.row if image.fmt == fmt else np.zeros_like(image.row) for image in images]
    return np.array(rows), next(image.kind for image in images if image.fmt == fmt)


class LowRankBatch:
    """The adapters of one module that a batch may use, of any ranks and number formats.

    Parameters
    ----------
    images
        One image per adapter, all of the same `in_features` and `out_features`. A token names its
        adapter by the index in this sequence.

    Raises
    ------
    ValueError
        If there is no image, or the images are of modules of different shapes.
    """

    def __init__(self, images: Sequence[LowRankImage]) -> None:
        self.images = tuple(images)  # keeps the arrays alive whose addresses the tables hold
        if not self.images:
            raise ValueError("a batch needs at least 1 adapter image")
        first = self.images[0]
        self.in_features, self.out_features = first.in_features, first.out_features
        for index, image in enumerate(self.images):
            if (image.out_features, image.in_features) != (self.out_features, self.in_features):
                raise ValueError(
                    f"adapter image {index} is of a module of shape"
                    f" ({image.out_features}, {image.in_features}), image 0 of shape"
                    f" ({self.out_features}, {self.in_features})"
                )
        formats = {image.fmt for image in self.images}
        self._tables = [_table(self.images, fmt) for fmt in FORMATS if fmt in formats]
        self._factors = np.array([image.scale for image in self.images], np.float32)
        self._rank = max(image.rank for image in self.images)

    def __reduce__(self) -> tuple[type[LowRankBatch], tuple[tuple[LowRankImage, ...]]]:
        return LowRankBatch, (self.images,)  # a copy's arrays lie at other addresses

    def work(self, adapter: NDArray[np.int64]) -> Work:
        """Work declared for a batch.

        Parameters
        ----------
        adapter
            (tokens,) int64: each token's adapter, or -1 for none.

        Returns
        -------
        Work
            The MACs of both phases for each token, and the bytes of each adapter that any token
            uses, once.

        Raises
        ------
        ValueError
            If `adapter` is not such an array, or names an image that is not there.
        """
        self._check_adapter(adapter)
        used, tokens = np.unique(adapter[adapter >= 0], return_counts=True)
        total = Work(0, 0)
        for index, count in zip(used.tolist(), tokens.tolist(), strict=True):
            image = self.images[index]
            one = phase_work(image.rank, self.in_features, image.fmt)
            one += phase_work(image.rank, self.out_features, image.fmt)
            total += Work(one.macs * count, one.bytes)
        return total

    def apply(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        adapter: NDArray[np.int64],
        threads: int = 1,
    ) -> None:
        """Add s · B (A x) of each token's adapter to its row of y, in place.

        Parameters
        ----------
        x
            (tokens, in_features) float32, contiguous. Values are not checked: one that is not
            finite makes the token's own row of y not finite, and no other.
        y
            (tokens, out_features) float32, contiguous and writeable. Rows of tokens without an
            adapter are left alone.
        adapter
            (tokens,) int64: the index of each token's image, or -1 for none.
        threads
            Threads to use at most, at least 1: fewer where the batch is small or numba has fewer.
            The result does not depend on it. Two Python threads may call this at once with more
            than 1 only where numba's threading layer is OpenMP or TBB.

        Raises
        ------
        ValueError
            If an argument is not as described, or a token's adapter is not there (an evicted
            adapter); nothing has been written then.
        """
        self._run(x, y, adapter, threads)

    def apply_counted(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        adapter: NDArray[np.int64],
        threads: int = 1,
    ) -> Work:
        """Do what `apply` does, to the same bits, and give the work that the loops counted.

        Raises
        ------
        ValueError
            As `apply`.
        """
        macs, bytes_ = self._run(x, y, adapter, threads)[:, :2].sum(axis=0).tolist()
        return Work(macs, bytes_)

    def _run(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        adapter: NDArray[np.int64],
        threads: int,
    ) -> NDArray[np.int64]:
        self._check_shape(adapter)
        check_array("x", x, (len(adapter), self.in_features))
        check_array("y", y, (len(adapter), self.out_features))
        if not y.flags.writeable:
            raise ValueError("y must be writeable")
        if operator.index(threads) < 1:
            raise ValueError(f"a batch needs at least 1 thread, not {threads}")
        if len(adapter) == 1 and 0 <= (only := adapter.item()) < len(self.images):
            return np.array([self.images[only].run_unchecked(x[0], y[0])])
        largest = len(adapter) * self._rank * (self.in_features + self.out_features)
        threads = min(threads, 1 + largest // _MACS_PER_THREAD)
        hidden = np.empty((len(adapter), self._rank + -self._rank % DOWN_ROWS), np.float32)
        counts = np.zeros((threads, 8), np.int64)  # a cache line for each thread
        run = _compiled(threads > 1)
        for table, kind in self._tables:
            shared = np.zeros(16, np.int64)
            wrong = run(table, self._factors, adapter, x, y, hidden, shared, kind, counts)
            # The loops look at every token before the first is computed, in any of the formats.
            if wrong >= 0:
                self._check_adapter(adapter)
        return counts

    def _check_shape(self, adapter: NDArray[np.int64]) -> None:
        if type(adapter) is not np.ndarray or not (
            adapter.dtype is _INT64 or adapter.dtype == _INT64
        ):
            raise ValueError("adapter must be a NumPy array of int64")
        if adapter.ndim != 1 or not adapter.flags.c_contiguous:
            raise ValueError("adapter must have one dimension and be contiguous")

    def _check_adapter(self, adapter: NDArray[np.int64]) -> None:
        self._check_shape(adapter)
        wrong = np.flatnonzero((adapter < -1) | (adapter >= len(self.images)))
        if wrong.size:
            raise ValueError(
                f"token {wrong[0]} asks for adapter {adapter[wrong[0]]}, which is not there: the"
                f" batch has adapters 0 to {len(self.images) - 1}, and -1 for none"
            )
