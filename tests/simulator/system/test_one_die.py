"""A system of one die is that die: the same cycles as today's engines, to the last."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from strategies import HC1, runs

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.system.system import System
from hardwire.simulator.closed_form import predict
from hardwire.simulator.datapath import adapter_bytes, token_stages
from hardwire.simulator.engines import compiled as of_die
from hardwire.simulator.program import build_program as of_chip
from hardwire.simulator.requests import Requests
from hardwire.simulator.single import run
from hardwire.simulator.swap import swap_latency
from hardwire.simulator.system import compiled, reference
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.closed_form import rates
from hardwire.simulator.system.measured import measure
from hardwire.simulator.system.swap import system_swap
from hardwire.simulator.system.walk import walk_of

TIMES = ("first", "issued", "done", "slice_done", "load_done", "burst_start")


@examples(30, HealthCheck.filter_too_much)
@given(runs())
def test_law_one_die_takes_the_cycles_of_its_chip(drawn: tuple) -> None:
    """Both engines of systems, over random chips, models, adapters and loads."""
    program, requests, loads = drawn
    issue = "serial" if program.serial else "pipelined"
    chip = program.chip._replaced({"datapath.issue": issue})
    system = build_program(System.of_one(chip, program.model), program.adapters)
    expected = of_die.simulate(program, requests, loads)
    for engine in (reference, compiled):
        found = engine.simulate(system, requests, loads)
        for name in TIMES:
            np.testing.assert_array_equal(
                getattr(expected, name), getattr(found, name), err_msg=name
            )


@pytest.mark.parametrize("chip", ["hc1", "roma"])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-8b", "bitnet-b1.58-2b-4t"])
def test_a_whole_layer_has_the_stages_of_the_datapath(chip: str, name: str) -> None:
    """One by one, so that a stage that is added to one and not to the other is seen."""
    one, model = Chip.open(chip), LanguageModel.open(name)
    stages = token_stages(one, model)
    parts = walk_of(System.of_one(one, model)).parts
    walked = [work for step in parts[1].steps for _, work in step.works]
    assert [(work.name, work.cycles) for work in walked] == [
        (stage.name, stage.cycles) for stage in stages.kinds[0].all
    ]
    head = [work.cycles for step in parts[-1].steps for _, work in step.works]
    assert head == [stage.cycles for stage in stages.head]


def test_a_long_request_takes_the_cycles_of_its_chip() -> None:
    model = LanguageModel.open("tinyllama-1.1b")
    adapters = [Adapter.from_shape("r16:all-linear", model)]
    requests = Requests.uniform(3, 40, 40, 1)
    for issue in ("serial", "pipelined"):
        chip = HC1._replaced({"datapath.issue": issue})
        expected = of_die.simulate(of_chip(chip, model, adapters), requests)
        found = compiled.simulate(build_program(System.of_one(chip, model), adapters), requests)
        np.testing.assert_array_equal(expected.done, found.done)


@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_rates_of_one_die_are_those_of_its_chip_to_the_bit(issue: str) -> None:
    """In closed form, by the compiled engine and by the reference, power limit included."""
    model = LanguageModel.open("tinyllama-1.1b")
    adapter = Adapter.from_shape("r8:qv", model)
    chip = HC1._replaced({"datapath.issue": issue})
    system = System.of_one(chip, model)
    for engine in ("compiled", "reference"):
        expected = run(chip, model, adapter, prompt=4, output=5, users=2, engine=engine)
        found = measure(system, prompt=4, output=5, users=2, adapter=adapter, engine=engine)
        rates_of_chip = expected.asked
        assert found.decode_tokens_per_s_user == rates_of_chip.decode_tokens_per_s_user
        assert found.decode_tokens_per_s_system == rates_of_chip.decode_tokens_per_s_chip
        assert found.ttft_s == rates_of_chip.ttft_s
        assert found.prefill_tokens_per_s == rates_of_chip.prefill_tokens_per_s
    closed = rates(system, prompt=4, output=5, users=2, adapter=adapter)
    of_chip = predict(chip, model, prompt=4, output=5, users=2, adapter=adapter)
    assert closed.decode_tokens_per_s_user == of_chip.decode_tokens_per_s_user
    assert closed.ttft_s == of_chip.ttft_s


def test_a_swap_on_one_die_takes_what_it_takes_on_its_chip() -> None:
    model = LanguageModel.open("tinyllama-1.1b")
    adapter = Adapter.from_shape("r8:qv", model)
    found = system_swap(System.of_one(HC1, model), adapter)
    assert found.latency == swap_latency(HC1, model, adapter)
    assert found.bytes == adapter_bytes(HC1, adapter)
    assert found.stage_ready_s[0] > 0
