"""How many tokens of a pass meet at the busiest expert of a layer, by drawn routing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.published import PublishedRow
from hardwire.simulator.system.routing import Routing

PASSES = 4000
"""Passes whose busiest expert is averaged: the mean is then within 0.5%."""


def _busiest(bench: Bench, row: PublishedRow) -> Predicted:
    users, experts, active = (int(row.conditions[key]) for key in ("users", "experts", "active"))
    chosen = Routing().draw(users * PASSES, 1, experts, active, bench.seed).of_token
    of_pass = np.repeat(np.arange(PASSES), users * active)
    flat = of_pass * experts + chosen.reshape(-1)
    counts = np.bincount(flat, minlength=PASSES * experts).reshape(PASSES, experts)
    return Predicted(float(counts.max(axis=1).mean()))


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "busiest_expert_tokens": _busiest,
}
