"""``--concurrency``: a closed loop from the command line, saved, compared, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from shell import Shell

LOOP = ("azure-conv", "--requests", 40, "--concurrency", 8)


@pytest.mark.parametrize("server", ["hc1x10", "vllm-h100"])
def test_a_closed_loop_is_saved_as_it_turned_out(
    hardwire: Shell, tmp_path: Path, server: str
) -> None:
    out = tmp_path / "out"
    found = hardwire.answer("replay", *LOOP, "--server", server, "--save", out)
    assert found["concurrency"] == 8 and found["completed"] == 40
    requests = pd.read_parquet(out / "requests.parquet")
    assert (requests.arrival_s[:8] == 0).all()
    assert sorted(requests.arrival_s[8:]) == pytest.approx(sorted(requests.finish_s)[:32])
    assert requests.e2e_s.sum() == pytest.approx((requests.finish_s - requests.arrival_s).sum())
    again = hardwire.answer("replay", "--config", out / "config.yaml")
    assert json.dumps(again) == json.dumps(found)


def test_servers_are_compared_in_closed_loops(hardwire: Shell) -> None:
    both = hardwire.answer("compare", *LOOP, "--slo", "ttft=1")
    assert [one["completed"] for one in both["servers"]] == [40, 40]
    assert both["needed"] == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--rate", 3), "--rate"),
        (("--arrivals", "poisson"), "--arrivals"),
        (("--duration", 60), "--duration"),
        (("--adapters", 2, "--adapter-rates", "1,2", "--duration", 9), "--duration"),
        (("--schedule", "slo"), "--schedule slo"),
    ],
)
def test_arrivals_are_not_stated_twice(
    hardwire: Shell, options: tuple[object, ...], named: str
) -> None:
    said = hardwire.refused("replay", *LOOP, *options)
    assert said.startswith("hardwire: --concurrency: ") and named in said
