"""The files of a run: all or none, and the same bytes for the same command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from shell import Shell

from hardwire.experiments.run.curve import rank_curve
from hardwire.experiments.run.plot import rank_figure
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator import run

pytestmark = pytest.mark.slow

FILES = (
    "verdict.json",
    "configuration.json",
    "breakdown.png",
    "rank.png",
    "floorplan.png",
    "timeline.png",
    "pipeline.png",
    "rank.json",
    "timeline.json",
    "tokens.parquet",
    "trace.json.gz",
)

SHORT = ["--prompt", "16", "--output", "8"]


def test_save_writes_all_files(hardwire: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    status, out, _ = hardwire("run", *SHORT, "--users", "2", "--save", folder)
    assert status == 0 and "Saved in" in out
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    data = json.loads((folder / "verdict.json").read_text())
    assert data == hardwire.json(*SHORT, "--users", "2")
    for name in ("breakdown.png", "rank.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    tokens = pd.read_parquet(folder / "tokens.parquet")
    assert len(tokens) == 2 * (16 + 8 - 1)
    assert list(tokens.columns) == ["user", "token", "phase", "issued_s", "done_s"]
    first = tokens[(tokens.phase == "prefill")].groupby("user").done_s.max()
    assert first.mean() == pytest.approx(data["adapter_detail"]["ttft_s"])
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {
        e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"
    }
    assert {"rom.qkv", "lora.qkv", "kv.attention", "topk"} <= set(names.values())
    assert all(event["tid"] in names and event["dur"] > 0 for event in spans)
    # Two users, last prompt token and three decode tokens each; 2 branches beside each matrix.
    per_token = 1 + 32 * (9 + 4) + 4
    assert len(spans) == 2 * 4 * per_token
    before = {name: (folder / name).read_bytes() for name in FILES}
    assert hardwire("run", *SHORT, "--users", "2", "--save", folder)[0] == 0
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_save_leaves_an_earlier_result_when_it_fails(
    hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_pictures: None
) -> None:
    folder = tmp_path / "out"
    assert hardwire("run", *SHORT, "--save", folder)[0] == 0
    before = {name: (folder / name).read_bytes() for name in FILES}

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hardwire.experiments.run.trace.write_trace", full_disk)
    message = hardwire.refused("run", "--output", "9", "--save", folder)
    assert "--save" in message and "No space left on device" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    fresh = tmp_path / "fresh"
    hardwire.refused("run", *SHORT, "--save", fresh)
    assert not fresh.exists()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hardwire.experiments.run.trace.write_trace", interrupt)
    status, _, err = hardwire("run", *SHORT, "--save", folder)
    assert (status, err) == (130, "hardwire: interrupted\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_save_into_a_file_is_refused(hardwire: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "--save" in hardwire.refused("run", *SHORT, "--save", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("adapter", "label"),
    [
        ("none", "rank, all linear layers, int8"),
        ("r4:all-linear:int4", "rank, all linear layers, int4"),
        ("r4:o_proj", "rank, o_proj, int8"),
        ("r4:qv", "rank, q_proj+v_proj, int8"),
    ],
)
def test_the_rank_plot_names_its_targets(adapter: str, label: str) -> None:
    chip, model = Chip.open("hc1"), LanguageModel.open("llama-3.1-8b")
    loaded = None if adapter == "none" else Adapter.from_shape(adapter, model)
    result = run(chip, model, loaded, prompt=4, output=4)
    figure = rank_figure(result, rank_curve(result))
    assert figure.axes[0].get_xlabel() == label
