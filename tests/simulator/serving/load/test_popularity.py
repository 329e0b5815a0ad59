"""Who wants which adapter: shares, locality and bursts, against a plain LRU."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.popularity import (
    Geometric,
    Independent,
    Local,
    Popularity,
    Tenants,
    Uniform,
    Weighted,
    Zipf,
    assign_adapters,
    parse_popularity,
)
from hardwire.simulator.serving.load.synthetic import make_workload
from hardwire.simulator.serving.load.workload import BASE

NAMES = tuple(f"a{k:03d}" for k in range(64))


def lru_hit_rate(adapters: np.ndarray, slots: int) -> float:
    """Hits of a cache that begins empty, first uses counted as misses."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for adapter in adapters.tolist():
        if adapter in cache:
            hits += 1
            cache.move_to_end(adapter)
        else:
            cache[adapter] = None
            if len(cache) > slots:
                cache.popitem(last=False)
    return hits / len(adapters)


def draw(popularity: Popularity, count: int, adapters: int, seed: int = 0) -> np.ndarray:
    return popularity.draw(count, adapters, np.random.default_rng(seed))


MODELS = st.one_of(
    st.just(Uniform()),
    st.builds(Zipf, st.floats(0, 20)),
    st.builds(Geometric, st.floats(1, 1000)),
    st.builds(Local, st.floats(0.5, 0.999), st.integers(1, 4)),
    st.builds(Tenants, st.floats(0.01, 100), st.floats(0, 20)),
)


@examples(60)
@given(
    model=MODELS,
    count=st.integers(0, 300),
    adapters=st.just(1) | st.integers(8, 300),
    seed=st.integers(0, 2**32),
)
def test_every_request_gets_an_adapter_and_the_same_seed_the_same(
    model: Popularity, count: int, adapters: int, seed: int
) -> None:
    drawn = draw(model, count, adapters, seed)
    assert drawn.shape == (count,) and drawn.dtype == np.int32
    assert count == 0 or (drawn.min() >= 0 and drawn.max() < adapters)
    assert (drawn == draw(model, count, adapters, seed)).all()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Uniform(), [0.25, 0.25, 0.25, 0.25]),
        (Zipf(1.0), [12 / 25, 6 / 25, 4 / 25, 3 / 25]),
        (Zipf(0.0), [0.25, 0.25, 0.25, 0.25]),
        (Geometric(2.0), [8 / 15, 4 / 15, 2 / 15, 1 / 15]),
        (Weighted((3.0, 0.0, 1.0, 0.0)), [0.75, 0, 0.25, 0]),
    ],
)
def test_shares_by_hand(model: Independent, expected: list[float]) -> None:
    assert model.shares(4) == pytest.approx(expected)
    counts = np.bincount(draw(model, 100_000, 4), minlength=4)
    assert counts / 100_000 == pytest.approx(expected, abs=0.01)
    assert (counts[np.array(expected) == 0] == 0).all()


def test_published_locality_and_what_shuffling_makes_of_it() -> None:
    """Published production traffic: 83 % hits at 8 slots, 10 % with the same counts shuffled."""
    drawn = draw(Local(), 100_000, 80)
    assert lru_hit_rate(drawn, 8) == pytest.approx(0.83, abs=0.005)
    shuffled = np.random.default_rng(1).permutation(drawn)
    assert lru_hit_rate(shuffled, 8) == pytest.approx(0.10, abs=0.01)


@examples(15)
@given(
    hit_rate=st.floats(0.3, 0.98),
    slots=st.integers(1, 16),
    adapters=st.integers(64, 400),
)
def test_the_lru_hit_rate_is_the_one_asked_for(hit_rate, slots, adapters) -> None:
    count = 20_000
    model = Local(hit_rate, slots)
    # First uses miss where the model, whose stack is full from the begin, may hit.
    drawn = draw(model, count, adapters)
    assert lru_hit_rate(drawn, slots) == pytest.approx(hit_rate, abs=0.015 + slots / count)
    # More slots hit more; no locality, hardly any more than slots/N.
    assert lru_hit_rate(drawn, slots) <= lru_hit_rate(drawn, 2 * slots)


def test_the_exponent_solves_its_equation() -> None:
    for adapters in (64, 100, 1000):
        exponent = Local(0.83, 8).exponent(adapters)
        weights = np.arange(1, adapters + 1) ** -exponent
        assert weights[:8].sum() / weights.sum() == pytest.approx(0.83, abs=1e-9)
    assert Local(8 / 64, 8).exponent(64) == pytest.approx(0, abs=1e-9)
    assert Local(0.83, 8).exponent(8) == Local(0.83, 8).exponent(64)


def test_locality_favours_no_adapter() -> None:
    counts = np.bincount(draw(Local(0.6, 8), 400_000, 64), minlength=64)
    assert counts.max() / counts.min() < 1.5


def test_few_adapters_stay_local() -> None:
    assert lru_hit_rate(draw(Local(), 20_000, 8), 2) > 0.6
    assert lru_hit_rate(draw(Uniform(), 20_000, 8), 2) == pytest.approx(0.25, abs=0.02)


def test_bursty_tenants_are_local_and_keep_their_shares() -> None:
    calm, bursty = (draw(Tenants(cv, 1.0), 100_000, 64) for cv in (1.0, 8.0))
    shares = Zipf(1.0).shares(64)
    # Calm tenants are Poisson processes, so that each request is an independent draw.
    counts = np.bincount(calm, minlength=64) / 100_000
    assert counts == pytest.approx(shares, abs=0.005)
    assert lru_hit_rate(calm, 8) == pytest.approx(
        lru_hit_rate(draw(Zipf(1.0), 100_000, 64), 8), abs=0.01
    )
    assert np.bincount(bursty, minlength=64) / 100_000 == pytest.approx(shares, abs=0.05)
    assert lru_hit_rate(bursty, 8) > lru_hit_rate(calm, 8) + 0.3


def test_assigning_changes_the_adapters_only() -> None:
    workload = make_workload("azure-code")
    assigned = assign_adapters(workload, NAMES, Zipf(), seed=5)
    assert assigned.adapters == NAMES
    assert (assigned.arrival_s == workload.arrival_s).all()
    assert (assigned.output == workload.output).all()
    again = assign_adapters(assigned, NAMES, Zipf(), seed=5)
    assert (again.adapter == assigned.adapter).all()
    other = assign_adapters(workload, NAMES, Zipf(), seed=6)
    assert (other.adapter != assigned.adapter).any()
    none = assign_adapters(assigned, (), Zipf())
    assert none.adapters == () and (none.adapter == BASE).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("uniform", Uniform()),
        ("zipf", Zipf(1.0)),
        (" ZIPF:0.9 ", Zipf(0.9)),
        ("geometric:1.5", Geometric(1.5)),
        ("local", Local(0.83, 8)),
        ("local:0.7:4", Local(0.7, 4)),
        ("tenants:8", Tenants(8.0)),
        ("tenants:8:0", Tenants(8.0, 0.0)),
    ],
)
def test_option_texts(text: str, expected: Popularity) -> None:
    assert parse_popularity(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zpif:1", "popularity: 'zpif:1' is not known; use uniform, .*did you mean zipf"),
        ("", "popularity: '' is not known"),
        ("zipf:", "'' in 'zipf:' is no number"),
        ("zipf:much", "'much' in 'zipf:much' is no number"),
        ("zipf:1:2", "'zipf:1:2' has too many numbers"),
        ("uniform:1", "too many numbers"),
        ("zipf:-1", "popularity zipf: alpha must be 0 to 20, not -1"),
        ("zipf:nan", "popularity zipf: alpha must be 0 to 20, not nan"),
        ("geometric:0.5", "popularity geometric: ratio must be 1 to 1000"),
        ("local:83", "popularity local: hit rate must be 0.001 to 0.999, not 83"),
        ("local:0.5:0", "popularity local: slots must be 1 to 1e"),
        ("local:0.5:inf", "popularity local: slots must be"),
        ("local:0.5:nan", "popularity local: slots must be"),
        ("local:0.5:1.5", "popularity local: slots must be a whole number"),
        ("tenants:0", "popularity tenants: CV must be 0.01 to 100"),
        ("tenants:1:-2", "popularity tenants: alpha must be"),
    ],
)
def test_bad_texts(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_popularity(text)


def test_less_local_than_chance_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"hit rate of 0\.1 is less than the 0\.125 that 8 slots of"
    ):
        draw(Local(0.1, 8), 10, 64)


def test_weights_belong_to_adapters() -> None:
    with pytest.raises(ValueError, match="2 weights, but 3 adapters"):
        draw(Weighted((1.0, 1.0)), 10, 3)
