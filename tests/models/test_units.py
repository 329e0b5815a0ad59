"""Units: exact conversions are taken, and what could mean two things is refused."""

from __future__ import annotations

import pytest

from hardwire.models.errors import InputError
from hardwire.models.units import read_number

CASES = [
    ("0.5GiB", "MiB", 512.0), ("512mib", "MiB", 512.0), ("1048576 B", "MiB", 1.0),
    ("1500MHz", "GHz", 1.5), ("1.365653e9 Hz", "GHz", 1.365653), ("1.5ghz", "GHz", 1.5),
    ("200ms", "s", 0.2), ("2us", "ns", 2000.0), ("2 µs", "us", 2.0), ("1 min", "s", 60.0),
    ("0.3 kW", "W", 300.0), ("4KiB", "B", 4096.0), ("4kB", "B", 4000.0), ("900MB/s", "GB/s", 0.9),
    ("8 cm2", "mm2", 800.0), ("815 mm²", "mm2", 815.0), ("0.1pJ", "fJ", 100.0), ("7", "", 7.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "unit", "value"), CASES)
def test_exact_conversions_were_refused(text: str, unit: str, value: float) -> None:
    assert read_number("x", text, unit, "1 to 2") == value


@pytest.mark.parametrize(
    ("text", "unit", "words"),
    [
        ("0.5GB", "MiB", "x: '0.5GB' is in the wrong unit: the unit is MiB (0.5 GB is 476.8 MiB)"),
        ("500MB", "MiB", "(500 MB is 476.8 MiB)"),
        ("1 GiB/s", "GB/s", "the unit is GB/s"),
        ("80GiB", "GB", "(80 GiB is 85.9 GB)"),
        ("300mw", "W", "the unit is W"),
        ("5GHz", "", "it has no unit"),
        ("5 parsec", "mm", "the unit is mm"),
        ("five", "mm", "a number is expected (1 to 2), not 'five'"),
    ],
)
def test_what_is_not_exact_is_refused_with_the_number(text: str, unit: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_number("x", text, unit, "1 to 2")
    assert words in str(caught.value)
