"""What the validation shows, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardwire.experiments.shared.words import words_of
from hardwire.experiments.validation.rows import Row
from hardwire.experiments.validation.view import TITLES

DRAWN = ("calibration", "in-sample", "identity", "validation")
"""Roles of which a row compares a value with a prediction."""


def drawn(row: Row) -> bool:
    """Whether a row has a place in the figure: both values, neither of them zero.

    Of servers from parts only what nothing was chosen by: with the others no line could be read.
    """
    crowded = row.id.startswith("parts.") and row.role != "validation"
    return bool(row.published and row.predicted) and row.role in DRAWN and not crowded


def finding(rows: Sequence[Row]) -> str:
    """How many predictions keep their tolerance, and by how much the worst misses."""
    judged = [row for row in rows if row.role == "validation" and row.status in ("met", "missed")]
    kept = sum(row.status == "met" for row in judged)
    said = (
        f"{kept} of {len(judged)} predictions with nothing fitted or chosen in their sight keep "
        "their tolerance"
    )
    missed = [row for row in judged if row.status == "missed" and drawn(row)]
    if not missed:
        return f"{said}."
    worst = max(missed, key=lambda row: abs(math.log(_ratio(row))))
    system = TITLES[worst.system].partition(",")[0]
    return (
        f"{said}; furthest off is {system}'s {words_of(worst.id)}, at {_ratio(worst):.2f} of what "
        "is published."
    )


def _ratio(row: Row) -> float:
    assert row.published and row.predicted
    return row.predicted / row.published
