"""The figure of a sweep: what is won along its first long axis, and its metrics in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.shared.style import INK, STYLE, thousands
from hardwire.experiments.shared.tables import number
from hardwire.experiments.sweep.axis import Axis
from hardwire.experiments.sweep.design import NUMERIC
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.pareto import non_dominated
from hardwire.experiments.sweep.study import Study

MOST_DOTS = 20_000
MOST_LINES = 8
ENOUGH = 6
BINS = 40
OUT = "#c9ced4"


def sweep_figure(study: Study, aims: Mapping[str, Better], points: pd.DataFrame) -> Figure:
    """Best feasible value along an axis, and the first two aims of all points.

    Parameters
    ----------
    aims : metrics with their better side, the most important first.
    points : of the study's view: axes, metrics, ``feasible``.
    """
    names = list(aims)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _along(left, study, names[0], aims[names[0]], points)
        if len(names) > 1:
            _against(right, study, aims, points)
        else:
            _spread(right, study, names[0], points)
        feasible = int(points["feasible"].sum())
        figure.suptitle(
            f"{study.title}\n{len(points):,} points, {feasible:,} feasible",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _along(axes: Axes, study: Study, aim: str, side: Better, points: pd.DataFrame) -> None:
    """Best feasible value of the aim along an axis, with a line for each value of the next one."""
    across = _across(study, points)
    few = (a for a in study.axes if a is not across and 2 <= points[a.name].nunique() <= MOST_LINES)
    by = next(few, None)
    places = points[across.name]
    is_number = pd.api.types.is_numeric_dtype(places)
    if is_number and places.nunique() > 3 * BINS:
        edges = np.linspace(places.min(), places.max(), BINS + 1)
        places = pd.Series(edges[np.clip(np.digitize(places, edges) - 1, 0, BINS - 1)])
        places += (edges[1] - edges[0]) / 2
    kept = points["feasible"].to_numpy() & np.isfinite(points[aim].to_numpy(float))
    values = list(by.values) if by is not None else [None]
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.88, len(values)))
    for value, color in zip(values, colors, strict=True):
        chosen = kept if by is None else kept & (points[by.name] == value).to_numpy()
        grouped = points.loc[chosen, aim].groupby(places.to_numpy()[chosen])
        best = grouped.max() if side == "max" else grouped.min()
        if not is_number:
            best = best.reindex([v for v in across.values if v in best.index])
        text = None if value is None else number(value)
        axes.plot(best.index, best.to_numpy(), "o-", ms=3, lw=1.6, color=color, label=text)
    if is_number and across.log:
        axes.set_xscale("log")
    if by is not None:
        axes.legend(title=_short(by.name), frameon=False, fontsize=8, title_fontsize=8)
    axes.set_xlabel(_axis_label(across.name))
    axes.set_ylabel(f"best {fill(_label(study, aim), 40)}\namong feasible points")
    thousands(axes.yaxis)


def _against(axes: Axes, study: Study, aims: Mapping[str, Better], points: pd.DataFrame) -> None:
    """All points by the first two aims, feasible ones in colour, and the front of these."""
    first, second = list(aims)[:2]
    finite = np.isfinite(points[[first, second]].to_numpy(float)).all(axis=1)
    shown = points[finite]
    if len(shown) > MOST_DOTS:
        shown = shown.sample(MOST_DOTS, random_state=0)
    good = shown["feasible"].to_numpy()
    x, y = shown[second].to_numpy(float), shown[first].to_numpy(float)
    axes.scatter(x[~good], y[~good], s=5, color=OUT, lw=0, label="infeasible")
    axes.scatter(x[good], y[good], s=9, color="#2a78b8", lw=0, label="feasible")
    if good.any():
        signs = [-1 if aims[name] == "max" else 1 for name in (second, first)]
        losses = np.column_stack([signs[0] * x[good], signs[1] * y[good]])
        front = non_dominated(losses)
        order = np.argsort(x[good][front], kind="stable")
        axes.plot(
            x[good][front][order], y[good][front][order], "-", lw=1.2, color=INK, label="front"
        )
    axes.set_xlabel(fill(_label(study, second), 48))
    axes.set_ylabel(fill(_label(study, first), 40))
    axes.legend(
        frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), markerscale=2
    )
    thousands(axes.xaxis)
    thousands(axes.yaxis)


def _spread(axes: Axes, study: Study, aim: str, points: pd.DataFrame) -> None:
    values = points[aim].to_numpy(float)
    good = points["feasible"].to_numpy()
    finite = np.isfinite(values)
    edges = np.histogram_bin_edges(values[finite], BINS).tolist()
    axes.hist([values[finite & good], values[finite & ~good]], edges, stacked=True,
              color=["#2a78b8", OUT], label=["feasible", "infeasible"])  # fmt: skip
    axes.set_xlabel(_label(study, aim))
    axes.set_ylabel("points")
    axes.legend(frameon=False, fontsize=8)


def _across(study: Study, points: pd.DataFrame) -> Axis:
    """The first numeric axis with enough values for a line, or else the longest axis."""
    for axis in study.axes:
        values = points[axis.name]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() >= ENOUGH:
            return axis
    return max(study.axes, key=lambda axis: points[axis.name].nunique())


def _label(study: Study, name: str) -> str:
    return study.known_metrics[name].label


def _short(name: str) -> str:
    return name.removeprefix("workload.").removeprefix("datapath.").replace("_", " ")


def _axis_label(name: str) -> str:
    spec = NUMERIC.get(name)
    if spec is None:
        return name
    unit = f", {spec.unit.replace('mm2', 'mm²')}" if spec.unit else ""
    return f"{spec.meaning}{unit}"
