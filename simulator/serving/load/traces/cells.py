"""Cells of a trace as numbers, and what is said of one that is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class BadCellError(Exception):
    """A cell that cannot be used: its row in the chunk, its column and what is wrong."""

    def __init__(self, row: int, column: str, problem: str) -> None:
        super().__init__(problem)
        self.row, self.column, self.problem = row, column, problem


def numbers(
    column: str, cells: Sequence[Any], kind: type, low: float, high: float, is_text: bool
) -> NDArray[Any]:
    """Cells as numbers of ``kind``, int or float, from ``low`` to ``high``.

    Parameters
    ----------
    is_text : whether cells are text, as in CSV, and no JSON values.

    Raises
    ------
    BadCellError
        At the first that is no such number. Digits are ASCII, without underscores.
    """
    plain = _is_plain("".join(cells)) if is_text else set(map(type, cells)) <= {int, kind}
    if plain:
        try:
            found = np.fromiter(map(kind, cells), np.dtype(kind), len(cells))
        except (ValueError, OverflowError):
            pass
        else:
            if found.min() >= low and found.max() <= high:  # false with a NaN
                return found
    # The slow way, only where the fast one fails.
    slow = [_number(cell, kind, low, high, is_text) for cell in cells]
    if None in slow:
        row = slow.index(None)
        whole = "whole " if kind is int else ""
        wanted = f"must be a {whole}number from {low} to {high:.10g}"
        raise BadCellError(row, column, instead(wanted, cells[row]))
    return np.array(slow)


def _is_plain(text: str) -> bool:
    """Whether Python reads no more into it than CSV has: 1_000 and full-width digits are text."""
    return text.isascii() and "_" not in text


def _number(cell: Any, kind: type, low: float, high: float, is_text: bool) -> float | None:
    """A cell as int or float, or None where it is no such number or out of range."""
    if type(cell) not in ((str,) if is_text else (int, float)):
        return None
    if is_text and not _is_plain(cell):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    if not low <= number <= high or (kind is int and not number.is_integer()):
        return None
    return int(number) if kind is int else number


def instead(wanted: str, cell: Any) -> str:
    """What is wrong with a cell that should be something else."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return f"is empty; it {wanted}"
    return f"{wanted}, not {shown(cell)}"


def shown(cell: Any) -> str:
    """A cell in quotes, not without end."""
    try:
        text = str(cell)
    except ValueError:  # a whole number of thousands of digits
        text = "a number of thousands of digits"
    return f"{text[:40]!r}" + ("…" if len(text) > 40 else "")
