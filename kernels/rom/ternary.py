"""Ternary codes, as BitNet b1.58 rounds weights (arXiv 2402.17764)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LARGEST_HALF = 65504


@dataclass(frozen=True)
class Ternary:
    """Codes -1, 0 and 1.

    A weight over the scale is rounded to nearest, ties to even, and clipped to -1 ... 1; the scale
    is the mean magnitude of its group's weights, or the one given, such as that of a whole tensor,
    as a float16. A group of scale 0 has codes 0.
    """

    scale: float | None = None

    def rounded(
        self, weights: NDArray[np.float32], group: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Codes (outputs, inputs), and scales (outputs, groups), of weights (outputs, inputs).

        Raises
        ------
        ValueError
            If a weight is not finite, or a scale is beyond float16.
        """
        if not np.isfinite(weights).all():
            raise ValueError("ROM weights hold values that are not finite")
        outputs, inputs = weights.shape
        begins = np.arange(0, inputs, group)
        if self.scale is None:
            sums = np.add.reduceat(np.abs(weights), begins, axis=1, dtype=np.float64)
            means = sums / np.diff([*begins, inputs])
        else:
            means = np.full((outputs, begins.size), self.scale)
        if means.max() > _LARGEST_HALF:
            raise ValueError(
                f"a ternary scale of {means.max():.6g} is beyond float16: {_LARGEST_HALF} at most"
            )
        scales = means.astype(np.float16)
        steps = scales.astype(np.float32)
        steps[steps == 0] = np.inf  # all codes are then 0
        codes = np.clip(np.rint(weights / steps.repeat(group, axis=1)[:, :inputs]), -1, 1)
        return codes, scales
