"""The figure of a search: its Pareto front, each pair of objectives in a panel."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hardwire.experiments.search.search import Search
from hardwire.experiments.shared.plot import small_unit, thousands
from hardwire.experiments.shared.style import (
    CONTINUOUS,
    DESIGN_COLORS,
    INK,
    WIDTH_IN,
    drawing,
)
from hardwire.experiments.shared.tables import number
from hardwire.experiments.shared.words_plot import say

OTHER, FRONT = DESIGN_COLORS["infeasible"], DESIGN_COLORS["front"]
MOST_OBJECTIVES = 4
"""Panels for the pairs of so many; further objectives are in the table."""

CELL_IN = (3.4, 2.6, 2.2)
"""Height of a panel in a figure of one, two and three rows of them."""


def front_figure(found: Search) -> Figure:
    """Scatter of the feasible trials with the front, or of one objective over the trials.

    A row of panels for each objective but the first, a column for each but the last. With three
    objectives or more the colour of a design on the front is its first objective, in all panels.
    """
    objectives = list(found.study.objectives)[:MOST_OBJECTIVES]
    side = max(len(objectives) - 1, 1)
    with drawing():
        size = (WIDTH_IN, 0.4 + side * CELL_IN[side - 1])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(side, side, squeeze=False, sharex="col", sharey="row")
        if len(objectives) == 1:
            _history(panels[0, 0], found, objectives[0])
        for row, below in enumerate(objectives[1:]):
            for column, across in enumerate(objectives[:-1]):
                if column > row:
                    panels[row, column].set_visible(False)
                    continue
                points = _pair(panels[row, column], found, (across, below), side > 1)
                _label(panels[row, column], found, (across, below), row == side - 1, column == 0)
        if side > 1:
            _key(figure, panels[0, 1], found, objectives[0], points)
        say(figure, _found(found, objectives), _setting(found))
    return figure


def _found(found: Search, objectives: list[str]) -> str:
    """From where to where the front goes."""
    if not len(found.front):
        return "No design is feasible."
    parts = []
    for name in objectives:
        factor, unit = _unit(found, name)
        values = factor * found.metrics[name][found.front]
        # From the worse end to the better one.
        ends = (values.min(), values.max())
        ends = ends if found.study.objectives[name] == "max" else ends[::-1]
        low, high = (number(float(f"{end:.4g}")) for end in ends)
        span = high if low == high else f"{low} to {high}"
        parts.append(f"{found.study.known_metrics[name].meaning} {span} {unit}".rstrip())
    if len(objectives) == 1:
        return f"Best found: {parts[0]}."
    return f"No design is best in all: the front goes over {'; '.join(parts)}."


def _setting(found: Search) -> str:
    feasible = int(found.feasible.sum())
    return (
        f"{found.study.title.replace('mm2', 'mm²')} · {found.trials:,} trials, {feasible:,} "
        f"feasible, {len(found.front):,} on the Pareto front"
    )


def _unit(found: Search, name: str) -> tuple[float, str]:
    return small_unit(found.study.known_metrics[name].unit, found.metrics[name][found.feasible])


def _pair(axes: Axes, found: Search, pair: tuple[str, str], by_first: bool) -> Any:
    """Feasible trials by two objectives and the front, which is returned where it has colours."""
    x, y = (_unit(found, name)[0] * found.metrics[name] for name in pair)
    shown = found.feasible & np.isfinite(x) & np.isfinite(y)
    axes.scatter(x[shown], y[shown], s=6, color=OTHER, linewidths=0, label="feasible")
    front = found.front
    points = None
    if by_first:
        first = next(iter(found.study.objectives))
        points = axes.scatter(
            x[front], y[front], s=13, c=_unit(found, first)[0] * found.metrics[first][front],
            cmap=CONTINUOUS, linewidths=0, label="Pareto front",
        )  # fmt: skip
    else:
        order = front[np.argsort(x[front], kind="stable")]
        post = found.study.objectives[pair[0]] == "min"
        axes.plot(
            x[order], y[order], "o-", markersize=4, linewidth=1.2, color=FRONT,
            drawstyle="steps-post" if post else "steps-pre", label="Pareto front",
        )  # fmt: skip
        axes.legend(loc="best", handletextpad=0.4)
    if not shown.any():
        axes.text(0.5, 0.5, "no feasible trial", transform=axes.transAxes, ha="center", color=INK)
    axes.locator_params(nbins=6)
    return points


def _label(axes: Axes, found: Search, pair: tuple[str, str], lowest: bool, leftmost: bool) -> None:
    """Names at the outer sides of the panels only, each with the direction that is better."""
    for name, axis, set_label, arrows, outer in (
        (pair[0], axes.xaxis, axes.set_xlabel, "→←", lowest),
        (pair[1], axes.yaxis, axes.set_ylabel, "↑↓", leftmost),
    ):
        thousands(axis)
        if outer:
            arrow = arrows[found.study.objectives[name] == "min"]
            set_label(f"{fill(_words(found, name), 30)}\n{arrow} better")


def _words(found: Search, name: str) -> str:
    unit = _unit(found, name)[1]
    return f"{found.study.known_metrics[name].meaning}{f', {unit}' if unit else ''}"


def _key(figure: Figure, corner: Axes, found: Search, first: str, points: Any) -> None:
    """What the colours are, in the corner that has no panel."""
    corner.set_visible(True)
    corner.axis("off")
    bar = figure.colorbar(points, ax=corner, location="bottom", shrink=0.9, aspect=18, fraction=0.4)
    bar.set_label(f"on the front, coloured by\n{_words(found, first)}", fontsize=9)
    bar.locator = MaxNLocator(4)
    bar.outline.set_visible(False)
    thousands(bar.ax.xaxis)
    corner.plot([], [], "o", color=OTHER, markersize=4, label="feasible, off the front")
    corner.legend(loc="lower center")


def _history(axes: Axes, found: Search, name: str) -> None:
    """One objective: each feasible trial, and the best so far."""
    factor = _unit(found, name)[0]
    values = np.where(found.feasible, factor * found.metrics[name], np.nan)
    upward = found.study.objectives[name] == "max"
    best = (np.fmax if upward else np.fmin).accumulate(values)
    numbers = np.arange(1, found.trials + 1)
    axes.scatter(numbers, values, s=9, color=OTHER, linewidths=0, label="feasible")
    axes.plot(numbers, best, color=FRONT, linewidth=2, drawstyle="steps-post", label="best so far")
    axes.set_xlabel("trials")
    axes.set_ylabel(f"{fill(_words(found, name), 34)}\n{'↑' if upward else '↓'} better")
    thousands(axes.xaxis)
    thousands(axes.yaxis)
    axes.legend()
