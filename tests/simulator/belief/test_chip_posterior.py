"""HC1 given its measurements: whether the inference recovers chips that it was shown."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from hardwire.models import Adapter, Chip, InputError
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import DECLARED
from hardwire.simulator.belief.chip import (
    CLOCK,
    DEMO,
    EARLIER,
    READINGS,
    VENDOR,
    Inference,
    measurements,
    with_discrepancy,
)
from hardwire.simulator.belief.draws import draw_chips
from hardwire.simulator.belief.posterior import Array, Measurement
from hardwire.simulator.belief.predictions import predictions, swap_times
from hardwire.simulator.closed_form import decode_token_s, predict
from hardwire.simulator.swap import swap_latency
from hardwire.simulator.timing import Timing

CANDIDATES = 8192
TRIALS = 60


@pytest.fixture(scope="module")
def inference() -> Inference:
    return Inference("hc1", candidates=CANDIDATES)


def value_of(chip: Chip, name: str) -> Any:
    section, _, field = name.partition(".")
    return getattr(getattr(chip, section), field)


def test_every_published_row_is_a_measurement_or_repeats_one(inference: Inference) -> None:
    used = {m.id for m in inference.measurements}
    left = {row.metric for row in inference.rows.values() if row.id not in used}
    assert left == {
        "server_power_w",
        "server_tokens_per_s",
        "mean_decode_step_s",
        "mean_prefill_token_s",
    }
    points = [m.point for m in inference.measurements if m.kind == "time"]
    assert [points.count(p) for p in (VENDOR, DEMO, EARLIER)] == [1, 18, 2]


def test_the_times_of_a_candidate_are_those_of_the_closed_form(inference: Inference) -> None:
    chip = inference.chip.with_values({key: v[:50] for key, v in inference.drawn.items()})
    chip = chip._replaced({"power.limit_w": np.inf})  # which would slow some of them
    hz = chip.datapath.clock_ghz * 1e9
    for m in inference.measurements:
        if m.kind != "time":
            continue
        conditions = inference.rows[m.id].conditions
        prompt, output = int(conditions["prompt"]), int(conditions["output"])
        found = predict(chip, inference.model, prompt=prompt, output=output)
        seconds = found.ttft_s if m.metric == "ttft_s" else found.token_s
        cycles = np.exp(inference.modelled.log_s[m.id][:50]) * 1e9
        apart = inference.modelled.apart_s[m.id][:50]
        # The host's time is whole cycles there: a part in 50,000.
        np.testing.assert_allclose(cycles / hz + apart, seconds, rtol=2e-5)


def test_the_rate_alone_gives_the_draws_of_uncertainty(inference: Inference) -> None:
    """The same question to both: which chips reproduce the vendor's rate."""
    rate = [m for m in inference.measurements if m.id == "hc1.rate"]
    found = inference.posterior(rate).chip
    drawn = draw_chips(inference.chip, 4000)
    for name in (CLOCK, "datapath.lanes", "rom.density_mbit_per_mm2"):
        one, other = (np.quantile(value_of(c, name), [0.05, 0.5, 0.95]) for c in (found, drawn))
        whole = float(DECLARED[name].integer)  # of 18 lanes, one more is 6 %
        np.testing.assert_allclose(one, other, rtol=0.05, atol=whole)


def test_the_posterior_reproduces_the_steps_that_were_measured(inference: Inference) -> None:
    found = inference.posterior()
    vendor = decode_token_s(found.at(VENDOR), inference.model, 1024, 1024)
    demo = decode_token_s(found.at(DEMO), inference.model, 22, 40)
    assert np.mean(vendor) == pytest.approx(58.96e-6, rel=0.02)
    assert np.std(vendor) / np.mean(vendor) == pytest.approx(0.03, rel=0.2)
    assert np.mean(demo) == pytest.approx(69.5e-6, rel=0.02)
    # Nine samples of 1.3 % each pin the demo's step tighter than any one of them.
    assert np.std(demo) / np.mean(demo) < 0.007


def test_draws_stay_in_their_ranges_and_fit_the_published_limits(inference: Inference) -> None:
    chip = inference.posterior().chip
    for name, parameter in chip.parameters.items():
        if parameter.range is not None:
            low, high = parameter.range
            assert np.all((low <= value_of(chip, name)) & (value_of(chip, name) <= high)), name
    found = predict(chip, inference.model, prompt=1024, output=1024)
    assert np.mean(found.area_mm2["total"] <= 815) > 0.6
    assert np.mean(found.transistors["total"] <= 53e9) > 0.9


def test_the_same_seed_gives_the_same_posterior(inference: Inference) -> None:
    again = Inference("hc1", candidates=CANDIDATES).posterior()
    other = Inference("hc1", candidates=CANDIDATES, seed=1).posterior()
    first = inference.posterior()
    np.testing.assert_array_equal(again.chosen, first.chosen)
    np.testing.assert_array_equal(again.clocks_ghz[DEMO], first.clocks_ghz[DEMO])
    assert not np.array_equal(other.clocks_ghz[DEMO], first.clocks_ghz[DEMO])


def test_a_wider_discrepancy_leaves_more_candidates(inference: Inference) -> None:
    for metric, reading in READINGS.items():
        if reading.discrepancy and not reading.shared:
            wide = inference.posterior(with_discrepancy(inference.measurements, metric, 2))
            narrow = inference.posterior(with_discrepancy(inference.measurements, metric, 0.5))
            # Not a law: where a reading lies amid its prediction, ess hardly depends on it.
            assert wide.ess > 0.95 * narrow.ess


# --- coverage -------------------------------------------------------------------------------------


def simulated(inference: Inference, truth: int, clocks: dict[str, float]) -> list[Measurement]:
    """What would be measured on one candidate: its own times and power, with errors drawn."""
    rng = inference.stream(f"truth {truth}")
    shared: dict[str, float] = {}
    every = {point: np.full(CANDIDATES, ghz) for point, ghz in clocks.items()}
    levels = inference.modelled.clocked(every)
    made = []
    for m in inference.measurements:
        if m.kind in ("at most", "at least"):
            made.append(m)
            continue
        if m.kind == "time":
            log = inference.modelled.log_s[m.id][truth] - math.log(clocks[m.point])
            log = math.log(math.exp(log) + inference.modelled.apart_s[m.id][truth])
        else:
            log = math.log(levels[m.id][truth])
        if m.shared:
            log += shared.setdefault(m.metric, m.discrepancy * rng.standard_normal())
        log += m.own_sigma * rng.standard_normal()
        made.append(dataclasses.replace(m, value=math.exp(log)))
    return made


@pytest.mark.slow
def test_intervals_hold_nine_in_ten_of_the_chips_that_were_simulated(inference: Inference) -> None:
    """Truths drawn as the prior and the limits say; measured; inferred; looked up."""
    limits = [m for m in inference.measurements if m.kind in ("at most", "at least")]
    truths = inference.posterior(limits, size=TRIALS).chosen
    names = ("datapath.lanes", "rom.density_mbit_per_mm2", "process.rom_read_pj_per_byte",
             "sampling.loop_cycles")  # fmt: skip
    held: dict[str, list[bool]] = {name: [] for name in (*names, CLOCK, "watts")}
    for truth in truths:
        rng = inference.stream(f"clock {truth}")
        clocks = {
            point: low * (high / low) ** rng.random()
            for point, (low, high) in inference.modelled.bounds_ghz.items()
        }
        found = inference.posterior(simulated(inference, int(truth), clocks))
        watts = inference.modelled.clocked(
            {VENDOR: np.full(CANDIDATES, clocks[VENDOR])}
        )["hc1.card_power"][truth]  # fmt: skip
        true = {name: inference.drawn[name][truth] for name in names}
        true |= {CLOCK: clocks[VENDOR], "watts": watts}
        drawn: dict[str, Array] = {name: value_of(found.chip, name) for name in (*names, CLOCK)}
        drawn["watts"] = found.weighed.levels["hc1.card_power"][found.chosen]
        for name, values in drawn.items():
            low, high = np.quantile(values, [0.05, 0.95])
            held[name].append(bool(low <= true[name] <= high))
    share = np.mean([np.mean(inside) for inside in held.values()])
    # Six quantities of 60 chips: the standard error of the mean is below 0.03.
    assert share == pytest.approx(0.9, abs=0.07), {k: np.mean(v) for k, v in held.items()}


# --- what follows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["r16:all-linear", "r64:all-linear"])
def test_swaps_in_closed_form_are_those_of_the_engine(inference: Inference, text: str) -> None:
    posterior = inference.posterior(size=6)
    adapter = Adapter.from_shape(text, inference.model)
    shape = AdapterShape.of_adapter(adapter)
    assert shape is not None
    times = swap_times(Timing.of(posterior.chip, inference.model, [shape]), 1)
    for k in range(6):
        values = {
            name: (int if DECLARED[name].integer else float)(value_of(posterior.chip, name)[k])
            for name in (CLOCK, *inference.drawn)
        }
        engine = swap_latency(inference.chip.with_values(values), inference.model, adapter)
        for state, seconds in times.items():
            assert seconds[k] == pytest.approx(getattr(engine, state), rel=1e-3), state


def test_predictions_of_arrays_are_those_of_each_chip(inference: Inference) -> None:
    shapes = [("r16", AdapterShape.of(inference.model, "all-linear", 16))]
    posterior = inference.posterior(size=4)
    many = predictions(posterior.chip, inference.model, shapes)
    values = {name: float(value_of(posterior.chip, name)[2]) for name in (CLOCK, *inference.drawn)}
    one = predictions(inference.chip.with_values(values), inference.model, shapes)
    for array, number in zip(many, one, strict=True):
        assert np.broadcast_to(array.values, 4)[2] == pytest.approx(float(number.values)), array.key


# --- refusals -------------------------------------------------------------------------------------


def test_the_demo_is_calibrated_with_its_chip() -> None:
    with pytest.raises(InputError, match=r"hc1-demo: is hc1 at another clock.*calibrate hc1"):
        measurements("hc1-demo")


@pytest.mark.parametrize(
    ("chip", "words"),
    [("roma", "cannot be calibrated"), ("mine.yaml", r"published \(there is hc1\)")],
)
def test_a_chip_without_such_measurements_is_refused(chip: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measurements(chip)
