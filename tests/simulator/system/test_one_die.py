"""A system of one die is that die: the same cycles as today's engines, to the last."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from strategies import HC1, runs

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.system.system import System
from hardwire.simulator.datapath import token_stages
from hardwire.simulator.engines import compiled as of_die
from hardwire.simulator.requests import Requests
from hardwire.simulator.system import compiled, reference
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.walk import walk_of

TIMES = ("first", "issued", "done", "slice_done", "load_done", "burst_start")


@examples(60, HealthCheck.filter_too_much)
@given(runs())
def test_law_one_die_takes_the_cycles_of_its_chip(run: tuple) -> None:
    """Both engines of systems, over random chips, models, adapters and loads."""
    program, requests, loads = run
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
        from hardwire.simulator.program import build_program as of_chip

        expected = of_die.simulate(of_chip(chip, model, adapters), requests)
        found = compiled.simulate(build_program(System.of_one(chip, model), adapters), requests)
        np.testing.assert_array_equal(expected.done, found.done)
