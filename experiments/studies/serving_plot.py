"""The figures of the serving study, from its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from hardwire.experiments.shared.style import (
    GRID,
    INK,
    PAPER,
    QUIET,
    RATIO_COLORS,
    drawing,
    server_marks,
)
from hardwire.experiments.studies.serving_bench import GPU, PUBLISHED_SERVER_W, UNIFORM, Row

_SERVERS = server_marks(("hc1x10-pipelined", "hc1x10", GPU))
_COUNTS = {
    "watt": ("per watt, power as modelled", RATIO_COLORS["watt"], "o"),
    "published": ("per watt, 2.5 kW as published", RATIO_COLORS["published"], "s"),
    "usd": ("per dollar", RATIO_COLORS["usd"], "^"),
}
_SHIFTS = (1, 0.9, 1.11)
"""Of the three in a panel, so that their bands stand beside each other."""

_TICKS = (1, 4, 16, 64, 256, 1000)


def figures(tables: dict[str, list[Row]]) -> dict[str, Figure]:
    """Figures by name: ``adapters``, ``break-even``, ``sram`` and ``uncertainty``."""
    drawn: dict[str, Callable[[], Figure]] = {
        "adapters": lambda: _adapters(tables["capacity"]),
        "break-even": lambda: _break_even(tables["ratios"]),
        "sram": lambda: _sram(tables["sram"]),
        "uncertainty": lambda: _uncertainty(tables["bands"]),
    }
    with drawing():
        return {name: draw() for name, draw in drawn.items()}


def _adapters(rows: list[Row]) -> Figure:
    """What a kilojoule and a dollar buy at each server's capacity."""
    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)

    def per_kj(row: Row) -> float:
        return 1e3 / row["j_per_request"]

    def per_usd(row: Row) -> float:
        return 1e6 / row["usd_per_million_requests"]

    for axes, value, title in (
        (left, per_kj, "Requests per kJ"),
        (right, per_usd, "Requests per US dollar"),
    ):
        for name, (color, marker) in _SERVERS.items():
            for popularity in dict.fromkeys(row["popularity"] for row in rows):
                same = _chosen(rows, server=name, popularity=popularity)
                local = popularity != UNIFORM
                _line(
                    axes, [(r["adapters"], value(r)) for r in same],
                    color=color, marker=marker, apart=local,
                    label=None if local else name,
                )  # fmt: skip
        if axes is left:
            for name in ("hc1x10-pipelined", "hc1x10"):
                same = _chosen(rows, server=name, popularity=UNIFORM)
                points = [
                    (r["adapters"], 1e3 * r["capacity_per_s"] / PUBLISHED_SERVER_W) for r in same
                ]
                axes.plot(
                    [x for x, _ in points], [y for _, y in points],
                    color=_SERVERS[name][0], linestyle=":",
                )  # fmt: skip
        axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=10)
        _count_axis(axes)
    left.plot([], [], color=QUIET, label="uniform")
    left.plot([], [], color=QUIET, linestyle="--", label="local:0.83:8")
    left.plot([], [], color=QUIET, linestyle=":", label="uniform, 2.5 kW as published")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return figure


def _break_even(rows: list[Row]) -> Figure:
    """The load above which ten cards take less than the GPUs that it takes."""
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axes = figure.subplots()
    same = [r for r in rows if (r["server"], r["popularity"]) == ("hc1x10", UNIFORM)]
    for key, column in (
        ("published", "break_even_per_s_watt_published"),
        ("watt", "break_even_per_s_watt"),
        ("usd", "break_even_per_s_usd"),
    ):
        name, color, marker = _COUNTS[key]
        _line(
            axes, [(r["adapters"], r[column]) for r in same],
            color=color, marker=marker, label=name, apart=key == "usd",
        )  # fmt: skip
    own = same[0]["trace_per_s"]
    axes.axhline(own, color=INK, linewidth=1, linestyle=":")
    axes.annotate(
        f"the trace's own {own:.1f} requests/s", (1, own), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", ha="right", fontsize=9,
    )  # fmt: skip
    axes.set_ylim(0, None)
    axes.set_ylabel("requests/s")
    axes.set_title("Load above which hc1x10 beats the GPUs", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    _count_axis(axes)
    return figure


def _sram(rows: list[Row]) -> Figure:
    """Refusals and TTFT by number of fixed slots, and with a movable border."""
    figure = Figure(figsize=(8.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (color, marker) in _SERVERS.items():
        of_server = [r for r in rows if r["server"] == name]
        for share in dict.fromkeys(r["share"] for r in of_server):
            same = [r for r in of_server if r["share"] == share]
            places = [0 if r["slots"] == "movable" else r["slots"] for r in same]
            at_high = share == max(r["share"] for r in of_server)
            label = f"{name}, {share:.0%} load"
            style: dict[str, Any] = {
                "color": color,
                "marker": marker,
                "apart": not at_high,
                "label": label,
            }
            if at_high:
                refused = [100 * r["refused"] for r in same]
                _line(left, list(zip(places, refused, strict=True)), **style | {"label": name})
            waits = [1e3 * r["ttft_p99_s"] for r in same]
            _line(right, list(zip(places, waits, strict=True)), **style)
    for axes, title in ((left, "Requests refused, too long (%)"), (right, "TTFT p99 (ms)")):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xticks(range(9), ["movable", *map(str, range(1, 9))])
        axes.set_xlabel("fixed adapter slots per card")
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    right.set_yscale("log")
    figure.legend(
        *right.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return figure


def _uncertainty(rows: list[Row]) -> Figure:
    """Ratios to the fleet of GPUs with their bands, a panel per hardwired server."""
    names = [name for name in ("hc1x10", "hc1x10-pipelined") if _chosen(rows, server=name)]
    figure = Figure(figsize=(8.4, 4.3), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        same = _chosen(rows, server=name)
        for shift, (key, (label, color, marker)) in zip(_SHIFTS, _COUNTS.items(), strict=True):
            counts = [shift * r["adapters"] for r in same]
            values = [r[key] for r in same]
            axes.vlines(
                counts, [r[f"{key}_low"] for r in same], [r[f"{key}_high"] for r in same],
                color=color, alpha=0.35, linewidth=3,
            )  # fmt: skip
            _line(
                axes, list(zip(counts, values, strict=True)),
                color=color, marker=marker, label=label,
            )  # fmt: skip
        axes.axhline(1, color=INK, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.set_title(f"{name} over a fleet of {GPU}", loc="left", fontsize=10)
        _count_axis(axes)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False,
        fontsize=9,
    )  # fmt: skip
    return figure


def _chosen(rows: list[Row], **wanted: Any) -> list[Row]:
    """Rows with these values, without those of a capacity of 0."""
    return [
        row
        for row in rows
        if all(row[key] == value for key, value in wanted.items()) and row.get("capacity_per_s", 1)
    ]


def _count_axis(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda count, _: f"{count:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("adapters")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _line(
    axes: Axes,
    points: list[tuple[Any, float]],
    *,
    color: str,
    marker: str,
    label: str | None = None,
    apart: bool = False,
) -> None:
    """A line through points; one that is apart is dashed and hollow."""
    axes.plot(
        [x for x, _ in points], [y for _, y in points], label=label, color=color, marker=marker,
        markersize=4.5, linewidth=1.2 if apart else 1.8, linestyle="--" if apart else "-",
        markerfacecolor=PAPER if apart else color,
    )  # fmt: skip
