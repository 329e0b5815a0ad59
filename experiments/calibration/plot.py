"""The figures of ``hardwire calibrate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from hardwire.experiments.calibration.calibrate import ParameterRow, Report
from hardwire.experiments.calibration.view import shown
from hardwire.experiments.shared.style import BELIEF_COLORS, INK, drawing
from hardwire.models.chip import DECLARED
from hardwire.simulator.belief.posterior import Array
from hardwire.simulator.belief.predictions import predictions
from hardwire.simulator.timing import CLOCK

LIGHT, AFTER, MEASURED = (BELIEF_COLORS[key] for key in ("before", "after", "measured"))
STRIPS = 20
"""Parameters in the figure, those that changed most."""

CORNER = (CLOCK, "datapath.lanes", "rom.density_mbit_per_mm2", "process.clock_pj_per_mm2_cycle",
          "process.logic_leakage_w_per_mm2")  # fmt: skip
LABELS = {
    CLOCK: "vendor's clock, GHz",
    "datapath.lanes": "lanes",
    "rom.density_mbit_per_mm2": "ROM density,\nMb/mm²",
    "process.clock_pj_per_mm2_cycle": "clock tree,\npJ/mm² a cycle",
    "process.logic_leakage_w_per_mm2": "logic leakage,\nW/mm²",
}
PANELS = ("free_rank", "power", "area", "head")
"""Predictions in the figure, beside those of the adapters."""

BINS = 40
DOTS = 1500
"""Draws shown as dots; they are in random order."""


def parameter_figure(report: Report) -> Figure:
    """Intervals before and after, of the parameters that changed most, on the span before."""
    rows = report.parameters[:STRIPS]
    with drawing():
        figure = Figure(figsize=(9, 0.30 * len(rows) + 1.2), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            _strip(axes, place, row)
        axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
        axes.invert_yaxis()
        axes.set_xlim(-0.3, 1.36)
        axes.set_xticks([])
        axes.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.plot([], [], color=LIGHT, linewidth=7, label="range, 5th to 95th percentile")
        axes.plot([], [], "o-", color=AFTER, linewidth=2, markersize=4, label="after, with median")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _strip(axes: Axes, place: int, row: ParameterRow) -> None:
    scale = np.log if row.log else np.asarray
    before, after = (np.asarray(scale(values)) for values in (row.prior, row.posterior))
    low, middle, high = (after - before[0]) / (before[2] - before[0])
    axes.plot([0, 1], [place, place], color=LIGHT, linewidth=7, solid_capstyle="butt")
    axes.plot([low, high], [place, place], color=AFTER, linewidth=2)
    axes.plot(middle, place, "o", color=AFTER, markersize=4)
    style: Any = {"va": "center", "fontsize": 8, "color": INK}
    axes.text(-0.13, place, shown(row.prior[0], ""), ha="right", **style)
    axes.text(1.09, place, f"{shown(row.prior[2], '')} {row.unit}", ha="left", **style)


def corner_figure(report: Report) -> Figure:
    """Pairs of the parameters that the measurements say most about."""
    names = CORNER
    chip = report.posterior.chip
    with drawing():
        figure = Figure(figsize=(9, 8.6), layout="constrained")
        grid = figure.subplots(len(names), len(names))
        for i, below in enumerate(names):
            for j, across in enumerate(names):
                axes = grid[i, j]
                if j > i:
                    axes.set_visible(False)
                    continue
                x, y = (chip.value(name) for name in (across, below))
                if i == j:
                    _margin(axes, report, across, x)
                else:
                    axes.plot(
                        _jittered(x, across)[:DOTS], _jittered(y, below)[:DOTS], ".", color=AFTER,
                        markersize=2, alpha=0.4,
                    )  # fmt: skip
                    axes.set_ylim(*_limits(report, below))
                    axes.yaxis.set_major_locator(_ticks(below))
                axes.set_xlim(*_limits(report, across))
                axes.xaxis.set_major_locator(_ticks(across))
                axes.tick_params(labelsize=8, labelbottom=i == len(names) - 1, labelleft=j == 0 < i)
                if i == len(names) - 1:
                    axes.set_xlabel(LABELS[across], fontsize=9)
                if j == 0 < i:
                    axes.set_ylabel(LABELS[below], fontsize=9)
        figure.align_labels()
        handles = [
            mpl.patches.Patch(facecolor=LIGHT, label="before: the range"),
            mpl.patches.Patch(facecolor=AFTER, alpha=0.6, label="after all measurements"),
        ]
        figure.legend(handles=handles, loc="upper right", frameon=False, fontsize=10)
    return figure


def _jittered(values: Array, name: str) -> Array:
    """Whole numbers spread over their place, so that dots do not cover each other."""
    if not DECLARED[name].integer:
        return values
    rng = np.random.default_rng(0)
    return np.asarray(values + rng.uniform(-0.4, 0.4, len(values)), dtype=float)


def _limits(report: Report, name: str) -> tuple[float, float]:
    limits = report.inference.chip.parameters[name].range
    assert limits is not None
    half = 0.5 if DECLARED[name].integer else 0.0
    return limits[0] - half, limits[1] + half


def _ticks(name: str) -> MaxNLocator:
    return MaxNLocator(4, integer=DECLARED[name].integer)


def _margin(axes: Axes, report: Report, name: str, values: Array) -> None:
    low, high = _limits(report, name)
    whole = DECLARED[name].integer
    bins: Any = np.arange(low, high + 1) if whole else np.linspace(low, high, BINS + 1)
    if name == CLOCK:
        spread = np.linspace(0, 1, 20_001)
        before = low * (high / low) ** spread
    else:
        before = report.inference.drawn[name]
    axes.hist(before, bins=bins, density=True, color=LIGHT)
    axes.hist(values, bins=bins, density=True, color=AFTER, alpha=0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def prediction_figure(report: Report) -> Figure:
    """Densities of what follows: from the rate alone, and from all measurements."""
    inference = report.inference
    before, after = (
        {q.key: q for q in predictions(chip, inference.model, report.shapes)}
        for chip in (report.rate_alone.chip, report.posterior.chip)
    )
    adapters = [f"{what}.{name}" for name, _ in report.shapes for what in ("loss", "swap.warm")]
    keys = [key for key in (*adapters, *PANELS) if key in after]
    columns = 4
    lines = -(-len(keys) // columns)
    power = [m for m in inference.measurements if m.metric == "card_power_w"]
    with drawing():
        figure = Figure(figsize=(11, 2.3 * lines + 0.4), layout="constrained")
        cells = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in cells[len(keys) :]:
            axes.set_visible(False)
        for key, axes in zip(keys, cells, strict=False):
            factor, unit = {"s": (1e3, "ms"), "J": (1e3, "mJ")}.get(after[key].unit, (1.0, None))
            unit = after[key].unit if unit is None else unit
            old, new = (np.asarray(q[key].values) * factor for q in (before, after))
            _densities(axes, old, new)
            axes.set_title(after[key].name, fontsize=10)
            axes.set_xlabel(unit, fontsize=9)
            if key == "power" and power:
                axes.axvline(power[0].value, color=MEASURED, linewidth=1.5)
                axes.annotate(
                    "published", (power[0].value, 1), xycoords=("data", "axes fraction"),
                    xytext=(-3, -8), textcoords="offset points", ha="right", fontsize=8,
                    color=MEASURED,
                )  # fmt: skip
        handles = [
            mpl.patches.Patch(facecolor=LIGHT, label="from the rate alone"),
            mpl.patches.Patch(facecolor=AFTER, alpha=0.6, label="from all measurements"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _densities(axes: Axes, before: Array, after: Array) -> None:
    both = np.concatenate([before, after])
    low, high = np.quantile(both, [0.002, 0.998])
    low = min(low, 0.0) if low < 0.2 * high else low
    if low == high:  # one value, such as no loss at all
        low, high = low - 0.5, high + 0.5
    bins: Any = np.linspace(low, high, BINS + 1)
    axes.hist(before, bins=bins, density=True, color=LIGHT)
    axes.hist(after, bins=bins, density=True, color=AFTER, alpha=0.6)
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.spines["left"].set_visible(False)


def left_out_figure(report: Report) -> Figure:
    """Each measurement over its prediction from all others, with the 90 % interval."""
    rows = report.left_out
    ticks = (0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3)
    with drawing():
        figure = Figure(figsize=(9, 0.26 * len(rows) + 0.9), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            low, middle, high = row.interval
            color = AFTER if row.inside else MEASURED
            axes.plot(
                [low / middle, high / middle], [place, place], color=LIGHT, linewidth=7,
                solid_capstyle="butt",
            )  # fmt: skip
            marker = {"at most": "<", "at least": ">"}.get(row.kind, "o")
            axes.plot(row.measured / middle, place, marker, color=color, markersize=5)
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_within(ticks, axes.get_xlim())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(rows)), [row.id for row in rows], fontsize=9)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("over the median of what all other measurements predict")
        axes.plot([], [], color=LIGHT, linewidth=7, label="predicted, 90 % interval")
        axes.plot([], [], "o", color=AFTER, label="measured, inside")
        axes.plot([], [], "o", color=MEASURED, label="measured, outside")
        axes.plot([], [], "<", color=AFTER, label="limit: at most, at least")
        axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure


def _within(ticks: Sequence[float], limits: tuple[float, float]) -> list[float]:
    return [tick for tick in ticks if limits[0] <= tick <= limits[1]]
