"""The figure of a floorplan: blocks to scale in the outline of the die."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hardwire.experiments.run.floorplan import Block, Floorplan
from hardwire.experiments.shared.style import (
    INK,
    MAROON,
    PAPER,
    QUIET,
    WIDTH_IN,
    block_color,
    block_name,
    drawing,
    ink_on,
)
from hardwire.experiments.shared.words_plot import say

_SIDE_IN, _KEY_IN = 4.2, 2.9
_LETTER_IN, _LINE_IN = 0.075, 0.16
_ROW = 0.062
_BEYOND = MAROON


def floorplan_figure(plan: Floorplan, title: str) -> Figure:
    """Blocks to scale in the outline of a square die; what is beyond it is hatched in red.

    Parameters
    ----------
    title : what was run.
    """
    reach = max(plan.width_mm, plan.side_mm)
    per_mm = min(_SIDE_IN / plan.side_mm, (WIDTH_IN - _KEY_IN) / reach)
    with drawing():
        height = max(per_mm * plan.side_mm + 0.3, 0.22 * len(plan.blocks) + 1.0)
        figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
        axes, key = figure.subplots(1, 2, width_ratios=[WIDTH_IN - _KEY_IN, _KEY_IN])
        for block in plan.blocks:
            _draw(axes, block, plan.side_mm, per_mm)
        if plan.free_mm2 < 0:
            # Over whichever blocks lie there, veiled so that the red is seen on dark ones, too.
            beyond = (plan.side_mm, 0), plan.width_mm - plan.side_mm, plan.side_mm
            axes.add_patch(Rectangle(*beyond, facecolor=PAPER, alpha=0.55))
            axes.add_patch(
                Rectangle(*beyond, fill=False, hatch="////", edgecolor=_BEYOND, linewidth=1.5)
            )
        axes.add_patch(
            Rectangle((0, 0), plan.side_mm, plan.side_mm, fill=False, edgecolor=INK, linewidth=1.8)
        )
        axes.set_xlim(-0.01 * reach, 1.01 * reach)
        axes.set_ylim(-0.01 * plan.side_mm, 1.01 * plan.side_mm)
        axes.set_aspect("equal", anchor="W")
        axes.set_axis_off()
        _list(key, plan)
        say(
            figure,
            plan.finding,
            f"{title}. Outline: the die, drawn as a square of {plan.side_mm:.1f} mm; areas are to "
            "scale, where a block lies is not modelled.",
        )
    return figure


def _draw(axes: Axes, block: Block, edge_mm: float, per_mm: float) -> None:
    """A block with its name and area as far as these fit; on the die, where most of it lies there.

    Parameters
    ----------
    edge_mm : where the die ends.
    per_mm : inches.
    """
    color = block_color(block.name)
    axes.add_patch(
        Rectangle(
            (block.left, block.bottom), block.width, block.height, facecolor=color,
            edgecolor=PAPER, linewidth=0.8,
        )
    )  # fmt: skip
    on_die = edge_mm - block.left
    width = min(block.width, on_die) if 2 * on_die > block.width else block.width
    middle = (block.left + width / 2, block.bottom + block.height / 2)
    beyond = middle[0] > edge_mm
    ink = INK if beyond else ink_on(color)
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1} if beyond else None
    name, area = block_name(block.name), f"{block.mm2:,.1f} mm²"
    for text in (f"{name}\n{area}", name, name.replace(" ", "\n")):
        lines = text.split("\n")
        size = max(map(len, lines)) * _LETTER_IN, len(lines) * _LINE_IN
        for angle, (along, across) in ((0, size), (90, size[::-1])):
            if along < per_mm * width and across < per_mm * block.height:
                axes.text(
                    *middle, text, ha="center", va="center", color=ink, rotation=angle,
                    fontsize=9, zorder=3, bbox=ground,
                )  # fmt: skip
                return


def _list(axes: Axes, plan: Floorplan) -> None:
    """Every block with its area and its share of the die."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    rows: list[tuple[str, float, str | None]] = [
        (block_name(block.name), block.mm2, block_color(block.name)) for block in plan.blocks
    ]
    free = plan.free_mm2
    rows.append(("All blocks", plan.total_mm2, None))
    rows.append(("Die", plan.die_area_mm2, None))
    rows.append(("Free" if free >= 0 else "Beyond the die", abs(free), None))
    put: Callable[..., object] = axes.text
    for number, (name, mm2, color) in enumerate(rows):
        y = 0.98 - _ROW * (number + 0.4 * (number >= len(plan.blocks)))
        said = _BEYOND if name.startswith("Beyond") else INK
        if color is not None:
            axes.add_patch(
                Rectangle(
                    (0, y - 0.018), 0.055, 0.036, facecolor=color, edgecolor=QUIET, linewidth=0.5
                )
            )
        put(0.08, y, name, va="center", fontsize=9, color=said)
        put(0.77, y, f"{mm2:,.1f} mm²", ha="right", va="center", fontsize=9, color=said)
        share = f"{mm2 / plan.die_area_mm2:.1%}"
        put(1.0, y, share, ha="right", va="center", fontsize=9, color=said)
