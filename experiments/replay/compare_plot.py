"""The figure of a comparison: small charts beside each other, a colour per server."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from hardwire.experiments.replay.compare import DID_NOT_RUN, Comparison, key_of
from hardwire.experiments.replay.view import goals, joule, number, seconds
from hardwire.experiments.shared.style import INK, PAPER, QUIET, drawing, server_marks

MOST_TICKS = 3


def compare_figure(comparison: Comparison) -> Figure:
    """Six small bar charts with a colour per server: load, latencies, energy, cost.

    Latencies are on logarithmic axes: a dot at the median, a line to the 99th percentile.
    """
    servers = comparison.servers
    colors = {name: mark.color for name, mark in server_marks(servers).items()}
    data = {one.summary["server"]: one.summary for one in comparison.done}
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.08)
    with drawing():
        made = Figure(figsize=(10, 2.6 + 0.62 * len(servers)), layout=layout)
        panels = made.subplots(2, 3, sharey=True).ravel()
        title: Any = {"loc": "left", "fontsize": 10, "pad": 14}
        _bars(panels[0], data, servers, colors, key_of("output_tokens_per_s"), number)
        panels[0].set_title("Output tokens/s, served", **title)
        offered = next(iter(data.values()))["offered"]["output_tokens_per_s"] if data else None
        if offered:
            panels[0].axvline(offered, color=INK, linestyle="--", linewidth=1)
            _at_line(panels[0], offered, "offered", left=True)
        _latency(panels[1], data, servers, colors, "ttft_s")
        panels[1].set_title("Time to first token, p50 and p99", **title)
        _latency(panels[2], data, servers, colors, "tpot_s")
        panels[2].set_title("Time per output token, p50 and p99", **title)
        _bars(panels[3], data, servers, colors, key_of("goodput"), number)
        goal = goals(next(iter(data.values()))) if data else ""
        panels[3].set_title(
            "Requests/s that met the SLO" if goal else "Requests/s completed", **title
        )
        _bars(panels[4], data, servers, colors, key_of("energy_j_per_token"), joule)
        panels[4].set_title("Energy per output token", **title)
        _bars(panels[5], data, servers, colors, key_of("usd_per_million_tokens"), number)
        panels[5].set_title("USD per million output tokens", **title)
        panels[0].set_yticks(range(len(servers)), servers)
        panels[0].set_ylim(len(servers) - 0.45, -0.55)
        if data:
            words = next(iter(comparison.done)).words()
            load = [words[0], *(word for word in words if " adapter" in word), goal]
            made.suptitle(", ".join(filter(None, load)), x=0.01, ha="left", fontsize=11)
    return made


def _bars(
    axes: Axes,
    data: dict[str, dict[str, Any]],
    servers: Sequence[str],
    colors: dict[str, str],
    value_of: Callable[[dict[str, Any]], Any],
    show: Callable[[float | None], str],
) -> None:
    _clean(axes)
    values = {name: value_of(data[name]) for name in servers if name in data}
    known = [value for value in values.values() if value is not None]
    top = max(known, default=0.0) or 1.0
    for row, name in enumerate(servers):
        value = values.get(name)
        if value is None:
            _say(axes, row, "–" if name in data else DID_NOT_RUN)
            continue
        axes.barh(row, value, height=0.62, color=colors[name])
        _label(axes, value, row, show(value))
    axes.set_xlim(0, top * 1.28)


def _latency(
    axes: Axes,
    data: dict[str, dict[str, Any]],
    servers: Sequence[str],
    colors: dict[str, str],
    key: str,
) -> None:
    _clean(axes)
    levels = {
        name: (data[name][key]["p50"], data[name][key]["p99"]) for name in servers if name in data
    }
    goal = next(iter(data.values()))["slo"].get(key) if data else None
    known = [value for pair in (*levels.values(), (goal,)) for value in pair if value]
    if known:
        low, high = min(known) / 1.6, max(known) * 1.6
        axes.set_xscale("log")
        axes.set_xlim(low, high * (high / low) ** 0.6)  # room for the words to the right
        decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        shown = decades[:: max(1, -(-len(decades) // MOST_TICKS))]
        axes.set_xticks([10.0**n for n in shown], [_decade(n) for n in shown], minor=False)
        axes.set_xticks([], minor=True)
    if goal is not None:
        axes.axvline(goal, color=INK, linestyle="--", linewidth=1)
        _at_line(axes, goal, "SLO", left=False)
    for row, name in enumerate(servers):
        p50, p99 = levels.get(name, (None, None))
        if not p50:
            _say(axes, row, "–" if name in data else DID_NOT_RUN)
            continue
        axes.plot([p50, p99], [row, row], color=colors[name], linewidth=2.5)
        axes.plot([p50], [row], "o", color=colors[name], markersize=8)
        axes.plot([p99], [row], "|", color=colors[name], markersize=12, markeredgewidth=2.5)
        _label(axes, p99, row, f"{seconds(p50)} … {seconds(p99)}")


def _decade(power: int) -> str:
    """A power of ten as a time: ``100 µs``."""
    unit, prefix = next((u, p) for u, p in ((0, ""), (-3, "m"), (-6, "µ"), (-9, "n")) if power >= u)
    return f"{10 ** (power - unit):,} {prefix}s"


def _clean(axes: Axes) -> None:
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)


def _at_line(axes: Axes, value: float, text: str, left: bool) -> None:
    axes.annotate(
        text, (value, 1), xycoords=("data", "axes fraction"), xytext=(-3 if left else 3, -1),
        textcoords="offset points", ha="right" if left else "left", va="bottom", fontsize=8,
    )  # fmt: skip


def _label(axes: Axes, value: float, row: int, text: str) -> None:
    axes.annotate(
        text, (value, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def _say(axes: Axes, row: int, text: str) -> None:
    axes.annotate(
        text, (0, row), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", fontsize=8.5, style="italic", color=QUIET,
    )  # fmt: skip
