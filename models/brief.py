"""Objects in one line, for notebooks and messages."""

from __future__ import annotations

from typing import Any

import numpy as np

LONGEST = 180


def brief(value: Any) -> str:
    """A number in four digits or with separators, an array by its ends, a word as it is."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        return str(value) if array.ndim == 0 else f"{array.size:,} values"
    if array.ndim == 0:
        return _number(array.item())
    if array.size == 0:
        return "no values"
    low, high = _number(np.min(array).item()), _number(np.max(array).item())
    return low if low == high else f"{low} … {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def one_line(of: object, name: str, *parts: str) -> str:
    """``<Kind name: part, part>``, cut where it would be too long; empty parts are left out."""
    head = f"{type(of).__name__} {name}".strip()
    body = ", ".join(part for part in parts if part)
    text = " ".join(f"{head}: {body}".split())
    return f"<{text}>" if len(text) <= LONGEST else f"<{text[: LONGEST - 2]} …>"
