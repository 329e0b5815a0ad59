"""The two engines agree on every timestamp, and obey the laws of the machine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from strategies import HC1, runs

from hardwire.models import Adapter, LanguageModel
from hardwire.simulator.engines import compiled as engine
from hardwire.simulator.engines import reference
from hardwire.simulator.engines.first_token import first_token
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import (
    LOAD_MODES,
    AdapterLoad,
    LoadMode,
    Requests,
    Timeline,
    schedule_bursts,
)

TIMES = ("first", "issued", "done", "slice_done", "load_done", "burst_start")
VISITS = ("start", "end")


def assert_same(expected: Timeline, found: Timeline, names: tuple[str, ...]) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(expected, name), getattr(found, name), err_msg=name)


@examples(120, HealthCheck.filter_too_much)
@given(runs())
def test_engines_agree_on_every_timestamp(run: tuple) -> None:
    """Every pass that is exact for a run gives the reference's times, to the last cycle."""
    program, requests, loads = run
    expected = reference.simulate(program, requests, loads, record=True)
    exact = engine.PASSES[engine.PASSES.index(engine.cheapest_pass(program, loads, False)) :]
    for name in exact:
        record = name != "serial"
        found = engine.simulate(program, requests, loads, record=record, engine_pass=name)
        assert_same(expected, found, TIMES + (VISITS if record else ()))


@examples(60, HealthCheck.filter_too_much)
@given(runs(users=3, prompt=40, output=30))
def test_engines_agree_on_longer_requests(run: tuple) -> None:
    program, requests, loads = run
    expected = reference.simulate(program, requests, loads)
    assert_same(expected, engine.simulate(program, requests, loads), TIMES)


@examples(60, HealthCheck.filter_too_much)
@given(runs(users=1), st.sampled_from([None, *LOAD_MODES]))
def test_the_first_token_of_an_adapter_is_the_engines(run: tuple, mode: LoadMode | None) -> None:
    """Swap latencies walk one token; the engines give the same cycle."""
    program = run[0]
    assume(program.adapters)
    loads = [] if mode is None else [AdapterLoad(adapter=1, start=0, mode=mode)]
    requests = Requests.uniform(users=1, prompt=1, output=1, adapter=1)
    found = first_token(program, mode)
    assert found == int(reference.simulate(program, requests, loads).done[0])
    assert found == int(engine.simulate(program, requests, loads).done[0])


@pytest.mark.parametrize("memories", ["shared", "separate"])
def test_engines_agree_when_bursts_and_tokens_tie(memories: str) -> None:
    """A load that starts at every cycle in turn: bursts and tokens ask for a port together."""
    model = LanguageModel.from_config(
        {
            "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 8,
            "intermediate_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 4, "vocab_size": 8, "max_position_embeddings": 64,
            "tie_word_embeddings": False, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        },
        name="one layer",
    )  # fmt: skip
    chip = HC1._replaced(
        {
            "datapath.fill_cycles": 1, "sampling.loop_cycles": 1, "link.burst_bytes": 8,
            "link.bandwidth_gb_per_s": 2.0, "datapath.clock_ghz": 1.0, "link.latency_us": 0.0,
            "sram.write_bytes_per_cycle": 2, "attention.kv_memories": memories,
        }
    )  # fmt: skip
    program = build_program(chip, model, [Adapter.from_shape("r2:qv", model)], issue="pipelined")
    requests = Requests.uniform(3, 6, 6)
    tied = 0
    for start in range(80):
        loads = [AdapterLoad(1, start, "streamed")]
        expected = reference.simulate(program, requests, loads, record=True)
        found = engine.simulate(program, requests, loads, record=True)
        assert_same(expected, found, TIMES + VISITS)
        arrivals = schedule_bursts(program, loads)
        for stage in np.flatnonzero(np.isin(program.main_unit, program.ports)):
            asked = expected.end[:, stage - 1].max(
                axis=1
            )  # a token asks when the stage before ends
            here = arrivals.arrival[arrivals.port == program.main_unit[stage]]
            tied += int(np.isin(asked, here).sum())
    assert tied > 20


def test_recording_changes_nothing() -> None:
    model = LanguageModel.open("tinyllama-1.1b")
    program = build_program(HC1, model, [Adapter.from_shape("r8:qv", model)], issue="pipelined")
    requests = Requests.uniform(3, 4, 5, 1)
    for loads in ([], [AdapterLoad(1, 0, "streamed")]):
        plain = engine.simulate(program, requests, loads)
        recorded = engine.simulate(program, requests, loads, record=True)
        assert_same(plain, recorded, TIMES)
        assert plain.start is None and recorded.start is not None


def test_a_pass_that_is_not_exact_is_refused() -> None:
    model = LanguageModel.open("tinyllama-1.1b")
    requests = Requests.uniform(2, 2, 2)
    pipelined = build_program(HC1, model, issue="pipelined")
    with pytest.raises(ValueError, match="serial pass is not exact"):
        engine.simulate(pipelined, requests, engine_pass="serial")
    shared = build_program(HC1._replaced({"datapath.layers": "shared"}), model, issue="pipelined")
    with pytest.raises(ValueError, match="max_plus pass is not exact"):
        engine.simulate(shared, requests, engine_pass="max_plus")


# --- laws, on the compiled engine over random runs ------------------------------------------------


def visits(program: TokenProgram, times: Timeline) -> list[tuple[int, int, int, int]]:
    """(unit, start, end, token) of every recorded visit."""
    found = []
    for branch, units in enumerate((program.main_unit, program.side_unit)):
        tokens, stages = np.nonzero(times.start[:, :, branch] >= 0)
        for token, stage in zip(tokens, stages, strict=True):
            span = times.start[token, stage, branch], times.end[token, stage, branch]
            found.append((int(units[stage]), int(span[0]), int(span[1]), int(token)))
    return found


law = examples(40, HealthCheck.filter_too_much)


@law
@given(runs())
def test_law_every_token_is_served_once_and_in_order(run: tuple) -> None:
    program, requests, loads = run
    times = engine.simulate(program, requests, loads)
    assert (times.issued >= 0).all() and (times.done > times.issued).all()
    for user in range(requests.users):
        mine = slice(times.first[user], times.first[user + 1])
        assert (np.diff(times.issued[mine]) > 0).all()
        assert times.issued[mine][0] >= requests.arrival[user]
        # A decode token starts when the token before it has been sampled, not before.
        decode = np.arange(times.first[user] + requests.prompt[user], times.first[user + 1])
        assert (times.issued[decode] >= times.done[decode - 1]).all()


@law
@given(runs())
def test_law_a_unit_serves_one_visit_at_a_time(run: tuple) -> None:
    program, requests, loads = run
    times = engine.simulate(program, requests, loads, record=True)
    by_unit: dict[int, list[tuple[int, int]]] = {}
    for unit, start, end, _ in visits(program, times):
        assert end > start
        by_unit.setdefault(unit, []).append((start, end))
    bursts = schedule_bursts(program, loads)
    for port, start, cycles in zip(bursts.port, times.burst_start, bursts.cycles, strict=True):
        by_unit.setdefault(int(port), []).append((int(start), int(start + cycles)))
    for spans in by_unit.values():
        spans.sort()
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


@law
@given(runs())
def test_law_serial_issue_has_one_token_in_flight(run: tuple) -> None:
    program, requests, loads = run
    if not program.serial or program.held_stages < program.body_stages:
        return
    times = engine.simulate(program, requests, loads)
    order = np.argsort(times.issued)
    assert (times.issued[order][1:] >= times.done[order][:-1]).all()


@law
@given(runs())
def test_law_streamed_tokens_enter_a_layer_after_its_slice(run: tuple) -> None:
    program, requests, loads = run
    times = engine.simulate(program, requests, loads, record=True)
    opening = np.flatnonzero(program.layer >= 0)
    for number, load in enumerate(loads):
        for user in np.flatnonzero(requests.adapter == load.adapter):
            mine = slice(times.first[user], times.first[user + 1])
            if load.mode == "streamed":
                entered = times.start[mine][:, opening, 0]
                ready = np.broadcast_to(
                    times.slice_done[number][program.layer[opening]], entered.shape
                )
                visited = entered >= 0  # tokens inside a prompt pass the head by
                assert (entered >= ready)[visited].all()
            else:
                assert (times.issued[mine] >= times.load_done[number]).all()


@law
@given(runs(loads=False), st.integers(2, 5))
def test_law_pipelining_never_slows_a_run(run: tuple, factor: int) -> None:
    """Pipelined issue ends no later than serial issue, and a faster clock changes no cycle."""
    program, requests, _ = run
    rebuilt = {
        issue: build_program(program.chip, program.model, program.adapters, issue=issue)
        for issue in ("serial", "pipelined")
    }
    together = Requests(
        np.zeros_like(requests.arrival), requests.prompt, requests.output, requests.adapter
    )
    ends = {issue: engine.simulate(p, together).done.max() for issue, p in rebuilt.items()}
    assert ends["pipelined"] <= ends["serial"]
    clocks = [program.chip.datapath.clock_ghz * times for times in (1, factor)]
    done = []
    for clock in clocks:  # a host has a clock of its own
        chip = program.chip._replaced({"datapath.clock_ghz": clock, "sampling.host_us": 0})
        again = build_program(chip, program.model, program.adapters, issue="serial")
        done.append(engine.simulate(again, together).done)
    np.testing.assert_array_equal(*done)


def test_law_a_bigger_rank_never_speeds_a_token_up() -> None:
    model = LanguageModel.open("llama-3.1-8b")
    ends = []
    wide = HC1.with_values({"lora.activations_per_cycle": 256})
    for rank in (1, 16, 25, 26, 64):
        adapter = Adapter.from_shape(f"r{rank}:all-linear", model)
        program = build_program(wide, model, [adapter])
        ends.append(int(engine.simulate(program, Requests.uniform(1, 2, 2, 1)).done[-1]))
    assert ends == sorted(ends)
    assert ends[2] == ends[0] < ends[3]  # of 256 a cycle, rank 25 is free and 26 is not


def test_requests_must_be_possible() -> None:
    with pytest.raises(ValueError, match="prompt >= 1"):
        Requests.uniform(1, 0, 1)
    model = LanguageModel.open("tinyllama-1.1b")
    program = build_program(HC1, model, [Adapter.from_shape("r8:qv", model)])
    twice = [AdapterLoad(1, 0, "streamed"), AdapterLoad(1, 9, "blocking")]
    with pytest.raises(ValueError, match="loaded once"):
        schedule_bursts(program, twice)
