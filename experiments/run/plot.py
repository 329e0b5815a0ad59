"""The two plots of a run: where a token's time goes, and the rate against the adapter's rank."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from hardwire.experiments.run.curve import rank_curve
from hardwire.experiments.shared.style import (
    COLORS,
    INK,
    OPERATION_NAMES,
    PAPER,
    QUIET,
    drawing,
    ink_on,
)
from hardwire.models.language_model import TARGETS
from hardwire.simulator.single import Result


def breakdown_figure(result: Result) -> Figure:
    """Stacked bars of microseconds per token by operation, base and with adapter."""
    rows = [("base", result.base)]
    if result.adapter is not None:
        rows.append((f"with {result.adapter.adapter.name}", result.adapter.rates))
    with drawing():
        figure = Figure(figsize=(8, 1.6 + 0.55 * len(rows)), layout="constrained")
        axes = figure.subplots()
        longest = max(rates.token_s for _, rates in rows) * 1e6
        left = np.zeros(len(rows))
        for operation, name in OPERATION_NAMES.items():
            values = np.array([rates.breakdown_s[operation] * 1e6 for _, rates in rows])
            if not values.any():
                continue
            axes.barh(
                range(len(rows)), values, left=left, height=0.6, label=name,
                color=COLORS[operation], edgecolor=PAPER, linewidth=0.8,
            )  # fmt: skip
            for row, value in enumerate(values):
                if value > 0.045 * longest:
                    axes.text(
                        left[row] + value / 2, row, f"{value:.1f}", ha="center", va="center",
                        color=ink_on(COLORS[operation]), fontsize=9,
                    )  # fmt: skip
            left += values
        target = 0.0
        if result.target_tokens_per_s is not None:
            target = 1e6 / result.target_tokens_per_s
            axes.axvline(target, color=INK, linestyle="--", linewidth=1)
            axes.annotate(
                f"{result.target_tokens_per_s:,.0f} tokens/s",
                (target, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                textcoords="offset points", ha="center", va="bottom", fontsize=9,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, max(longest, target) * 1.06)
        axes.set_xlabel("µs per token")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
        axes.set_title(figure_title(result), loc="left", fontsize=11, pad=18)
    return figure


def rank_figure(result: Result) -> Figure:
    """Decode rate of one user against the rank of an adapter, with its 90 % interval.

    Ranks run to the chip's ``formats.max_rank``, on the adapter's targets (all linear layers where
    the run had no adapter), in its SRAM format.
    """
    chip = result.chip
    report = result.adapter
    targets = "+".join(report.adapter.targets) if report else "all-linear"
    fmt = report.sram_format if report else str(chip.formats.adapter)
    top = int(chip.formats.max_rank)
    curve = rank_curve(result)
    ranks, nominal, low, high = (
        curve["rank"],
        curve["decode_tokens_per_s_user"],
        curve["low"],
        curve["high"],
    )
    with drawing():
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(
            ranks, low, high, color=COLORS["lora"], alpha=0.18, linewidth=0, label="90 % interval"
        )
        axes.plot(ranks, nominal, color=COLORS["lora"], linewidth=2, label="with adapter")
        base = result.base.decode_tokens_per_s_user
        axes.axhline(base, color=INK, linewidth=1, linestyle=":", label="base alone")
        target = result.target_tokens_per_s
        if target is not None:
            axes.axhline(
                target, color=INK, linewidth=1, linestyle="--", label=f"{target:,.0f} tokens/s"
            )
        if report is not None:
            free = report.free_rank
            if free:
                axes.axvline(free, color=QUIET, linewidth=1.2)
                axes.annotate(
                    f" free up to rank {free}", (free, 0.04), xycoords=("data", "axes fraction"),
                    color=INK, fontsize=9,
                )  # fmt: skip
            axes.plot(
                report.adapter.max_rank, report.rates.decode_tokens_per_s_user, "o",
                color=COLORS["lora"], label=report.adapter.name,
            )  # fmt: skip
        axes.set_xlim(0, top)
        axes.set_ylim(0, max(*high, target or 0) * 1.08)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        everywhere = report is None or set(report.adapter.targets) == set(TARGETS)
        axes.set_xlabel(f"rank, {'all linear layers' if everywhere else targets}, {fmt}")
        axes.set_ylabel("tokens/s, one user")
        axes.set_title(figure_title(result), loc="left", fontsize=11)
        axes.legend(frameon=False, loc="lower left", fontsize=9)
    return figure


def figure_title(result: Result) -> str:
    """What was run, over its figures."""
    users = "1 user" if result.users == 1 else f"{result.users} users"
    wrong = " · does not fit the die" if not result.fits_die else ""
    return (
        f"{result.chip.name} · {result.model.name} · {result.prompt:,} + {result.output:,} tokens"
        f" · {users} · {result.chip.datapath.issue}{wrong}"
    )
