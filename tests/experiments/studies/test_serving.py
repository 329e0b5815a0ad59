"""The serving study: the search for a capacity, the fleet of GPUs, and its files."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.experiments.studies import serving as serving_study
from hardwire.experiments.studies.serving import lru_hit_rate
from hardwire.experiments.studies.serving_bench import (
    BASE_POLICY,
    FASTEST_RATE,
    GPU,
    LOCAL,
    QUICK,
    SLO,
    SLOWEST_RATE,
    UNIFORM,
    Bench,
    Fleet,
    Settings,
    highest,
)
from hardwire.simulator.serving.policies.residency import hit_rate

pytestmark = pytest.mark.slow

TABLES = ("capacity", "gpu_slots", "ratios", "goals", "policies", "locality", "sram", "bands")
FIGURES = ("adapters", "break-even", "sram", "uncertainty")


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(QUICK)


@given(
    limit=st.floats(SLOWEST_RATE * 1.01, FASTEST_RATE * 0.9),
    guess=st.floats(0.1, 1000),
    tolerance=st.floats(0.01, 0.5),
)
@examples(50)
def test_highest_rate_lies_within_its_tolerance_below_the_limit(
    limit: float, guess: float, tolerance: float
) -> None:
    found = highest(lambda rate: {"rate": rate, "good": rate <= limit}, guess, tolerance)
    assert found["rate"] <= limit <= found["rate"] * (1 + tolerance) * (1 + 1e-9)


def test_highest_rate_of_a_server_that_never_keeps_up_is_zero() -> None:
    assert highest(lambda rate: {"rate": rate, "good": False}, 10.0, 0.1)["rate"] == 0


def test_highest_rate_stops_at_the_fastest() -> None:
    found = highest(lambda rate: {"rate": rate, "good": True}, 10.0, 0.1)
    assert found["rate"] >= FASTEST_RATE


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200), st.integers(1, 8))
def test_lru_hit_rate_equals_the_cache_simulation(adapters: list[int], slots: int) -> None:
    assert lru_hit_rate(adapters, slots) == pytest.approx(hit_rate(adapters, slots, "lru"))


def _fleet(rates: dict[int, float]) -> Fleet:
    rows = [
        {
            "server": GPU,
            "popularity": UNIFORM,
            "adapters": count,
            "capacity_per_s": rate,
            "server_power_w": 1000.0,
            "usd_per_s": 4e-4,
        }
        for count, rate in rates.items()
    ]
    return Fleet(rows, UNIFORM)


def test_fleet_by_hand() -> None:
    fleet = _fleet({1: 8.0, 4: 6.0, 16: 2.0})
    assert fleet.one(2) == pytest.approx(7.0)  # halfway in the logarithm
    assert fleet.rate(4, 16) == pytest.approx(24.0)  # 4 adapters on each
    assert fleet.gpus(8.0, 1) == 1
    assert fleet.gpus(8.1, 1) == 2
    # A server of 1,250 W: one GPU takes less, two take more.
    assert fleet.passed(16, lambda _: 1250.0, 1000.0) == pytest.approx(2.0)
    assert fleet.passed(16, lambda _: 900.0, 1000.0) == 0


@given(st.lists(st.floats(0.1, 20), min_size=3, max_size=3), st.floats(0.1, 200))
def test_more_adapters_never_take_fewer_gpus(rates: list[float], rate: float) -> None:
    fleet = _fleet(dict(zip((1, 8, 64), rates, strict=True)))
    taken = [fleet.gpus(rate, count) for count in (1, 2, 8, 30, 64)]
    assert taken == sorted(taken)
    assert all(fleet.rate(gpus, 64) >= rate for gpus in taken[-1:])


@pytest.mark.parametrize("name", ["hc1x10", GPU])
def test_a_looser_goal_never_lowers_the_capacity(bench: Bench, name: str) -> None:
    load = bench.load(300, 8, UNIFORM)
    tight, loose = (
        bench.capacity(bench.servers[name], load, BASE_POLICY, slo, tolerance=0.1)["rate"]
        for slo in (SLO, dataclasses.replace(SLO, ttft_s=5.0))
    )
    assert 0 < tight <= loose


def test_shuffling_keeps_the_counts(bench: Bench) -> None:
    local, shuffled = (bench.load(500, 64, name) for name in (LOCAL, f"{LOCAL} shuffled"))
    assert sorted(local.adapter) == sorted(shuffled.adapter)
    assert (local.prompt == shuffled.prompt).all()
    before, after = (lru_hit_rate(load.adapter.tolist(), 8) for load in (local, shuffled))
    assert before > 0.7 > after


def test_a_server_that_cannot_start_has_no_capacity_and_says_why(bench: Bench) -> None:
    _, tried = bench.gpu(bench.load(100, 300, UNIFORM), slots=(256,))
    assert tried[0]["rate"] == 0
    assert "out of memory" in tried[0]["note"]


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_quick_study_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert serving_study.main(["--quick", "--out", str(out)]) == 0
    expected = {f"{name}.csv" for name in TABLES} | {f"serving-{name}.png" for name in FIGURES}
    assert {path.name for path in out.iterdir()} == expected
    capacity = _rows(out / "capacity.csv")
    assert [int(row["adapters"]) for row in capacity if row["server"] == GPU] == [1, 8, 64]
    of_gpu = [float(row["capacity_per_s"]) for row in capacity if row["server"] == GPU]
    assert of_gpu[0] > of_gpu[-1] > 0
    for row in _rows(out / "ratios.csv"):
        assert float(row["per_watt_of_fleet"]) <= float(row["per_watt_of_one_gpu"]) * 1.2
        assert math.isfinite(float(row["break_even_per_s_watt"]))
    for row in _rows(out / "bands.csv"):
        assert float(row["watt_low"]) <= float(row["watt_high"])
    refused = [float(r["refused"]) for r in _rows(out / "sram.csv") if r["share"] == "0.5"]
    assert refused == sorted(refused)  # the movable border first, then 1 to 8 slots


def test_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(serving_study, "study", lambda settings, say: {})
    monkeypatch.setattr("hardwire.experiments.studies.serving_plot.figures", lambda tables: {})
    assert serving_study.main(["--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err


def test_settings_name_the_requests_of_each_server() -> None:
    assert Settings().count("hc1x10-pipelined") > Settings().count("hc1x10")
