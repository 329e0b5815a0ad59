"""Small charts as HTML and SVG text: readable on a phone, crisp in print, drawn in a millisecond.

They need no script and no file beside the page. ``CSS`` has to stand once on the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from hardwire.experiments.shared.style import BLUE, INK, RED

CSS = """
.hw-bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 3px 8px;
  align-items: center; line-height: 1.3; }
.hw-track { position: relative; height: 1em; }
.hw-fill { position: absolute; left: 0; top: 0; bottom: 0; min-width: 1px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.hw-span { position: absolute; top: 45%; height: 2px; background: #333333;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.hw-thick { height: 8px; margin-top: -3px; }
.hw-limit { position: absolute; top: -3px; bottom: -3px; border-left: 2px dashed #333333; }
.hw-value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.hw-stack { position: relative; display: flex; height: 1.5em; }
.hw-stack > .hw-fill { position: static; min-width: 0; }
.hw-legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin-top: 4px; }
.hw-key { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 5px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.hw-plot { display: block; width: 100%; max-width: 520px; height: auto; }
.hw-plot text { font-family: inherit; font-size: 11px; fill: #333333; }
"""

WIDTH, HEIGHT = 360, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 8, 36
_TICKS = 5


@dataclass(frozen=True)
class Bar:
    """One bar: a value in the chart's unit, what is written beside it, and perhaps an interval."""

    name: str
    value: float
    text: str
    color: str = BLUE
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One line of a plot, and the band around it where there is one.

    Attributes
    ----------
    x, y, low, high : arrays of one length; what is not finite is left out.
    """

    name: str
    x: Any
    y: Any
    color: str = BLUE
    low: Any = None
    high: Any = None
    dashed: bool = False


def bars(rows: Sequence[Bar], *, limit: float | None = None) -> str:
    """Horizontal bars from zero, one under the other, each with its name and its text.

    Parameters
    ----------
    limit : where a dashed line crosses all bars.
    """
    ends = [row.value for row in rows] + [row.interval[1] for row in rows if row.interval]
    widest = max([*(end for end in ends if math.isfinite(end)), limit or 0.0, 0.0]) or 1.0
    cells = []
    for row in rows:
        track = f'<span class="hw-fill" style="width:{_percent(row.value / widest)};background:'
        track += f'{row.color}"></span>'
        if row.interval is not None:
            low, high = (min(x / widest, 1.0) for x in row.interval)
            track += f'<span class="hw-span" style="left:{_percent(low)};'
            track += f'width:{_percent(high - low)}"></span>'
        if limit is not None:
            track += f'<span class="hw-limit" style="left:{_percent(limit / widest)}"></span>'
        cells.append(
            f'<span>{escape(row.name)}</span><span class="hw-track">{track}</span>'
            f'<span class="hw-value">{escape(row.text)}</span>'
        )
    return f'<div class="hw-bars">{"".join(cells)}</div>'


def spans(rows: Sequence[Bar]) -> str:
    """Intervals of ratios to one, on a logarithmic scale from a tenth to ten times.

    A dashed line stands at one. Of each row only the interval is drawn.
    """

    def place(ratio: float) -> float:
        return 0.5 + math.log10(min(max(ratio, 0.1), 10.0)) / 2

    cells = []
    for row in rows:
        low, high = (place(ratio) for ratio in row.interval or (row.value, row.value))
        cells.append(
            f'<span>{escape(row.name)}</span><span class="hw-track">'
            f'<span class="hw-span hw-thick" style="left:{_percent(low)};'
            f'width:{_percent(high - low)};background:{row.color}"></span>'
            f'<span class="hw-limit" style="left:{_percent(place(1.0))}"></span></span>'
            f'<span class="hw-value">{escape(row.text)}</span>'
        )
    return f'<div class="hw-bars">{"".join(cells)}</div>'


def stack(parts: Sequence[Bar], capacity: float) -> str:
    """One bar of parts beside each other; a dashed line where the capacity ends."""
    used = sum(part.value for part in parts)
    widest = max(used, capacity) or 1.0
    fills = "".join(
        f'<span class="hw-fill" style="width:{_percent(part.value / widest)};background:'
        f'{part.color}"></span>'
        for part in parts
    )
    limit = f'<span class="hw-limit" style="left:{_percent(capacity / widest)}"></span>'
    return f'<div class="hw-stack">{fills}{limit}</div>' + legend(
        [(f"{part.name} {part.text}", part.color) for part in parts]
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names with a square of their colour."""
    keys = "".join(
        f'<span><span class="hw-key" style="background:{color}"></span>{escape(name)}</span>'
        for name, color in entries
    )
    return f'<div class="hw-legend">{keys}</div>'


def plot(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    point: tuple[float, float] | None = None,
    limit: float | None = None,
    log_x: bool = False,
    x_range: tuple[float, float] | None = None,
    alt: str = "",
) -> str:
    """Lines over a common pair of axes; y begins at zero.

    Parameters
    ----------
    point : one position to mark.
    limit : a y at which a dashed line crosses.
    log_x : whether x is logarithmic; values that are not positive are left out.
    x_range : where x begins and ends, by default with the lines.
    alt : what the plot shows, for those who cannot see it.
    """
    drawn = [_finite(line, log_x) for line in lines]
    xs = [bound for x, _ in drawn if len(x) for bound in (float(x.min()), float(x.max()))]
    x_low, x_high = x_range or (min(xs, default=0.1), max(xs, default=1.0))
    tops = [float(y.max()) for _, columns in drawn for y in columns if len(y)]
    highest = max([*tops, limit or 0.0, point[1] if point else 0.0]) * 1.06 or 1.0
    y_ticks = _nice(0.0, highest)
    y_end = max(highest, y_ticks[-1])
    if log_x:
        x_ticks = _decades(x_low, x_high)
        x_low, x_high = math.log10(x_low), math.log10(x_high)
    else:
        x_ticks = _nice(x_low, x_high)
    span = (x_high - x_low) or 1.0

    def across(x: Any) -> Any:
        place = np.log10(x) if log_x else np.asarray(x, dtype=float)
        return _LEFT + (place - x_low) / span * (WIDTH - _LEFT - _RIGHT)

    def up(y: Any) -> Any:
        return HEIGHT - _BOTTOM - np.asarray(y, dtype=float) / y_end * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg class="hw-plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    parts.append(f"<title>{escape(alt or f'{y_label} against {x_label}')}</title>")
    floor = HEIGHT - _BOTTOM
    for tick in y_ticks:
        y = float(up(tick))
        parts.append(_segment(_LEFT, y, WIDTH - _RIGHT, y, "#e6e6e6", 1))
        parts.append(_text(_LEFT - 5, y + 4, _short(tick), "end"))
    for tick in x_ticks:
        x = float(across(tick))
        parts.append(_segment(x, floor, x, floor + 4, INK, 1))
        parts.append(_text(x, floor + 16, _short(tick), "middle"))
    parts.append(_segment(_LEFT, floor, WIDTH - _RIGHT, floor, INK, 1))
    for line, (along, columns) in zip(lines, drawn, strict=True):
        if len(columns) > 1:
            band = [*zip(across(along), up(columns[1]), strict=True)]
            band += [*zip(across(along), up(columns[2]), strict=True)][::-1]
            parts.append(f'<polygon points="{_points(band)}" fill="{line.color}" opacity="0.18"/>')
    for line, (along, columns) in zip(lines, drawn, strict=True):
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        points = _points(zip(across(along), up(columns[0]), strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="2"'
            f"{dash}/>"
        )
    if limit is not None:
        y = float(up(limit))
        parts.append(_segment(_LEFT, y, WIDTH - _RIGHT, y, INK, 1, dashed=True))
    if point is not None:
        x, y = float(across(point[0])), float(up(point[1]))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{RED}"/>')
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
    parts.append(
        f'<text transform="translate(11 {(floor + _TOP) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )
    named = [(line.name, line.color) for line in lines if line.name]
    return "".join(parts) + (legend(named) if len(named) > 1 else "")


def _finite(line: Line, log_x: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """x, and y with the band's low and high where there are any, where all are finite."""
    x = np.asarray(line.x, dtype=float)
    columns = [np.asarray(c, dtype=float) for c in (line.y, line.low, line.high) if c is not None]
    good = np.isfinite(x) & np.all([np.isfinite(c) for c in columns], axis=0)
    if log_x:
        good &= x > 0
    return x[good], [c[good] for c in columns]


def _nice(low: float, high: float) -> list[float]:
    """About five round numbers from ``low`` to ``high``."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / _TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(f * unit for f in (1, 2, 5, 10) if f * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers, with their halves where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [f * 10.0**n for n in range(first, last + 1) for f in factors]
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]


def _short(value: float) -> str:
    """A tick's number: ``20k`` for 20,000."""
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"


def _percent(share: float) -> str:
    return f"{100 * min(max(share if math.isfinite(share) else 1.0, 0.0), 1.0):.2f}%"


def _points(pairs: Any) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _segment(
    x: float, y: float, to_x: float, to_y: float, color: str, width: float, dashed: bool = False
) -> str:
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{color}" '
        f'stroke-width="{width}"{dash}/>'
    )
