"""The figure of a comparison: small charts beside each other, a colour per server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.replay.compare import DID_NOT_RUN, Comparison
from hardwire.experiments.replay.view import goals, number, seconds
from hardwire.experiments.shared.nested import at
from hardwire.experiments.shared.plot import log_ticks, on_log, short_time, thousands
from hardwire.experiments.shared.style import INK, QUIET, WIDTH_IN, drawing, server_marks
from hardwire.experiments.shared.words_plot import say

Show = Callable[[float | None], str]


def compare_figure(comparison: Comparison) -> Figure:
    """Six small bar charts with a colour per server: load, latencies, energy, cost.

    Numbers stand beside their chart. Latencies are on logarithmic axes: a dot at the median, a line
    to the 99th percentile. A thin line over a bar is the 90% interval, where there is one.
    """
    servers = comparison.servers
    colors = {name: mark.color for name, mark in server_marks(servers).items()}
    data = {one.summary["server"]: one.summary for one in comparison.done}
    first = next(iter(data.values())) if data else None
    goal = goals(first) if first else ""
    with drawing():
        made = Figure(figsize=(WIDTH_IN, 3 * (0.75 + 0.3 * len(servers))), layout="constrained")
        made.get_layout_engine().set(h_pad=0.08, w_pad=0.06)  # type: ignore[union-attr,call-arg]
        panels = made.subplots(3, 2, sharey=True).ravel()
        _bars(panels[0], data, servers, colors, "output_tokens_per_s", number)
        panels[0].set_title("Output tokens/s, served", pad=14)
        if first and first["offered"]["output_tokens_per_s"]:
            _line(panels[0], first["offered"]["output_tokens_per_s"], "offered")
        _bars(panels[1], data, servers, colors, "goodput", number)
        panels[1].set_title(
            "Requests/s that met the SLO" if goal else "Requests/s completed", pad=14
        )
        for panel, key, words in (
            (panels[2], "ttft_s", "Time to first token"),
            (panels[3], "tpot_s", "Time per output token"),
        ):
            _latency(panel, data, servers, colors, key)
            panel.set_title(f"{words}, p50 to p99, logarithmic", pad=14)
        _bars(panels[4], data, servers, colors, "server_energy_j_per_output_token", number)
        panels[4].set_title("Energy per output token, J")
        _bars(panels[5], data, servers, colors, "usd_per_million_tokens", number)
        panels[5].set_title("USD per million output tokens")
        panels[0].set_yticks(range(len(servers)), servers)
        panels[0].set_ylim(len(servers) - 0.45, -0.55)
        setting = ""
        if data:
            said = next(iter(comparison.done)).words()
            load = [said[0], *(word for word in said if " adapter" in word), goal]
            setting = ", ".join(filter(None, load))
        say(made, _found(data, bool(goal)), setting)
    return made


def _found(data: dict[str, dict[str, Any]], with_goal: bool) -> str:
    """Which server is best and which is last, by what was asked for."""
    rates = {_sized(one): one["goodput"] or 0.0 for one in data.values()}
    if not rates:
        return "No server ran."
    done = "requests/s within the SLO" if with_goal else "requests/s"
    best, last = max(rates, key=lambda n: rates[n]), min(rates, key=lambda n: rates[n])
    if number(rates[best]) == number(rates[last]):
        who = f"All {len(rates)} servers complete" if len(rates) > 1 else f"{best} completes"
        return f"{who} {number(rates[best])} {done}."
    return (
        f"{best} completes most, {number(rates[best])} {done}; {last} least, {number(rates[last])}."
    )


def _sized(one: dict[str, Any]) -> str:
    units = one["units"]
    said = f"{one['server']} ({units} unit{'s' * (units != 1)}, {one['price_usd']:,.0f} USD)"
    return said.replace(" ", "\N{NO-BREAK SPACE}")


def _bars(
    axes: Axes,
    data: dict[str, dict[str, Any]],
    servers: Sequence[str],
    colors: dict[str, str],
    path: str,
    show: Show,
) -> None:
    _clean(axes)
    values = {name: at(data[name], path) for name in servers if name in data}
    known = [value for value in values.values() if value is not None]
    for row, name in enumerate(servers):
        value = values.get(name)
        if value is None:
            _missing(axes, row, name in data)
            continue
        axes.barh(row, value, height=0.62, color=colors[name])
        if (drawn := data[name].get("intervals", {}).get(path)) is not None:
            axes.plot(drawn, (row, row), color=INK, linewidth=1)
            known += drawn
        _beside(axes, row, show(value))
    axes.set_xlim(0, (max(known, default=0.0) or 1.0) * 1.04)
    axes.locator_params(axis="x", nbins=5)
    thousands(axes.xaxis)


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
        axes.set_xlim(min(known) / 2, max(known) * 2)
        on_log(axes, "x", short_time, log_ticks(min(known) / 2, max(known) * 2, 5))
    if goal is not None:
        _line(axes, goal, "SLO")
    for row, name in enumerate(servers):
        p50, p99 = levels.get(name, (None, None))
        if not p50:
            _missing(axes, row, name in data)
            continue
        axes.plot([p50, p99], [row, row], color=colors[name], linewidth=2.5)
        axes.plot([p50], [row], "o", color=colors[name], markersize=8)
        axes.plot([p99], [row], "|", color=colors[name], markersize=12, markeredgewidth=2.5)
        _beside(axes, row, f"{seconds(p50)} … {seconds(p99)}")


def _clean(axes: Axes) -> None:
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8.5)


def _line(axes: Axes, value: float, text: str) -> None:
    """A dashed line with its name above it, behind all marks."""
    axes.axvline(value, color=INK, linestyle="--", linewidth=1, zorder=0)
    axes.annotate(
        text, (value, 1), xycoords=("data", "axes fraction"), xytext=(0, 1),
        textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=INK,
    )  # fmt: skip


def _beside(axes: Axes, row: int, text: str, **style: Any) -> None:
    """A number in the column to the right of a chart, where nothing is drawn."""
    axes.annotate(
        text, (1, row), xycoords=("axes fraction", "data"), xytext=(6, 0),
        textcoords="offset points", va="center", fontsize=9, **style,
    )  # fmt: skip


def _missing(axes: Axes, row: int, ran: bool) -> None:
    _beside(axes, row, "–" if ran else DID_NOT_RUN, style="italic", color=QUIET)
