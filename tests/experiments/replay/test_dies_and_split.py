"""``hardwire replay`` and ``compare`` of servers of several dies, and of disaggregated ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import Shell

import hardwire as hw
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.replay.sound import soundness_of_dies
from hardwire.experiments.report.diff import diff
from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.fidelity import evaluate
from hardwire.experiments.sweep.fidelity_setup import replay_keys
from hardwire.models.server_of_systems import SystemServer

DIES, SPLIT = "llama-70b-hc1", "gpu-hc1"
LOAD = ["sharegpt", "--rate", "20", "--requests", "8", "--adapters", "2"]


@pytest.mark.parametrize("server", [DIES, SPLIT])
def test_a_replay_is_saved_and_runs_again_to_the_same_bytes(
    hardwire: Shell, tmp_path: Path, server: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert hardwire("replay", *LOAD, "--server", server, "--save", first)[0] == 0
    config = first / "config.yaml"
    assert hardwire("replay", "--config", config, "--save", second)[0] == 0
    for name in ("requests.parquet", "adapters.parquet", "summary.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert hardwire("report", first)[0] == 0
    page = (first / "report.html").read_text()
    assert ("From prompt to decoding" in page) == (server == SPLIT)
    saved = json.loads((first / "configuration.json").read_text())["servers"][0]
    assert saved["chip"] is None
    assert saved.get("system") == (DIES if server == DIES else None)


def test_what_requests_wait_for_between_two_servers(hardwire: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    code, text = hardwire("replay", *LOAD, "--server", SPLIT, "--save", folder)[:2]
    assert code == 0
    assert "KV over the link" in text
    summary = json.loads((folder / "summary.json").read_text())
    frame = pd.read_parquet(folder / "requests.parquet")
    handed = summary["handover"]
    assert handed["kv_bytes"] == frame["handover_kv_bytes"].sum()
    assert handed["transfer_s"]["mean"] == pytest.approx(frame["handover_transfer_s"].mean())
    waited = frame["handover_queue_s"] + frame["handover_prefill_s"]
    np.testing.assert_allclose(waited, frame["ttft_s"])
    kinds = set(pd.read_parquet(folder / "adapters.parquet")["kind"])
    assert {"adapter load", "gpu adapter load", "kv transfer"} <= kinds


def test_both_beside_a_server_of_cards() -> None:
    """Intervals are the default of compare; those that have none are shown without."""
    found = hw.compare("sharegpt", [SPLIT, "hc1x10"], rate=20.0, requests=4, draws=None,
                       intervals=False)  # fmt: skip
    served = [one["completed"] for one in found.to_dict()["servers"]]
    assert served == [4, 4]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--server", DIES, "--chip", "hc1"], "--chip: is of servers of cards of one chip"),
        (["--server", SPLIT, "--set", "lora.order=parallel"], "--set: is of servers of cards"),
        (["--server", DIES, "--intervals"], "--intervals: are over draws of one chip"),
        (["--server", SPLIT, "--concurrency", "2"], "--concurrency: "),
        (["--server", SPLIT, "--servers", "2"], "servers: gpu-hc1 is two servers already"),
        (["--server", SPLIT, "--prefix-reuse"], "--prefix-reuse: prompts of gpu-hc1"),
    ],
)
def test_what_they_do_not_have_is_said(hardwire: Shell, options: list[str], sentence: str) -> None:
    assert sentence in hardwire.refused("replay", *LOAD, *options)


def test_a_sweep_over_servers_of_all_kinds() -> None:
    made = Study.from_dict(
        "s",
        {
            "fidelity": "replay",
            "axes": {"replay.server": [DIES, SPLIT]},
            "replay": {"source": "sharegpt", "requests": 5, "rate": 20, "engine": "events"},
        },
    )
    settings = made.settings(made.chunk(0, made.points))
    found = evaluate(made, settings)
    assert not found["failure"].any()
    assert (found["output_tokens_per_s"] > 0).all()
    keys = replay_keys(made.replay, made.base.chip, made.columns, settings)
    assert len(set(keys.tolist())) == 2


def test_a_die_that_overflows_is_on_paper() -> None:
    server = SystemServer.open(DIES)
    assert soundness_of_dies(server)["fits_die"]
    chip = server.system.dies[0].chip.with_values({"die.area_mm2": 100})
    dies = tuple(dataclasses.replace(die, chip=chip) for die in server.system.dies)
    small = dataclasses.replace(server, system=dataclasses.replace(server.system, dies=dies))
    found = soundness_of_dies(small)
    assert not found["fits_die"]
    assert "llama-70b-hc1: die d0 overflows by" in found["obstacles"][0]


def test_other_servers_of_a_comparison_drop_options_of_chips() -> None:
    setup = Setup(source="sharegpt", server="hc1x10", chip="hc1", routing="affine")
    other = setup.only(DIES)
    assert other.chip is None
    assert other.routing == "affine"


def test_they_are_compared_as_servers() -> None:
    found = diff(DIES, SPLIT)
    assert found is not None
    assert diff(SPLIT, "hc1x10") is not None
