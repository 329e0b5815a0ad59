"""What figures have in common: settings that hold whatever the user has set, and axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator


@contextmanager
def settings(own: Mapping[str, Any]) -> Iterator[None]:
    """Matplotlib's own settings but for ``own``; the user's return afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(dict[Any, Any](own))
        yield


def write_png(figure: Figure, path: Path, dpi: int, metadata: dict[str, str | None]) -> None:
    """Write a PNG of the same bytes as ``savefig``, which goes through the figure twice."""
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure).print_png(path, metadata=metadata)


def thousands(axis: Axis) -> None:
    """Numbers at the ticks with separators."""

    def show(value: float, _: object) -> str:
        if 1e6 <= abs(value) < 1e9:
            return f"{value:,.0f}"
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:g}"

    axis.set_major_formatter(show)


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two: powers of ten, and what lies between where these are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [s * 10.0**n for n in range(first, last + 1) for s in steps]
        ticks = [tick for tick in ticks if low <= tick * 1.0001 and tick <= high * 1.0001]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def on_log(axes: Axes, axis: str, show: Any = None, ticks: Sequence[float] | None = None) -> None:
    """Make an axis logarithmic, with round numbers at its ticks.

    Parameters
    ----------
    axis : ``x`` or ``y``; its limits are those it has, so that data come first.
    show : text of a tick from its value; by default a number with separators.
    ticks : where ticks are, by default of ``log_ticks``.
    """
    getattr(axes, f"set_{axis}scale")("log")
    low, high = getattr(axes, f"get_{axis}lim")()
    one: Axis = getattr(axes, f"{axis}axis")
    places = log_ticks(low, high) if ticks is None else [t for t in ticks if low <= t <= high]
    one.set_major_locator(FixedLocator(places))
    one.set_minor_locator(NullLocator())
    one.set_minor_formatter(NullFormatter())
    if show is None:
        thousands(one)
    else:
        one.set_major_formatter(lambda value, _: show(value))


def short_time(value: float) -> str:
    """A time at a tick, in at most three digits: ``10 ms``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= 0.9999 * factor:
            return f"{value / factor:,.3g} {unit}"
    return f"{value / 1e-9:,.3g} ns"


def small_unit(unit: str, values: Any) -> tuple[float, str]:
    """What to multiply values by, and the unit that they then have: ``1e3, "mJ"`` of 0.0035 J."""
    sizes = np.abs(np.asarray(values, dtype=float))
    largest = np.max(sizes[np.isfinite(sizes)], initial=0.0)
    if unit in ("J", "s") and 0 < largest < 0.1:
        return (1e3, f"m{unit}") if largest >= 1e-4 else (1e6, f"µ{unit}")
    return 1.0, unit.replace("mm2", "mm²")


def apart(values: Sequence[float], gap: float) -> list[float]:
    """Places near the values, in their order, of which no two are closer than ``gap``."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [values[i] for i in order]
    for _ in range(100):
        moved = False
        for i in range(len(places) - 1):
            lack = gap - (places[i + 1] - places[i])
            if lack > 1e-9 * gap:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
                moved = True
        if not moved:
            break
    found = [0.0] * len(values)
    for place, i in zip(places, order, strict=True):
        found[i] = place
    return found
