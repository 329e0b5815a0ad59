"""Charts of boxes: blocks to scale on a die, and what is busy when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hardwire.experiments.report.charts import (
    INK,
    TEXT_PX,
    Chart,
    color_scale,
    names_in_lines,
    one_layer,
)
from hardwire.experiments.run.floorplan import Floorplan
from hardwire.experiments.shared.style import MAROON, PAPER, block_color, block_name, ink_on

Box = tuple[str, float, float, str]
"""Row, start, end, and the group that gives the colour."""

_ROW_PX = 15
_DIE_PX = 340
_LABELLED = 0.06
"""Share of the picture from which a block has its name in it."""


def die(plan: Floorplan) -> Chart:
    """Blocks to scale in the outline of the die; what is beyond it lies under a red veil."""
    reach, side = max(plan.width_mm, plan.side_mm), plan.side_mm
    # As wide as the page or as high as the chart, whichever is less; a millimetre is one both ways.
    wide, high = f"min(width, height * {reach / side:.6f})", f"width * {side / reach:.6f}"
    x = {
        "type": "quantitative", "axis": None,
        "scale": {"domain": [0, reach], "range": [0, {"expr": wide}], "nice": False},
    }  # fmt: skip
    y = {
        "type": "quantitative", "axis": None,
        "scale": {
            "domain": [0, side], "nice": False,
            "range": [{"expr": f"min(height, {high})"}, 0],
        },
    }  # fmt: skip
    edges: dict[str, Any] = {
        "x": {"field": "l", **x}, "x2": {"field": "r"},
        "y": {"field": "b", **y}, "y2": {"field": "t"},
    }  # fmt: skip
    data = [
        {
            "l": block.left, "r": block.left + block.width, "b": block.bottom,
            "t": block.bottom + block.height, "x": block.left + block.width / 2,
            "y": block.bottom + block.height / 2, "color": block_color(block.name),
            "name": block_name(block.name), "ink": ink_on(block_color(block.name)),
            "text": f"{block.mm2:,.1f} mm², {block.mm2 / plan.die_area_mm2:.1%} of the die",
        }
        for block in plan.blocks
    ]  # fmt: skip
    told = [{"field": "name", "title": "title"}, {"field": "text", "title": "value"}]
    layers = [
        one_layer(
            {"type": "rect", "stroke": PAPER, "strokeWidth": 1}, **edges,
            color={"field": "color", "type": "nominal", "scale": None}, tooltip=told,
        )
    ]  # fmt: skip
    if plan.free_mm2 < 0:
        beyond = {"l": side, "r": plan.width_mm, "b": 0, "t": side}
        veil = {"type": "rect", "fill": MAROON, "fillOpacity": 0.45, "stroke": MAROON,
                "strokeWidth": 2}  # fmt: skip
        layers.append(one_layer(veil, [beyond], **edges))
    outline = {"type": "rect", "filled": False, "stroke": INK, "strokeWidth": 2}
    layers.append(one_layer(outline, [{"l": 0, "r": side, "b": 0, "t": side}], **edges))
    drawn = reach * side
    named = [row for row, block in zip(data, plan.blocks, strict=True)
             if block.mm2 > _LABELLED * drawn and block.width > 0.16 * reach]  # fmt: skip
    layers.append(
        one_layer(
            {"type": "text", "fontSize": TEXT_PX, "baseline": "middle"}, named,
            x={"field": "x", **x}, y={"field": "y", **y}, text={"field": "name"},
            color={"field": "ink", "type": "nominal", "scale": None},
        )
    )  # fmt: skip
    said = "; ".join(f"{row['name']} {row['text']}" for row in data)
    return Chart(data, layers, _DIE_PX, f"{plan.finding} {said}")


def gantt(
    rows: Sequence[str],
    boxes: Sequence[Box],
    groups: Sequence[tuple[str, str]],
    *,
    x_label: str,
    x_range: tuple[float, float],
    alt: str,
    row_px: float = _ROW_PX,
    named: Sequence[str] | None = None,
    legend: bool = True,
) -> Chart:
    """What is busy when: a row for each thing, a box from a start to an end.

    Parameters
    ----------
    groups : names and colours, in the order of the key.
    row_px : height of a row.
    named : rows that have their name at the axis, by default all.
    legend : whether a key names the colours.
    """
    number = {row: place for place, row in enumerate(rows)}
    data = [
        {"y": number[row], "a": round(start, 4), "b": round(end, 4), "g": group}
        for row, start, end, group in boxes
    ]
    ticks = [number[row] for row in (rows if named is None else named)]
    names = names_in_lines(f"{json.dumps(list(rows), ensure_ascii=False)}[datum.value]")
    y = {
        "type": "quantitative", "title": None, "scale": {"domain": [len(rows) - 0.5, -0.5]},
        "axis": {"values": ticks, **names, "domain": False, "ticks": False,
                 "grid": row_px >= _ROW_PX, "labelPadding": 6, "labelLimit": 150},
    }  # fmt: skip
    x = {
        "type": "quantitative", "title": x_label,
        "axis": {"grid": row_px < _ROW_PX, "tickCount": {"expr": "max(3, width / 90)"}},
        "scale": {"domain": list(x_range), "nice": False},
    }  # fmt: skip
    color = color_scale([name for name, _ in groups], [color for _, color in groups])
    color["legend"] = None
    mark = {"type": "rule", "strokeWidth": max(row_px - 3, 3), "aria": False}
    layers = [
        one_layer(
            mark, x={"field": "a", **x}, x2={"field": "b"}, y={"field": "y", **y},
            color={"field": "g", **color},
        )
    ]  # fmt: skip
    key = tuple(groups) if legend and len(groups) > 1 else ()
    return Chart(data, layers, round(row_px * len(rows)), alt, key=key)
