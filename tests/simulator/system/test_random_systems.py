"""Both engines over random systems: stages, groups, links, collectives, experts and adapters."""

from __future__ import annotations

import numpy as np
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from systems import adapters, asked, loads, routings, systems

from hardwire.models.errors import InputError
from hardwire.simulator.system import compiled, reference
from hardwire.simulator.system.build import build_program

TIMES = ("first", "offered", "issued", "done", "spent", "slice_done", "load_done", "burst_start")
VISITS = ("start", "end")

CHECKS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


@examples(30, *CHECKS)
@given(st.data())
def test_law_engines_agree_on_every_timestamp_of_a_system(data: st.DataObject) -> None:
    system = data.draw(systems())
    held = data.draw(adapters(system.model))
    try:
        program = build_program(system, held)
    except InputError:
        return
    requests, loading = data.draw(asked(len(held))), data.draw(loads(len(held)))
    choices = None
    if system.model.experts is not None:
        tokens, experts = int(requests.tokens.sum()), system.model.experts
        routing = data.draw(routings)
        choices = routing.draw(tokens, program.choices, experts.count, experts.active)
    expected = reference.simulate(program, requests, loading, choices=choices, record=True)
    found = compiled.simulate(program, requests, loading, choices=choices, record=True)
    for name in TIMES + VISITS:
        np.testing.assert_array_equal(getattr(expected, name), getattr(found, name), err_msg=name)
    if not loading:
        found = compiled.simulate(program, requests, choices=choices)
        for name in TIMES:
            np.testing.assert_array_equal(
                getattr(expected, name), getattr(found, name), err_msg=name
            )
