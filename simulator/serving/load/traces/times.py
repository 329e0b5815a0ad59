"""Arrivals out of a trace's column of times: dates, times since 1970, or times from some begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.traces.cells import BadCellError, instead, numbers, shown
from hardwire.simulator.serving.load.traces.layout import Times

MOST_SECONDS = 1e9
"""Latest arrival, 31 years; larger numbers count from 1970."""

UNITS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
"""Units of time, by how many make a second."""

MOST_PER_SECOND = 100
"""Mean rate beyond which whole numbers are taken for seconds rather than milliseconds."""

_LARGEST = 1e20
_DATE = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d{1,18})?(?:Z|\+00:00)?", re.ASCII)
_NUMBER = re.compile(r"\s*\d+\.?\d*(?:e\+?\d+)?\s*", re.ASCII | re.IGNORECASE)
_DATE_WANTED = "must be a date and time such as 2023-11-16 18:15:46.6805900"


class Clock:
    """Reads a column of times, chunk by chunk, as seconds.

    Numbers below 1e9 are seconds or milliseconds as the layout says. Larger ones count from 1970,
    in the unit that puts them between 2001 and 5138. Times count from the first request, except
    for seconds below 1e9 of a layout that states arrivals. Where it cannot be told what a number
    is, it is refused, and ``unit`` says it.

    Parameters
    ----------
    column : name, for messages.
    times : what the layout says of the column.
    unit : one of `UNITS`, or None.
    is_text : whether cells are text and no JSON values.
    """

    def __init__(self, column: str, times: Times, unit: str | None, is_text: bool) -> None:
        self.column, self.times, self.unit, self.is_text = column, times, unit, is_text
        self.from_first = times != "stated"
        self._scale: int | None = None  # units per second, once the first cell is seen; 0: dates
        self._is_guess = False  # nothing but the layout says that the column is milliseconds
        self._begin: tuple[Any, float] = (0, 0.0)  # the first time: whole and fraction

    def read(self, cells: Sequence[Any]) -> NDArray[np.float64]:
        """Seconds of a chunk, negative where they lie before the first request of the file.

        Raises
        ------
        BadCellError
            At the first cell that cannot be read, or that lies 1e9 s after the first.
        """
        is_first = self._scale is None
        if self._scale is None:
            self._scale = self._decide(cells[0])
        if self._scale == 0:
            whole, fraction = _dates(self.column, cells)
            if is_first:
                self._begin = whole[0], float(fraction[0])
            # Parts apart, so that a date takes no digits of the fraction.
            arrival = (whole - self._begin[0]) + (fraction - self._begin[1])
        else:
            high = _LARGEST if self.from_first else MOST_SECONDS * self._scale
            values = self._values(cells, high)
            if is_first and self.from_first:
                self._begin = values[0], 0.0
            arrival = (values - self._begin[0]) / self._scale
        if arrival.max() > MOST_SECONDS:
            row = int((arrival > MOST_SECONDS).argmax())
            problem = f"{shown(cells[row])} is more than 1e9 s after the first request"
            raise BadCellError(row, self.column, problem)
        return arrival

    def check(self, count: int, span_s: float) -> None:
        """Refuse milliseconds that are more likely seconds, once all requests are read.

        Raises
        ------
        InputError
            If the layout's milliseconds make more than `MOST_PER_SECOND` requests a second. The
            sentence begins with the column.
        """
        if self._is_guess and count - 1 > MOST_PER_SECOND * span_s > 0:
            raise InputError(
                f"column {self.column}: as milliseconds, {count:,} requests would come in "
                f"{span_s:g} s; say --time-unit s or ms"
            )

    def _decide(self, cell: Any) -> int:
        """Units per second of the column, from its first cell; 0 stands for dates."""
        if self.times == "dates" and not _NUMBER.fullmatch(str(cell)):
            return 0
        try:
            first = float(numbers(self.column, [cell], float, 0, _LARGEST, self.is_text)[0])
        except BadCellError:
            if not self.from_first:
                numbers(self.column, [cell], float, 0, MOST_SECONDS, self.is_text)
            raise
        if self.unit is not None:
            scale = UNITS[self.unit]
            self.from_first |= first >= MOST_SECONDS * scale
            return scale
        if self.times == "milliseconds":
            if first < MOST_SECONDS:
                self._is_guess = True
                return UNITS["ms"]
        elif first < MOST_SECONDS:
            if self.times == "dates":
                raise self._unclear(cell, f"{_DATE_WANTED}; of a number, say --time-unit")
            return UNITS["s"]
        for scale in UNITS.values():
            # In milliseconds, 1e9 to 1e11 are 12 days to 3 years, so they need not be since 1970.
            if 1e9 * scale <= first < 1e11 * scale and (scale > 1 or self.times != "milliseconds"):
                self.from_first = True
                return scale
        raise self._unclear(cell, "could be of several units; say --time-unit s, ms, us or ns")

    def _unclear(self, cell: Any, problem: str) -> BadCellError:
        return BadCellError(0, self.column, f"{shown(cell)} {problem}")

    def _values(self, cells: Sequence[Any], high: float) -> NDArray[Any]:
        """Numbers as they stand, whole ones exactly: nanoseconds since 1970 exceed a float."""
        values = numbers(self.column, cells, float, 0, high, self.is_text)
        if self._is_guess:
            broken = values != np.floor(values)
            if broken.any():
                row = int(broken.argmax())
                raise BadCellError(
                    row,
                    self.column,
                    f"{shown(cells[row])} is no whole number of milliseconds, so that it may be "
                    "seconds; say --time-unit s or ms",
                )
        if self._begin[0] >= 2**53 or values[0] >= 2**53:
            try:
                return np.array([int(cell) for cell in cells], dtype=np.int64)
            except (ValueError, OverflowError):
                pass  # with a fraction, or beyond 64 bits
        return values


def _dates(column: str, cells: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds since 1970 and the fraction, of dates and times in UTC or without a zone."""
    matches = [_DATE.fullmatch(cell.strip()) for cell in cells]
    if None in matches:
        row = matches.index(None)
        raise BadCellError(row, column, instead(_DATE_WANTED, cells[row]))
    texts = [match[1] for match in matches if match]
    try:
        whole = np.array(texts, dtype="datetime64[s]")
    except ValueError:  # a day or an hour that does not exist
        row = next(row for row, text in enumerate(texts) if not _exists(text))
        raise BadCellError(row, column, instead(_DATE_WANTED, cells[row])) from None
    fraction = [float(match[2]) if match[2] else 0.0 for match in matches if match]
    return whole.astype(np.int64).astype(np.float64), np.array(fraction)


def _exists(date: str) -> bool:
    try:
        np.datetime64(date, "s")
    except ValueError:
        return False
    return True
