"""The figure of a sensitivity: Sobol indices as bars, and the tornado beside them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.sensitivity.sobol import Report, Sensitivity
from hardwire.experiments.sensitivity.view import input_value
from hardwire.experiments.shared.style import END_COLORS, INDEX_COLORS, INK, drawing
from hardwire.experiments.shared.tables import number
from hardwire.experiments.sweep.metrics import CLOSED_FORM

MOST_BARS = 12
LEAST_SHOWN = 0.002
"""Total indices below are too short for a bar."""


def sensitivity_figure(report: Report, one: Sensitivity) -> Figure:
    """Indices of the inputs that matter, and what each does alone from end to end of its range."""
    shown = tuple(e for e in one.effects if e.total >= LEAST_SHOWN)[:MOST_BARS]
    widest = max(effect.swing for effect in one.effects)
    swings = [e for e in sorted(one.effects, key=lambda e: -e.swing) if e.swing > 0.005 * widest]
    swings = swings[:MOST_BARS]
    rows = max(len(shown), len(swings), 3)
    with drawing():
        figure = Figure(figsize=(11, 1.9 + 0.36 * rows), layout="constrained")
        left, right = figure.subplots(1, 2)
        _indices(left, shown)
        _tornado(right, one, swings)
        for axes in (left, right):
            axes.set_ylim(rows - 0.4, -0.6)
            axes.tick_params(axis="y", length=0, labelsize=9)
            axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        how = "calibrated parameter fitted again" if report.calibrated else "all ranges free"
        figure.suptitle(
            f"{report.design.chip.name} · {CLOSED_FORM[one.metric].label} · {how}",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _indices(axes: Axes, shown: tuple[Any, ...]) -> None:
    places = np.arange(len(shown))
    style: Any = {"height": 0.36, "error_kw": {"elinewidth": 1, "ecolor": INK, "capsize": 2}}
    axes.barh(
        places - 0.19, [max(e.first, 0) for e in shown], xerr=[e.first_error for e in shown],
        color=INDEX_COLORS["first"], label="first order: alone", **style,
    )  # fmt: skip
    axes.barh(
        places + 0.19, [max(e.total, 0) for e in shown], xerr=[e.total_error for e in shown],
        color=INDEX_COLORS["total"], label="total: with others", **style,
    )  # fmt: skip
    axes.set_yticks(places, [e.input.name for e in shown])
    axes.set_xlim(0, None)
    axes.set_xlabel("share of the variance")
    axes.set_title("Sobol indices, with 95 % intervals", loc="left", fontsize=10)


def _tornado(axes: Axes, one: Sensitivity, swings: list[Any]) -> None:
    at_low = [(e.at_low - one.filed) for e in swings]
    at_high = [(e.at_high - one.filed) for e in swings]
    places = np.arange(len(swings))
    reach = max((abs(x) for x in (*at_low, *at_high)), default=1.0) or 1.0
    for values, color, name in (
        (at_low, END_COLORS["low"], "input at its low end"),
        (at_high, END_COLORS["high"], "at its high end"),
    ):
        axes.barh(places, values, left=one.filed, height=0.62, color=color, label=name)
    for place, effect in enumerate(swings):
        ends = {effect.at_low: effect.input.low, effect.at_high: effect.input.high}
        for value, end in ends.items():
            # Where both ends lie on one side the shorter bar has no room for a number.
            further = abs(value - one.filed) >= 0.02 * reach
            alone = (effect.at_low - one.filed) * (effect.at_high - one.filed) <= 0
            if further and alone and math.isfinite(value):
                right = value > one.filed
                axes.annotate(
                    input_value(effect.input, end), (value, place), xytext=(3 if right else -3, 0),
                    textcoords="offset points", ha="left" if right else "right", va="center",
                    fontsize=8, color=INK,
                )  # fmt: skip
    axes.axvline(one.filed, color=INK, linewidth=1)
    axes.set_yticks(places, [e.input.name for e in swings])
    axes.margins(x=0.16)
    axes.xaxis.set_major_formatter(lambda value, _: number(float(f"{value:.6g}")))
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(CLOSED_FORM[one.metric].label)
    axes.set_title("One at a time, others as filed", loc="left", fontsize=10)
