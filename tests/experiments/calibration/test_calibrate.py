"""``hardwire calibrate``: what the report says, on the screen and on disk."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from hardwire.experiments.calibration.calibrate import Report, calibrate, left_out
from hardwire.experiments.calibration.view import render
from hardwire.experiments.cli.calibrate import register
from hardwire.models import InputError
from hardwire.simulator.timing import CLOCK

pytestmark = pytest.mark.slow

SMALL = 8192


@pytest.fixture(scope="module")
def report() -> Report:
    return calibrate("hc1", candidates=SMALL)


def test_draws_that_the_limit_cuts_had_a_power_above_it_and_no_rate(report: Report) -> None:
    rows = {row.key: row for row in report.predictions}
    limit = np.max(report.rate_alone.chip.power.limit_w)
    for low, middle, high in (rows["power"].rate_alone, rows["power"].posterior):
        assert low < middle < high <= limit < 400
    assert all(np.isfinite(row.rate_alone).all() for row in report.predictions)


def test_a_parameter_that_no_measurement_touches_stays_open(report: Report) -> None:
    rows = {row.name: row for row in report.parameters}
    for name in ("link.bandwidth_gb_per_s", "lora.read_bytes_per_cycle", "cost.board_usd"):
        assert rows[name].verdict == "open"
        assert rows[name].width == pytest.approx(1, abs=0.05)
    assert rows["datapath.lanes × clock"].width < rows[f"{CLOCK}, vendor"].width < 0.6


def test_a_measurement_left_out_does_not_predict_itself(report: Report) -> None:
    """Another published power changes what the power is compared with, not its prediction."""
    changed = calibrate("hc1", candidates=SMALL)
    inference = changed.inference
    inference.measurements = tuple(
        dataclasses.replace(m, value=50.0) if m.id == "hc1.card_power" else m
        for m in inference.measurements
    )
    before = {row.id: row for row in report.left_out}
    after = {row.id: row for row in left_out(inference)}
    assert after["hc1.card_power"].interval == before["hc1.card_power"].interval
    assert after["hc1.card_power"].measured == 50.0
    assert after["hc1.die"].interval != before["hc1.die"].interval


def test_a_rate_is_shown_as_published_though_its_step_is_inferred_from(report: Report) -> None:
    step = next(m for m in report.inference.measurements if m.id == "hc1.rate")
    assert (step.unit, step.value) == ("s", pytest.approx(1 / 16960))
    row = next(row for row in report.left_out if row.id.startswith("hc1.rate"))
    assert (row.unit, row.measured, row.inside) == ("tokens/s", 16960, True)
    low, middle, high = row.interval
    assert 5_000 < low < middle < high < 50_000
    saved = next(m for m in report.to_dict()["measurements"] if m["id"] == "hc1.rate")
    assert (saved["unit"], saved["value"]) == ("tokens/s", 16960)


def test_the_measured_power_lies_in_what_the_rest_predicts(report: Report) -> None:
    row = next(row for row in report.left_out if row.id == "hc1.card_power")
    assert row.inside
    assert 0.05 < row.below < 0.95


def test_most_measurements_lie_in_what_the_others_predict(report: Report) -> None:
    single = report.left_out[: len(report.inference.measurements)]
    assert len(single) == 25
    assert 0.75 <= np.mean([row.inside for row in single]) < 1


def test_a_higher_rank_costs_no_less(report: Report) -> None:
    rows = {row.key: row for row in report.predictions}
    low, high = (rows[f"loss.r{rank}:all-linear"].posterior for rank in (16, 64))
    assert all(a <= b for a, b in zip(low, high, strict=True))
    assert report.takes_rank["r16:all-linear"] == 1 > report.takes_rank["r64:all-linear"]


@pytest.mark.parametrize("text", ["none", "adapter.gguf", "r16:nothing"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        calibrate("hc1", [text], candidates=64)


def test_the_tables_name_what_is_small(report: Report) -> None:
    console = Console(width=110, record=True, file=io.StringIO())
    few = dataclasses.replace(report, posterior=report.inference.posterior(size=10))
    console.print(render(few))
    text = console.export_text()
    for words in ("effective sample size", "r64:all-linear", "outside", "upper bound"):
        assert words in text


def test_the_command_saves_the_draws_and_the_figures(tmp_path: Path, blank_pictures: None) -> None:
    app = typer.Typer()
    register(app)
    folder = tmp_path / "out"
    result = CliRunner().invoke(app, ["hc1", "--json", "--adapter", "r8:qv", "--save", str(folder)])
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    assert data["effective_sample_size"] > 1000
    assert any(row["key"] == "loss.r8:qv" for row in data["predictions"])
    assert json.loads((folder / "calibration.json").read_text()) == data
    draws = pd.read_parquet(folder / "posterior.parquet")
    assert len(draws) == data["draws"]
    assert draws[CLOCK].between(0.6, 1.8).all()
    assert {"corner.png", "left-out.png", "parameters.png", "predictions.png"} <= {
        path.name for path in folder.iterdir()
    }
