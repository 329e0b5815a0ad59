"""Sensitivities: Sobol indices against analytic ones, one at a time, both readings, refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from hardwire.experiments.cli import sensitivity as cli_sensitivity
from hardwire.experiments.sensitivity.save import save
from hardwire.experiments.sensitivity.sobol import (
    MEASUREMENT,
    Input,
    Report,
    Sensitivity,
    analyse,
    inputs_of,
    sobol_indices,
    sobol_sample,
)
from hardwire.experiments.sweep import CLOSED_FORM, Design, evaluate
from hardwire.models import Chip
from hardwire.models.chip import DECLARED
from hardwire.models.errors import InputError
from hardwire.models.parameters import draw
from hardwire.simulator.belief.draws import calibrate, draw_chips

pytestmark = pytest.mark.slow

pytest.importorskip("SALib")

HC1 = Chip.open("hc1")
RATE = "decode_tokens_per_s_user"


@pytest.fixture(scope="module")
def free() -> Report:
    """Every range of HC1 free, for a rate, an area and a power."""
    return analyse(Design.open("hc1"), (RATE, "area_mm2.total", "power_w"), samples=512)


@pytest.fixture(scope="module")
def fitted() -> Report:
    """HC1 as measured."""
    return analyse(Design.open("hc1"), (RATE, "power_w"), samples=512, calibrated=True)


def effect(one: Sensitivity, name: str) -> Any:
    return next(e for e in one.effects if e.input.name == name)


def metric(report: Report, name: str) -> Sensitivity:
    return next(one for one in report.metrics if one.metric == name)


@pytest.mark.parametrize(("inputs", "samples", "seed"), [(1, 8, 0), (3, 64, 5), (7, 128, 1)])
def test_the_sample_is_that_of_salib(inputs: int, samples: int, seed: int) -> None:
    from SALib.sample import sobol

    problem = {
        "num_vars": inputs,
        "names": [str(n) for n in range(inputs)],
        "bounds": [[0.0, 1.0]] * inputs,
    }
    generator = np.random.default_rng(seed)
    expected = sobol.sample(problem, samples, calc_second_order=False, seed=generator)
    np.testing.assert_array_equal(sobol_sample(inputs, samples, seed), expected)


def test_indices_of_the_ishigami_function() -> None:
    # T. Ishigami, T. Homma, ISUMA 1990, with a = 7, b = 0.1; analytic indices in A. Saltelli et
    # al., Global Sensitivity Analysis, 2008, section 4.6.
    a, b = 7.0, 0.1
    x = (2 * sobol_sample(3, 4096, 0) - 1) * math.pi
    values = np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])
    variance = a**2 / 8 + b * math.pi**4 / 5 + b**2 * math.pi**8 / 18 + 0.5
    v1 = 0.5 * (1 + b * math.pi**4 / 5) ** 2
    v2 = a**2 / 8
    v13 = b**2 * math.pi**8 * (1 / 18 - 1 / 50)
    first, total = sobol_indices(values, 3)
    np.testing.assert_allclose(first[0], np.array([v1, v2, 0]) / variance, atol=0.02)
    np.testing.assert_allclose(total[0], np.array([v1 + v13, v2, v13]) / variance, atol=0.02)


def test_indices_of_a_sum_are_the_shares_of_its_variance() -> None:
    weights = np.array([3.0, 1.0, 0.5, 0.0])
    values = sobol_sample(4, 2048, 1) @ weights
    first, total = sobol_indices(values, 4)
    expected = weights**2 / (weights**2).sum()
    np.testing.assert_allclose(first[0], expected, atol=0.01)
    np.testing.assert_allclose(total[0], expected, atol=0.01)
    assert total[0, 3] == 0


def test_inputs_have_the_distribution_of_the_intervals() -> None:
    quantiles = np.linspace(0, 1, 20_001)
    for one in inputs_of(HC1):
        parameter = HC1.parameters[one.name]
        drawn = draw(parameter, DECLARED[one.name], 20_000, np.random.default_rng(0))
        low, high = parameter.range or (0, 0)
        found = one.at(quantiles)
        assert found.min() == pytest.approx(low)
        assert found.max() == pytest.approx(high)
        np.testing.assert_allclose(
            np.quantile(found, [0.25, 0.5, 0.75]),
            np.quantile(drawn, [0.25, 0.5, 0.75]),
            atol=0.02 * (high - low) + (0.5 if one.integer else 0),
        )


def test_inputs_are_all_parameters_with_a_range() -> None:
    names = {one.name for one in inputs_of(HC1)}
    ranges = {k: p.range for k, p in HC1.parameters.items() if p.range is not None}
    assert names == {k for k, (low, high) in ranges.items() if low < high}
    assert any(name.startswith("process.") for name in names)
    assert "datapath.clock_ghz" in names
    measured = {one.name for one in inputs_of(HC1, calibrated=True)}
    assert names ^ measured == {"datapath.clock_ghz", "power.limit_w", MEASUREMENT}


def test_what_is_not_used_has_no_effect(free: Report) -> None:
    for one in free.metrics:
        for name in ("cost.pue", "link.disk_gb_per_s"):
            found = effect(one, name)
            assert found.first == found.total == found.swing == 0
    assert effect(metric(free, "area_mm2.total"), "datapath.clock_ghz").total == 0


@pytest.mark.parametrize("which", ["free", "fitted"])
def test_total_is_at_least_first_within_its_error(
    which: str, request: pytest.FixtureRequest
) -> None:
    for one in request.getfixturevalue(which).metrics:
        for found in one.effects:
            # Thrice the interval: of some hundreds of estimates a few lie outside of one.
            error = 3 * found.first_error + 1e-9
            assert found.total + 3 * found.total_error + error >= found.first
            assert -error <= found.first <= 1 + error
        assert sum(e.first - e.first_error for e in one.effects) <= 1


def test_one_at_a_time_is_the_metric_at_both_ends(free: Report) -> None:
    design = Design.open("hc1")
    for one in free.metrics:
        for name in ("datapath.lanes", "process.rom_read_pj_per_byte", "rom.bits_per_weight"):
            found = effect(one, name)
            ends = np.array([found.input.low, found.input.high])
            values = evaluate(design, {name: ends}, (one.metric,))[one.metric]
            assert [found.at_low, found.at_high] == values.tolist()


def test_a_metric_rises_or_falls_with_its_inputs(free: Report) -> None:
    rate, area = metric(free, RATE), metric(free, "area_mm2.total")
    assert effect(rate, "datapath.clock_ghz").at_low < rate.filed
    assert effect(rate, "datapath.clock_ghz").at_high > rate.filed
    assert effect(rate, "datapath.fill_cycles").at_low > rate.filed
    assert effect(area, "rom.density_mbit_per_mm2").at_low > area.filed
    assert effect(area, "rom.density_mbit_per_mm2").at_high < area.filed


def test_free_ranges_say_what_moves_a_design(free: Report) -> None:
    """The clock of what waits, by way of the power limit, and the clock itself."""
    names = [e.input.name for e in metric(free, RATE).effects[:2]]
    assert names == ["power.idle_clock_share", "datapath.clock_ghz"]


def test_a_measured_rate_is_open_by_its_measurement_only(fitted: Report) -> None:
    one = metric(fitted, RATE)
    assert one.effects[0].input.name == MEASUREMENT
    assert one.effects[0].total > 0.9
    assert one.deviation / one.mean == pytest.approx(0.03, rel=0.05)
    # Whatever the lanes, the clock is fitted so that the rate is the measured one.
    assert effect(one, "datapath.lanes").at_low == pytest.approx(one.filed, rel=1e-6)


def test_both_readings_agree_with_the_draws_of_the_intervals(fitted: Report) -> None:
    from hardwire.simulator import predict

    drawn = draw_chips(HC1, 2000)
    found = predict(drawn, Design.open("hc1").model, prompt=1024, output=1024)
    rate, one = found.decode_tokens_per_s_user, metric(fitted, RATE)
    assert one.mean == pytest.approx(rate.mean(), rel=0.01)
    assert one.deviation == pytest.approx(rate.std(), rel=0.08)
    # Draws leave out what the power limit would hold below the measured rate.
    assert metric(fitted, "power_w").mean > found.power_w.mean()


def test_an_end_that_no_fit_reaches_has_no_value() -> None:
    # With a range that ends just above the fitted clock, few lanes cannot be made up for.
    parameter = HC1.parameters["datapath.clock_ghz"]
    narrow = parameter.model_copy(update={"range": (0.6, 1.6)})
    chip = dataclasses.replace(
        HC1, parameters={**HC1.parameters, "datapath.clock_ghz": narrow}, as_filed=None
    )
    assert not calibrate(chip.with_values({"datapath.lanes": np.array([12])}))[1].all()
    design = dataclasses.replace(Design.open("hc1"), chip=chip)
    report = analyse(design, ("power_w",), samples=512, calibrated=True)
    found = effect(report.metrics[0], "datapath.lanes")
    assert math.isnan(found.at_low)
    assert found.swing == 0
    assert report.metrics[0].left_out > 0


def test_the_same_seed_gives_the_same_numbers() -> None:
    design = Design.open("hc1")
    first, again, other = (
        analyse(design, ("power_w",), samples=64, seed=seed).to_dict() for seed in (0, 0, 1)
    )
    assert first == again
    assert first["metrics"] != other["metrics"]


def test_every_metric_can_be_asked_for() -> None:
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    asked = []
    for name in CLOSED_FORM:
        try:
            analyse(design, (name,), samples=64)
            asked.append(name)
        except InputError as error:
            assert "everywhere in these ranges" in str(error)
    assert len(asked) > 0.7 * len(CLOSED_FORM)


@pytest.mark.parametrize("name", ["hc1-demo", "roma"])
def test_other_chips(name: str) -> None:
    report = analyse(Design.open(name, {"workload.prompt": 512}), (RATE,), samples=64)
    assert report.metrics[0].effects[0].total > 0.1


@pytest.mark.parametrize(
    ("metrics", "settings", "message"),
    [
        (("powr",), {}, "--metric: 'powr' is no metric; did you mean power_w"),
        (("free_rank",), {}, "none without an adapter"),
        (("die_area_mm2",), {}, "is 815 everywhere in these ranges"),
        ((RATE,), {"workload.prompt": 60_000}, "cannot run this load: KV cache"),
    ],
)
def test_refusals(metrics: tuple[str, ...], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        analyse(Design.open("hc1", settings), metrics, samples=64)


def test_only_a_measured_chip_can_be_fitted() -> None:
    chip = HC1.with_values({"sram.capacity_mib": 500})
    with pytest.raises(InputError, match="--calibrated: is for a chip as measured"):
        inputs_of(chip, calibrated=True)
    without = dataclasses.replace(HC1, calibration=None)
    with pytest.raises(InputError, match="has no calibration"):
        inputs_of(without, calibrated=True)
    assert "sram.capacity_mib" not in {one.name for one in inputs_of(chip)}


def test_input_of_a_parameter() -> None:
    one = Input.of("formats.max_rank", HC1.parameters["formats.max_rank"])
    assert (one.low, one.high, one.integer) == (16, 256, True)
    assert one.at(np.array([0.5])).tolist() == [64]
    absent = Input.of("sampling.host_us", HC1.parameters["sampling.host_us"])
    assert absent.at(np.array([0.0, 0.49, 0.75, 1.0])).tolist() == [0, 0, 5, 10]


def test_files(free: Report, tmp_path: Path) -> None:
    written = save(free, tmp_path)
    assert {path.name for path in written} >= {"sensitivity-power_w.png", "sensitivity.csv"}
    with (tmp_path / "sensitivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(one.effects) for one in free.metrics)
    data = json.loads((tmp_path / "sensitivity.json").read_text())
    assert data["metrics"]["power_w"]["inputs"]["power.board_w"]["range"] == [5, 30]


def test_command_line() -> None:
    app = typer.Typer()
    cli_sensitivity.register(app)
    words = ["hc1", "--samples", "64", "--metric", "power_w", "--metric", "power_w"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0
    assert said.stdout.count("power_w:") == 1
    assert "process.rom_read_pj_per_byte" in said.stdout
    assert "are not shown" in said.stdout
    data = json.loads(CliRunner().invoke(app, [*words, "--json", "--calibrated"]).stdout)
    assert data["calibrated"]
    assert data["evaluations"] == 64 * (2 + len(data["metrics"]["power_w"]["inputs"]))


def test_indices_of_a_cost_that_a_few_samples_make_are_said_to_tell_nothing() -> None:
    """A chip that its power limit nearly stops has tokens that cost without end."""
    report = analyse(Design.open("hc1"), ("usd_per_million_tokens", "area_mm2.total"), samples=256)
    cost, area = report.metrics
    assert cost.of_a_few and not area.of_a_few
    assert report.to_dict()["metrics"]["usd_per_million_tokens"]["indices_tell"] is False
