"""The figures of the serving study, from its tables."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.shared.plot import log_ticks, on_log, thousands
from hardwire.experiments.shared.style import (
    INK,
    PAPER,
    QUIET,
    RATIO_COLORS,
    WIDTH_IN,
    drawing,
    server_marks,
)
from hardwire.experiments.shared.words_plot import say
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
_SAME = 0.03
"""Lines that differ by less coincide: the study finds a capacity to 3 %."""

_LOCAL = "dashed: local, 83% of the requests to the 8 adapters used last (local:0.83:8)"


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
    figure = Figure(figsize=(WIDTH_IN, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2)

    def per_kj(row: Row) -> float:
        return 1e3 / row["j_per_request"]

    def per_usd(row: Row) -> float:
        return 1e6 / row["usd_per_million_requests"]

    for axes, value, title in (
        (left, per_kj, "requests per kJ"),
        (right, per_usd, "requests per US dollar"),
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
                    color=_SERVERS[name].color, linestyle=":", linewidth=1.8,
                )  # fmt: skip
        on_log(axes, "y")
        axes.set_ylabel(f"{title}, logarithmic")
        _count_axis(axes)
    left.plot([], [], color=QUIET, label="uniform popularity")
    left.plot([], [], color=QUIET, linestyle="--", label="local popularity")
    left.plot([], [], color=QUIET, linestyle=":", label="uniform, 2.5 kW as published")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=3,
    )  # fmt: skip
    most = {
        name: per_kj(row) / per_kj(other)
        for name in ("hc1x10", "hc1x10-pipelined")
        for row, other in zip(_last(rows, name), _last(rows, GPU), strict=False)
    }
    adapters = max(row["adapters"] for row in rows)
    parts = [f"{name} {ratio:.0f} times" for name, ratio in most.items()]
    coincide = [name for name in _SERVERS if _coincide(rows, name, per_kj)]
    said = f" Uniform and local coincide for {' and '.join(coincide)}." if coincide else ""
    say(
        figure,
        f"With {adapters:,} adapters a kilojoule serves more requests than on {GPU}: "
        f"{', '.join(parts)}.",
        f"At capacity; {_LOCAL}.{said}",
    )
    return figure


def _last(rows: list[Row], server: str) -> list[Row]:
    """The row of a server with the most adapters, under uniform popularity."""
    found = _chosen(rows, server=server, popularity=UNIFORM)
    return [max(found, key=lambda row: row["adapters"])] if found else []


def _coincide(rows: list[Row], server: str, value: Callable[[Row], float]) -> bool:
    """Whether a server's lines of all popularities lie on each other."""
    lines = [
        [value(r) for r in _chosen(rows, server=server, popularity=popularity)]
        for popularity in dict.fromkeys(row["popularity"] for row in rows)
    ]
    return all(
        len(one) == len(other) > 0 and np.allclose(one, other, rtol=_SAME)
        for one, other in pairwise(lines)
    )


def _break_even(rows: list[Row]) -> Figure:
    """The load above which ten cards take less than the GPUs that it takes."""
    figure = Figure(figsize=(WIDTH_IN, 3.5), layout="constrained")
    axes = figure.subplots()
    same = [r for r in rows if (r["server"], r["popularity"]) == ("hc1x10", UNIFORM)]
    columns = {
        "published": "break_even_per_s_watt_published",
        "watt": "break_even_per_s_watt",
        "usd": "break_even_per_s_usd",
    }
    drawn: dict[str, list[float]] = {}
    for key, column in columns.items():
        name, color, marker = _COUNTS[key]
        values = [r[column] for r in same]
        twin = next((k for k, v in drawn.items() if np.allclose(v, values, rtol=_SAME)), None)
        _line(
            axes, [(r["adapters"], r[column]) for r in same],
            color=color, marker=marker, apart=twin is not None,
            label=name if twin is None else f"{name}, the same as {_COUNTS[twin][0]}",
        )  # fmt: skip
        drawn[key] = values
    own = same[0]["trace_per_s"]
    axes.axhline(own, color=INK, linewidth=1, linestyle=":")
    axes.annotate(
        f"the trace's own {own:.1f} requests/s", (0, own), xycoords=("axes fraction", "data"),
        xytext=(6, -3), textcoords="offset points", ha="left", va="top", fontsize=9,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip
    axes.set_ylim(0, None)
    axes.set_ylabel("load, requests/s")
    axes.legend(frameon=True, framealpha=1, edgecolor=PAPER, loc="upper right")
    _count_axis(axes)
    below = [row["adapters"] for row in same if row[columns["watt"]] <= own]
    first = f"from {min(below):,} adapters on" if below else "with no number of adapters"
    top = same[-1]
    say(
        figure,
        f"At the trace's load hc1x10 beats the GPUs per watt as modelled {first}; with "
        f"{top['adapters']:,} adapters it does above {top[columns['watt']]:.1f} requests/s, at "
        f"2.5 kW above {top[columns['published']]:.1f}.",
        "Load above which ten cards take less than the GPUs that it takes; uniform popularity",
    )
    return figure


def _sram(rows: list[Row]) -> Figure:
    """Refusals and TTFT by number of fixed slots, and with a movable border."""
    figure = Figure(figsize=(WIDTH_IN, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (color, marker) in _SERVERS.items():
        of_server = [r for r in rows if r["server"] == name]
        for share in dict.fromkeys(r["share"] for r in of_server):
            same = [r for r in of_server if r["share"] == share]
            at_high = share == max(r["share"] for r in of_server)
            style: dict[str, Any] = {"color": color, "marker": marker, "apart": not at_high}
            label = f"{name}, {share:.0%} load"
            if at_high:
                # Of two lines that coincide the one below is the wider.
                _slots(left, same, lambda r: 100 * r["refused"], None, style)
            _slots(right, same, lambda r: 1e3 * r["ttft_p99_s"], label, style)
    for axes in (left, right):
        axes.set_xticks([-0.5, *range(1, 9)], ["movable", *map(str, range(1, 9))])
        axes.axvline(0.25, color=INK, linewidth=0.8)
        axes.set_xlabel("border of the SRAM: movable, or adapter slots")
        axes.grid(axis="y")
    left.set_ylabel(f"requests refused at {max(r['share'] for r in rows):.0%} load, %")
    on_log(right, "y")
    right.set_ylabel("TTFT p99, ms, logarithmic")
    for axes in (left, right):
        axes.xaxis.label.set_size(8.5)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    high = max(r["share"] for r in rows)
    parts = []
    for name in ("hc1x10", "hc1x10-pipelined"):
        found = {r["slots"]: 100 * r["refused"] for r in rows if (r["server"], r["share"]) ==
                 (name, high)}  # fmt: skip
        if found:
            most = max((s for s in found if s != "movable"), key=int)
            parts.append(f"{name} {found['movable']:.2g}% against {found[most]:.2g}%")
    say(
        figure,
        f"A movable border refuses hardly any request, eight fixed slots many: {', '.join(parts)}.",
        "64 adapters of rank 16, uniform; in the left panel the two servers all but coincide",
    )
    return figure


def _slots(
    axes: Axes, rows: list[Row], value: Callable[[Row], float], label: str | None, style: Any
) -> None:
    """A line over the numbers of slots; the movable border is a mark of its own beside it."""
    movable = [(-0.5, value(r)) for r in rows if r["slots"] == "movable"]
    fixed = [(r["slots"], value(r)) for r in rows if r["slots"] != "movable"]
    _line(axes, fixed, label=label, **style)
    _line(axes, movable, **style)


def _uncertainty(rows: list[Row]) -> Figure:
    """Ratios to the fleet of GPUs with their bands, a panel per hardwired server."""
    names = [name for name in ("hc1x10", "hc1x10-pipelined") if _chosen(rows, server=name)]
    figure = Figure(figsize=(WIDTH_IN, 4.0), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
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
        axes.set_title(name)
        _count_axis(axes)
    low, high = panels[0].get_ylim()
    on_log(panels[0], "y", lambda value: f"{value:,g}×", log_ticks(max(low, 0.8), high, 8))
    panels[0].set_ylim(max(low, 0.8), high)
    panels[0].set_ylabel(f"times as many requests as {GPU}, log")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    least = min((r[f"{key}_low"], r["server"], key) for r in rows for key in _COUNTS)
    say(
        figure,
        f"In every band the cards serve more than the GPUs: at least {least[0]:.1f} times as many "
        f"requests ({least[1]}, {_COUNTS[least[2]][0]})."
        if least[0] > 1
        else f"Not in every band do the cards serve more than the GPUs: {least[1]}, "
        f"{_COUNTS[least[2]][0]}, goes down to {least[0]:.2g} times as many requests.",
        f"Against a fleet of {GPU} of the same capacity; bands: 5 to 95% over what is assumed",
    )
    return figure


def _chosen(rows: list[Row], **wanted: Any) -> list[Row]:
    """Rows with these values, without those of a capacity of 0."""
    return [
        row
        for row in rows
        if all(row[key] == value for key, value in wanted.items()) and row.get("capacity_per_s", 1)
    ]


def _count_axis(axes: Axes) -> None:
    on_log(axes, "x", ticks=_TICKS)
    thousands(axes.xaxis)
    axes.set_xlabel("adapters, logarithmic")
    axes.grid(axis="y")


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
