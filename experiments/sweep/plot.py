"""The figure of a sweep: what is won along its first long axis, and its metrics in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hardwire.experiments.shared.plot import on_log, small_unit, thousands
from hardwire.experiments.shared.style import (
    DESIGN_COLORS,
    INK,
    ISSUES,
    PAPER,
    WIDTH_IN,
    drawing,
    ordered,
)
from hardwire.experiments.shared.tables import count, number
from hardwire.experiments.shared.words_plot import say
from hardwire.experiments.sweep.curves import BINS, Curves, best_along, front, parts
from hardwire.experiments.sweep.design import NUMERIC
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.study import Study
from hardwire.experiments.sweep.summary import BOUND
from hardwire.simulator.pipelined import EXACT

IN, OUT, FRONT = (DESIGN_COLORS[key] for key in ("feasible", "infeasible", "front"))
MOST_DOTS = 20_000
MOST_STEPS = 7
"""A line of fewer values is drawn in steps: between two designs it keeps the first's."""

SAME = 1e-3
"""Lines that differ by less coincide."""


def sweep_figure(study: Study, aims: Mapping[str, Better], points: pd.DataFrame) -> Figure:
    """Best feasible value along an axis, and the first two aims of all points.

    Dots are designs that were evaluated; the front rises in steps between them. A line breaks where
    the best design has another value of an axis that is not shown, which is then written beside it.

    Parameters
    ----------
    aims : metrics with their better side, the most important first.
    points : of the study's view: axes, metrics, ``feasible``.
    """
    names = list(aims)
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 3.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        curves = best_along([axis.name for axis in study.axes], names[0], aims[names[0]], points)
        _along(left, study, names[0], curves)
        if len(names) > 1:
            _against(right, study, aims, points)
        else:
            _spread(right, study, names[0], points)
        feasible = int(points["feasible"].sum())
        under = f"{study.title.replace('mm2', 'mm²')} · {count(len(points))} designs, "
        under += f"{count(feasible)} feasible"
        if (loose := _loose(study, points)).any():
            under += f", {count(int(loose.sum()))} with times within {points[BOUND].max():.0%}"
        say(figure, _found(study, names[0], aims[names[0]], curves), under)
    return figure


def _loose(study: Study, points: pd.DataFrame) -> NDArray[np.bool_]:
    """Points whose times the closed form knows less well, for tokens queue on shared units."""
    if study.fidelity != "closed-form" or BOUND not in points:
        return np.zeros(len(points), bool)
    return points[BOUND].to_numpy(float) > EXACT


def _found(study: Study, aim: str, side: Better, curves: Curves) -> str:
    """The best value of each line, or where these are equal what is left at the end of the axis."""
    lines = {value: best for value, best in curves.lines.items() if len(best)}
    if not lines:
        return "No design is feasible."
    metric = study.known_metrics[aim]
    factor, unit = small_unit(metric.unit, pd.concat(list(lines.values())))
    tops = {value: best.max() if side == "max" else best.min() for value, best in lines.items()}
    where = ""
    if len(lines) > 1 and max(tops.values()) - min(tops.values()) < 0.01 * abs(max(tops.values())):
        longest = max(lines.values(), key=len).index
        shared = [at for at in longest if all(at in best.index for best in lines.values())]
        if shared:
            tops = {value: best[shared[-1]] for value, best in lines.items()}
            where = f" at {_valued(curves.across, shared[-1])}"
    words = {value: number(float(f"{factor * top:.4g}")) for value, top in tops.items()}
    if curves.by is None:
        only = next(iter(lines.values()))
        at = only.idxmax() if side == "max" else only.idxmin()
        found = f"{words[None]} {unit}".strip()
        return f"Best {metric.meaning}: {found}, at {_valued(curves.across, at)}."
    parts = [f"{_valued(curves.by, value)} {word}" for value, word in words.items()]
    return f"Best {metric.meaning}{where}{f', {unit}' if unit else ''}: {', '.join(parts)}."


def _along(axes: Axes, study: Study, aim: str, curves: Curves) -> None:
    """Best feasible value of the aim along an axis, with a line for each value of the next one."""
    metric = study.known_metrics[aim]
    known = [best for best in curves.lines.values() if len(best)]
    factor, unit = small_unit(metric.unit, pd.concat(known) if known else [])
    hidden: dict[Any, Any] = {}
    said: dict[tuple[Any, str], list[tuple[float, str]]] = {}
    for (value, best), color in zip(curves.lines.items(), _colors(curves), strict=True):
        if not len(best):
            continue
        below = next((v for v in hidden if _coincide(best, curves.lines[v])), None)
        hidden[value] = below
        text = None if value is None else number(value)
        style: Any = {"color": color, "lw": 1.2, "ls": "--", "zorder": 3}
        if below is None:
            style |= {"lw": 2.4 if len(known) > 1 else 1.8, "ls": "-", "zorder": 2}
        for i, (part, what) in enumerate(_unbroken(best, curves.designs[value])):
            few = part.nunique() < min(0.6 * len(part), MOST_STEPS)
            axes.plot(
                part.index, factor * part.to_numpy(), drawstyle="steps-post" if few else None,
                label=None if i else text if below is None else f"{text}, as {number(below)}",
                marker="o", markersize=3, markeredgecolor=color if below is None else PAPER,
                **style,
            )  # fmt: skip
            if what and below is None:
                at = (part.index[-1], what)
                said.setdefault(at, []).append((factor * part.max(), color))
    for (x, what), ends in said.items():
        axes.annotate(
            what, (x, max(ends)[0]), xytext=(0, 5), textcoords="offset points", ha="right",
            va="bottom", fontsize=9, color=ends[0][1] if len(ends) == 1 else INK,
        )  # fmt: skip
    across = next(axis for axis in study.axes if axis.name == curves.across)
    if across.log and known and pd.api.types.is_numeric_dtype(pd.Series(known[0].index)):
        on_log(axes, "x")
    elif not any(isinstance(at, str) for best in known for at in best.index):
        thousands(axes.xaxis)
    if curves.by is not None:
        axes.legend(title=_short(curves.by), title_fontsize=9, alignment="left")
    log = ", logarithmic" if across.log else ""
    axes.set_xlabel(fill(f"{_axis_label(across.name)}{log}", 44))
    axes.set_ylabel(fill(f"best {metric.meaning}{f', {unit}' if unit else ''}", 38))
    axes.margins(y=0.09)
    thousands(axes.yaxis)


def _colors(curves: Curves) -> list[str]:
    if curves.lines and all(value in ISSUES for value in curves.lines):
        return [ISSUES[value].color for value in curves.lines]
    return ordered(len(curves.lines))


def _coincide(one: pd.Series, other: pd.Series) -> bool:
    return one.index.equals(other.index) and np.allclose(one, other, rtol=SAME, atol=0)


def _unbroken(best: pd.Series, designs: pd.DataFrame) -> list[tuple[pd.Series, str]]:
    """The parts of a line in which the other axes keep their values, each with what it says."""
    part = parts(designs)
    if not part.any():
        return [(best, "")]
    found = []
    for _, rows in designs.loc[:, designs.nunique() > 1].groupby(part):
        what = ", ".join(_valued(str(n), v) for n, v in rows.iloc[0].items())
        found.append((best.loc[rows.index], what))
    return found


def _against(axes: Axes, study: Study, aims: Mapping[str, Better], points: pd.DataFrame) -> None:
    """All points by the first two aims, feasible ones in colour, and the front of these."""
    first, second = list(aims)[:2]
    finite = np.isfinite(points[[first, second]].to_numpy(float)).all(axis=1)
    shown = points[finite]
    if len(shown) > MOST_DOTS:
        shown = shown.sample(MOST_DOTS, random_state=0)
    good = shown["feasible"].to_numpy()
    (x_by, x_label), (y_by, y_label) = (_scaled(study, name, shown) for name in (second, first))
    x, y = x_by * shown[second].to_numpy(float), y_by * shown[first].to_numpy(float)
    axes.scatter(x[~good], y[~good], s=6, color=OUT, lw=0, label="infeasible")
    axes.scatter(x[good], y[good], s=10, color=IN, lw=0, label="feasible")
    loose = good & _loose(study, shown)
    if loose.any():  # a ring, which the front's dots leave to be seen
        axes.scatter(
            x[loose], y[loose], s=40, facecolors="none", edgecolors=IN, lw=0.9, zorder=4,
            label=f"times within {shown[BOUND][loose].max():.0%}",
        )  # fmt: skip
    if good.any():
        line = front(points[finite], aims) * [x_by, y_by]
        axes.plot(
            line[:, 0], line[:, 1], "o-", color=FRONT, lw=1.2, markersize=3,
            drawstyle=front_steps(aims[second]), label="Pareto front",
        )  # fmt: skip
    axes.set_xlabel(fill(x_label, 44))
    axes.set_ylabel(fill(y_label, 38))
    axes.legend(
        ncols=2 if loose.any() else 3,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        markerscale=1.6,
        columnspacing=1,
    )
    thousands(axes.xaxis)
    thousands(axes.yaxis)


def front_steps(x_side: Better) -> str:
    """How a front goes from one of its designs to the next: only what a design reaches is reached.

    Where less of x is better, the value at y holds until the next design is allowed.
    """
    return "steps-post" if x_side == "min" else "steps-pre"


def _spread(axes: Axes, study: Study, aim: str, points: pd.DataFrame) -> None:
    factor, label = _scaled(study, aim, points)
    values = factor * points[aim].to_numpy(float)
    good = points["feasible"].to_numpy()
    finite = np.isfinite(values)
    edges = np.histogram_bin_edges(values[finite], BINS).tolist()
    axes.hist([values[finite & good], values[finite & ~good]], edges, stacked=True,
              color=[IN, OUT], label=["feasible", "infeasible"])  # fmt: skip
    axes.set_xlabel(fill(label, 44))
    axes.set_ylabel("designs")
    thousands(axes.xaxis)
    thousands(axes.yaxis)
    axes.legend()


def _scaled(study: Study, name: str, points: pd.DataFrame) -> tuple[float, str]:
    """What to multiply a metric by, and its label with the unit that it then has."""
    metric = study.known_metrics[name]
    factor, unit = small_unit(metric.unit, points[name])
    return factor, f"{metric.meaning}{f', {unit}' if unit else ''}"


def _short(name: str) -> str:
    """The name of an axis without its section and its unit: ``capacity``."""
    short, spec = name.rpartition(".")[2], NUMERIC.get(name)
    if spec is not None and spec.unit:
        short = short.removesuffix(f"_{spec.unit.lower()}")
    return short.replace("_", " ")


def _valued(name: str, value: Any) -> str:
    """A value with the name of its axis and its unit; a word by itself."""
    if isinstance(value, str):
        return value
    spec = NUMERIC.get(name)
    unit = spec.unit.replace("mm2", "mm²") if spec is not None else ""
    return f"{_short(name)} {number(value)} {unit}".rstrip()


def _axis_label(name: str) -> str:
    spec = NUMERIC.get(name)
    if spec is None:
        return _short(name)
    unit = f", {spec.unit.replace('mm2', 'mm²')}" if spec.unit else ""
    return f"{spec.meaning}{unit}"
