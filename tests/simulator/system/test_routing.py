"""Drawn experts: their shares, their busiest, and files of counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardwire.models.errors import InputError
from hardwire.simulator.system.routing import Routing, busiest_expert


def test_even_routing_is_even() -> None:
    counts = Routing().draw(4000, 2, 16, 4).counts(16)
    assert counts == pytest.approx(np.full((2, 16), 1000), rel=0.12)


def test_zipf_gives_a_first_choice_by_rank() -> None:
    """With one choice the shares are Zipf's own, in another order in each layer."""
    counts = np.sort(Routing.open("zipf:1").draw(20_000, 2, 4, 1).counts(4), axis=1)[:, ::-1]
    expected = 20_000 / np.array([1, 2, 3, 4]) / (25 / 12)
    assert counts == pytest.approx(np.stack([expected] * 2), rel=0.06)


def test_the_same_seed_draws_the_same_and_more_tokens_begin_alike() -> None:
    few, many = (Routing().draw(n, 3, 8, 2, seed=5).of_token for n in (10, 40))
    np.testing.assert_array_equal(few, many[:10])
    assert (Routing().draw(10, 3, 8, 2, seed=6).of_token != few).any()


def test_the_busiest_expert_in_closed_form_is_that_of_draws() -> None:
    """The published means of 256 experts with 6 chosen: 2.134 and 13.844 for 8 and 256 tokens."""
    assert busiest_expert(np.array([8, 256]), 256, 6) == pytest.approx([2.134, 13.844], rel=1e-3)
    assert busiest_expert(5, 4, 4) == 5
    passes = 2000
    drawn = Routing().draw(8 * passes, 1, 256, 6).of_token.reshape(passes, -1).astype(int)
    counts = np.stack([np.bincount(one, minlength=256) for one in drawn])
    assert counts.max(axis=1).mean() == pytest.approx(2.134, rel=0.03)


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_measured_counts_are_followed(tmp_path: Path, suffix: str) -> None:
    counts = np.array([[0.0, 10, 30, 60], [40, 40, 10, 10]])
    path = tmp_path / f"counts.{suffix}"
    if suffix == "csv":
        np.savetxt(path, counts, delimiter=",")
    else:
        np.savez(path, counts=counts)
    found = Routing.open(path).draw(10_000, 2, 4, 1).counts(4)
    assert found == pytest.approx(counts * 100, rel=0.08)
    assert found[0, 0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zipf:-1", "the exponent in 'zipf:-1' must be a number from 0 to 8"),
        ("zipf:much", "the exponent in 'zipf:much' must be a number"),
        ("even", "'even' is not 'uniform', not 'zipf:S' and no .csv or .npz file"),
        ("missing.csv", "missing.csv: cannot be read"),
    ],
)
def test_routing_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Routing.open(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2\n3\n", "rows have different numbers of counts"),
        ("1,x\n", "is no table of counts"),
        ("1,-2\n", "counts must be finite and not below 0"),
        ("", "must be a table of counts"),
        ("1,2,3\n1,2,3\n", "has 2 rows of 3 counts, but the model has 2 layers of 4 experts"),
        ("1,2,3,4\n0,0,0,4\n", "row 2: fewer experts have a count above 0 than the 2"),
    ],
)
def test_counts_that_are_none_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Routing.open(path).draw(3, 2, 4, 2)


def test_an_npz_of_other_arrays_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "counts.npz"
    np.savez(path, loads=np.ones((2, 4)))
    with pytest.raises(InputError, match="must hold one array, 'counts'"):
        Routing.open(path)
