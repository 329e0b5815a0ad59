"""The figure of a sensitivity: Sobol indices as bars, and the tornado beside them."""

from __future__ import annotations

import math
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.sensitivity.sobol import MEASUREMENT, Effect, Report, Sensitivity
from hardwire.experiments.sensitivity.view import input_value
from hardwire.experiments.shared.plot import small_unit, thousands
from hardwire.experiments.shared.style import END_COLORS, INDEX_COLORS, INK, WIDTH_IN, drawing
from hardwire.experiments.shared.words import quantity_words
from hardwire.experiments.shared.words_plot import say
from hardwire.experiments.sweep.metrics import CLOSED_FORM
from hardwire.models.chip import DECLARED

MOST_BARS = 12
LEAST_SHOWN = 0.002
"""Total indices below are too short for a bar."""


def sensitivity_figure(report: Report, one: Sensitivity) -> Figure:
    """Indices of the inputs that matter, and what each does alone from end to end of its range.

    A row is an input, by its share of the variance; those that have none, but move the metric, are
    below.
    """
    widest = max(effect.swing for effect in one.effects)
    shown = [e for e in one.effects if e.total >= LEAST_SHOWN or e.swing > 0.02 * widest]
    shown = sorted(shown, key=lambda e: (-e.total if e.total >= LEAST_SHOWN else 0, -e.swing))
    shown = shown[:MOST_BARS]
    rows = max(len(shown), 3)
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.42 * rows), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _indices(left, shown)
        _tornado(right, one, shown)
        left.set_yticks(range(len(shown)), [_name(e) for e in shown])
        left.set_ylim(rows - 0.4, -0.6)
        for axes in (left, right):
            axes.tick_params(axis="y", length=0, labelsize=9)
            axes.spines["left"].set_visible(False)
            axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.48 / (0.42 * rows)), ncols=2)
        how = "calibrated parameter fitted again" if report.calibrated else "all ranges free"
        load = report.design
        with_adapter = "" if load.adapter is None else f" · {load.adapter.name}"
        say(
            figure,
            _found(one),
            f"{load.chip.name}{with_adapter} · {how} · Sobol indices with 95% intervals; "
            "right: one input at a time from end to end of its range, the others as filed",
        )
    return figure


def _found(one: Sensitivity) -> str:
    """Which inputs decide the metric."""
    most = [effect for effect in one.effects if effect.total > 0.1][:3] or one.effects[:1]
    parts = [f"{_plain(effect)} ({effect.total:.0%})" for effect in most]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    verb = "explain" if len(parts) > 1 else "explains"
    what = CLOSED_FORM[one.metric].meaning
    first = listed[0].upper() + listed[1:] if not listed[:2].isupper() else listed
    return f"{first} {verb} most of the variance of the {what}."


def _plain(effect: Effect) -> str:
    """What an input is, in words."""
    return quantity_words(effect.input.name)


def _name(effect: Effect) -> str:
    """The same with its unit, where the words do not end with it, for a row of the figure."""
    unit = "" if effect.input.name == MEASUREMENT else DECLARED[effect.input.name].unit
    unit = "µm" if unit == "um" else unit
    said = _plain(effect)
    shown = f", {unit}" if unit and not said.endswith(unit.replace("/", "per ")) else ""
    return fill(f"{said}{shown}".replace("mm2", "mm²"), 34)


def _indices(axes: Axes, shown: list[Effect]) -> None:
    places = np.arange(len(shown))
    style: Any = {"height": 0.36, "error_kw": {"elinewidth": 1, "ecolor": INK, "capsize": 2}}
    for shift, label, values, errors in (
        (-0.19, "first order", [e.first for e in shown], [e.first_error for e in shown]),
        (0.19, "total", [e.total for e in shown], [e.total_error for e in shown]),
    ):
        axes.barh(
            places + shift, [max(value, 0) for value in values], xerr=errors, label=label,
            color=INDEX_COLORS[label.partition(" ")[0]], **style,
        )  # fmt: skip
    axes.set_xlim(0, None)
    axes.set_xlabel("share of the variance")


def _tornado(axes: Axes, one: Sensitivity, shown: list[Effect]) -> None:
    metric = CLOSED_FORM[one.metric]
    factor, unit = small_unit(metric.unit, [one.filed])
    filed = factor * one.filed
    at_low, at_high = ([factor * v for v in ends] for ends in _ends(shown))
    places = np.arange(len(shown))
    reach = np.nanmax(np.abs(np.subtract([*at_low, *at_high], filed)), initial=0.0) or 1.0
    for values, end in ((at_low, "low"), (at_high, "high")):
        axes.barh(
            places, np.subtract(values, filed), left=filed, height=0.62, color=END_COLORS[end],
            label=f"{end} end",
        )  # fmt: skip
    for place, effect in enumerate(shown):
        ends = {at_low[place]: effect.input.low, at_high[place]: effect.input.high}
        for value, at in ends.items():
            # Where both ends lie on one side the shorter bar has no room for a number.
            further = abs(value - filed) >= 0.02 * reach
            alone = (at_low[place] - filed) * (at_high[place] - filed) <= 0
            if further and alone and math.isfinite(value):
                right = value > filed
                axes.annotate(
                    input_value(effect.input, at), (value, place), xytext=(3 if right else -3, 0),
                    textcoords="offset points", ha="left" if right else "right", va="center",
                    fontsize=8.5, color=INK,
                )  # fmt: skip
    axes.axvline(filed, color=INK, linewidth=1)
    axes.margins(x=0.2)
    thousands(axes.xaxis)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"{metric.meaning}{f', {unit}' if unit else ''}")


def _ends(shown: list[Effect]) -> tuple[list[float], list[float]]:
    return [e.at_low for e in shown], [e.at_high for e in shown]
