"""Numbers in tables."""

from __future__ import annotations

import pytest

from hardwire.experiments.shared.tables import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (43_530_590_208, "43.53e9"),
        (53e9, "53e9"),
        (134_217_728, "134.2e6"),
        (9_999_999, "9,999,999"),
        (999_999_999.9, "1e9"),
        (-2.5e13, "-25e12"),
        (0.003922, "0.003922"),
        (16961.2, "16,961"),
        (0, "0"),
        (float("inf"), "inf"),
        ("serial", "serial"),
    ],
)
def test_one_number_has_one_form(value: float | str, text: str) -> None:
    """Transistors were 53e9, 5.3e+10, 43,530,590,208 and 4.353e+10."""
    assert number(value) == text
