"""The figure of a search: its Pareto front, each pair of objectives in a panel."""

from __future__ import annotations

from itertools import combinations
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hardwire.experiments.search.search import Search
from hardwire.experiments.shared.style import CONTINUOUS, DESIGN_COLORS, INK, drawing, thousands

OTHER, FRONT = DESIGN_COLORS["infeasible"], DESIGN_COLORS["front"]
MOST_OBJECTIVES = 4
"""Panels for the pairs of so many; further objectives are in the table."""


def front_figure(found: Search) -> Figure:
    """Scatter of the feasible trials with the front, or of one objective over the trials.

    With three objectives the colour of the front's points is the one that is not on the axes.
    """
    objectives = list(found.study.objectives)[:MOST_OBJECTIVES]
    pairs = list(combinations(objectives, 2))
    rows = 2 if len(pairs) > 3 else 1
    across = max(-(-len(pairs) // rows), 1)
    with drawing():
        size = (6.4 if across == 1 else 4.3 * across, 4.4 if rows == 1 else 7.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, across, squeeze=False).ravel()
        if len(objectives) == 1:
            _history(panels[0], found, objectives[0])
        for panel, pair in zip(panels, pairs, strict=False):
            third = [name for name in objectives if name not in pair]
            _pair(figure, panel, found, pair, third[0] if len(objectives) == 3 else None)
        feasible = int(found.feasible.sum())
        figure.suptitle(
            f"{found.study.title}\n{found.trials:,} trials, {feasible:,} feasible, "
            f"{len(found.front):,} on the Pareto front{' (coloured)' if across > 1 else ''}",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _pair(
    figure: Figure, axes: Axes, found: Search, pair: tuple[str, str], third: str | None
) -> None:
    known = found.study.known_metrics
    x, y = (found.metrics[name] for name in pair)
    shown = found.feasible & np.isfinite(x) & np.isfinite(y)
    axes.scatter(x[shown], y[shown], s=9, color=OTHER, linewidths=0, label="feasible")
    front = found.front
    if third is None:
        order = front[np.argsort(x[front], kind="stable")]
        style: Any = "-" if len(found.study.objectives) == 2 else ""
        axes.plot(
            x[order], y[order], style, marker="o", markersize=4, linewidth=1.2,
            drawstyle="steps-post" if _rises_together(found, pair) else "steps-pre",
            color=FRONT, label="Pareto front",
        )  # fmt: skip
    else:
        points = axes.scatter(
            x[front], y[front], s=16, c=found.metrics[third][front], cmap=CONTINUOUS,
            linewidths=0, label="Pareto front",
        )  # fmt: skip
        bar = figure.colorbar(points, ax=axes, location="bottom", shrink=0.8, aspect=30)
        bar.set_label(known[third].label, fontsize=9)
        bar.locator = MaxNLocator(4)
        bar.outline.set_visible(False)
        thousands(bar.ax.xaxis)
    if not shown.any():
        axes.text(0.5, 0.5, "no feasible trial", transform=axes.transAxes, ha="center", color=INK)
    for name, axis, set_label, arrows in (
        (pair[0], axes.xaxis, axes.set_xlabel, "→←"),
        (pair[1], axes.yaxis, axes.set_ylabel, "↑↓"),
    ):
        arrow = arrows[found.study.objectives[name] == "min"]
        set_label(f"{fill(known[name].label, 34)}\n{arrow} better")
        thousands(axis)
    axes.locator_params(nbins=6)
    if third is None:
        axes.legend(frameon=False, fontsize=8, loc="best", handletextpad=0.4)


def _rises_together(found: Search, pair: tuple[str, str]) -> bool:
    """Whether the step between two points of the front runs first along x."""
    return found.study.objectives[pair[0]] == "min"


def _history(axes: Axes, found: Search, name: str) -> None:
    """One objective: each feasible trial, and the best so far."""
    values = np.where(found.feasible, found.metrics[name], np.nan)
    upward = found.study.objectives[name] == "max"
    best = (np.fmax if upward else np.fmin).accumulate(values)
    numbers = np.arange(1, found.trials + 1)
    axes.scatter(numbers, values, s=9, color=OTHER, linewidths=0, label="feasible")
    axes.plot(
        numbers,
        best,
        color=FRONT,
        linewidth=2,
        drawstyle="steps-post",
        label="best so far",
    )
    axes.set_xlabel("trials")
    metric = found.study.known_metrics[name]
    axes.set_ylabel(f"{fill(metric.label, 34)}\n{'↑' if upward else '↓'} better")
    thousands(axes.xaxis)
    thousands(axes.yaxis)
    axes.legend(frameon=False, fontsize=8)
