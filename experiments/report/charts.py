"""The charts of reports and of the what-if, as Vega-Lite specifications.

One kind for each question: what a whole consists of (``bars``, ``stack``), how sure a number is
(``spans``), how one number follows another (``plot``), which designs there are (``scatter``).
``hardwire.experiments.report.draw`` makes pictures of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Literal

import numpy as np

from hardwire.experiments.shared.style import COLORS, PALE, PLAIN

Row = Mapping[str, Any]

INK = "currentColor"
"""Text and rules are of the colour of the page's text, light or dark."""

PLOT_HEIGHT, SCATTER_HEIGHT = 230, 300
_ROW, LINE, _BAR, _STRIP, _STACK = 22, 13, 14, 30, 38
_NAME_LETTERS = 24
TEXT_PX, _LETTER_PX = 12, 6.4
_PHONE_PX, _EDGE = 330, 6
_NUMBER = ",.5~r"
_TICK = ",~f"

CONFIG: Mapping[str, Any] = {
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK,
        "gridColor": PALE, "labelFontSize": 11, "titleFontSize": 11,
        "titleFontWeight": "normal", "titlePadding": 8, "labelLimit": 180,
    },
    "legend": {
        "orient": "bottom", "title": None, "labelColor": INK, "labelFontSize": TEXT_PX,
        "symbolType": "square", "symbolOpacity": 1, "labelLimit": 320, "padding": 0,
        "columnPadding": 16,
    },
    "text": {"color": INK, "fontSize": TEXT_PX},
    "rule": {"color": INK},
    "bar": {"height": _BAR},
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One bar: a value in the chart's unit, what is written beside it, and perhaps an interval.

    A name may have several lines.
    """

    name: str
    value: float
    text: str
    color: str = PLAIN
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One line of a plot, and the band around it where there is one.

    Attributes
    ----------
    values, low, high : arrays as long as the plot's positions; a gap where one is not finite.
    part : as long, a number for each position: the line breaks where it is another.
    """

    name: str
    values: Any
    color: str = PLAIN
    low: Any = None
    high: Any = None
    part: Any = None


@dataclass(frozen=True)
class Group:
    """Points of a scatter in one colour.

    Attributes
    ----------
    places : array (points, 2) of x and y.
    notes : by title, a text for each point: what a pointer shows.
    """

    name: str
    color: str
    places: Any
    notes: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A chart, before it has a width.

    Attributes
    ----------
    data : rows for the layers that have none of their own.
    layers : Vega-Lite layers from the back to the front.
    height : of the plotting area, in pixels.
    alt : what it shows, for those who cannot see it.
    hover : layers that answer a pointer; a picture on paper goes without.
    zoom : axes that a reader can zoom and move, ``x`` and ``y``.
    key : names and colours that stand over the chart, where its own legend would not fit a phone.
    """

    data: Sequence[Row]
    layers: Sequence[Row]
    height: int
    alt: str
    hover: Sequence[Row] = ()
    zoom: tuple[str, ...] = ()
    key: Sequence[tuple[str, str]] = ()

    def still(self, width: int) -> dict[str, Any]:
        """The Vega-Lite specification of a picture, ``width`` pixels wide in all."""
        # Its labels were measured in one font and may be shown in a wider one.
        return self._specification(width, self.layers, "Arial, Helvetica, sans-serif", 12)

    def live(self) -> dict[str, Any]:
        """The Vega-Lite specification for a page, as wide as the element that holds it."""
        layers = [dict(layer) for layer in (*self.layers, *self.hover)]
        if self.zoom:
            # A wheel alone scrolls the page, also where the pointer crosses a chart.
            wheel = "wheel![event.ctrlKey || event.metaKey || event.shiftKey]"
            select = {"type": "interval", "encodings": list(self.zoom), "zoom": wheel}
            layers[0]["params"] = [{"name": "zoom", "bind": "scales", "select": select}]
            for layer in layers:
                layer["mark"] = {**layer["mark"], "clip": True}
        return self._specification("container", layers, "system-ui, Arial, sans-serif", 0)

    def _specification(
        self, width: int | str, layers: Sequence[Row], font: str, left: int
    ) -> dict[str, Any]:
        return {
            "width": width,
            "height": self.height,
            "autosize": {"type": "fit-x", "contains": "padding"},
            "padding": {"left": left, "right": 8, "top": 5, "bottom": 0},
            "background": None,
            "description": self.alt,
            "config": {**CONFIG, "font": font},
            "data": {"values": self.data},
            "layer": layers,
        }


def bars(rows: Sequence[Bar], *, limit: float | None = None, alt: str = "") -> Chart:
    """Horizontal bars from zero, one under the other, each with its name and its text.

    Parameters
    ----------
    limit : where a dashed line crosses all bars.
    alt : what the bars are of; their names and texts follow it.
    """
    widest = max([*(_shown(row.value, 0.0) for row in rows), limit or 0.0, 0.0]) or 1.0
    data = [{**_named(row), "value": _shown(row.value, widest)} for row in rows]
    x = {"type": "quantitative", "axis": None, "scale": _beside(rows, domain=[0, widest])}
    layers = [
        one_layer("bar", x={"field": "value", **x}, y=_ROWS, color=_OWN, tooltip=_SAID),
        _TEXTS,
    ]
    if limit is not None:
        layers.append(one_layer(_DASHED, [{}], x={"datum": limit, **x}))
    return Chart(data, layers, row_px(row.name for row in rows) * len(rows), _listed(alt, rows))


def spans(rows: Sequence[Bar], *, alt: str = "") -> Chart:
    """Intervals of ratios to one, on a logarithmic scale from a tenth to ten times.

    A dashed line stands at one. Of each row only the interval is drawn.
    """
    data = []
    for row in rows:
        low, high = (min(max(x, 0.1), 10.0) for x in row.interval or (row.value, row.value))
        data.append({**_named(row), "low": low, "high": high})
    axis = {
        "values": [0.1, 1, 10], "labelExpr": "'×' + datum.label", "title": None, "grid": False,
    }  # fmt: skip
    scale = _beside(rows, domain=[0.1, 10], type="log")
    x = {"type": "quantitative", "axis": axis, "scale": scale}
    layers = [
        one_layer(
            {"type": "bar", "height": 8}, x={"field": "low", **x}, x2={"field": "high"}, y=_ROWS,
            color=_OWN, tooltip=_SAID,
        ),
        _TEXTS,
        one_layer(_DASHED, [{}], x={"datum": 1, **x}),
    ]  # fmt: skip
    return Chart(data, layers, row_px(row.name for row in rows) * len(rows), _listed(alt, rows))


def stack(parts: Sequence[Bar], capacity: float, *, alt: str = "") -> Chart:
    """One bar of parts beside each other; a dashed line where the capacity ends."""
    ends = np.cumsum([_shown(part.value, 0.0) for part in parts]).tolist()
    widest = max([*ends, capacity]) or 1.0
    data = [
        {**_named(part), "label": f"{part.name} {part.text}", "from": start, "to": end}
        for part, start, end in zip(parts, [0.0, *ends], ends, strict=False)
    ]
    x = {"type": "quantitative", "axis": None, "scale": {"domain": [0, widest]}}
    color = color_scale([row["label"] for row in data], [part.color for part in parts])
    layers = [
        one_layer(
            {"type": "bar", "height": _ROW, "stroke": PALE},
            x={"field": "from", **x}, x2={"field": "to"},
            color={"field": "label", **color}, tooltip=_SAID,
        ),
        one_layer(_DASHED, [{}], x={"datum": capacity, **x}),
    ]  # fmt: skip
    return Chart(data, layers, _STACK, _listed(alt, parts))


def plot(
    positions: Any,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    along: Literal["x", "y"] = "x",
    point: tuple[float, float] | None = None,
    limit: float | None = None,
    log_x: bool = False,
    x_range: tuple[float, float] | None = None,
    dots: bool = False,
    zoom: tuple[str, ...] = (),
    alt: str = "",
) -> Chart:
    """Lines over a common pair of axes; y begins at zero. A pointer shows all lines at a position.

    Parameters
    ----------
    positions : what the lines have in common: their x, numbers or words, or their y where ``along``
        is ``y``, as of quantiles.
    point : one position to mark.
    limit : a y at which a dashed line crosses.
    log_x : whether x is logarithmic; values that are not positive are left out.
    x_range : where x begins and ends, by default with the lines.
    dots : whether the positions are marked.
    zoom : axes that a reader can zoom.
    alt : what the plot shows, for those who cannot see it.
    """
    across = "y" if along == "x" else "x"
    lines = [line for line in lines if np.isfinite(np.asarray(line.values, dtype=float)).any()]
    words = np.asarray(positions).dtype.kind not in "iuf"
    columns = {"at": list(positions) if words else _numbers(positions, log_x and along == "x")}
    for i, line in enumerate(lines):
        for key, values in (("v", line.values), ("low", line.low), ("high", line.high)):
            if values is not None:
                columns[f"{key}{i}"] = _numbers(values, log_x and across == "x")
    heights = columns if along == "x" else {"at": (), "share": columns["at"]}
    tops = [v for key, column in heights.items() if key != "at" for v in column if v is not None]
    tops += [limit or 0.0, point[1] if point else 0.0]
    parts = {f"part{i}": _numbers(one.part) for i, one in enumerate(lines) if one.part is not None}
    columns = {**columns, **parts}
    data = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    x_scale = {"type": "log"} if log_x else {"zero": False, "nice": False}
    axes: dict[str, dict[str, Any]] = {
        "x": {"title": x_label, "axis": _X_AXIS, "type": "quantitative",
              "scale": {**x_scale, "padding": _EDGE * dots}},
        "y": {"title": y_label, "axis": _Y_AXIS, "type": "quantitative",
              "scale": {"domain": [0, max(tops) * 1.03 or 1.0], "nice": along == "x"}},
    }  # fmt: skip
    if words:
        axes["x"] |= {"type": "nominal", "sort": None, "axis": {"labelAngle": -35}, "scale": {}}
    if x_range is not None:
        axes["x"]["scale"]["domain"] = list(x_range)
    at = {along: {"field": "at", **axes[along]}}
    color = color_scale(
        [line.name for line in lines], [line.color for line in lines],
        symbolType="stroke", symbolStrokeWidth=3,
    )  # fmt: skip

    area = {"type": "area", "opacity": 0.18}
    layers = [
        one_layer(
            area, **at, color={"datum": line.name, **color},
            **{across: {"field": f"low{i}", **axes[across]}, f"{across}2": {"field": f"high{i}"}},
        )
        for i, line in enumerate(lines)
        if line.low is not None
    ]  # fmt: skip
    mark = {"type": "line", "strokeWidth": 2, "point": {"size": 18} if dots else False}
    order = {"order": {"field": "at"}} if along == "y" else {}  # which would be that of x
    layers += [
        one_layer(
            mark, **at, **{across: {"field": f"v{i}", **axes[across]}}, **order,
            color={"datum": line.name, **color},
            **({} if line.part is None else {"detail": {"field": f"part{i}"}}),
        )
        for i, line in enumerate(lines)
    ]  # fmt: skip
    if limit is not None:
        layers.append(one_layer(_DASHED, [{}], y={"datum": limit, **axes["y"]}))
    if point is not None:
        place = dict(zip(("x", "y"), point, strict=True))
        mark = {"type": "point", "filled": True, "size": 80, "color": COLORS["lora"], "opacity": 1}
        tips = [_tip("x", x_label), _tip("y", y_label)]
        marked = {axis: {"field": axis, **axes[axis]} for axis in place}
        layers.append(one_layer(mark, [place], **marked, tooltip=tips))
    label = x_label if along == "x" else y_label
    tips = [{"field": "at", "title": label, "type": "nominal"} if words else _tip("at", label)]
    for i, line in enumerate(lines):
        tips.append(_tip(f"v{i}", line.name or y_label))
        if line.low is not None:
            tips += [_tip(f"low{i}", "5th percentile"), _tip(f"high{i}", "95th percentile")]
    # A tooltip of the nearest position has numbers only; words have a strip to be pointed at.
    strip, shown = (_STRIP, 0.15) if words else (1, 0.5)
    opacity = {"condition": {"param": "hover", "empty": False, "value": shown}, "value": 0}
    select = {"type": "point", "on": "pointerover", "clear": "pointerout", "encodings": [along]}
    hover = one_layer({"type": "rule", "strokeWidth": strip}, **at, opacity=opacity, tooltip=tips)
    hover["params"] = [{"name": "hover", "select": {**select, "nearest": not words}}]
    return Chart(data, layers, PLOT_HEIGHT, alt or f"{y_label} against {x_label}", [hover], zoom)


def scatter(
    groups: Sequence[Group],
    *,
    x_label: str,
    y_label: str,
    front: Any = (),
    steps: Literal["after", "before"] = "after",
    alt: str = "",
) -> Chart:
    """Points of several groups, the last in front, that can be zoomed; axes need not hold zero.

    Parameters
    ----------
    front : x and y of points that steps join, array (points, 2): between two of them only what one
        of them reaches is known to be possible.
    steps : whether a step comes after a point, as where a small x is better, or before it.
    """
    data = [
        {"group": group.name, "x": x, "y": y, **{f"n{i}": note for i, note in enumerate(notes)}}
        for group in groups
        for (x, y), notes in zip(
            np.asarray(group.places).tolist(), zip(*group.notes.values(), strict=True), strict=True
        )
    ]
    loose = {"type": "quantitative", "scale": {"zero": False}}
    x = {"title": x_label, "axis": _X_AXIS, **loose}
    y = {"title": y_label, "axis": _Y_AXIS, **loose}
    tips = [{"field": f"n{i}", "title": title} for i, title in enumerate(groups[0].notes)]
    color = color_scale([group.name for group in groups], [group.color for group in groups])
    layers = [
        one_layer(
            {"type": "circle", "size": 22, "opacity": 0.8, "aria": False},
            x={"field": "x", **x}, y={"field": "y", **y}, color={"field": "group", **color},
            tooltip=tips,
        )
    ]  # fmt: skip
    if len(front):
        rows = [dict(zip("xy", row, strict=True)) for row in np.asarray(front).tolist()]
        mark = {"type": "line", "color": INK, "strokeWidth": 1.2, "interpolate": f"step-{steps}"}
        layers.append(
            one_layer(
                mark, rows, x={"field": "x", **x}, y={"field": "y", **y}, order={"field": "x"}
            )
        )
    sizes = ", ".join(f"{len(group.places):,} {group.name}" for group in groups)
    alt = f"{alt or f'{y_label} against {x_label}'}: {sizes}"
    return Chart(data, layers, SCATTER_HEIGHT, alt, (), ("x", "y"))


def names_in_lines(name: str) -> dict[str, Any]:
    """Settings of an axis whose names may have several lines, each in the middle of its row.

    Parameters
    ----------
    name : Vega expression of the name at ``datum``.
    """
    lines = [
        {"test": f"length(split({name}, '\\n')) == {count}", "value": -LINE * (count - 1) / 2}
        for count in (2, 3)
    ]
    return {
        "labelExpr": f"split({name}, '\\n')", "labelLineHeight": LINE,
        "labelOffset": {"condition": lines, "value": 0},
    }  # fmt: skip


_ROWS = {
    "field": "name", "type": "nominal", "sort": None, "title": None,
    "axis": {
        "domain": False, "ticks": False, "labelFontSize": TEXT_PX, "labelPadding": 8,
        **names_in_lines("datum.label"),
    },
}  # fmt: skip
_OWN = {"field": "color", "type": "nominal", "scale": None}
_SAID = [{"field": "name", "title": "title"}, {"field": "text", "title": "value"}]
_DASHED = {"type": "rule", "strokeDash": [4, 3]}
_X_AXIS = {
    "format": _TICK,
    "grid": False,
    "tickCount": {"expr": "max(3, width / 70)"},
    "labelOverlap": "greedy",
}
_Y_AXIS = {"format": _TICK, "domain": False, "ticks": False, "tickCount": 5}


def folded(words: str) -> str:
    """Words as the name of a row, in lines that leave a phone room for what is drawn.

    Of what takes more than two lines only what stands before a colon is kept.
    """
    for said in (words, words.partition(": ")[0]):
        lines = fill(said, _NAME_LETTERS, break_long_words=False, break_on_hyphens=False)
        if lines.count("\n") < 2:
            break
    return lines


def row_px(names: Iterable[str]) -> int:
    """Height of rows of which each has room for its name."""
    lines = max((name.count("\n") + 1 for name in names), default=1)
    return max(_ROW, lines * LINE + 6)


def one_layer(
    mark: str | Row, data: Sequence[Row] | None = None, /, **encoding: Any
) -> dict[str, Any]:
    """A layer of a chart, over data of its own where there are any."""
    kind = {"type": mark} if isinstance(mark, str) else mark
    own = {} if data is None else {"data": {"values": data}}
    return {**own, "mark": kind, "encoding": encoding}


_TEXTS = one_layer(
    {"type": "text", "align": "right", "baseline": "middle"},
    x={"value": "width"}, y=_ROWS, text={"field": "text"},
)  # fmt: skip


def _named(bar: Bar) -> dict[str, Any]:
    return {"name": bar.name, "text": bar.text, "color": bar.color}


def _beside(rows: Sequence[Bar], **scale: Any) -> dict[str, Any]:
    """A scale of bars that leaves room for the longest text at the right."""
    room = max((len(row.text) for row in rows), default=0) * _LETTER_PX + 20
    return {**scale, "range": [0, {"expr": f"max(width - {room:.0f}, 30)"}]}


def color_scale(names: Sequence[str], colors: Sequence[str], **symbol: Any) -> dict[str, Any]:
    """The scale of colours, with a legend where there is more than one name."""
    longest = max((len(name) for name in names), default=0) * _LETTER_PX + 24
    columns = max(int(_PHONE_PX / longest), 1)
    legend = {"columns": columns, **symbol} if len(names) > 1 else None
    return {"type": "nominal", "scale": {"domain": names, "range": colors}, "legend": legend}


def _tip(field: str, title: str) -> dict[str, Any]:
    return {"field": field, "title": title, "type": "quantitative", "format": _NUMBER}


def _listed(what: str, rows: Sequence[Bar]) -> str:
    said = (f"{row.name} {row.text}".replace("\n", " ") for row in rows)
    return "; ".join([*([what] if what else []), *said])


def _shown(value: float, otherwise: float) -> float:
    """A length that can be drawn: zero for what is below it."""
    return max(value, 0.0) if math.isfinite(value) else otherwise


def _numbers(values: Any, positive: bool = False) -> list[float | None]:
    """Numbers as JSON has them: None for what cannot be drawn."""
    return [
        float(v) if math.isfinite(v) and (v > 0 or not positive) else None
        for v in np.asarray(values, dtype=float)
    ]
