"""The figures of ``hardwire calibrate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from hardwire.experiments.calibration.calibrate import ParameterRow, Report
from hardwire.experiments.calibration.view import shown
from hardwire.experiments.shared.plot import thousands
from hardwire.experiments.shared.style import BELIEF_COLORS, INK, WIDTH_IN, drawing
from hardwire.experiments.shared.words import quantity_words, words_of
from hardwire.experiments.shared.words_plot import say
from hardwire.models.chip import DECLARED, Chip
from hardwire.simulator.belief.posterior import Array
from hardwire.simulator.belief.predictions import predictions
from hardwire.simulator.timing import CLOCK

LIGHT, AFTER, MEASURED = (BELIEF_COLORS[key] for key in ("before", "after", "measured"))
STRIPS = 20
"""Parameters in the figure, those that changed most."""

CORNER = (CLOCK, "datapath.lanes", "rom.density_mbit_per_mm2", "power.idle_clock_share",
          "process.logic_leakage_w_per_mm2")  # fmt: skip
LABELS = {
    CLOCK: "vendor's clock, GHz",
    "datapath.lanes": "lanes",
    "rom.density_mbit_per_mm2": "ROM density,\nMb/mm²",
    "power.idle_clock_share": "clock of\nwhat waits",
    "process.logic_leakage_w_per_mm2": "logic leakage,\nW/mm²",
}
PANELS = ("free_rank", "power", "area", "head")
"""Predictions in the figure, beside those of the adapters."""

MARKERS = {"at most": "<", "at least": ">"}
"""By the kind of a limit: towards what it allows."""

BINS = 40
DOTS = 1500
"""Draws shown as dots; they are in random order."""


def parameter_figure(report: Report) -> Figure:
    """Intervals before and after, of the parameters that changed most, on the span before."""
    rows = report.parameters[:STRIPS]
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 0.3 * len(rows) + 0.7), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            _strip(axes, place, row)
        axes.set_yticks(range(len(rows)), [fill(quantity_words(row.name), 36) for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(-0.36, 1.55)
        axes.set_xticks([])
        axes.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.plot([], [], color=LIGHT, linewidth=7, label="before: 5 to 95% of the range")
        axes.plot(
            [], [], "o-", color=AFTER, linewidth=2, markersize=4, label="after: 5 to 95%, median"
        )
        figure.legend(loc="outside lower center", ncols=2)
        say(
            figure, _narrowed(report),
            f"{report.posterior.chip.title}. Grey bars are scaled to the same length; a blue line "
            "that is longer leans on an end of its range, of which the bar leaves out 5%.",
        )  # fmt: skip
    return figure


def _narrowed(report: Report) -> str:
    """How many parameters the measurements say something about."""
    counts = Counter(row.verdict for row in report.parameters)
    learnt = counts["pinned"] + counts["narrowed"]
    moved = counts["shifted up"] + counts["shifted down"]
    first = quantity_words(report.parameters[0].name)
    return (
        f"The measurements narrow {learnt} of {len(report.parameters)} parameters, {first} most, "
        f"and shift {moved} more; {counts['open']} stay as open as before."
    )


def _unit(unit: str) -> str:
    return "µm" if unit == "um" else unit.replace("mm2", "mm²")


def _strip(axes: Axes, place: int, row: ParameterRow) -> None:
    scale = np.log if row.log else np.asarray
    before, after = (np.asarray(scale(values)) for values in (row.prior, row.posterior))
    low, middle, high = (after - before[0]) / (before[2] - before[0])
    axes.plot([0, 1], [place, place], color=LIGHT, linewidth=7, solid_capstyle="butt")
    axes.plot([low, high], [place, place], color=AFTER, linewidth=2)
    axes.plot(middle, place, "o", color=AFTER, markersize=4)
    style: Any = {"va": "center", "fontsize": 8.5, "color": INK}
    axes.text(-0.13, place, shown(row.prior[0], ""), ha="right", **style)
    axes.text(1.12, place, f"{shown(row.prior[2], '')} {_unit(row.unit)}", ha="left", **style)


def corner_figure(report: Report) -> Figure:
    """Pairs of the parameters that the measurements say most about."""
    names = CORNER
    chip = report.posterior.chip
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 7.6), layout="constrained")
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
                        x[:DOTS], y[:DOTS], ".", color=AFTER, markersize=2.5, alpha=0.3,
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
        figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.99, 0.9), fontsize=10)
        say(
            figure, _tied(chip),
            "Dots are draws that agree with all measurements; lanes are whole numbers. Dotted: 5 "
            "and 95% of these draws.",
        )  # fmt: skip
    return figure


def _tied(chip: Chip) -> str:
    """Which two of the parameters the measurements tie most."""
    values = np.array([np.asarray(chip.value(name), dtype=float) for name in CORNER])
    related = np.corrcoef(values)
    np.fill_diagonal(related, 0)
    i, j = np.unravel_index(np.argmax(np.abs(related)), related.shape)
    one, other = (" ".join(LABELS[CORNER[k]].split()).partition(",")[0] for k in (i, j))
    return (
        f"The measurements tie {one} to {other} (correlation {related[i, j]:+.2f}) more than any "
        "other pair."
    ).replace("-", "\N{MINUS SIGN}")


def _limits(report: Report, name: str) -> tuple[float, float]:
    limits = report.inference.chip.parameters[name].range
    assert limits is not None
    return limits


def _ticks(name: str) -> MaxNLocator:
    return MaxNLocator(4, integer=DECLARED[name].integer)


def _margin(axes: Axes, report: Report, name: str, values: Array) -> None:
    low, high = _limits(report, name)
    whole = DECLARED[name].integer
    # A whole number stands for what is rounded to it, which at the ends is half as much.
    inner = np.arange(low + 0.5, high)
    bins: Any = [low, *inner, high] if whole else np.linspace(low, high, BINS + 1)
    if name == CLOCK:
        spread = np.linspace(0, 1, 20_001)
        before = low * (high / low) ** spread
    else:
        before = report.inference.drawn[name]
    axes.hist(before, bins=bins, density=True, color=LIGHT)
    axes.hist(values, bins=bins, density=True, color=AFTER, alpha=0.6)
    _ends(axes, values)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _ends(axes: Axes, values: Array) -> None:
    """Marks at the 5th and the 95th percentile."""
    for end in np.percentile(values, [5, 95]):
        axes.axvline(end, color=INK, linewidth=1, linestyle=":")


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
        figure = Figure(figsize=(WIDTH_IN, 1.95 * lines + 0.4), layout="constrained")
        cells = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in cells[len(keys) :]:
            axes.set_visible(False)
        for key, axes in zip(keys, cells, strict=False):
            factor, unit = {"s": (1e3, "ms"), "J": (1e3, "mJ")}.get(after[key].unit, (1.0, None))
            unit = after[key].unit if unit is None else unit
            old, new = (np.asarray(q[key].values) * factor for q in (before, after))
            _densities(axes, old, new)
            axes.set_title(fill(after[key].name, 22, break_on_hyphens=False), fontsize=9)
            axes.set_xlabel(_unit(unit), fontsize=9)
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
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        say(
            figure, _power_found(after["power"].values, power[0].value if power else None),
            f"{report.posterior.chip.title}. Densities; dotted: 5 and 95% of the draws that agree "
            "with all measurements.",
        )  # fmt: skip
    return figure


def _power_found(values: Array, published: float | None) -> str:
    """Where the power lies, and the published one among it."""
    low, middle, high = np.percentile(np.asarray(values), [5, 50, 95])
    said = (
        f"All measurements together put the card power at {middle:.0f} W ({low:.0f} … {high:.0f})"
    )
    if published is None:
        return f"{said}."
    above = np.mean(np.asarray(values) >= published)
    share = "less than 1%" if above < 0.01 else f"{100 * above:.0f}%"
    return f"{said}; {share} of the draws reach the published {published:.0f} W."


def _densities(axes: Axes, before: Array, after: Array) -> None:
    both = np.concatenate([before, after])
    low, high = np.quantile(both, [0.002, 0.998])
    low = min(low, 0.0) if low < 0.2 * high else low
    if low == high:  # one value, such as no loss at all
        low, high = low - 0.5, high + 0.5
    bins: Any = np.linspace(low, high, BINS + 1)
    axes.hist(before, bins=bins, density=True, color=LIGHT)
    axes.hist(after, bins=bins, density=True, color=AFTER, alpha=0.6)
    _ends(axes, after)
    axes.set_yticks([])
    axes.tick_params(labelsize=8.5)
    axes.locator_params(axis="x", nbins=4)
    thousands(axes.xaxis)
    axes.spines["left"].set_visible(False)


def left_out_figure(report: Report) -> Figure:
    """Each measurement over its prediction from all others, with the 90 % interval."""
    rows = report.left_out
    ticks = (0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3)
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 0.24 * len(rows) + 0.9), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            low, middle, high = row.interval
            color = AFTER if row.inside else MEASURED
            axes.plot(
                [low / middle, high / middle], [place, place], color=LIGHT, linewidth=7,
                solid_capstyle="butt",
            )  # fmt: skip
            # Another shape for what is outside, which grey print shows, too.
            marker = MARKERS.get(row.kind, "o" if row.inside else "D")
            axes.plot(row.measured / middle, place, marker, color=color, markersize=5.5)
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(_within(ticks, axes.get_xlim())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(rows)), [words_of(row.id).partition(", at ")[0] for row in rows])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("measured / median predicted from all other measurements, logarithmic")
        axes.plot([], [], color=LIGHT, linewidth=7, label="predicted, 90% interval")
        axes.plot([], [], "o", color=AFTER, label="measured, inside")
        axes.plot([], [], "D", color=MEASURED, label="measured, outside")
        for kind, marker in MARKERS.items():
            axes.plot([], [], marker, color=AFTER, label=f"limit: {kind} this")
        figure.legend(loc="outside lower center", ncols=3)
        outside = [words_of(row.id) for row in rows if not row.inside]
        named = f"; outside: {', '.join(outside)}" if outside else ""
        say(
            figure,
            f"{len(rows) - len(outside)} of {len(rows)} measurements lie where all the others "
            f"predict them{named}.",
            report.posterior.chip.title,
        )
    return figure


def _within(ticks: Sequence[float], limits: tuple[float, float]) -> list[float]:
    return [tick for tick in ticks if limits[0] <= tick <= limits[1]]
