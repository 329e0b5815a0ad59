"""The two engines of systems agree on every timestamp, and obey the laws of the machine."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from examples import examples
from hypothesis import HealthCheck, given
from system_programs import runs

from hardwire.simulator.system import compiled, reference
from hardwire.simulator.system.loads import schedule
from hardwire.simulator.system.timeline import SystemTimeline

TIMES = ("first", "offered", "issued", "done", "spent", "slice_done", "load_done", "burst_start")
VISITS = ("start", "end")

law = examples(30, HealthCheck.too_slow, HealthCheck.data_too_large)


def assert_same(expected: SystemTimeline, found: SystemTimeline, names: tuple[str, ...]) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(expected, name), getattr(found, name), err_msg=name)


@examples(60, HealthCheck.too_slow, HealthCheck.data_too_large)
@given(runs())
def test_engines_agree_on_every_timestamp(run: tuple) -> None:
    program, requests, loads, choices = run
    expected = reference.simulate(program, requests, loads, choices=choices, record=True)
    found = compiled.simulate(program, requests, loads, choices=choices, record=True)
    assert_same(expected, found, TIMES + VISITS)
    if not loads:  # units that do what others do are left out
        found = compiled.simulate(program, requests, choices=choices)
        assert_same(expected, found, TIMES)


@law
@given(runs())
def test_law_time_of_a_token_is_all_accounted_for(run: tuple) -> None:
    program, requests, loads, choices = run
    times = compiled.simulate(program, requests, loads, choices=choices)
    np.testing.assert_array_equal(times.spent.sum(axis=1), times.done - times.offered)
    assert (times.spent >= 0).all()


@law
@given(runs())
def test_law_a_unit_serves_one_visit_at_a_time(run: tuple) -> None:
    program, requests, loads, choices = run
    times = compiled.simulate(program, requests, loads, choices=choices, record=True)
    bursts = schedule(program, loads)
    assert times.start is not None and times.end is not None
    spans: dict[int, list[tuple[int, int]]] = {}
    for visit, row in enumerate(program.routed.tolist()):
        for offset in range(program.chosen if row >= 0 else 1):
            slot = program.slot[visit] + offset
            for token in np.flatnonzero(times.start[:, slot] >= 0):
                unit = program.unit[visit]
                if row >= 0:
                    expert = choices.of_token[token, program.choice[row], offset]
                    unit = program.expert_unit[row, expert]
                spans.setdefault(int(unit), []).append(
                    (int(times.start[token, slot]), int(times.end[token, slot]))
                )
    for port, start, ticks in zip(bursts.port, times.burst_start, bursts.cycles, strict=True):
        spans.setdefault(int(port), []).append((int(start), int(start + ticks)))
    for held in spans.values():
        held.sort()
        assert all(first[1] <= second[0] for first, second in pairwise(held))


@law
@given(runs(loads=False))
def test_law_no_more_tokens_are_in_the_system_than_it_has_places(run: tuple) -> None:
    program, requests, _, choices = run
    for places in (1, 2):
        capped = replace(program, places=places)
        times = compiled.simulate(capped, requests, choices=choices)
        moments = np.concatenate([times.issued, times.done])
        change = np.repeat([1, -1], len(times.done))
        order = np.lexsort((change, moments))
        assert np.cumsum(change[order]).max() <= places
