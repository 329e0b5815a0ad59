"""The plot of a report on number formats: error against stored bits, and against rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from hardwire.experiments.formats.divergence import Divergence
from hardwire.experiments.formats.measure import FormatReport
from hardwire.experiments.formats.view import adapters_finding, base_finding
from hardwire.experiments.shared.style import FORMAT_COLORS, PAPER, WIDTH_IN, drawing
from hardwire.experiments.shared.words_plot import say

_BIT_TICKS = (3.5, 4.5, 6.5, 8.5, 16)
_BIT_RANGE = (3.2, 18)
_WEIGHTS, _CACHE = FORMAT_COLORS["weights"], FORMAT_COLORS["kv"]
_IMAGES = {
    "float16": (FORMAT_COLORS["float16"], "s"),
    "int8": (FORMAT_COLORS["int8"], "D"),
    "int4": (FORMAT_COLORS["int4"], "^"),
    "int2": (FORMAT_COLORS["int2"], "v"),
}


def formats_figure(report: FormatReport) -> Figure:
    """SQNR and KL against float32: above by stored bits, below by rank; a column shares its axis.

    What equals float32 has no error to draw.
    """
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 6.6), layout=ConstrainedLayoutEngine(hspace=0.06))
        axes = figure.subplots(2, 2, sharey="col")
        _base_panel(axes[0][0], report, lambda error: error.logits_sqnr_db, products=True)
        _base_panel(axes[0][1], report, lambda error: error.kl_nats, products=False)
        _adapter_panel(axes[1][0], report, lambda error: error.logits_sqnr_db, products=True)
        _adapter_panel(axes[1][1], report, lambda error: error.kl_nats, products=False)
        for left, right in axes:
            left.set_ylabel("SQNR, dB")
            right.set_ylabel("mean KL divergence, nats, logarithmic")
            right.set_yscale("log")
        # Room for the names above the highest points.
        axes[0][0].set_ylim(0, 1.12 * axes[0][0].get_ylim()[1])
        low, high = axes[0][1].get_ylim()
        axes[0][1].set_ylim(low, 3 * high)
        for panel in axes.flat:
            panel.grid(axis="y")
            panel.tick_params(axis="y", labelleft=True)
        axes[0][0].set_title("Base: signal over noise")
        axes[0][1].set_title("Base: output distribution")
        name = report.adapter or "Adapters"
        axes[1][0].set_title(f"{name}: signal over noise")
        axes[1][1].set_title(f"{name}: output distribution")
        axes[0][0].legend(loc="upper left", frameon=True, framealpha=1, edgecolor=PAPER)
        data = report.to_dict()
        found = "; ".join(filter(None, (base_finding(data), adapters_finding(data))))
        say(figure, f"{found}.", f"{report.title}. Numbers at points: bits as named.")
    return figure


def _base_panel(
    axes: Axes, report: FormatReport, value: Callable[[Divergence], float], products: bool
) -> None:
    exact = report.base[0]
    # Formats of chips, with other groups, would break the line.
    weights = [r for r in report.base if r.kv_bits == exact.kv_bits and "/" not in r.weights]
    cache = [row for row in report.base if row.weights == exact.weights]
    floats = [row for row in cache if row.kv_format == "e4m3"]  # beside the line, as it has no 8.5
    cache = [row for row in cache if row.kv_format != "e4m3"]
    above, below = (0, 7), (0, -13)
    _line(
        axes,
        [(row.weight_bits, value(row.error), row.weights.removeprefix("rom")) for row in weights],
        color=_WEIGHTS, marker="o", label="weights (3, 3+6, 4, 6): logits",
        offset=below if products else above,
    )  # fmt: skip
    if products:
        _line(
            axes, [(row.weight_bits, row.product_sqnr_db, "") for row in weights],
            color=_WEIGHTS, marker="o", label="weights: each product alone", apart=True,
        )  # fmt: skip
    _line(
        axes, [(row.kv_stored_bits, value(row.error), str(row.kv_bits)) for row in cache],
        color=_CACHE, marker="s", label="KV cache (4, 8, 16): logits",
        offset=above if products else below,
    )  # fmt: skip
    _line(
        axes, [(row.kv_stored_bits, value(row.error), "FP8") for row in floats],
        color=_CACHE, marker="x", align="center",
        offset=below if products else above,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(*_BIT_RANGE)
    axes.xaxis.set_major_locator(FixedLocator(_BIT_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda bits, _: f"{bits:g}")
    axes.set_xlabel("stored bits per weight or KV element, logarithmic")


def _adapter_panel(
    axes: Axes, report: FormatReport, value: Callable[[Divergence], float], products: bool
) -> None:
    ranks = sorted({row.rank for row in report.adapters})
    for fmt, (color, marker) in _IMAGES.items():
        rows = [row for row in report.adapters if row.adapter_format == fmt]
        name = f"{fmt}: logits" if products else fmt
        _line(
            axes,
            [(row.rank, value(row.error), name if row.rank == ranks[0] else "") for row in rows],
            color=color, marker=marker, offset=(-2, 6), align="left",
        )  # fmt: skip
        if products:
            name = f"{fmt}: its product alone"
            _line(
                axes,
                [
                    (row.rank, row.product_sqnr_db, name if row.rank == ranks[0] else "")
                    for row in rows
                ],
                color=color, marker=marker, offset=(-2, 6), align="left", apart=True,
            )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xlim(ranks[0] / 1.5, ranks[-1] * 1.5)
    axes.xaxis.set_major_locator(FixedLocator(ranks))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda rank, _: f"{rank:g}")
    axes.set_xlabel("rank, logarithmic")


def _line(
    axes: Axes,
    points: Sequence[tuple[float, float, str]],
    *,
    color: str,
    marker: str,
    label: str | None = None,
    offset: tuple[float, float] = (0, 0),
    align: Literal["left", "center"] = "center",
    apart: bool = False,
) -> None:
    """Draw the points (x, y, name) that have a place; a line that is apart is thin and hollow."""
    drawn = [point for point in points if 0 < point[1] < math.inf]
    axes.plot(
        [x for x, _, _ in drawn], [y for _, y, _ in drawn], label=label, color=color,
        marker=marker, markersize=5, linewidth=1 if apart else 1.8,
        linestyle="--" if apart else "-", markerfacecolor=PAPER if apart else color,
    )  # fmt: skip
    for x, y, name in drawn:
        if name:
            axes.annotate(
                name, (x, y), xytext=offset, textcoords="offset points", fontsize=8.5, color=color,
                ha=align, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.3}, zorder=1.5,
            )  # fmt: skip
