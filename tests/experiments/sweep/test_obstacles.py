"""Sweeps say of their best points which of them cannot be, as runs do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from shell import Shell

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


def test_a_clock_that_the_power_limit_cuts_is_marked(hardwire: Shell, tmp_path: Path) -> None:
    path = study(tmp_path, axes={"datapath.clock_ghz": [9.9, 1.0]})
    load = ["sweep", path, "--store", tmp_path / "store"]
    assert "held by the power limit" in hardwire(*load)[1]
    best = hardwire.answer(*load)["best"]
    assert [one["power_capped"] for one in best] == [True, False]
