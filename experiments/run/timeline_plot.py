"""The figures of tokens over time: one token through the units, and tokens in flight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hardwire.experiments.run.timeline import Bars, Timeline, Token
from hardwire.experiments.shared.style import (
    COLORS,
    GRID,
    OPERATION_NAMES,
    PALE,
    PAPER,
    WIDTH_IN,
    drawing,
    faded,
    ordered,
)
from hardwire.experiments.shared.words_plot import say

_ROW_IN = 0.155


def token_figure(found: Timeline, title: str) -> Figure:
    """A decode token at the units: whole, and in one layer without the adapter and with it."""
    tokens, asked = found.tokens, found.tokens[-1]
    inside = asked.layer == found.layer
    in_layer = [asked.units[unit] for unit in sorted(set(asked.unit[inside].tolist()))]
    heights = [len(asked.units) + 5, len(in_layer) + 5]
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, _ROW_IN * sum(heights) + 0.6), layout="constrained")
        grid = figure.add_gridspec(2, len(tokens), height_ratios=heights)
        axes = figure.add_subplot(grid[0, :])
        _visits(axes, asked, asked.units, np.ones(len(asked.unit), dtype=bool), 0.0)
        axes.axvspan(*(1e6 * at for at in asked.layer_s(found.layer)), color=PALE, linewidth=0)
        axes.set_xlim(0, 1.01e6 * asked.token_s)
        axes.set_title(
            f"{_case(asked)}, {asked.context:,} tokens of context: {1e6 * asked.token_s:.2f} µs; "
            f"grey: layer {found.layer}, below"
        )
        axes.set_xlabel("µs since its issue")
        stays = [token.layer_s(found.layer) for token in tokens]
        widest = 1e6 * max(last - first for first, last in stays)
        for column, (token, (first, last)) in enumerate(zip(tokens, stays, strict=True)):
            axes = figure.add_subplot(grid[1, column])
            _visits(axes, token, in_layer, token.layer == found.layer, first)
            axes.set_xlim(0, 1.02 * widest)
            axes.set_title(f"{_case(token)}, layer {found.layer}: {1e9 * (last - first):,.0f} ns")
            axes.set_xlabel(f"µs since it enters layer {found.layer}")
            if column:
                axes.set_yticklabels([])
        used = {name for token in tokens for name in token.operation}
        figure.legend(
            handles=[
                Patch(color=COLORS[key], label=name)
                for key, name in OPERATION_NAMES.items()
                if key in used
            ],
            loc="outside lower center", ncols=5,
        )  # fmt: skip
        say(figure, found.token_finding, title)
    return figure


def flight_figure(found: Timeline, title: str) -> Figure:
    """The same tokens in serial and in pipelined issue, by layer, and by the units of one layer."""
    serial, pipelined = found.flights
    users = int(serial.spans.user.max()) + 1
    colors = ordered(max(users, 2))[:users]
    rows = len(pipelined.units)
    with drawing():
        figure = Figure(figsize=(WIDTH_IN, 4.0 + _ROW_IN * (rows + 5)), layout="constrained")
        grid = figure.add_gridspec(3, 1, height_ratios=[11, 11, rows + 2])
        first = figure.add_subplot(grid[0])
        second = figure.add_subplot(grid[1], sharex=first)
        for axes, flight in ((first, serial), (second, pipelined)):
            own = ", as in this run" if flight.issue == found.own else ""
            axes.grid(axis="x")
            _bars(axes, flight.spans, colors, apart=False)
            axes.set_title(
                f"{flight.issue.capitalize()} issue{own}: {1e6 * flight.span_s:,.0f} µs for "
                f"{flight.tokens} tokens"
            )
            layers = flight.layers
            axes.set_ylim(layers + 1.2, -1.8)
            axes.set_yticks([0, layers // 2, layers], ["layer 0", f"{layers // 2}", "LM head"])
        first.set_xlim(0, 1.01e6 * max(flight.span_s for flight in found.flights))
        first.tick_params(labelbottom=False)
        second.set_xlabel("µs")
        close = figure.add_subplot(grid[2])
        for row in range(rows):
            close.axhline(row, color=GRID, linewidth=0.6, zorder=0)
        _bars(close, pipelined.visits, colors, apart=True)
        early = bool(pipelined.visits.prompt.any())
        begin, end = pipelined.visits.start_s.min(), pipelined.visits.end_s.max()
        close.set_xlim(1e6 * (begin - 0.02 * (end - begin)), 1e6 * (end + 0.02 * (end - begin)))
        close.set_ylim(rows - 0.4, -0.6)
        close.set_yticks(range(rows), pipelined.units, fontsize=8)
        close.tick_params(axis="y", length=0)
        what = "prompt" if early else "decode"
        close.set_title(f"Pipelined, {what} tokens in layer {layers // 2}")
        close.set_xlabel("µs")
        handles = []
        for user, color in enumerate(colors):
            whose = "" if users == 1 else f", user {user + 1}"
            if early:
                handles.append(Patch(color=faded(color), label=f"prompt token{whose}"))
            handles.append(Patch(color=color, label=f"decode token{whose}"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        say(figure, found.flight_finding, f"{title}. The power limit is not applied here.")
    return figure


def _case(token: Token) -> str:
    return "Base" if token.name == "base" else f"With {token.name}"


def _visits(
    axes: Axes, token: Token, units: Sequence[str], shown: np.ndarray, origin: float
) -> None:
    """A row for each kind of unit, and a bar where the token is at it; times from an origin."""
    boxes, colors = [], []
    for visit in np.flatnonzero(shown):
        row = units.index(token.units[token.unit[visit]])
        left, right = (1e6 * (at[visit] - origin) for at in (token.start_s, token.end_s))
        boxes.append(_box(left, right, row, 0.36))
        colors.append(COLORS[token.operation[visit]])
    for row in range(len(units)):
        axes.axhline(row, color=GRID, linewidth=0.6, zorder=0)
    # The outline keeps what is thinner than a pixel.
    axes.add_collection(PolyCollection(boxes, facecolors=colors, edgecolors=colors, linewidths=0.3))
    axes.set_yticks(range(len(units)), units, fontsize=8)
    axes.set_ylim(len(units) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _bars(axes: Axes, bars: Bars, colors: Sequence[str], *, apart: bool) -> None:
    """A bar where something is at work on a token, in the colour of its user.

    With outlines, which tell neighbours apart or, in their own colour, keep thin bars to be seen.
    """
    boxes = [
        _box(1e6 * start, 1e6 * end, row, 0.42)
        for start, end, row in zip(bars.start_s, bars.end_s, bars.place, strict=True)
    ]
    faces = [
        faded(colors[user]) if early else colors[user]
        for user, early in zip(bars.user, bars.prompt, strict=True)
    ]
    edges = PAPER if apart else faces
    axes.add_collection(PolyCollection(boxes, facecolors=faces, edgecolors=edges, linewidths=0.5))


def _box(left: float, right: float, row: float, half: float) -> list[tuple[float, float]]:
    low, high = row - half, row + half
    return [(left, low), (right, low), (right, high), (left, high)]
