"""Choice of the next token from its logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Sampler:
    """Draws tokens from the `top_k` likeliest ones; the same seed draws the same tokens.

    Parameters
    ----------
    top_k
        Number of candidates; None admits the whole vocabulary.
    temperature
        Divides the logits. 0 takes the likeliest token, of several the one of lowest number.
    seed
        Of the random stream, from which each draw takes one number.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    def __init__(self, top_k: int | None = None, temperature: float = 0.0, seed: int = 0) -> None:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        if not 0 <= temperature < np.inf:
            raise ValueError(f"temperature must be 0 or more, not {temperature}")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, not {seed}")
        self._top_k, self._temperature = top_k, temperature
        self._rng = np.random.default_rng(seed)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """Return the next token.

        Parameters
        ----------
        logits
            (vocab,).

        Raises
        ------
        ValueError
            If a logit is NaN or infinite.
        """
        if not np.isfinite(logits).all():
            raise ValueError("logits must be finite numbers")
        if self._temperature == 0:
            return int(np.argmax(logits))
        count = min(self._top_k or len(logits), len(logits))
        least = np.partition(logits, len(logits) - count)[len(logits) - count]
        candidates = np.flatnonzero(logits >= least)
        # Likeliest first, equal ones by number, so that the order does not hang on a sort's ties.
        order = candidates[np.argsort(-logits[candidates], kind="stable")][:count]
        scaled = logits[order].astype(np.float64) / self._temperature
        sums = np.cumsum(np.exp(scaled - scaled[0]))
        return int(order[np.searchsorted(sums, self._rng.random() * sums[-1], side="right")])
