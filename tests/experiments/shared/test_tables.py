"""Numbers in tables."""

from __future__ import annotations

import pytest

from hardwire.experiments.shared.tables import large, number


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


def test_a_large_number_in_fewer_digits_keeps_its_exponent_of_three() -> None:
    """Three digits of the blocks, two of an interval's ends, in tables and reports alike."""
    assert [large(43_530_590_208, digits) for digits in (4, 3, 2)] == ["43.53e9", "43.5e9", "44e9"]
    assert large(150e9, 2) == "150e9" and large(999.6e6, 2) == "1e9"
