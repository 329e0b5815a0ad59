"""The numba kernel that draws experts."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.kernels.jit import inner


@nb.njit(cache=True)
def draw(rng: Any, sums: Any, weights: Any, found: Any) -> None:
    """Draw distinct experts by weight, ``found`` (tokens, layers, k).

    ``sums`` are the running sums of ``weights``, (layers, experts). A number is drawn from the
    weight that is left and moved past the experts that are taken, so that none is drawn in vain.
    """
    tokens, layers, chosen = found.shape
    experts = weights.shape[1]
    taken = np.empty(chosen, np.int64)  # in ascending order
    for token in range(tokens):
        for layer in range(layers):
            left = sums[layer, experts - 1]
            for j in range(chosen):
                at = rng.random() * left
                for other in range(j):
                    if at >= sums[layer, taken[other]] - weights[layer, taken[other]]:
                        at += weights[layer, taken[other]]
                expert = min(np.searchsorted(sums[layer], at, side="right"), experts - 1)
                # Rounding may leave the number on an expert that is taken or has no weight.
                while weights[layer, expert] <= 0 or _holds(taken, j, expert):
                    expert = (expert + 1) % experts
                found[token, layer, j] = expert
                left -= weights[layer, expert]
                place = j
                while place > 0 and taken[place - 1] > expert:
                    taken[place] = taken[place - 1]
                    place -= 1
                taken[place] = expert


@inner
def _holds(numbers: Any, count: int, wanted: int) -> bool:
    return bool((numbers[:count] == wanted).any())
