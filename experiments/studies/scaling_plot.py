"""The figures of the scaling study, from its tables."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hardwire.experiments.shared.plot import on_log
from hardwire.experiments.shared.style import (
    INK,
    PAPER,
    QUIET,
    SILVER,
    WIDTH_IN,
    drawing,
    ordered,
)
from hardwire.experiments.shared.words_plot import say
from hardwire.experiments.studies.serving_bench import Row

MARKERS = "osD^v"
NAMES = {
    "llama-3.1-8b": "Llama 3.1 8B",
    "llama-3.1-70b": "Llama 3.1 70B",
    "gpt-oss-120b": "gpt-oss 120B (MoE)",
    "llama-3.1-405b": "Llama 3.1 405B",
    "deepseek-r1": "DeepSeek R1 671B (MoE)",
}
LINK = "board"
"""Of the second figure."""

_APART = 0.045
"""Of neighbours with one number of dies, in units of a doubling times two."""


def figures(tables: dict[str, list[Row]]) -> dict[str, Figure]:
    """Figures by name: ``rate`` and ``cost``."""
    first = tables["scaling"][0]["chip"]  # the one with intervals
    rows = [row for row in tables["scaling"] if row["chip"] == first]
    with drawing():
        return {"rate": _rate(rows, tables["claims"]), "cost": _cost(rows)}


def _rate(rows: list[Row], claims: list[Row]) -> Figure:
    """Tokens/s of one user by dies of a stage and by links, a panel per model."""
    figure = Figure(figsize=(WIDTH_IN, 4.9), layout="constrained")
    models, links = _each(rows, "model"), _each(rows, "link")
    panels: list[Axes] = list(figure.subplots(2, 3, sharex=True, sharey=True).flat)
    colors = dict(zip(links, ordered(len(links)), strict=True))
    for axes, model in zip(panels, models, strict=False):
        for number, link in enumerate(links):
            same = [r for r in rows if r["model"] == model and r["link"] == link]
            shift = 2 ** (3 * _APART * (number - (len(links) - 1) / 2))
            places = [shift * row["dies_of_a_stage"] for row in same]
            style: dict[str, Any] = {"color": colors[link]}
            lows = [max(row["tokens_per_s_user_low"], 1) for row in same]
            axes.vlines(
                places, lows, [row["tokens_per_s_user_high"] for row in same], alpha=0.4,
                linewidth=2.5, **style,
            )  # fmt: skip
            axes.plot(
                places, [row["tokens_per_s_user"] for row in same], label=link,
                marker=MARKERS[number], markersize=4, linewidth=1.2, **style,
            )  # fmt: skip
        for claim in (one for one in claims if one["model"] == model):
            value = claim["claimed_tokens_per_s_user"]
            axes.axhline(value, color=INK, linewidth=1, linestyle=":")
            axes.annotate(
                f"the vendor's claim: {value:,.0f}", (0.98, value), va="bottom", ha="right",
                xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
                fontsize=8.5, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        axes.set_title(NAMES.get(model, model))
        axes.grid(axis="y")
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    first = panels[0]
    first.set_ylim(500, 60_000)
    on_log(first, "y", ticks=(500, 1000, 2000, 5000, 10_000, 20_000, 50_000))
    on_log(first, "x", ticks=(1, 2, 4, 8, 16))
    for axes in panels[: len(models)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("dies that share a layer, logarithmic", fontsize=10)
    figure.supylabel("tokens/s for one user, logarithmic", fontsize=10)
    panels[-1].legend(*first.get_legend_handles_labels(), loc="center", title="links", fontsize=9.5)
    say(
        figure,
        _finding(rows),
        "Dies of HC2's kind, the fewest that hold the model; 1,024 prompt and 1,024 output tokens. "
        "Bands: 5 to 95% over dies and links as they may be, planned anew; cut off below",
    )
    return figure


def _finding(rows: list[Row]) -> str:
    """What splitting layers is worth on the shortest and the longest links."""
    links = _each(rows, "link")

    def gain(link: str) -> tuple[float, float]:
        gains = []
        for model in _each(rows, "model"):
            same = [r for r in rows if r["model"] == model and r["link"] == link]
            alone = min(same, key=lambda row: row["dies_of_a_stage"])
            best = max(same, key=lambda row: row["tokens_per_s_user"])
            gains.append(best["tokens_per_s_user"] / alone["tokens_per_s_user"])
        return min(gains), max(gains)

    (low, high), (_, most) = gain(links[0]), gain(links[-1])
    last = "is never faster" if most == 1 else f"is at most {most:.1f} times as fast"
    return (
        f"With layers that are split over dies one user is {low:.1f} to {high:.1f} times as fast "
        f"over {links[0]}; over {links[-1]} it {last}."
    )


def chosen(rows: list[Row], model: str) -> dict[str, Row]:
    """A model's layout of the fewest dies, and that which is fastest for one user."""
    same = [row for row in rows if row["model"] == model and row["link"] == LINK]
    return {
        "fewest dies": min(same, key=lambda row: (row["dies"], -row["tokens_per_s_user"])),
        "fastest for one user": max(same, key=lambda row: row["tokens_per_s_user"]),
    }


def _cost(rows: list[Row]) -> Figure:
    """Dies, tokens per joule and masks of each model, with intervals."""
    figure = Figure(figsize=(WIDTH_IN, 3.4), layout="constrained")
    models = _each(rows, "model")
    panels = figure.subplots(1, 3, sharey=True)
    measures = (
        ("dies", 1.0, "dies"),
        ("tokens_per_j", 1.0, "tokens per joule, all users"),
        ("masks_usd", 1e-6, "masks, million USD"),
    )
    marks = {"fewest dies": (INK, "o"), "fastest for one user": (SILVER, "D")}
    for axes, (key, factor, title) in zip(panels, measures, strict=True):
        for place, model in enumerate(models):
            for name, row in chosen(rows, model).items():
                color, marker = marks[name]
                at = place + (0.16 if name != "fewest dies" else -0.16)
                low, high = factor * row[f"{key}_low"], factor * row[f"{key}_high"]
                axes.hlines(
                    at, low, high if math.isfinite(high) else 1e9, color=color, alpha=0.5,
                    linewidth=3,
                )  # fmt: skip
                axes.plot(
                    factor * row[key], at, marker, color=color, markersize=5,
                    label=name if place == 0 else None, linestyle="none",
                )  # fmt: skip
        axes.set_xlabel(f"{title}, log")
        axes.grid(axis="x")
        axes.set_xlim(*_limits(rows, models, key, factor))
        on_log(axes, "x")
    panels[0].set_yticks(range(len(models)), [NAMES.get(model, model) for model in models])
    panels[0].invert_yaxis()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
        labelcolor=QUIET,
    )  # fmt: skip
    first, last = (chosen(rows, model)["fewest dies"] for model in (models[0], models[-1]))
    dies, masks, joules = (last[key] / first[key] for key in ("dies", "masks_usd", "tokens_per_j"))
    say(
        figure,
        f"From {NAMES.get(models[0], models[0])} to {NAMES.get(models[-1], models[-1])} dies grow "
        f"{dies:.0f} times, masks {masks:.1f} times, and a joule makes "
        f"1/{1 / joules:.0f} of the tokens.",
        f"Dies of HC2's kind on {LINK} links; a user for each stage, or as many as SRAM has room "
        "for. Bars: 5 to 95% over dies and links as they may be, planned anew",
    )
    return figure


def _limits(rows: list[Row], models: list[str], key: str, factor: float) -> tuple[float, float]:
    """Of an axis: all values and finite ends, and some room."""
    ends = [
        factor * row[column]
        for model in models
        for row in chosen(rows, model).values()
        for column in (key, f"{key}_low", f"{key}_high")
    ]
    kept = [end for end in ends if 0 < end < math.inf]
    return min(kept) / 1.3, max(kept) * 1.3


def _each(rows: list[Row], column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))
