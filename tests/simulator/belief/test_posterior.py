"""Importance weights: the laws, against answers known in closed form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.simulator.belief.posterior import (
    Array,
    Measurement,
    Modelled,
    effective_sample_size,
    predictive,
    resample,
    weigh,
)

SIZE = 100_000
WIDE = {"a": (1e-6, 1e6), "b": (1e-6, 1e6)}


def stream(name: str) -> np.random.Generator:
    return np.random.default_rng([7, *name.encode()])


def no_levels(clocks: Mapping[str, Array]) -> dict[str, Array]:
    return {}


def toy(
    log_s: Mapping[str, Array] | None = None,
    fixed: Mapping[str, Array] | None = None,
    clocked: Callable[[Mapping[str, Array]], Mapping[str, Array]] = no_levels,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Modelled:
    size = len(next(iter({**(log_s or {}), **(fixed or {})}.values())))
    return Modelled(size, log_s or {}, fixed or {}, clocked, bounds or {})


def level(error: float, value: float = 1.0, name: str = "x") -> Measurement:
    return Measurement(name, name, "level", value, "", error)


def time(name: str, log_value: float, error: float, point: str = "a") -> Measurement:
    return Measurement(name, name, "time", math.exp(log_value), "s", error, point=point)


@pytest.fixture(scope="module")
def theta() -> Array:
    return np.random.default_rng(0).uniform(-5, 5, SIZE)


def moments(weights: Array, values: Array) -> tuple[float, float]:
    mean = float((weights * values).sum())
    return mean, math.sqrt(float((weights * (values - mean) ** 2).sum()))


# --- weights --------------------------------------------------------------------------------------


def test_a_level_gives_the_analytic_posterior_of_one_parameter(theta: Array) -> None:
    """Flat prior, normal error: normal, with the measurement's mean and error."""
    found = weigh(toy(fixed={"x": np.exp(theta)}), [level(0.5, math.exp(1.5))], stream)
    assert moments(found.weights, theta) == pytest.approx((1.5, 0.5), abs=0.01)
    # The effective share of a uniform prior of width 10: 2 sqrt(pi) sigma / 10.
    assert found.ess == pytest.approx(SIZE * 2 * math.sqrt(math.pi) * 0.5 / 10, rel=0.03)


def test_two_levels_multiply(theta: Array) -> None:
    found = weigh(
        toy(fixed={"x": np.exp(theta), "y": np.exp(theta)}),
        [level(0.5, math.e), level(0.5, math.exp(2), "y")],
        stream,
    )
    assert moments(found.weights, theta) == pytest.approx((1.5, 0.5 / math.sqrt(2)), abs=0.01)


def test_one_time_at_a_free_clock_says_nothing_but_the_clock(theta: Array) -> None:
    found = weigh(toy({"t": theta}, bounds=WIDE), [time("t", 0.3, 0.1)], stream)
    assert found.ess == pytest.approx(SIZE)
    log_clock = np.log(found.clocks_ghz["a"])
    assert np.mean(log_clock - theta) == pytest.approx(-0.3, abs=0.01)
    assert np.std(log_clock - theta) == pytest.approx(0.1, rel=0.02)


def test_two_times_at_one_clock_tell_their_ratio(theta: Array) -> None:
    found = weigh(
        toy({"t": theta, "u": np.zeros(SIZE)}, bounds=WIDE),
        [time("t", 1.0, 0.3), time("u", 0.2, 0.4)],
        stream,
    )
    assert moments(found.weights, theta) == pytest.approx((0.8, 0.5), abs=0.01)


def test_times_at_different_clocks_tell_nothing_of_each_other(theta: Array) -> None:
    found = weigh(
        toy({"t": theta, "u": np.zeros(SIZE)}, bounds=WIDE),
        [time("t", 1.0, 0.3), time("u", 0.2, 0.4, "b")],
        stream,
    )
    assert found.ess == pytest.approx(SIZE)


def test_a_shared_discrepancy_widens_but_does_not_average_away(theta: Array) -> None:
    """Twenty samples of one metric with one unknown offset: its variance is added once."""
    names = [f"t{k}" for k in range(20)]
    log_s = {**dict.fromkeys(names, theta), "u": np.zeros(SIZE)}
    times = [
        dataclasses.replace(time(name, 1.0, 0.4), metric="m", discrepancy=0.3, shared=True)
        for name in names
    ]
    found = weigh(toy(log_s, bounds=WIDE), [*times, time("u", 0.2, 0.4)], stream)
    sigma = math.sqrt(0.4**2 / 20 + 0.3**2 + 0.4**2)
    assert moments(found.weights, theta) == pytest.approx((0.8, sigma), abs=0.01)
    # The parameter is free to take up what the offset does not: it keeps its prior.
    assert moments(found.weights, found.offsets["m"]) == pytest.approx((0.0, 0.3), abs=0.01)


def test_a_clock_out_of_bounds_has_no_weight(theta: Array) -> None:
    found = weigh(toy({"t": theta}, bounds={"a": (1.0, 2.0)}), [time("t", 0.0, 0.0)], stream)
    inside = (theta >= 0) & (theta <= math.log(2))
    assert found.weights[~inside].sum() < 1e-4
    assert found.ess == pytest.approx(inside.sum(), rel=0.01)


def test_a_clock_that_nothing_measures_keeps_its_range(theta: Array) -> None:
    found = weigh(toy({"t": theta}, bounds={"a": (1.0, 4.0)}), [], stream)
    quartiles = np.quantile(np.log(found.clocks_ghz["a"]), [0.25, 0.5, 0.75]) / math.log(4)
    np.testing.assert_allclose(quartiles, [0.25, 0.5, 0.75], atol=0.01)


@pytest.mark.parametrize("kind", ["at most", "at least"])
def test_a_hard_limit_cuts_and_a_soft_one_weighs(theta: Array, kind: str) -> None:
    limit = Measurement("x", "x", kind, 1.0, "", 0.0)  # type: ignore[arg-type]
    modelled = toy(fixed={"x": np.exp(theta)})
    hard = weigh(modelled, [limit], stream).weights
    kept = theta <= 0 if kind == "at most" else theta >= 0
    assert np.all((hard > 0) == kept)
    assert np.ptp(hard[kept]) == 0
    soft = weigh(modelled, [dataclasses.replace(limit, discrepancy=0.1)], stream).weights
    assert soft[kept].sum() == pytest.approx(1.0, abs=0.02)
    assert np.all(np.diff(soft[np.argsort(theta)]) * (1 if kind == "at least" else -1) >= 0)


def test_infinite_errors_give_back_the_prior(theta: Array) -> None:
    found = weigh(
        toy({"t": theta}, {"x": np.exp(theta)}, bounds=WIDE),
        [level(math.inf), time("t", 1.0, math.inf)],
        stream,
    )
    assert found.ess == pytest.approx(SIZE)


def test_measurements_that_nothing_agrees_with_are_refused(theta: Array) -> None:
    with pytest.raises(ValueError, match="no candidate agrees"):
        weigh(
            toy(fixed={"x": np.exp(theta)}), [Measurement("x", "x", "at most", 1e-9, "", 0)], stream
        )


@given(order=st.permutations(range(5)))
@examples(20)
def test_the_order_of_measurements_changes_nothing(order: list[int]) -> None:
    theta = np.random.default_rng(1).uniform(-1, 1, 500)
    modelled = toy(
        {"t": theta, "u": 0.5 * theta, "v": theta**2}, {"x": np.exp(theta), "y": np.exp(-theta)},
        bounds=WIDE,
    )  # fmt: skip
    used = [time("t", 0.1, 0.3), time("u", 0.2, 0.3), time("v", 0.0, 0.2, "b"), level(0.4),
            level(0.4, 1.2, "y")]  # fmt: skip
    straight, shuffled = (
        weigh(modelled, used, stream),
        weigh(modelled, [used[k] for k in order], stream),
    )
    np.testing.assert_allclose(shuffled.weights, straight.weights, rtol=1e-9)
    for point in WIDE:
        np.testing.assert_allclose(shuffled.clocks_ghz[point], straight.clocks_ghz[point])


# --- sample size, resampling ----------------------------------------------------------------------


@given(size=st.integers(1, 1000), kept=st.integers(1, 1000))
def test_the_effective_size_of_equal_weights_is_their_number(size: int, kept: int) -> None:
    weights = np.zeros(size)
    weights[:kept] = 0.1
    assert effective_sample_size(weights) == pytest.approx(min(size, kept))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.integers(1, 300), st.integers(0, 99))
def test_a_candidate_comes_as_often_as_its_weight_says(
    values: list[float], size: int, seed: int
) -> None:
    weights = np.array(values)
    if weights.sum() < 1e-6:
        return
    weights /= weights.sum()
    chosen = resample(weights, size, np.random.default_rng(seed))
    counts = np.bincount(chosen, minlength=len(weights))
    assert counts.sum() == size
    assert np.all(np.abs(counts - size * weights) < 1 + 1e-6)
    assert np.all(counts[weights == 0] == 0)


def test_what_is_predicted_carries_error_and_discrepancy(theta: Array) -> None:
    measured = dataclasses.replace(level(0.3), discrepancy=0.4)
    modelled = toy(fixed={"x": np.ones(SIZE)})
    found = weigh(modelled, [], stream)
    values = predictive(measured, modelled, found, np.arange(SIZE), stream("p"))
    assert np.std(np.log(values)) == pytest.approx(0.5, rel=0.02)
    late = dataclasses.replace(time("t", 0, 0.3), discrepancy=0.4, shared=True)
    modelled = toy({"t": np.zeros(SIZE)}, bounds={"a": (1.0, 1.0 + 1e-9)})
    values = predictive(late, modelled, weigh(modelled, [], stream), np.arange(SIZE), stream("q"))
    assert np.std(np.log(values)) == pytest.approx(0.5, rel=0.02)


def test_seconds_that_no_clock_changes_are_taken_off_a_time() -> None:
    """By hand: of 5 s, 3 go by no clock, so that one cycle takes the other two."""
    measured = time("t", math.log(5.0), 1e-3)
    modelled = dataclasses.replace(
        toy({"t": np.zeros(SIZE)}, bounds={"a": (0.1, 10.0)}), apart_s={"t": np.full(SIZE, 3.0)}
    )
    found = weigh(modelled, [measured], stream)
    assert np.median(found.clocks_ghz["a"]) == pytest.approx(1 / 2, rel=1e-3)
    values = predictive(measured, modelled, found, np.arange(SIZE), stream("p"))
    assert np.median(values) == pytest.approx(5.0, rel=1e-3)
