"""The blocks of a chip as rectangles to scale beside the outline of its die.

No placement is modelled: only areas are. Blocks fill a rectangle as high as a square die, so that
it ends before the die's edge by what is free, or behind it by what does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardwire.experiments.shared.style import block_name

SMALLEST_MM2 = 0.05
"""Blocks below this are too small to be drawn."""


@dataclass(frozen=True)
class Block:
    """A block and where it is drawn; lengths in mm from the lower left corner of the die."""

    name: str
    mm2: float
    left: float
    bottom: float
    width: float
    height: float


@dataclass(frozen=True)
class Floorplan:
    """Blocks to scale, the largest first, on a square die.

    Attributes
    ----------
    total_mm2 : of all blocks, with those that are too small to be drawn.
    interval_mm2 : ends of the 90 % interval of the total.
    """

    die_area_mm2: float
    total_mm2: float
    interval_mm2: tuple[float, float]
    blocks: tuple[Block, ...]

    @property
    def side_mm(self) -> float:
        """Side of the die's outline."""
        return math.sqrt(self.die_area_mm2)

    @property
    def width_mm(self) -> float:
        """How far the blocks reach."""
        return self.total_mm2 / self.side_mm

    @property
    def free_mm2(self) -> float:
        """Area that no block takes; negative where the blocks do not fit."""
        return self.die_area_mm2 - self.total_mm2

    @property
    def finding(self) -> str:
        """What the picture shows, in one sentence."""
        die, (low, high) = f"{self.die_area_mm2:,g} mm²", self.interval_mm2
        sure = f"(90% interval {low:,.0f} … {high:,.0f})"
        if self.free_mm2 < 0:
            times = self.total_mm2 / self.die_area_mm2
            dies = f", {times:.1f} dies in all" if times > 1.5 else ""
            return (
                f"The blocks take {self.total_mm2:,.1f} mm² {sure}, {-self.free_mm2:,.1f} mm² more "
                f"than the die of {die}{dies}."
            )
        most = self.blocks[0]
        return (
            f"The blocks take {self.total_mm2:,.1f} mm² {sure} of {die}, {block_name(most.name)} "
            f"{most.mm2 / self.die_area_mm2:.0%} of the die; {self.free_mm2:,.1f} mm² are free."
        )


def floorplan(data: Mapping[str, Any]) -> Floorplan:
    """Lay out the blocks of a run.

    Parameters
    ----------
    data : the run as its ``to_dict`` gives it, or ``verdict.json``.
    """
    area_mm2, die_area_mm2 = data["area_mm2"], float(data["die_area_mm2"])
    shown = [
        (name, float(mm2))
        for name, mm2 in sorted(area_mm2.items(), key=lambda item: -item[1])
        if name != "total" and mm2 >= SMALLEST_MM2
    ]
    low, high = data["interval"]["area_mm2.total"]
    total, height = float(area_mm2["total"]), math.sqrt(die_area_mm2)
    drawn = sum(mm2 for _, mm2 in shown) or 1.0
    # What is too small to be drawn is spread over the others, so that the edge is where it belongs.
    places = squarified([mm2 * total / drawn for _, mm2 in shown], total / height, height)
    return Floorplan(
        die_area_mm2=die_area_mm2,
        total_mm2=total,
        interval_mm2=(float(low), float(high)),
        blocks=tuple(
            Block(name, mm2, *place) for (name, mm2), place in zip(shown, places, strict=True)
        ),
    )


def squarified(
    areas: Sequence[float], width: float, height: float
) -> list[tuple[float, float, float, float]]:
    """Rectangles of given areas that fill a larger one, as near to squares as rows allow.

    The squarified treemap of Bruls, Huizing and van Wijk (2000): rows of rectangles are laid along
    the shorter side of what is left, each as long as that improves its worst aspect ratio.

    Parameters
    ----------
    areas : positive, the largest first; their sum is ``width`` · ``height``.

    Returns
    -------
    Left, bottom, width and height of each.
    """
    places: list[tuple[float, float, float, float]] = []
    left = bottom = 0.0
    rest = list(areas)
    while rest:
        side = min(width, height)
        row = 1
        while row < len(rest) and _worst(rest[: row + 1], side) <= _worst(rest[:row], side):
            row += 1
        depth = sum(rest[:row]) / side
        along = 0.0
        for area in rest[:row]:
            if height <= width:
                places.append((left, bottom + along, depth, area / depth))
            else:
                places.append((left + along, bottom, area / depth, depth))
            along += area / depth
        if height <= width:
            left, width = left + depth, width - depth
        else:
            bottom, height = bottom + depth, height - depth
        rest = rest[row:]
    return places


def _worst(row: Sequence[float], side: float) -> float:
    """The worst aspect ratio of rectangles in a row of a given length."""
    depth = sum(row) / side
    return max(max(area / depth**2, depth**2 / area) for area in row)
