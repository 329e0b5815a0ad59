"""The figure of a replay: how its latencies are distributed, and memory in use over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.replay.replay import Replay
from hardwire.experiments.replay.view import LATENCIES, goals, percent, seconds
from hardwire.experiments.shared.plot import on_log, short_time, thousands
from hardwire.experiments.shared.style import (
    INK,
    LATENCY_COLORS,
    MEMORY_COLORS,
    WIDTH_IN,
    drawing,
)
from hardwire.experiments.shared.words_plot import say
from hardwire.simulator.serving.metrics import Latency


def replay_figure(done: Replay) -> Figure:
    """Latencies of the requests as cumulative shares, and the memory of one unit over time.

    Goals are dashed lines in the colour of their latency. The first unit stands for all: they
    serve the same load.
    """
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        _latencies(left, done)
        _memory(right, done)
        words = done.words()
        load = ", ".join([words[0], *(word for word in words if " adapter" in word)])
        say(figure, _found(done), f"{done.summary['server']} · {load}")
    return figure


def _found(done: Replay) -> str:
    """Who was served in time, and what was waited for longest."""
    data = done.summary
    if data["ttft_s"]["p99"] is None:
        return "No request was completed."
    said = f"99 of 100 requests have their first token within {seconds(data['ttft_s']['p99'])}"
    if goals(data) and data["slo_met"] is not None:
        said = f"{percent(data['slo_met'])} of the requests meet {goals(data)}; {_lower(said)}"
    peak, capacity = data["sram"]["peak_bytes"], data["sram"]["capacity_bytes"]
    full = f"; memory is at most {peak / capacity:.0%} full" if capacity else ""
    return f"{said}{full}."


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _latencies(axes: Axes, done: Replay) -> None:
    latency = Latency.of(done.workload, done.log)
    for name, title in LATENCIES.items():
        values = getattr(latency, name)
        values = np.sort(values[np.isfinite(values)])
        goal = done.summary["slo"].get(name)
        words = title if goal is None else f"{title}, goal {seconds(goal)}"
        if goal is not None:
            axes.axvline(goal, color=LATENCY_COLORS[name], linestyle="--", linewidth=1.2)
        if len(values):
            share = 100 * np.arange(1, len(values) + 1) / len(values)
            axes.step(
                values, share, where="post", color=LATENCY_COLORS[name], linewidth=1.8, label=words
            )
    on_log(axes, "x", short_time)
    axes.set_ylim(0, 102)
    axes.set_xlabel("within this time, logarithmic")
    axes.set_ylabel("% of the requests")
    if axes.lines:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)


def _memory(axes: Axes, done: Replay) -> None:
    used, capacity = done.log.occupancy, done.summary["sram"]["capacity_bytes"]
    first = used.unit == (used.unit[0] if len(used.unit) else 0)
    time = used.time_s[first]
    adapters, both = used.adapter_bytes[first], (used.kv_bytes + used.adapter_bytes)[first]
    scale = 100 / capacity if capacity else 0.0
    # Adapters below: they stay, while the KV cache comes and goes with each request.
    axes.fill_between(
        time, 0, scale * adapters, step="post", color=MEMORY_COLORS["adapters"], linewidth=0,
        label="Adapters",
    )  # fmt: skip
    axes.fill_between(
        time, scale * adapters, scale * both, step="post", color=MEMORY_COLORS["kv"], linewidth=0,
        label="KV cache",
    )  # fmt: skip
    axes.axhline(100, color=INK, linewidth=1, linestyle=":", label="Capacity")
    axes.set_ylim(0, 108)
    thousands(axes.xaxis)
    unit = done.log.units[int(used.unit[0])] if len(used.unit) else ""
    axes.set_xlabel(f"seconds, {unit}" if unit else "seconds")
    axes.set_ylabel(f"% of its {done.memory}")
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.22))
