"""``hardwire compare`` as a user meets it: tables, files, what did not run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from interrupts import interrupt_at
from rich.console import Console
from shell import Shell

from hardwire.experiments.replay.compare import compare
from hardwire.experiments.replay.compare_view import render
from hardwire.experiments.replay.setup import Setup

FILES = ("compare.png", "compare.json", "compare.csv", "configuration.json")

SHORT = ["--requests", "30", "--adapters", "5"]


@pytest.mark.slow
def test_compare_side_by_side(hardwire: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    servers = "hc1x10,hc1x10-pipelined,vllm-h100,trtllm-h100"
    load = ["compare", "azure-conv", *SHORT, "--servers", servers, "--slo", "ttft=0.2"]
    status, out, err = hardwire(*load, "--schedule", "grouped", "--save", folder)
    assert (status, err) == (0, "")
    for words in ("hc1x10-pipelined", "vllm-h100", "TTFT, p99", "Energy an output token",
                  "Met the SLO",
                  "trtllm-h100 did not run: serves the base", "Definitions"):  # fmt: skip
        assert words in out, words
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    data = json.loads((folder / "compare.json").read_text())
    assert [one["server"] for one in data["servers"]] == servers.split(",")[:3]
    assert data["did_not_run"].keys() == {"trtllm-h100"}
    with (folder / "compare.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["server"] for line in lines] == servers.split(",")
    assert float(lines[2]["ttft_s.p99"]) == data["servers"][2]["ttft_s"]["p99"]
    for line in lines[:3]:
        fleet = data["needed"][line["server"]] or {"units": ""}
        assert line["needed.units"] == str(fleet["units"])
    assert {line["needed.units"] for line in lines} > {""}
    before = {name: (folder / name).read_bytes() for name in FILES}
    assert hardwire(*load, "--schedule", "grouped", "--save", folder)[0] == 0
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    alone = hardwire.answer(
        "replay", "azure-conv", *SHORT, "--schedule", "grouped", "--slo", "ttft=0.2", "--intervals"
    )
    assert alone == data["servers"][0]
    bare = (*load, "--no-intervals")
    assert hardwire.answer(*bare) == hardwire.answer(*bare)


def test_compare_where_nothing_runs(hardwire: Shell, tmp_path: Path) -> None:
    load = ["compare", "azure-conv", *SHORT, "--servers", "trtllm-h100"]
    status, out, _ = hardwire(*load, "--save", tmp_path / "out")
    assert status == 0 and "did not run" in out
    assert (tmp_path / "out" / "compare.png").exists()
    assert "hc1x12" in hardwire.refused("compare", "azure-conv", "--servers", "hc1x10,hc1x12")
    assert "twice" in hardwire.refused("compare", "azure-conv", "--servers", "hc1x10,hc1x10")
    assert "--servers" in hardwire.refused("compare", "azure-conv", "--servers", ",")


def test_compare_interrupted(hardwire: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 100)
    load = ["compare", "azure-conv", "--requests", "2000", "--servers", "hc1x10,vllm-h100"]
    status, out, err = hardwire(*load)
    assert status == 130 and "interrupted" in err
    assert "Interrupted at" in out and "vllm-h100 did not run: interrupted before" in out


@pytest.mark.parametrize("width", [60, 80, 110])
def test_tables_fit_the_terminal(
    hardwire: Shell, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(source="azure-conv", server="hc1x10", requests=40, adapters="4")
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render(compare(setup, ["hc1x10", "hc1x10-pipelined", "vllm-h100"])))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    for server in ("hc1x10-pipelined", "vllm-h100"):
        assert server in text
    assert "…" not in text  # nothing is cut off


@pytest.mark.slow
def test_a_comparison_without_goals_claimed_that_they_were_met(hardwire: Shell) -> None:
    """And set ten cards beside one GPU without a word, with adapters' definitions for neither."""
    load = ["compare", "azure-conv", "--requests", "40"]
    out = hardwire(*load)[1]
    for words in ("Met the SLO", "Goodput", "goodput", "swap wait", "adapter slots"):
        assert words not in out, words
    rows = {line[:20].strip(): line[20:].split() for line in out.splitlines()}
    assert rows["Cards or GPUs"] == ["10", "1"]
    assert rows["Price, USD"] == ["35,000", "32,000"]
    with_goals = hardwire(*load, "--slo", "ttft=0.2", "--adapters", "3")[1]
    for words in ("Met the SLO", "Goodput", "goodput", "swap wait", "adapter slots"):
        assert words in with_goals, words


def test_slots_of_a_tensorrt_server_were_held_by_vllm(hardwire: Shell) -> None:
    load = ["compare", "azure-conv", "--requests", "40", "--servers", "trtllm-h100"]
    assert "vLLM" not in hardwire(*load)[1]
