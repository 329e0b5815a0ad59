"""The scaling study: its layouts, intervals, claims and files."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from hardwire.experiments.studies import scaling as scaling_study
from hardwire.experiments.studies.scaling import (
    BANDS,
    HC2,
    LINKS,
    QUICK,
    Settings,
    claims,
    drawn_links,
    scaling,
    together,
)
from hardwire.experiments.studies.scaling_page import TABLES
from hardwire.models.system.link import LinkKind

SMALL = Settings(("llama-3.1-8b", "llama-3.1-70b"), (HC2,), (1, 2), ("ucie", "cxl", "ethernet"), 2)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return scaling(SMALL, lambda text: None)


def test_every_layout_has_a_row_for_each_kind_of_link(rows: list[dict[str, Any]]) -> None:
    found = [(row["model"], row["dies_of_a_stage"], row["link"]) for row in rows]
    assert len(set(found)) == len(found) == 2 * 2 * 3


def test_a_model_on_one_die_is_the_same_over_all_links(rows: list[dict[str, Any]]) -> None:
    alone = [row for row in rows if row["dies"] == 1]
    assert len(alone) == len(SMALL.links)
    assert len({row["tokens_per_s_user"] for row in alone}) == 1
    assert len({row["power_w"] for row in alone}) == 1


def test_a_shorter_link_is_never_slower(rows: list[dict[str, Any]]) -> None:
    for model in SMALL.models:
        for group in SMALL.groups:
            same = [r for r in rows if (r["model"], r["dies_of_a_stage"]) == (model, group)]
            rates = [row["tokens_per_s_user"] for row in same]
            assert rates == sorted(rates, reverse=True)


def test_intervals_go_from_low_to_high(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert 0 <= row["planned"] <= 1
        assert all(row[f"{key}_low"] <= row[f"{key}_high"] for key in BANDS)
        assert row["tokens_per_s_all"] >= row["tokens_per_s_user"] * (1 - 1e-12)


def test_kinds_over_a_switch_stand_apart_and_draws_stay_in_their_ranges() -> None:
    names = [kinds for kinds, _ in together(LINKS)]
    assert sorted(name for kinds in names for name in kinds) == sorted(LINKS)
    assert ("ethernet",) in names
    for draw in drawn_links(("board", "ethernet"), 3):
        for (name,), kind in draw:
            filed = LinkKind.open(name).parameters["latency_ns"].range
            assert filed is not None
            assert filed[0] <= float(kind.sheet.latency_ns[0]) <= filed[1]


def test_the_claim_stands_beside_what_this_simulator_says() -> None:
    (row,) = claims()
    assert row["claimed_tokens_per_s_user"] == 12382
    assert 0 < row["tokens_per_s_user"] < row["claimed_tokens_per_s_user"]
    assert row["overflowing"] <= row["dies"] == 30


def test_committed_tables_are_of_the_settings_as_they_are() -> None:
    with (TABLES / "scaling.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    settings = Settings()
    assert {line["model"] for line in lines} == set(settings.models)
    assert {line["link"] for line in lines} == set(settings.links)
    assert {line["chip"] for line in lines} == set(settings.chips)
    for line in lines:
        assert int(line["dies"]) == int(line["stages"]) * int(line["dies_of_a_stage"])
        assert math.isfinite(float(line["tokens_per_s_user"]))


@pytest.mark.slow
def test_quick_study_writes_its_files(tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert scaling_study.main(["--quick", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "scaling.csv", "claims.csv", "scaling-rate.png", "scaling-cost.png",
    }  # fmt: skip
    assert QUICK.draws == 2


def test_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(scaling_study, "study", lambda settings, say: {})
    monkeypatch.setattr("hardwire.experiments.studies.scaling_plot.figures", lambda tables: {})
    assert scaling_study.main(["--out", str(tmp_path / "file")]) == 2
    assert "--out" in capsys.readouterr().err
