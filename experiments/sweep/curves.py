"""What the figures of a sweep show: what is won along an axis, and the front of two metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.pareto import non_dominated

MOST_LINES = 8
ENOUGH = 6
BINS = 40
MOST_BREAKS = 3
"""A line that changes its design more often is not broken there."""


@dataclass(frozen=True)
class Curves:
    """Best feasible values along an axis.

    Attributes
    ----------
    across : the axis.
    by : the axis that each line has one value of; None where there is one line.
    lines : by value of ``by``: the best value at each position that has one.
    designs : by value of ``by``: at each of these positions, the other axes of the best design.
    """

    across: str
    by: str | None
    lines: Mapping[Any, pd.Series]
    designs: Mapping[Any, pd.DataFrame]


def parts(designs: pd.DataFrame) -> pd.Series:
    """Parts of a line in which the axes that are not shown keep their values, numbered from 0.

    One part where they change more often than ``MOST_BREAKS`` times.

    Parameters
    ----------
    designs : of one line of ``Curves``, by position.
    """
    change = (designs != designs.shift()).any(axis=1)
    number = change.cumsum() - int(change.iloc[0])
    return number if number.iloc[-1] <= MOST_BREAKS else number * 0


def best_along(axes: Sequence[str], aim: str, side: Better, points: pd.DataFrame) -> Curves:
    """Best feasible value of a metric along the first numeric axis with enough values, or else the
    longest axis; with a line for each value of the next one that has few.

    Parameters
    ----------
    points : axes, the metric, ``feasible``.
    """
    numeric = (n for n in axes if _is_number(points[n]) and points[n].nunique() >= ENOUGH)
    across = next(numeric, None) or max(axes, key=lambda name: points[name].nunique())
    few = (name for name in axes if name != across and 2 <= points[name].nunique() <= MOST_LINES)
    by = next(few, None)
    places = points[across]
    if _is_number(places) and places.nunique() > 3 * BINS:
        edges = np.linspace(places.min(), places.max(), BINS + 1)
        places = pd.Series(edges[np.clip(np.digitize(places, edges) - 1, 0, BINS - 1)])
        places += (edges[1] - edges[0]) / 2
    kept = points["feasible"].to_numpy() & np.isfinite(points[aim].to_numpy(float))
    lines, designs = {}, {}
    others = [name for name in axes if name not in (across, by)]
    for value in [None] if by is None else _in_order(points[by]):
        chosen = kept if by is None else kept & (points[by] == value).to_numpy()
        grouped = points.loc[chosen, aim].groupby(places.to_numpy()[chosen])
        best = grouped.max() if side == "max" else grouped.min()
        where = grouped.idxmax() if side == "max" else grouped.idxmin()
        order = [v for v in _in_order(places) if v in best.index]
        lines[value] = best.reindex(order)
        designs[value] = points.loc[where.reindex(order), others].set_axis(order)
    return Curves(across, by, lines, designs)


def front(points: pd.DataFrame, sides: Mapping[str, Better]) -> np.ndarray:
    """Values of two metrics, the second first, of the feasible points that none dominates.

    Returns
    -------
    Array of shape ``(points, 2)``, in the order of its first column.
    """
    first, second = list(sides)[:2]
    places = points.loc[points["feasible"], [second, first]].to_numpy(float)
    places = places[np.isfinite(places).all(axis=1)]
    signs = [-1 if sides[name] == "max" else 1 for name in (second, first)]
    kept = places[non_dominated(places * signs)]
    ordered: np.ndarray = kept[np.argsort(kept[:, 0], kind="stable")]
    return ordered


def _is_number(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))


def _in_order(values: pd.Series) -> list[Any]:
    """Values without repeats: numbers by size, words as they first appear."""
    found = values.drop_duplicates()
    return list(found.sort_values() if _is_number(values) else found)
