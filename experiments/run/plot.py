"""The two plots of a run: where a token's time goes, and the rate against the adapter's rank."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.shared.plot import apart, thousands
from hardwire.experiments.shared.style import (
    COLORS,
    GRID,
    INK,
    OPERATION_NAMES,
    PAPER,
    QUIET,
    WIDTH_IN,
    drawing,
    ink_on,
)
from hardwire.experiments.shared.words_plot import say
from hardwire.models.language_model import TARGETS
from hardwire.simulator.single import Result

SAME = 0.0005
"""Rates or steps that differ by less are the same in words."""

SHORT = 0.045
"""Of the longest bar: a shorter segment has its number above it."""


def breakdown_figure(result: Result) -> Figure:
    """Stacked bars of microseconds per token by operation, base and with adapter.

    Every segment has its number, every bar its sum.
    """
    rows = [("base", result.base)]
    if result.adapter is not None:
        rows.append((f"with {result.adapter.adapter.name}", result.adapter.rates))
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 1.15 + 0.62 * len(rows)), layout="constrained")
        axes = figure.subplots()
        longest = max(rates.token_s for _, rates in rows) * 1e6
        left = np.zeros(len(rows))
        for operation, name in OPERATION_NAMES.items():
            values = np.array([rates.breakdown_s[operation] * 1e6 for _, rates in rows])
            if not values.any():
                continue
            axes.barh(
                range(len(rows)), values, left=left, height=0.5, label=name,
                color=COLORS[operation], edgecolor=PAPER, linewidth=0.8,
            )  # fmt: skip
            for row, value in enumerate(values):
                if value > 0:
                    _number(axes, left[row] + value / 2, row, value, longest, COLORS[operation])
            left += values
        target = 0.0
        if result.target_tokens_per_s is not None:
            target = 1e6 / result.target_tokens_per_s
            axes.axvline(target, color=INK, linestyle="--", linewidth=1, zorder=0)
            axes.annotate(
                f"target, {result.target_tokens_per_s:,.0f} tokens/s",
                (target, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                textcoords="offset points", ha="center", va="bottom", fontsize=9,
            )  # fmt: skip
        for row, (_, rates) in enumerate(rows):
            words = f"{rates.token_s * 1e6:.2f} µs"
            if row and abs(rates.token_s / result.base.token_s - 1) < SAME:
                words += ",\nno difference"
            axes.text(max(left[row], target) + 0.012 * longest, row, words, va="center", fontsize=9)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.55, -0.62)
        axes.set_xlim(0, max(longest, target) * 1.17)
        thousands(axes.xaxis)
        axes.set_xlabel("µs per token")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=5)
        say(figure, _where_time_goes(result), figure_title(result))
    return figure


def _number(axes: Axes, x: float, row: int, value: float, longest: float, color: str) -> None:
    """The number of a segment: in it, or above it where it is short."""
    short = value < SHORT * longest
    axes.text(
        x, row - 0.27 if short else row, f"{value:.1f}", ha="center",
        va="bottom" if short else "center", color=INK if short else ink_on(color), fontsize=9,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8} if short else None,
    )  # fmt: skip


def _where_time_goes(result: Result) -> str:
    parts = result.base.breakdown_s
    most = max(parts, key=lambda name: parts[name])
    said = (
        f"{parts[most] / result.base.token_s:.0%} of the {result.base.token_s * 1e6:.1f} µs of a "
        f"token go to {_in_words(most)}"
    )
    if result.adapter is None:
        return f"{said}."
    longer = result.adapter.rates.token_s - result.base.token_s
    name = result.adapter.adapter.name
    if abs(longer) < SAME * result.base.token_s:
        return f"{said}; {name} adds nothing."
    return f"{said}; {name} adds {longer * 1e6:.1f} µs ({longer / result.base.token_s:.1%})."


def _in_words(operation: str) -> str:
    """An operation's name within a sentence: abbreviations stay as they are."""
    name = OPERATION_NAMES[operation]
    return name if name[1].isupper() else name[0].lower() + name[1:]


def rank_figure(result: Result, curve: dict[str, Any]) -> Figure:
    """Decode rate of one user against the rank of an adapter, with its 90 % interval.

    Ranks run to the chip's ``formats.max_rank``, on the adapter's targets (all linear layers where
    the run had no adapter), in its SRAM format. The grey band is the 90 % interval of the free
    rank.

    Parameters
    ----------
    curve : the run's ``rank_curve``.
    """
    report = result.adapter
    targets = "+".join(report.adapter.targets) if report else "all-linear"
    fmt = report.adapter_format if report else str(result.chip.formats.adapter_format)
    top = int(result.chip.formats.max_rank)
    ranks, nominal, low, high = (
        curve["rank"],
        curve["decode_tokens_per_s_user"],
        curve["low"],
        curve["high"],
    )
    base, target = result.base.decode_tokens_per_s_user, result.target_tokens_per_s
    highest = max(*high, target or 0, base) * 1.08
    lines = [(nominal[-1], f"with adapter, {nominal[-1]:,.0f}", COLORS["lora"])]
    lines.append((base, f"base alone, {base:,.0f}", INK))
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.axhline(base, color=INK, linewidth=1, zorder=1.5)
        if target is not None:
            axes.axhline(target, color=INK, linewidth=1, linestyle="--", zorder=1.5)
            lines.append((target, f"target, {target:,.0f}", INK))
        if report is not None:
            _free_rank(axes, result, top)
        style: Any = {"color": COLORS["lora"], "clip_on": False}
        axes.fill_between(ranks, low, high, alpha=0.2, linewidth=0, label="90% interval", **style)
        axes.plot(ranks, nominal, linewidth=2, label="with an adapter, as filed", **style)
        if report is not None:
            axes.plot(
                report.adapter.max_rank, report.rates.decode_tokens_per_s_user, "o", markersize=8,
                markeredgecolor=INK, label=f"this run: {report.adapter.name}", zorder=4, **style,
            )  # fmt: skip
        places = apart([value for value, _, _ in lines], 0.055 * highest)
        for place, (_, words, color) in zip(places, lines, strict=True):
            axes.annotate(
                words, (1, place), xycoords=("axes fraction", "data"), xytext=(9, 0),
                textcoords="offset points", va="center", fontsize=9, color=color,
            )  # fmt: skip
        axes.set_xlim(0, top)
        axes.set_xticks(_rank_ticks(top))
        axes.set_ylim(0, highest)
        thousands(axes.yaxis)
        everywhere = report is None or set(report.adapter.targets) == set(TARGETS)
        axes.set_xlabel(f"rank, {'all linear layers' if everywhere else targets}, {fmt}")
        axes.set_ylabel("tokens/s, one user")
        axes.legend(loc="lower left", framealpha=1, frameon=True, edgecolor=PAPER)
        say(figure, _what_rank_costs(result, curve), figure_title(result))
    return figure


def _free_rank(axes: Axes, result: Result, top: int) -> None:
    """The free rank as a line in the band of its interval."""
    assert result.adapter is not None
    free = result.adapter.free_rank
    low, high = (min(end, top) for end in result.interval["adapter_free_rank"])
    axes.axvspan(low, high, color=GRID, alpha=0.7, linewidth=0, zorder=0)
    if free:
        axes.axvline(min(free, top), color=QUIET, linewidth=1, zorder=0.5)
    axes.annotate(
        f"free rank {free}, 90%: {low:.0f} … {high:.0f}", (high, 0.98),
        xycoords=("data", "axes fraction"), xytext=(-4, 0), textcoords="offset points",
        ha="right", va="top", color=INK, fontsize=9,
    )  # fmt: skip


def _rank_ticks(top: int) -> list[int]:
    """From zero to the highest rank, which is always one of them."""
    step = max(1, 2 ** max(0, math.ceil(math.log2(top / 8)))) if top else 1
    ticks = list(range(0, top, step))
    return [*(tick for tick in ticks if top - tick > step / 2), top]


def _what_rank_costs(result: Result, curve: dict[str, Any]) -> str:
    base, rates = result.base.decode_tokens_per_s_user, curve["decode_tokens_per_s_user"]
    last = f"rank {curve['rank'][-1]} costs {1 - rates[-1] / base:.1%} of the rate"
    if rates[-1] > base * (1 - SAME):
        last = f"rank {curve['rank'][-1]} costs nothing either"
    if result.adapter is None:
        return f"An adapter of {last} of {base:,.0f} tokens/s."
    one = result.adapter
    lost = 1 - one.rates.decode_tokens_per_s_user / base
    costs = "costs nothing" if lost < SAME else f"costs {lost:.1%} of the rate"
    low, high = result.interval["adapter_decode_tokens_per_s_user"]
    said = f"{one.adapter.name} {costs} (90%: {low:,.0f} … {high:,.0f} tokens/s)"
    if one.adapter.max_rank >= curve["rank"][-1]:
        return f"{said}."
    return f"{said}, {last.removesuffix(' of the rate')}."


def figure_title(result: Result) -> str:
    """What was run, over its figures."""
    users = "1 user" if result.users == 1 else f"{result.users} users"
    wrong = " · does not fit the die" if not result.fits_die else ""
    return (
        f"{result.chip.name} · {result.model.name} · {result.prompt:,} + {result.output:,} tokens"
        f" · {users} · {result.chip.datapath.issue} issue{wrong}"
    )
