"""How tables and numbers look in the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

from hardwire.experiments.shared.fitted_view import FittedTable
from hardwire.experiments.shared.style import FAINT, OF_NO_PART, on_any_ground
from hardwire.models.area import BYTES_PER_MIB

QUIET = FAINT
BAR = 28


def plain_table(title: str, *columns: str) -> FittedTable:
    """A table without rules: the first column to the left, the others, numbers, to the right.

    No header is shown where all column names are empty. Text in cells is printed as it stands; a
    style is given by ``styled``.
    """
    table = FittedTable(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style=QUIET,
        show_header=any(columns),
    )
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", no_wrap=True)
    return table


def text_table(title: str, *columns: str) -> FittedTable:
    """As ``plain_table``, of words: all columns to the left and folded where they are too long."""
    table = plain_table(title, *columns)
    for column in table.columns:
        column.justify, column.no_wrap, column.overflow = "left", False, "fold"
    table.columns[0].no_wrap = True
    return table


def styled(text: str, style: str) -> Text:
    """A cell in a style."""
    return Text(text, style=style)


def si(value: float, unit: str, digits: int = 3) -> str:
    """A number with an SI prefix and some significant digits: ``58.96 µs``."""
    if not math.isfinite(value):
        return f"∞ {unit}"
    for factor, prefix in ((1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if abs(value) >= factor:
            scaled = value / factor
            decimals = max(digits - len(str(int(abs(scaled)))), 0)
            return f"{scaled:.{decimals}f} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    return f"{value:,.0f}"


def mib(value: float) -> str:
    return f"{value / BYTES_PER_MIB:,.1f} MiB"


def span(low_high: Iterable[float], show: Callable[[float], str]) -> str:
    """An interval, ``a … b``, with the unit said once."""
    low, high = (show(x).replace("inf", "∞") for x in low_high)
    low_number, _, low_unit = low.partition(" ")
    if low_unit and high.endswith(f" {low_unit}"):
        low = low_number
    return f"{low} … {high}"


def bar(share: float, color: str = OF_NO_PART) -> Text:
    """A bar for a share of one; cut where the share exceeds one.

    A colour of figures is shown as it is seen on any ground.
    """
    if color.startswith("#"):
        color = on_any_ground(color)
    return styled("█" * round(min(share, 1.0) * BAR) or ("▏" if share > 0 else ""), color)


LARGE = 1e7
"""Numbers from here on are written with an exponent, such as transistors: ``43.53e9``."""


def large(value: float, digits: int = 4) -> str:
    """A number in some digits with an exponent of three, as engineers write it."""
    exponent = 3 * int(math.log10(abs(value)) // 3)
    mantissa = f"{float(f'{value / 10**exponent:.{digits}g}'):g}"
    if mantissa.lstrip("-") == "1000":
        mantissa, exponent = mantissa.replace("1000", "1"), exponent + 3
    return f"{mantissa}e{exponent}" if exponent else mantissa


def number(value: Any) -> str:
    """A value of an axis or a metric in at most five digits."""
    if isinstance(value, str):
        return value
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= LARGE:
        return large(value)
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The last part of dotted names where that is enough to tell them apart."""
    lasts = Counter(name.rpartition(".")[2] for name in names)
    found = {}
    for name in names:
        last = name.rpartition(".")[2]
        found[name] = last if lasts[last] == 1 and last not in ("total", "area_mm2") else name
    return found


def folded(name: str, unit: str) -> str:
    """A column head of a few short lines."""
    lines = [""]
    for part in name.split("_"):
        longer = f"{lines[-1]}_{part}" if lines[-1] else part
        if len(longer) > 12 and lines[-1]:
            lines[-1] += "_"
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join([*lines, f"[{unit}]"] if unit else lines)


def own_words(own: Mapping[str, Mapping[str, Any]]) -> str:
    """What a chip's file sets over the measured chip, with kind and range, in a line.

    Parameters
    ----------
    own : value, unit, kind and, where it has one, range of each parameter.
    """
    said = []
    for name, entry in own.items():
        value = entry["value"] if isinstance(entry["value"], str) else f"{entry['value']:g}"
        reach = entry.get("range")
        words = entry["kind"] if reach is None else f"{reach[0]:g} … {reach[1]:g}, {entry['kind']}"
        said.append(" ".join(f"{name} {value} {entry['unit'] or ''}".split()) + f" ({words})")
    return ", ".join(said)
