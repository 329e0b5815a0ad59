"""``--intervals``: what replays say of how sure they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

LOAD = ("azure-conv", "--requests", 60, "--server", "vllm-h100")
DRAWS = ("--draws", 19)


def test_figures_have_intervals_that_are_the_same_each_time(
    hardwire: Shell, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = hardwire.answer("replay", *LOAD, *DRAWS, "--slo", "ttft=0.1", "--save", out)
    plain = hardwire.answer("replay", *LOAD, "--slo", "ttft=0.1")
    assert found["interval_draws"] == 19 and found["interval_not_started"] == 0
    low, high = found["intervals"]["tpot_s.p50"]
    assert low < found["tpot_s"]["p50"] < high
    assert all(low <= high for low, high in found["intervals"].values())
    of_draws = {"intervals", "interval_draws", "interval_not_started"}
    assert {k: v for k, v in found.items() if k not in of_draws} == plain
    assert json.loads((out / "summary.json").read_text()) == found
    assert hardwire.answer("replay", "--config", out / "config.yaml") == found
    shown = hardwire("replay", *LOAD, *DRAWS)[1]
    assert "90% interval" in shown and "19 draws" in shown


def test_near_saturation_the_interval_says_that_a_point_says_little(hardwire: Shell) -> None:
    def width(rate: float) -> float:
        load = ("azure-conv", "--requests", 400, "--server", "vllm-h100", "--rate", rate)
        found = hardwire.answer("replay", *load, *DRAWS)
        low, high = found["intervals"]["ttft_s.p99"]
        return (high - low) / found["ttft_s"]["p99"]

    assert width(20) > 2 * width(1)


def test_servers_are_compared_with_intervals_unless_declined(hardwire: Shell) -> None:
    few = ("compare", "azure-conv", "--requests", 5)
    both = hardwire.answer(*few, *DRAWS)["servers"]
    assert all(one["interval_draws"] == 19 for one in both)
    low, high = both[0]["intervals"]["tpot_s.p50"]
    assert low < both[0]["tpot_s"]["p50"] < high
    bare = hardwire.answer(*few, "--no-intervals")["servers"]
    assert all("intervals" not in one for one in bare)


def test_a_server_that_only_some_draws_can_start_says_so(hardwire: Shell, tmp_path: Path) -> None:
    """Memory for one request of the longest context beside the middle of overhead's range."""
    path = tmp_path / "tight.yaml"
    path.write_text(
        "extends: vllm-h100\n"
        "title: little memory\n"
        "gpu_memory_gb: {value: 39.3, kind: set, source: test}\n"
    )
    found = hardwire.answer("replay", "azure-conv", "--requests", 5, "--server", path, *DRAWS)
    assert 0 < found["interval_not_started"] < 19


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--draws", 5), "--draws: must be at least 19, not 5"),
        ((*DRAWS, "--no-intervals"), "--draws: are of the intervals"),
    ],
)
def test_what_makes_no_interval_is_refused(
    hardwire: Shell, options: tuple[object, ...], words: str
) -> None:
    assert words in hardwire.refused("replay", *LOAD, *options)
