"""The figure of a system: its dies, what each holds, and what a token puts on the links."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from hardwire.experiments.shared.style import (
    GREY,
    HELD_COLORS,
    INK,
    PAPER,
    QUIET,
    SILVER,
    WIDTH_IN,
    drawing,
)
from hardwire.experiments.shared.tables import count, large, si
from hardwire.experiments.shared.words_plot import say
from hardwire.experiments.system.answer import SystemAnswer, overfull
from hardwire.models.language_model import EXPERT, HEAD
from hardwire.models.system.budget import DieBudget
from hardwire.models.system.contents import EMBEDDING
from hardwire.models.system.topology import SWITCH

WIDE, HIGH, GAP = 1.0, 0.66, 0.62
"""Of a die's box, and between boxes, in units of the figure."""

CLOSE, EDGE = 0.2, 0.16
"""Between boxes of a group, and from them to its frame."""

MOST_ACROSS = 8
"""Boxes beside each other, so that letters can be read."""

_MLP = ("gate_up", "down", "router")
Place = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """A group of several dies as drawn: its lower left corner, and how wide and high it is."""

    x: float
    y: float
    wide: float
    high: float

    def towards(self, other: Frame) -> Place:
        """The middle of the edge that is next to another frame, in its row or its column."""
        if other.x != self.x:
            return self.x + self.wide * (other.x > self.x), self.y + self.high / 2
        return self.x + self.wide / 2, self.y + self.high * (other.y > self.y)


@dataclass(frozen=True)
class Layout:
    """Where boxes of dies and frames of groups are, and what all of it takes."""

    dies: Mapping[str, Place]
    frames: tuple[Frame, ...]
    wide: float
    high: float


def dies_figure(answer: SystemAnswer) -> Figure:
    """Dies as boxes that are full by what they hold, and links as lines with bytes a token.

    Dies of a group stand in a frame that says what its links carry. The die or link that bounds the
    rate is drawn in colour; a die that overflows is hatched.
    """
    layout = _layout(answer)
    with drawing():
        per_unit = min((WIDTH_IN - 0.2) / layout.wide, 1.25)
        figure = Figure(figsize=(WIDTH_IN, layout.high * per_unit + 0.45), layout="constrained")
        axes = figure.subplots()
        critical_link, critical_dies = _critical(answer)
        _draw_frames(axes, answer, layout, per_unit)
        _draw_links(axes, answer, layout, critical_link, per_unit)
        for name, one in answer.found.items():
            _draw_die(axes, one, layout.dies[name], per_unit, critical=name in critical_dies)
        axes.set_xlim(-0.1, layout.wide + 0.1)
        axes.set_ylim(-layout.high, 0.05)
        axes.set_aspect("equal")
        axes.set_axis_off()
        _legend(axes, answer)
        say(figure, _finding(answer), _setting(answer))
    return figure


def _layout(answer: SystemAnswer) -> Layout:
    """Stages in rows that turn at their ends, so that neighbours stay neighbours; the dies of a
    group as its rows and columns are, or in a block."""
    stages = answer.system.placement.stages
    largest = max(len(stage.dies) for stage in stages)
    columns = max(stage.columns if stage.rows > 1 else _block(len(stage.dies)) for stage in stages)
    rows = max(math.ceil(len(stage.dies) / columns) for stage in stages)
    inside = (EDGE if largest > 1 else 0.0, CLOSE)
    wide = columns * WIDE + (columns - 1) * inside[1] + 2 * inside[0]
    high = rows * HIGH + (rows - 1) * inside[1] + 2 * inside[0] + (0.22 if largest > 1 else 0)
    most = max(MOST_ACROSS // columns, 1)
    across = min(len(stages), most, max(math.ceil(math.sqrt(1.8 * len(stages))), 4))
    dies: dict[str, Place] = {}
    frames = []
    for number, stage in enumerate(stages):
        row, column = divmod(number, across)
        column = column if row % 2 == 0 else across - 1 - column
        left, top = column * (wide + GAP), -row * (high + GAP)
        if largest > 1:
            frames.append(Frame(left, top - high, wide, high))
        for place, die in enumerate(stage.dies):
            down, right = divmod(place, columns)
            dies[die] = (
                left + inside[0] + right * (WIDE + inside[1]),
                top - inside[0] - HIGH - down * (HIGH + inside[1]),
            )
    bands = math.ceil(len(stages) / across)
    total = bands * (high + GAP) - GAP
    rest = [die.name for die in answer.system.dies if die.name not in dies]
    for column, die in enumerate(rest):
        dies[die] = (column * (WIDE + GAP), -total - GAP - HIGH)
    total += (HIGH + GAP) * bool(rest)
    return Layout(dies, tuple(frames), across * (wide + GAP) - GAP, total + 0.1)


def _block(dies: int) -> int:
    """Dies beside each other in a group that has no rows of its own."""
    return 2 ** math.ceil(math.log2(dies) / 2)


def held_shares(one: DieBudget) -> dict[str, float]:
    """What of a die its ROM takes, by what it holds, as shares of the die's area."""
    weights: Counter[str] = Counter()
    held = one.held
    for name, number in held.weights.items():
        weights[_class(name)] += number
    weights["copies"] = sum(held.copies.values())
    total = sum(weights.values())
    rom = one.area_mm2["rom"] / one.die_mm2
    return {name: rom * number / total for name, number in weights.items() if number}


def _class(matrix: str) -> str:
    if matrix.startswith(EXPERT):
        return "experts"
    if matrix in (EMBEDDING, HEAD):
        return "embedding and head"
    return "mlp" if matrix.rpartition(".")[2] in _MLP else "attention"


def _critical(answer: SystemAnswer) -> tuple[tuple[int, str] | None, frozenset[str]]:
    """The link, by index and sender, or the dies that bound the rate."""
    words = answer.unlimited.critical_unit.replace(",", "").split()
    if words[0] == "link":
        return (int(words[1]), words[2]), frozenset()
    if words[0] == "stage":
        return None, frozenset(answer.system.placement.stages[int(words[1])].dies)
    names = {word for word in words if word in answer.found}
    return None, frozenset(names)


def _draw_die(axes: Axes, one: DieBudget, place: Place, per_unit: float, *, critical: bool) -> None:
    """A box, full from the left by shares of the die's area; beyond it where it overflows."""
    x, y = place
    left = 0.0
    for name, share in _parts(one).items():
        color = HELD_COLORS.get(name, GREY)
        width = min(share, max(1 - left, 0))
        axes.add_patch(
            Rectangle((x + left * WIDE, y), width * WIDE, HIGH * 0.42, facecolor=color, zorder=3)
        )
        left += share
    over = not one.fits
    axes.add_patch(
        Rectangle(
            (x, y), WIDE, HIGH, facecolor=PAPER, zorder=2,
            edgecolor=HELD_COLORS["critical"] if critical else INK,
            linewidth=2.6 if critical else 1.0,
        )
    )  # fmt: skip
    axes.add_patch(
        Rectangle(
            (x, y), WIDE, HIGH, fill=False, zorder=4,
            edgecolor=HELD_COLORS["critical"] if critical or over else INK,
            linewidth=2.6 if critical else 1.0,
        )
    )  # fmt: skip
    if over:
        axes.add_patch(
            Rectangle(
                (x, y), WIDE, HIGH * 0.42, fill=False, zorder=4, hatch="////", linewidth=0,
                edgecolor=HELD_COLORS["critical"],
            )
        )  # fmt: skip
    layers = sorted(one.held.slices)
    words = f"layers {layers[0]}–{layers[-1]}" if len(layers) > 1 else ""
    if len(layers) == 1:
        words = f"layer {layers[0]}"
    size = max(5.5, min(9.0, 8.2 * per_unit))
    lines = [f"{one.die}  {large(one.held.held, 3)}", words or "LM head"]
    if over:
        lines[1] = overfull(one)
    axes.text(
        x + WIDE / 2, y + 0.71 * HIGH, "\n".join(lines), ha="center", va="center", zorder=5,
        fontsize=size, linespacing=1.15,
    )  # fmt: skip


def _parts(one: DieBudget) -> dict[str, float]:
    """Shares of the die's area: ROM by what it holds, and all other blocks."""
    found = {name: share for name, share in held_shares(one).items()}
    found["other blocks"] = (one.area_mm2["total"] - one.area_mm2["rom"]) / one.die_mm2
    order = [*HELD_COLORS, "other blocks"]
    return dict(sorted(found.items(), key=lambda item: order.index(item[0])))


def _draw_frames(axes: Axes, answer: SystemAnswer, layout: Layout, per_unit: float) -> None:
    """Frames of groups with what their links carry, and what goes from group to group."""
    system, sent = answer.system, answer.sent
    size = max(5.5, min(9.0, 7.6 * per_unit))
    stages = system.placement.stages
    for stage, frame in zip(stages, layout.frames, strict=False):
        axes.add_patch(
            Rectangle(
                (frame.x, frame.y), frame.wide, frame.high, fill=False, edgecolor=SILVER,
                linewidth=1.0, linestyle=(0, (4, 3)), zorder=1,
            )
        )  # fmt: skip
        inner = [n for n, link in enumerate(system.links) if set(link.ends) <= set(stage.dies)]
        most = max((size for at, size in sent.items() if at[0] in inner), default=0.0)
        words = f"{len(inner)} links, at most {_bytes(most)} a token one way" if inner else ""
        axes.text(
            frame.x + frame.wide / 2, frame.y + 0.1, words, ha="center", va="bottom",
            fontsize=size, color=INK, zorder=6,
        )  # fmt: skip
    for (one, here), (other, there) in itertools.pairwise(zip(stages, layout.frames, strict=False)):
        between = [
            size
            for (number, sender), size in sent.items()
            if sender in one.dies and system.links[number].other(sender) in other.dies
        ]
        ends = here.towards(there), there.towards(here)
        _arrow(axes, *ends, INK, 1.4)
        if between:
            words = f"{len(between)} ×\n{_bytes(max(between))}"
            _say(axes, *ends, words, size, INK)


def _draw_links(
    axes: Axes,
    answer: SystemAnswer,
    layout: Layout,
    critical: tuple[int, str] | None,
    per_unit: float,
) -> None:
    """Lines between dies of a pipeline with bytes a token; in groups the line in colour alone."""
    sent, places = answer.sent, layout.dies
    most = max(sent.values(), default=0.0)
    size = max(5.0, min(8.5, 7.2 * per_unit))
    for number, link in enumerate(answer.system.links):
        here = critical is not None and critical[0] == number
        if SWITCH in link.ends or (layout.frames and not here):
            continue
        used = max(sent.get((number, end), 0.0) for end in link.ends)
        one, other = (_middle(places[end]) for end in link.ends)
        near = math.dist(one, other) < 1.3 * (WIDE + (CLOSE if layout.frames else GAP))
        color = HELD_COLORS["critical"] if here else QUIET if used > 0.02 * most else SILVER
        width = 2.6 if here else 0.6 + 1.4 * used / most if most else 0.6
        _arrow(axes, one, other, color, width, bend=0 if near else 0.4, above=here)
        if used and (near or here):
            ink = HELD_COLORS["critical"] if here else INK
            if not layout.frames:
                _say(axes, one, other, _bytes(used), size, ink)


def _arrow(
    axes: Axes, one: Place, other: Place, color: str, width: float, *, bend: float = 0,
    above: bool = False,
) -> None:  # fmt: skip
    """A line from middle to middle, below boxes unless it is to be seen ``above`` them."""
    axes.add_patch(
        FancyArrowPatch(
            one, other, arrowstyle="-", zorder=4.5 if above else 0, color=color, linewidth=width,
            connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip


def _say(axes: Axes, one: Place, other: Place, words: str, size: float, ink: str) -> None:
    """Words beside the middle of a line."""
    x, y = (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
    flat = abs(one[1] - other[1]) < 0.1
    axes.text(
        x if flat else x + 0.05, y + 0.05 if flat else y, words, zorder=6, fontsize=size,
        color=ink, ha="center" if flat else "left", va="bottom" if flat else "center",
    )  # fmt: skip


def _middle(place: Place) -> Place:
    return place[0] + WIDE / 2, place[1] + HIGH / 2


def _bytes(size: float) -> str:
    for factor, unit in ((1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"


def _legend(axes: Axes, answer: SystemAnswer) -> None:
    """What the colours are of, as far as they are there."""
    there = {name for one in answer.found.values() for name in _parts(one)}
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=HELD_COLORS.get(name, GREY), label=_label(name))
        for name in [*HELD_COLORS, "other blocks"]
        if name in there
    ]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=len(handles),
        handlelength=1.0, handleheight=1.0, columnspacing=1.2,
    )  # fmt: skip


def _label(name: str) -> str:
    words = {"mlp": "MLP", "attention": "attention", "other blocks": "other blocks of the die"}
    return words.get(name, name)


def _finding(answer: SystemAnswer) -> str:
    rate = f"{count(answer.decode_tokens_per_s_user)} tokens/s for one user"
    if answer.obstacles:
        first, more = answer.obstacles[0], len(answer.obstacles) - 1
        others = f", as do {more} more" if more else ""
        return f"On paper {rate}: {first}{others}."
    unit, held = answer.unlimited.critical_unit, si(float(answer.unlimited.critical_s), "s")
    unit = unit.partition(",")[0]
    if answer.in_flight == 1:
        token = si(float(answer.unlimited.token_s), "s")
        return f"{rate}: a token takes {token}, and no unit longer than {unit}, {held}."
    return f"{rate}, bound by {unit}, which each token holds for {held}."


def _red(answer: SystemAnswer) -> str:
    return "where a token is longest" if answer.in_flight == 1 else "what bounds the rate"


def _setting(answer: SystemAnswer) -> str:
    system, sent = answer.system, answer.sent
    words = f"{system.title}; {count(answer.users)} user{'s' * (answer.users > 1)}."
    most = max(sent, key=lambda at: sent[at]) if sent else None
    if most is not None:
        kind = system.links[most[0]].kind.name
        words += (
            f" Lines: links ({kind}), at most {_bytes(sent[most])} a token one way, busy for "
            f"{answer.link_share(*most):.1%} of the time."
        )
    return f"{words} Bars: the die's area by what is on it. Red: {_red(answer)}, or what overflows."
