"""Rows of systems of several dies: within their tolerances, and others' rates as claims alone."""

from __future__ import annotations

import pytest

from hardwire.experiments.validation import dies
from hardwire.experiments.validation.bench import Bench
from hardwire.experiments.validation.rows import judge
from hardwire.models.published import PublishedRow, published

ROWS = published("dies")


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("row", [row for row in ROWS if row.tolerance], ids=lambda row: row.id)
def test_arithmetic_of_publications_comes_out_again(bench: Bench, row: PublishedRow) -> None:
    found = judge(bench, "dies", row)
    assert (found.status, found.role) == ("met", "identity") and found.reason


def test_rates_of_others_models_are_claims_with_their_arithmetic(bench: Bench) -> None:
    claims = [row for row in ROWS if row.role == "claim"]
    assert {row.id for row in claims} == {"dies.r1", "dies.array"}
    for row in claims:
        found = judge(bench, "dies", row)
        assert not found.tolerance and not found.status and "tokens/s" in found.words
    assert all(row.metric in dies.PREDICTORS for row in ROWS if row.role != "not modelled")
