"""Searches: their front against all points of a grid, resuming, fidelities, files, commands."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from searches import LANES, designs, lanes
from typer.testing import CliRunner

from hardwire.experiments.cli import search as cli_search
from hardwire.experiments.search.save import save
from hardwire.experiments.search.search import optuna_name, search
from hardwire.experiments.sweep import Study, fidelity
from hardwire.experiments.sweep.pareto import losses, non_dominated
from hardwire.models.errors import InputError

pytestmark = pytest.mark.slow

pytest.importorskip("optuna")


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "search.journal")


def everything(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Losses of all points of a grid, and which are feasible."""
    settings = study.settings(study.chunk(0, study.points))
    metrics = study.evaluate(settings)
    return losses(study, metrics), study.judge(settings, metrics)[0] == 0


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume that points dominate below the reference, by slices along the last objective."""
    points = points[(points < reference).all(axis=1)]
    if points.shape[1] == 1:
        return float(reference[0] - points.min()) if len(points) else 0.0
    points = points[np.argsort(points[:, -1])]
    ends = np.append(points[1:, -1], reference[-1])
    return sum(
        hypervolume(points[: n + 1, :-1], reference[:-1]) * (end - points[n, -1])
        for n, end in enumerate(ends)
        if end > points[n, -1]
    )


@given(arrays(np.float64, st.tuples(st.integers(0, 12), st.just(3)), elements=st.integers(0, 3)))
def test_what_is_not_dominated_is_what_no_other_point_dominates(values: np.ndarray) -> None:
    expected = [
        not any((other <= one).all() and (other < one).any() for other in values) for one in values
    ]
    assert non_dominated(values).tolist() == expected


def test_the_front_is_that_of_all_points_of_a_small_grid(storage: str) -> None:
    study = lanes()
    found = search(study, trials=400, storage=storage)
    values, feasible = everything(study)
    best = values[feasible][non_dominated(values[feasible])]
    front = losses(study, found.metrics)[found.front]
    assert {tuple(row) for row in front} == {tuple(row) for row in best}


def test_the_front_of_a_ready_study_covers_that_of_its_grid(storage: str) -> None:
    study = Study.open("lanes-area-rate")
    found = search(study, trials=1000, storage=storage)
    values, feasible = everything(study)
    grid = values[feasible]
    low, high = grid.min(axis=0), grid.max(axis=0)
    reference = np.full(3, 1.1)
    best = (grid[non_dominated(grid)] - low) / (high - low)
    front = (losses(study, found.metrics)[found.front] - low) / (high - low)
    assert hypervolume(front, reference) >= 0.95 * hypervolume(best, reference)


def test_only_feasible_designs_are_on_the_front_and_each_once(storage: str) -> None:
    study = lanes()
    found = search(study, trials=200, storage=storage)
    assert not found.feasible.all()
    assert found.feasible[found.front].all()
    chosen = [designs(found)[n] for n in found.front]
    assert len(set(chosen)) == len(chosen)
    settings = study.settings({k: v[found.front] for k, v in found.columns.items()})
    assert (study.judge(settings, study.evaluate(settings))[0] == 0).all()


def test_the_same_seed_gives_the_same_trials(storage: str, tmp_path: Path) -> None:
    first = search(lanes(), trials=150, storage=storage)
    again = search(lanes(), trials=150, storage=tmp_path / "other.journal")
    other = search(lanes(), trials=150, storage=storage, seed=1)
    assert designs(first) == designs(again)
    assert designs(first) != designs(other)
    assert other.before == 0


def test_a_search_that_is_continued_is_the_same_as_one_that_runs_through(
    storage: str, tmp_path: Path
) -> None:
    for trials in (10, 60, 130, 130):
        parts = search(lanes(), trials=trials, storage=storage)
    assert parts.before == 130
    through = search(lanes(), trials=130, storage=tmp_path / "other.journal")
    assert designs(parts) == designs(through)
    assert parts.front.tolist() == through.front.tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"constraints": LANES["constraints"][:1]},
        {"objectives": {"decode_tokens_per_s_user": "max", "power_w": "max"}},
        {"axes": {**LANES["axes"], "datapath.lanes": [8, 12]}},
        {"base": {"workload.prompt": 512}},
    ],
)
def test_a_changed_study_is_another_search(change: dict[str, Any], storage: str) -> None:
    assert optuna_name(lanes(**change), 0, 50) != optuna_name(lanes(), 0, 50)
    search(lanes(), trials=60, storage=storage)
    assert search(lanes(**change), trials=60, storage=storage).before == 0


def test_title_and_shown_metrics_are_the_same_search() -> None:
    assert optuna_name(lanes(title="other", metrics=["ttft_s"]), 0, 50) == optuna_name(
        lanes(), 0, 50
    )


def test_all_kinds_of_axes(storage: str) -> None:
    study = Study.from_dict(
        "kinds",
        {
            "base": {"adapter": "r16:all-linear"},
            "sample": {"random": 1},
            "axes": {
                "datapath.issue": ["serial", "pipelined"],
                "adapter.rank": {"from": 1, "to": 128, "scale": "log"},
                "datapath.lanes": {"from": 8, "to": 32},
                "datapath.clock_ghz": "range",
                "model.layers": [16, 32],
                "formats.kv_bits": [4, 8, 16],
                "lora.read_bytes_per_cycle": "range",
                "node": {"variants": {"N7": {"process": "n7"}, "N5": {"process": "n5"}}},
            },
            "constraints": ["power_w <= 90"],
            "objectives": ["decode_tokens_per_s_user", "area_mm2.total"],
        },
    )
    found = search(study, trials=120, storage=storage)
    again = search(study, trials=120, storage=storage)
    assert found.trials == 120
    # What comes back from the storage is what was drawn.
    assert designs(again) == designs(found)
    for name in found.metrics:
        np.testing.assert_array_equal(found.metrics[name], again.metrics[name])
    ranks = found.columns["adapter.rank"]
    assert ranks.dtype.kind == "i"
    assert ranks.min() >= 1
    assert ranks.max() <= 128
    assert set(found.columns["node"]) == {"N7", "N5"}


def test_a_metric_that_is_no_number_is_the_worst(storage: str) -> None:
    # Without an adapter there is no free rank.
    study = lanes(objectives={"free_rank": "max", "power_w": "min"})
    found = search(study, trials=60, storage=storage)
    assert np.isinf(losses(study, found.metrics)[:, 0]).all()
    assert found.trials == 60


def test_engine_fidelity(storage: str) -> None:
    study = lanes(fidelity="engine", base={"workload.prompt": 64, "workload.output": 16})
    found = search(study, trials=60, storage=storage)
    settings = study.settings(found.columns)
    expected = fidelity.evaluate(study, settings)
    for name in study.columns:
        np.testing.assert_array_equal(found.metrics[name], expected[name])
    # What was simulated is not simulated again.
    again = search(study, trials=60, storage=storage)
    for name in study.columns:
        np.testing.assert_array_equal(found.metrics[name], again.metrics[name])
    assert again.front.tolist() == found.front.tolist()


def test_replay_fidelity(storage: str, tmp_path: Path) -> None:
    study = Study.from_dict(
        "serving",
        {
            "fidelity": "replay",
            "replay": {"source": "azure-conv", "requests": 40, "adapters": "4", "slo": "ttft=0.5"},
            "axes": {
                "replay.rate": [2.0, 8.0],
                "replay.swap": ["blocking", "streamed"],
                "sram.capacity_mib": [1, 448, 600],
            },
            "objectives": {"ttft_s.p99": "min", "goodput": "max"},
        },
    )
    found = search(study, trials=8, storage=storage, population=4)
    assert found.trials == 8
    assert save(found, tmp_path)


def test_nothing_feasible_is_said(storage: str) -> None:
    found = search(lanes(constraints=["power_w <= 1"]), trials=60, storage=storage)
    assert len(found.front) == 0
    assert found.failures() == {"power_w <= 1": 60}


def test_ctrl_c_keeps_what_is_complete(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(done: int, feasible: int, new: int) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    found = search(lanes(), trials=1000, storage=storage, report=report)
    assert found.interrupted
    assert found.trials == 100
    assert search(lanes(), trials=100, storage=storage).before == 100


def test_a_study_without_objectives(storage: str) -> None:
    with pytest.raises(InputError, match="needs objectives"):
        search(lanes(objectives={}), trials=10, storage=storage)


def test_files(storage: str, tmp_path: Path) -> None:
    found = search(lanes(), trials=100, storage=storage)
    written = save(found, tmp_path / "out")
    assert all(path.stat().st_size for path in written)
    with (tmp_path / "out" / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == found.front.tolist()
    assert float(rows[0]["power_w"]) == found.row(found.front[0])["power_w"]
    with (tmp_path / "out" / "trials.csv").open() as file:
        reasons = [row["infeasible"] for row in csv.DictReader(file)]
    assert sum(not reason for reason in reasons) == found.feasible.sum()


def command(*words: str) -> Any:
    app = typer.Typer()
    cli_search.register(app)
    return CliRunner().invoke(app, list(words))


def test_command_line(storage: str) -> None:
    said = command("node-die", "--trials", "100", "--storage", storage, "--json")
    assert said.exit_code == 0
    data = json.loads(said.stdout)
    assert data["trials"] == 100
    assert data["front"]
    assert {"node", "die.area_mm2", "die_cost_usd"} <= data["front"][0].keys()
    shown = command("node-die", "--trials", "100", "--storage", storage)
    assert "100 of earlier runs" in shown.stdout
    assert "Pareto front" in shown.stdout


def test_command_line_interrupted(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardwire.experiments.search.evolution import Evolution

    step = Evolution.step
    steps = []

    def twice(self: Any, most: int) -> None:
        steps.append(most)
        if len(steps) > 2:
            raise KeyboardInterrupt
        step(self, most)

    monkeypatch.setattr(Evolution, "step", twice)
    said = command("node-die", "--trials", "500", "--storage", storage)
    assert said.exit_code == 130
    assert "100 trials" in said.stdout
    assert "interrupted" in said.stdout
    assert "continues" in said.stderr


def test_environment_is_untouched_until_a_search_runs(tmp_path: Path) -> None:
    before = os.listdir(tmp_path)
    said = command("no-such-study", "--storage", str(tmp_path / "x.journal"))
    assert isinstance(said.exception, InputError)
    assert os.listdir(tmp_path) == before
