"""The figure of a sweep: what is won along its first long axis, and its metrics in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.shared.style import DESIGN_COLORS, INK, drawing, ordered, thousands
from hardwire.experiments.shared.tables import number
from hardwire.experiments.sweep.curves import BINS, best_along, front
from hardwire.experiments.sweep.design import NUMERIC
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.study import Study

IN, OUT = DESIGN_COLORS["feasible"], DESIGN_COLORS["infeasible"]
MOST_DOTS = 20_000


def sweep_figure(study: Study, aims: Mapping[str, Better], points: pd.DataFrame) -> Figure:
    """Best feasible value along an axis, and the first two aims of all points.

    Parameters
    ----------
    aims : metrics with their better side, the most important first.
    points : of the study's view: axes, metrics, ``feasible``.
    """
    names = list(aims)
    with drawing():
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
    curves = best_along([axis.name for axis in study.axes], aim, side, points)
    colors = ordered(len(curves.lines))
    for (value, best), color in zip(curves.lines.items(), colors, strict=True):
        text = None if value is None else number(value)
        axes.plot(best.index, best.to_numpy(), "o-", ms=3, lw=1.6, color=color, label=text)
    across = next(axis for axis in study.axes if axis.name == curves.across)
    if across.log and pd.api.types.is_numeric_dtype(points[across.name]):
        axes.set_xscale("log")
    if curves.by is not None:
        axes.legend(title=_short(curves.by), frameon=False, fontsize=8, title_fontsize=8)
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
    axes.scatter(x[good], y[good], s=9, color=IN, lw=0, label="feasible")
    if good.any():
        line = front(shown, aims)
        axes.plot(line[:, 0], line[:, 1], "-", lw=1.2, color=INK, label="front")
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
              color=[IN, OUT], label=["feasible", "infeasible"])  # fmt: skip
    axes.set_xlabel(_label(study, aim))
    axes.set_ylabel("points")
    axes.legend(frameon=False, fontsize=8)


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
