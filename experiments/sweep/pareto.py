"""Which designs are better: losses, distances from constraints, domination."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hardwire.experiments.sweep.study import Study


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Which points no other point dominates.

    Parameters
    ----------
    values : shape ``(points, objectives)``, smaller is better.

    Returns
    -------
    Bool array of shape ``(points,)``. One point dominates another if it is nowhere worse and
    somewhere better; of equal points all stay.
    """
    kept = np.zeros(len(values), bool)
    left = np.lexsort(values.T[::-1])
    while len(left):
        # The first in lexicographic order cannot be dominated by those behind it.
        best = values[left[0]]
        equal = (values[left] == best).all(axis=1)
        kept[left[equal]] = True
        left = left[~equal & (values[left] < best).any(axis=1)]
    return kept


def losses(study: Study, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Objectives as numbers to minimize, shape ``(points, objectives)``; the worst where none."""
    found = [
        -metrics[name] if side == "max" else metrics[name]
        for name, side in study.objectives.items()
    ]
    array = np.stack(found, axis=1)
    return np.where(np.isnan(array), np.inf, array)


def violations(
    study: Study, settings: Mapping[str, np.ndarray], metrics: Mapping[str, np.ndarray]
) -> np.ndarray:
    """How far designs are from meeting each constraint.

    Returns
    -------
    Shape ``(points, 1 + constraints)``: 1 for a design that cannot run its load at all, otherwise
    0; then the relative excess over each constraint, at most 0 where it holds.
    """
    value = study.values(settings, metrics)
    found = [(metrics["obstacle"] != 0).astype(float)]
    for constraint in study.constraints:
        excess = np.broadcast_to(constraint.excess(value), found[0].shape).astype(float)
        # Without a number on one side the constraint does not hold.
        found.append(np.where(np.isfinite(excess), excess, 1.0))
    return np.stack(found, axis=1)
