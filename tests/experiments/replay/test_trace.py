"""The trace of a replay: whole, thinned where it is long, and what a save writes."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from serving_logs import made_log, made_workload
from shell import Shell

from hardwire.experiments.replay.trace import MOST_EVENTS, write_trace
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
