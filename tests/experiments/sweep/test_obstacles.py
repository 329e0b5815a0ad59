"""Sweeps say of their best points which of them cannot be, as runs do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from shell import Shell

pytestmark = pytest.mark.slow

LARGE = {
    "title": "Lanes",
    "axes": {"datapath.lanes": [12, 24]},
    "metrics": ["decode_tokens_per_s_user"],
}


def study(folder: Path, **changes: object) -> Path:
    path = folder / "lanes.yaml"
    path.write_text(yaml.safe_dump({**LARGE, **changes}))
    return path


def test_the_best_point_of_a_sweep_could_be_larger_than_its_die_unsaid(
    hardwire: Shell, tmp_path: Path
) -> None:
    load = ["sweep", study(tmp_path), "--store", tmp_path / "store"]
    status, out, err = hardwire(*load, "--strict")
    assert status == 1 and "the best point: does not fit the die" in err
    assert "does not fit the die" in out
    best = hardwire.answer(*load)["best"]
    assert [(one["datapath.lanes"], one["fits_die"]) for one in best] == [(24, False), (12, True)]
    assert hardwire(*load, "--save", tmp_path / "out")[0] == 0
    assert hardwire("report", tmp_path / "out")[0] == 0
    assert "does not fit the die" in (tmp_path / "out/report.html").read_text()


def test_a3_lanes_had_no_price(hardwire: Shell, tmp_path: Path) -> None:
    """8 to 64 lanes cost the same 314 USD; a die beyond the reticle is now infinitely dear."""
    path = study(
        tmp_path,
        axes={"datapath.lanes": [8, 12, 16, 20, 64], "die.area_mm2": [100, 815, 1200]},
        metrics=["die_cost_usd"],
    )
    load = ["sweep", path, "--store", tmp_path / "store"]
    best = hardwire.answer(*load)["best"]
    small = [one for one in best if one["die.area_mm2"] == 100]
    assert [one["datapath.lanes"] for one in small] == [8, 12, 16, 20]
    cost = [one["die_cost_usd"] for one in small]
    assert cost == sorted(set(cost)) and not any(one["fits_die"] for one in small)
    order = 'SELECT "datapath.lanes" AS lanes FROM lanes WHERE isinf(die_cost_usd)'
    status, out, _ = hardwire("results", order, "--store", tmp_path / "store", "--csv")
    assert status == 0 and sorted(out.split()[1:]) == ["12", "16", "20", "64", "64", "64", "8"]


@pytest.mark.parametrize(
    ("constraint", "status"),
    [("area_mm2.total <= die_area_mm2", 0), ("decode_tokens_per_s_user >= 1e6", 1)],
)
def test_strict_sweeps_pass_what_can_be_and_refuse_nothing(
    hardwire: Shell, tmp_path: Path, constraint: str, status: int
) -> None:
    path = study(tmp_path, constraints=[constraint])
    found = hardwire("sweep", path, "--store", tmp_path / "store", "--strict")
    assert found[0] == status and ("no feasible point" in found[2]) == bool(status)


def test_b6_a_clock_that_no_pipeline_reaches_is_infeasible(hardwire: Shell, tmp_path: Path) -> None:
    path = study(tmp_path, axes={"datapath.clock_ghz": [1.0, 2.1], "datapath.supply_v": [0.7, 0.8]})
    found = hardwire.answer("sweep", path, "--store", tmp_path / "store")
    assert [(one["datapath.clock_ghz"], one["datapath.supply_v"]) for one in found["best"]] == [
        (2.1, 0.8), (1.0, 0.7), (1.0, 0.8)
    ]  # fmt: skip
    (reason,) = found["infeasible"]
    assert "above the largest of the pipeline at its voltage" in reason


def test_a_clock_that_the_power_limit_cuts_is_marked(hardwire: Shell, tmp_path: Path) -> None:
    any_clock = {"datapath.pipeline_ghz": 9.9, "process.max_clock_ghz": 10}
    path = study(tmp_path, base=any_clock, axes={"datapath.clock_ghz": [4.0, 1.0]})
    load = ["sweep", path, "--store", tmp_path / "store"]
    assert "held by the power limit" in hardwire(*load)[1]
    best = hardwire.answer(*load)["best"]
    assert [one["power_capped"] for one in best] == [True, False]
