"""Axes: numbers at ticks as one reads them."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from hardwire.experiments.shared.plot import thousands


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.36, "0.36"), (1, "1"), (17_000, "17,000"), (999_999, "999,999"),
        (3e6, "3,000,000"), (-12_345_678, "-12,345,678"), (2.5e10, "2.5e+10"),
    ],
)  # fmt: skip
def test_a_tick_has_separators_and_no_exponent_before_a_thousand_millions(
    value: float, text: str
) -> None:
    axis = Figure().subplots().yaxis
    thousands(axis)
    assert axis.get_major_formatter()(value) == text
