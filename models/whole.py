"""Division of whole numbers, of which designs have one or an array."""

from __future__ import annotations

from typing import Any

import numpy as np


def ceil_div(a: Any, b: Any) -> Any:
    """``⌈a / b⌉`` of whole numbers: integers, floats or arrays of either, below 2^50."""
    if isinstance(b, np.ndarray) and b.dtype.kind == "f":
        # The quotient of whole floats never rounds across a whole number; // takes fifty times it.
        return np.ceil(a / b)
    return -(-a // b)
