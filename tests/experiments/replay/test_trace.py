"""The trace of a replay: whole, thinned where it is long, and what a save writes."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_logs import made_log, made_workload
from shell import Shell

from hardwire.experiments.replay.replay import prepare, run
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.replay.trace import MOST_EVENTS, _micro, trace_parts, write_trace
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog

SHORT = ["--requests", "60", "--adapters", "5"]


def written_trace(workload: Workload, log: ServingLog, path: Path) -> dict[str, Any]:
    write_trace(workload, log, path, "simple")
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def test_trace_opens_and_is_complete(tmp_path: Path) -> None:
    workload = made_workload(80)
    log = made_log(workload)
    data = written_trace(workload, log, tmp_path / "trace.json.gz")
    events = data["traceEvents"]
    assert data["otherData"]["shown"] == "everything"
    tracks = {(e["pid"], e["args"]["name"]) for e in events if e["name"] == "thread_name"}
    assert tracks == {(p, n) for p in (2, 3) for n in ("compute", "adapter load", "evict")}
    begins = [e for e in events if e["ph"] == "b"]
    ends = {(e["id"], e["name"]): e["ts"] for e in events if e["ph"] == "e"}
    assert len(begins) == len(ends) and {e["cat"] for e in begins} == {"queue", "chip"}
    assert all(ends[e["id"], e["name"]] > e["ts"] for e in begins)
    chip = {e["args"]["request"] for e in begins if e["name"] == "chip"}
    assert chip == set(range(80))
    loads = [e for e in events if e["ph"] == "X" and e["cat"] == "adapter load"]
    assert len(loads) == log.swaps and all(e["dur"] > 0 for e in loads)
    # On one track nothing overlaps: begin after the end before.
    for pid in (2, 3):
        busy = [e for e in events if e["ph"] == "X" and (e["pid"], e["cat"]) == (pid, "compute")]
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(busy))
    peak = max(sum(e["args"].values()) for e in events if e["ph"] == "C")
    assert peak == (log.occupancy.kv_bytes + log.occupancy.adapter_bytes).max()


@pytest.mark.slow
def test_long_traces_are_thinned_and_say_so(tmp_path: Path) -> None:
    workload = made_workload(40_000)
    log = made_log(workload)
    data = written_trace(workload, log, tmp_path / "trace.json.gz")
    assert len(data["traceEvents"]) <= MOST_EVENTS + 100
    assert data["otherData"]["shown"]["requests"].startswith("1 of ")
    counters = [sum(e["args"].values()) for e in data["traceEvents"] if e["ph"] == "C"]
    used = log.occupancy
    assert max(counters) == (used.kv_bytes + used.adapter_bytes).max()


def test_saved_trace_is_gzip_of_the_events(hardwire: Shell, tmp_path: Path) -> None:
    assert hardwire("replay", "azure-conv", *SHORT, "--save", tmp_path / "out")[0] == 0
    data = json.loads(gzip.decompress((tmp_path / "out" / "trace.json.gz").read_bytes()))
    names = {e["args"]["name"] for e in data["traceEvents"] if e["name"] == "process_name"}
    assert "card 0" in names
    assert np.isfinite([e["ts"] for e in data["traceEvents"] if "ts" in e]).all()


def test_loads_on_a_link_follow_each_other_though_each_ends_a_latency_later(
    tmp_path: Path,
) -> None:
    """Perfetto drops a span that overlaps the one before it; each load began 2.05 µs too soon."""
    file = tmp_path / "loads.csv"
    rows = "".join(f"0.0,64,8,{name}\n" for name in "abcd")
    file.write_text(f"arrival_s,prompt_tokens,output_tokens,adapter\n{rows}")
    server = tmp_path / "one-card.yaml"
    server.write_text(
        "extends: hc1x10\ncards: {value: 1, kind: assumed, range: [1, 10], source: test}\n"
    )
    done = run(prepare(Setup(source=str(file), server=str(server), prefetch=4)))
    events = list(trace_parts(done.workload, done.log)[1])
    loads = [e for e in events if e.get("cat") == "adapter load"]
    assert len(loads) == 4 and [e["args"].get("latency_us", 0) > 0 for e in loads] == [1, 1, 1, 0]
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in events:
        if event["ph"] == "X":
            begin, length = int(event["ts"] * 1000), int(event["dur"] * 1000)
            tracks.setdefault((event["pid"], event["tid"]), []).append((begin, begin + length))
    for spans in tracks.values():
        spans.sort()
        assert all(one[1] <= after[0] for one, after in pairwise(spans))


@given(st.integers(0, 10**15))
def test_microseconds_give_back_their_nanoseconds(nanoseconds: int) -> None:
    assert int(_micro(nanoseconds) * 1000) == nanoseconds
