"""Random designs: HC1 with parameters redrawn around their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from hardwire.models.chip import DECLARED, Chip

HC1 = Chip.open("hc1")

NUMBERS = sorted(
    name for name, spec in DECLARED.items() if not spec.choices and name in HC1.parameters
)
"""Parameters of HC1 that are numbers."""


def values_near(name: str) -> st.SearchStrategy[float]:
    """Half to twice the value that HC1 has, within what is allowed."""
    spec, value = DECLARED[name], HC1.parameters[name].value
    assert not isinstance(value, str)
    if spec.numbers:
        return st.sampled_from(spec.numbers)
    low, high = max(spec.low, value / 2), min(spec.high, value * 2)
    if spec.integer:
        return st.integers(int(np.ceil(low)), int(high))
    return st.floats(low, high)


@st.composite
def design_arrays(draw: st.DrawFn, size: int = 3) -> dict[str, np.ndarray]:
    """Some parameters of HC1 by dotted name, each an array of ``size`` values."""
    names = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=8, unique=True))
    return {
        name: np.array(draw(st.lists(values_near(name), min_size=size, max_size=size)))
        for name in names
    }


def one_of(values: dict[str, np.ndarray], index: int) -> dict[str, Any]:
    """The plain numbers of one design."""
    return {name: array[index].item() for name, array in values.items()}
