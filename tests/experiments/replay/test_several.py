"""Several like servers behind a router, and requests that are served part by part."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from shell import Shell

import hardwire as hw
from hardwire.experiments.replay import streaming
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.replay.several import COMPILED_FROM, engine_of
from hardwire.experiments.replay.stored import stored_percentiles
from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.chunks import Chunks
from hardwire.simulator.serving.metrics import percentiles

pytestmark = pytest.mark.slow

LOAD = {"adapters": 8, "requests": 400, "rate": 300, "slo": {"ttft": 0.2}}


def differ(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two summaries do not agree: numbers by more than rounding, percentiles at all."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return [d for k in keys for d in differ(one.get(k), other.get(k), f"{where}.{k}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differ(a, b, f"{where}.{i}")]
    if isinstance(one, float) and isinstance(other, float):
        exact = where.rpartition(".")[2] in {"p50", "p90", "p99"}
        same = one == other if exact else one == pytest.approx(other, rel=1e-9)
        return [] if same else [where]
    return [] if one == other else [where]


@pytest.mark.parametrize("routing", ["round_robin", "least_loaded"])
def test_what_each_did_adds_up(routing):
    done = hw.replay("azure-conv", servers=3, server_routing=routing, **LOAD)
    total, each = done.summary, done.summary["fleet"]["each"]
    assert len(each) == total["fleet"]["servers"] == 3
    assert done.summary["server"] == "3 × hc1x10"
    assert total["units"] == 30 and total["price_usd"] == 3 * 35_000
    for name in ("completed", "generated_tokens", "swaps", "usd", "server_energy_j", "goodput"):
        assert sum(one[name] for one in each) == pytest.approx(total[name]), name
    powers = sum(one["server_power_w"] for one in each)
    assert powers == pytest.approx(total["server_power_w"])
    assert done.log.units[-1] == "server 2 card 9"
    assert set(done.to_frame()["unit"].dropna()) <= set(done.log.units)
    assert "server 2" in str(done)


def test_round_robin_takes_turns():
    done = hw.replay("azure-conv", servers=3, **LOAD)
    sent = done.log.unit[done.log.unit >= 0] // 10
    served = np.flatnonzero(done.log.unit >= 0)
    assert (sent == served % 3).all()


def test_servers_by_number_are_compared():
    both = hw.compare("azure-conv", servers=["hc1x10", "hc1x10:2"], intervals=False, **LOAD)
    assert list(both.to_frame()["units"]) == [10, 20]
    assert list(both.to_frame()["server"]) == ["hc1x10", "2 × hc1x10"]
    assert not both.needed  # it is said how many there are


def test_a_saved_fleet_is_reported(hardwire: Shell, tmp_path):
    asked = ["azure-conv", "--requests", "60", "--adapters", "4", "--servers", "2"]
    hardwire("replay", *asked, "--save", tmp_path / "out")
    hardwire("report", tmp_path / "out")
    assert "server 1" in (tmp_path / "out" / "report.html").read_text()
    again = hardwire.answer("replay", "--config", tmp_path / "out" / "config.yaml")
    saved = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert again["ttft_s"] == saved["ttft_s"]


def test_a_streamed_replay_is_reported_and_run_again(hardwire: Shell, tmp_path):
    asked = {"adapters": 4, "requests": 80, "servers": 2, "slo": {"ttft": 0.2}}
    done = hw.replay("azure-conv", stream=tmp_path / "out", **asked)
    assert "80 requests" in str(done)
    hardwire("report", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "server 1" in page and "Share of the requests within so long" in page
    config = tmp_path / "out" / "config.yaml"
    again = hardwire.answer("replay", "--config", config, "--stream", "--save", tmp_path / "again")
    assert not differ(again, done.summary)
    with pytest.raises(InputError, match="while it runs"):
        done.save(tmp_path / "late")
    with pytest.raises(InputError, match="name the server"):
        hw.replay("azure-conv", hw.Server.open("hc1x10"), stream=tmp_path / "no", **asked)


def test_what_goes_not_together_is_refused(hardwire: Shell):
    few = ["replay", "azure-conv", "--requests", "9"]
    assert "--servers asks" in hardwire.refused(*few, "--server-routing", "affine")
    assert "at most 1000" in hardwire.refused(*few, "--servers", "2000")
    said = hardwire.refused(*few, "--servers", "2", "--concurrency", "4")
    assert "closed loop" in said
    for more, word in (
        (["--until", "9"], "--until: is not of streamed"),
        (["--server", "vllm-h100"], "is a GPU server"),
        (["--engine", "events"], "is compiled"),
        (["--servers", "2", "--server-routing", "least_loaded"], "share a clock"),
        (["--servers", "2", "--server-routing", "affine"], "share a clock"),
        (["--residency", "belady"], "residency belady"),
    ):
        assert word in hardwire.refused(*few, "--stream", *more)
    assert "--requests" in hardwire.refused("replay", "azure-conv", "--stream")


def test_the_engine_goes_by_the_load():
    setup = Setup.from_options({"source": "azure-conv", "server": "hc1x10"})
    assert engine_of(setup, COMPILED_FROM - 1, hardwired=True) == "events"
    assert engine_of(setup, COMPILED_FROM, hardwired=True) == "compiled"
    assert engine_of(setup, COMPILED_FROM, hardwired=False) == "events"
    several = setup.model_copy(update={"servers": 2, "server_routing": "least_loaded"})
    assert engine_of(several, 10, hardwired=True) == "compiled"


@pytest.mark.parametrize(
    ("servers", "options"),
    [
        (None, {}),
        (3, {"server_routing": "round_robin", "swap": "blocking", "slots": 2}),
        (2, {"server_routing": "affine", "server": "hc1x10-pipelined", "rate": 600}),
    ],
)
def test_part_by_part_is_as_at_once(servers, options, tmp_path, monkeypatch):
    """The numbers, percentiles to the bit, and the rows of requests."""
    of = Chunks.of
    small = lambda *given: dataclasses.replace(of(*given), chunk=1)  # noqa: E731 - a block each
    monkeypatch.setattr(Chunks, "of", small)
    asked = {
        "source": "azure-conv", "server": "hc1x10", "adapters": "8", "requests": 45_000,
        "rate": 300, "slo": {"ttft": 0.2}, "servers": servers, **options,
    }  # fmt: skip
    done, files = streaming.stream(Setup.from_options(asked), tmp_path / "out")
    source, server = asked.pop("source"), asked.pop("server")
    whole = hw.replay(source, server, engine="compiled", **{**asked, "adapters": 8})
    assert not differ(done.summary, whole.summary)
    stored = sorted(path for path in files if path.name.startswith("requests-"))
    rows = pd.concat([pd.read_parquet(path) for path in stored]).sort_values("request")
    expected = whole.to_frame()
    for name in expected:
        one, other = rows[name].reset_index(drop=True), expected[name]
        there = other.notna().to_numpy()
        assert (one.notna().to_numpy() == there).all(), name
        assert (one.to_numpy()[there] == other.to_numpy()[there]).all(), name
    assert done.words()[0] == whole.words()[0]


@examples(60)
@given(
    values=st.lists(st.floats(0, 1e6) | st.just(float("nan")), max_size=200),
    pieces=st.integers(1, 7),
)
def test_stored_percentiles_are_those_of_numpy(values, pieces):
    array = np.array(values, float)
    found = stored_percentiles(lambda: np.array_split(array, pieces))
    assert found == percentiles(array[np.isfinite(array)])


def test_a_number_of_servers_is_checked_in_python_too():
    with pytest.raises(InputError, match="servers"):
        hw.replay("azure-conv", servers=0, requests=9)
