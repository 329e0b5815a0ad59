"""The figure of a replay: how its latencies are distributed, and memory in use over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.replay.replay import Replay
from hardwire.experiments.replay.view import LATENCIES
from hardwire.experiments.shared.style import INK, LATENCY_COLORS, MEMORY_COLORS, drawing
from hardwire.simulator.serving.metrics import Latency


def replay_figure(done: Replay) -> Figure:
    """Latencies of the requests as cumulative shares, and the memory of one unit over time.

    Goals are dashed lines in the colour of their latency. The first unit stands for all: they
    serve the same load.
    """
    with drawing():
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _latencies(left, done)
        _memory(right, done)
        words = done.words()
        title = ", ".join([words[0], *(word for word in words if " adapter" in word)])
        figure.suptitle(f"{done.summary['server']} · {title}", x=0.01, ha="left", fontsize=11)
    return figure


def _latencies(axes: Axes, done: Replay) -> None:
    latency = Latency.of(done.workload, done.log)
    for name, words in LATENCIES.items():
        values = getattr(latency, name)
        values = np.sort(values[np.isfinite(values)])
        if len(values):
            share = 100 * np.arange(1, len(values) + 1) / len(values)
            axes.step(values, share, where="post", color=LATENCY_COLORS[name], label=words)
        goal = done.summary["slo"].get(name)
        if goal is not None:
            axes.axvline(goal, color=LATENCY_COLORS[name], linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_ylim(0, 102)
    axes.set_xlabel("seconds, logarithmic")
    axes.set_ylabel("% of the requests within")
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, loc="best")


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
    axes.axhline(100, color=INK, linewidth=1, linestyle=":")
    axes.set_ylim(0, 108)
    unit = done.log.units[int(used.unit[0])] if len(used.unit) else ""
    axes.set_xlabel(f"seconds, {unit}" if unit else "seconds")
    axes.set_ylabel(f"% of its {done.memory}")
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.12))
