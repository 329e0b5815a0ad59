"""Studies of fidelity engine and replay: points against one run or one replay at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardwire.experiments.replay.replay import prepare, run
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.fidelity import evaluate
from hardwire.experiments.sweep.fidelity_options import OPTIONS
from hardwire.experiments.sweep.metrics import CLOSED_FORM, METRICS
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.errors import InputError
from hardwire.models.server import Server
from hardwire.simulator.obstacles import OBSTACLES
from hardwire.simulator.single import run as run_chip

HC1 = Chip.open("hc1")
LOAD = {"source": "sharegpt", "requests": 60, "rate": 50, "adapters": 6}


def study(fidelity: str, axes: dict[str, Any], **sections: Any) -> Study:
    return Study.from_dict("s", {"fidelity": fidelity, "axes": axes, **sections})


def points(of: Study) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    settings = of.settings(of.chunk(0, of.points))
    return settings, evaluate(of, settings)


@pytest.mark.parametrize("adapter", [None, "r40:qv:int4"])
def test_engine_points_are_runs(adapter: str | None) -> None:
    """Every number that a run states, for chips, loads and issues; a word is an axis too."""
    made = study(
        "engine",
        {
            "datapath.issue": ["serial", "pipelined"],
            "datapath.lanes": [8, 20],
            "workload.users": [1, 2],
            "lora.macs_per_cycle": [512, 4096],
        },
        base={"workload.prompt": 70, "workload.output": 20, "adapter": adapter},
    )
    settings, found = points(made)
    model = LanguageModel.open(HC1.model)
    one = None if adapter is None else Adapter.from_shape(adapter, model)
    for point in range(made.points):
        mine = {name: values[point].item() for name, values in settings.items()}
        users = mine.pop("workload.users")
        answer = run_chip(HC1.with_values(mine), model, one, prompt=70, output=20, users=users)
        rates = answer.base if answer.adapter is None else answer.adapter.rates
        for name, value in dataclasses.asdict(rates).items():
            if name == "breakdown_s":
                for part, seconds in value.items():
                    assert found[f"breakdown_s.{part}"][point] == pytest.approx(
                        seconds, rel=1e-12, abs=1e-18
                    )
            else:
                assert found[name][point] == pytest.approx(value, rel=1e-14)
        assert found["area_mm2.total"][point] == answer.prediction.area_mm2["total"]


def test_engine_and_closed_form_agree_within_their_bound() -> None:
    axes = {"datapath.lanes": [8, 16, 32], "workload.prompt": [256, 2048]}
    _, engine = points(study("engine", axes))
    _, closed = points(study("closed-form", axes))
    np.testing.assert_allclose(engine["token_s"], closed["token_s"], rtol=1e-3)
    np.testing.assert_array_equal(engine["power_w"], closed["power_w"])
    assert (closed["failure"] == "").all()


def test_a_design_that_cannot_run_is_not_simulated() -> None:
    _, found = points(study("engine", {"sram.capacity_mib": [16, 448]}))
    assert OBSTACLES[found["obstacle"][0]].startswith("KV cache") and found["obstacle"][1] == 0
    assert np.isnan(found["token_s"]).tolist() == [True, False]
    assert np.isfinite(found["area_mm2.total"]).all()


def test_replay_points_are_replays() -> None:
    """Options and chip settings, against ``hardwire replay``; workloads that points share."""
    made = study(
        "replay",
        {"replay.routing": ["affine", "round_robin"], "sram.capacity_mib": [100, 448]},
        replay=LOAD,
    )
    settings, found = points(made)
    for point in range(made.points):
        setup = Setup.of(
            {**LOAD, "adapters": "6", "server": "hc1x10", "routing": settings["replay.routing"][
                point].item()},
            str,
        )  # fmt: skip
        capacity = settings["sram.capacity_mib"][point].item()
        chip = HC1.with_values({"sram.capacity_mib": capacity})
        summary = run(prepare(setup), chip=chip).summary
        assert found["goodput"][point] == summary["goodput"]
        assert found["ttft_s.p99"][point] == summary["ttft_s"]["p99"]
        assert found["swaps"][point] == summary["swaps"]
        assert found["sram.peak_bytes"][point] == summary["sram"]["peak_bytes"]
        assert found["sram.capacity_bytes"][point] == capacity * 2**20
        assert found["server_power_w"][point] == summary["server_power_w"]
    assert set(found) == {*METRICS["replay"], "obstacle", "failure"}
    assert (found["failure"] == "").all() and (found["obstacle"] == 0).all()


def test_a_point_that_cannot_be_set_up_fails_alone() -> None:
    """One obstacle with its sentence; a GPU server beside a chip setting is one too."""
    made = study("replay", {"replay.slots": [2, 4000]}, replay=LOAD)
    _, found = points(made)
    assert np.isfinite(found["goodput"]).tolist() == [True, False]
    assert "leave no room for KV" in found["failure"][1]
    assert OBSTACLES[found["obstacle"][1]] == "the replay cannot be set up so"
    made = study(
        "replay",
        {"replay.server": ["hc1x10", "vllm-h100"], "sram.capacity_mib": [448]},
        replay={**LOAD, "requests": 5},
    )
    _, found = points(made)
    assert found["failure"].tolist() == [
        "", "sram.capacity_mib: is of a hardwired chip; vllm-h100 is a GPU server, which has none",
    ]  # fmt: skip


def test_issue_of_a_study_is_over_the_servers() -> None:
    """A server file may state an issue of its own; a study that varies it means what it says."""
    assert Server.open("hc1x10-pipelined").issue == "pipelined"
    made = study(
        "replay",
        {"datapath.issue": ["serial", "pipelined"]},
        replay={**LOAD, "server": "hc1x10-pipelined"},
    )
    _, found = points(made)
    assert found["ttft_s.mean"][0] > found["ttft_s.mean"][1]


def test_keys_hold_all_that_decides_a_replay(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,20,8\n")
    server = tmp_path / "mine.yaml"
    server.write_text("extends: hc1x10\ntitle: mine\n")

    def keys(axes: dict[str, Any], replay: dict[str, Any], **more: Any) -> list[tuple[int, int]]:
        made = study("replay", axes, replay=replay, **more)
        return made.keys(made.settings(made.chunk(0, made.points))).tolist()

    own = {"source": str(trace), "server": str(server)}
    lanes = {"datapath.lanes": [16, 18]}
    found = {
        *keys(lanes, own),
        *keys(lanes, own, base={"datapath.clock_ghz": 1.3}),
        *keys(lanes, {**own, "seed": 4}),
        *keys(lanes, {**own, "source": "sharegpt", "rate": 5, "requests": 9}),
    }
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,20,9\n")
    found |= {*keys(lanes, own)}
    server.write_text("extends: hc1x10\ntitle: mine\nissue: pipelined\n")
    found |= {*keys(lanes, own)}
    assert len(found) == 12
    # An axis and the section say the same.
    (alone,) = keys({"replay.seed": [4]}, own)
    assert alone in keys({"replay.seed": [3, 4]}, own)
    (fixed,) = keys({"replay.routing": ["affine"]}, {**own, "seed": 4})
    (varied,) = keys({"replay.seed": [4]}, {**own, "routing": "affine"})
    assert fixed == varied


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"replay": {**LOAD, "rat": 3}}, "replay.rat: no such option; did you mean rate"),
        ({"replay": {}}, "replay.source: name a preset"),
        ({"base": {"chip": "hc9"}}, "'hc9' is no chip in the catalogue; did you mean hc2 or hc1"),
        ({"base": {"chip": "hc1"}, "replay": {**LOAD, "chip": "roma"}},
         "replay.chip: base.chip is the chip already"),
        ({"base": {"chip": "hc1"}, "replay": {**LOAD, "server": "vllm-h100"}},
         "base.chip: is of a hardwired chip; vllm-h100"),
        ({"base": {"workload.users": 3}}, "base.workload.users: a replay takes load"),
        ({"base": {"replay.rate": 3}}, "base.replay.rate: options stand in the section"),
        ({"axes": {"replay.routing": ["fast"]}},
         "axes.replay.routing: replay.routing: 'fast' is not allowed"),
        ({"axes": {"replay.rate": [0, 1]}}, "axes.replay.rate: replay.rate: must be above 0"),
        ({"replay": {**LOAD, "server": "vllm-h100"}, "axes": {"datapath.lanes": [8]}},
         "axes.datapath.lanes: is of a hardwired chip; vllm-h100"),
        ({"fidelity": "engine", "replay": None}, "are for fidelity replay only"),
    ],
)  # fmt: skip
def test_what_no_replay_can_take_is_refused(data: dict[str, Any], message: str) -> None:
    whole = {"fidelity": "replay", "replay": LOAD, "axes": {"replay.rate": [5]}, **data}
    with pytest.raises(InputError, match=message):
        Study.from_dict("s", whole)


def test_options_are_those_of_the_command() -> None:
    """But for settings, which are the axes and the base themselves, and intervals, which a point
    of a study has not."""
    own = {"replay.settings", "replay.intervals", "replay.draws"}
    assert {f"replay.{name}" for name in Setup.model_fields} == {*OPTIONS, *own}


def test_every_summary_number_is_a_metric() -> None:
    """But for words, what others among them say, and what the server's file states."""
    summary = run(prepare(Setup.of({**LOAD, "adapters": "6", "server": "hc1x10"}, str))).summary
    left_out = {
        "server", "workload", "interrupted", "warnings", "definitions", "adapters", "units",
        "peak_sram_bytes", "slo", "refusals", "server_energy_by_part_j", "price_usd",
        "obstacles", "fits_die", "power_capped",
    }  # fmt: skip

    def names(value: Any, path: str) -> set[str]:
        if isinstance(value, dict):
            return {n for k, v in value.items() for n in names(v, f"{path}.{k}" if path else k)}
        return {path}

    known = {name for name in names(summary, "") if name.split(".")[0] not in left_out}
    assert known - {"offered.duration_s"} <= set(METRICS["replay"])
    assert set(CLOSED_FORM) <= set(METRICS["engine"])
