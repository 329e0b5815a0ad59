"""The figure of the validation: predicted over published, row by row, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hardwire.experiments.shared.style import INK, PAPER, ROW_COLORS, WIDTH_IN, drawing
from hardwire.experiments.shared.words import words_of
from hardwire.experiments.shared.words_plot import say
from hardwire.experiments.validation.finding import drawn, finding
from hardwire.experiments.validation.rows import Row, rows_of
from hardwire.experiments.validation.view import TITLES

COLUMNS = (("hc1", "technology", "roma", "hnlpu", "dies"), ("gpu", "parts", "experts"))
"""Systems in each column of the figure."""

PREDICTION, MISS, FIT = (ROW_COLORS[key] for key in ("predicted", "missed", "fitted"))
TICKS = (0.1, 0.2, 0.5, 1, 2)
LEFTMOST, RIGHTMOST = 0.08, 2.5


def validation_figure(rows: Sequence[Row]) -> Figure:
    """Predicted over published on a logarithmic axis, a panel per system.

    A line is the 90 % interval; it holds the published value where it crosses 1.
    """
    panels = [
        [(name, [row for row in rows_of(rows, name) if drawn(row)]) for name in column]
        for column in COLUMNS
    ]
    panels = [[(name, found) for name, found in column if found] for column in panels]
    panels = [column for column in panels if column]
    with drawing():
        tallest = max(sum(len(found) + 3 for _, found in column) for column in panels)
        figure = Figure(figsize=(WIDTH_IN, 0.2 * tallest + 0.9), layout="constrained")
        parts: Any = figure.subfigures(1, len(panels))
        for column, part in zip(panels, parts, strict=True):
            heights = [len(found) + 1.5 for _, found in column]
            axes = part.subplots(len(column), 1, squeeze=False, height_ratios=heights)[:, 0]
            for (name, found), axis in zip(column, axes, strict=True):
                _panel(axis, TITLES[name], found)
            axes[-1].set_xlabel("predicted / published (log)")
        parts[0].legend(handles=_keys(), loc="outside lower center", ncols=1, handlelength=2.5)
        say(figure, finding(rows), _SETTING)
    return figure


_SETTING = (
    "A line is the 90% interval, the published figure's own error included. Where no range is "
    "drawn from and no error is published, as of the vLLM runs, there is only the point."
)


def _panel(axes: Axes, title: str, rows: Sequence[Row]) -> None:
    axes.set_title(title, loc="right")
    axes.axvline(1, color=INK, linewidth=0.8)
    for place, row in enumerate(rows):
        assert row.published and row.predicted
        color = _color(row)
        if row.low is not None and row.high is not None:
            ends = [max(end / row.published, LEFTMOST) for end in (row.low, row.high)]
            axes.plot(ends, [place, place], color=color, linewidth=2.4, alpha=0.5)
        filled = color if row.role == "validation" else PAPER
        axes.plot(
            row.predicted / row.published, place, _marker(color), color=color, markersize=4.2,
            markerfacecolor=filled,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [words_of(row.id) for row in rows], fontsize=8.5)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(MISS if row.status == "missed" else INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(LEFTMOST, RIGHTMOST)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", labelsize=8.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _color(row: Row) -> str:
    if row.status == "missed":
        return MISS
    return PREDICTION if row.role == "validation" else FIT


def _marker(color: str) -> str:
    """Another shape for what missed, which grey print shows, too."""
    return "D" if color == MISS else "o"


def _keys() -> list[Line2D]:
    def key(color: str, label: str, **more: Any) -> Line2D:
        style = {"marker": _marker(color), "markersize": 4.2, **more}
        return Line2D([], [], color=color, label=label, **style)

    return [
        key(PREDICTION, "predicted, 90% interval", linewidth=2.2),
        key(MISS, "predicted, outside its tolerance", linewidth=2.2),
        key(
            FIT,
            "fitted, in-sample or identity: no prediction",
            linewidth=2.2,
            markerfacecolor=PAPER,
        ),
    ]
