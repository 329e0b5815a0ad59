"""The compiled loop against the one in SimPy: the same log, to the tick, whatever is asked.

The events of a server and their order are the same in both; what differs is how they are kept.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from serving_runs import SHAPES, SMALL, differences, machine, machines, policies, serve

from hardwire.models import Chip
from hardwire.models.errors import InputError
from hardwire.models.server import Server
from hardwire.simulator.serving.cards.compiled import engine, layout, windows
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS, Prefixes, Workload
from hardwire.simulator.serving.log import ServingLog
from hardwire.simulator.serving.policies.policy import CHOICES, Policy
from hardwire.simulator.serving.replay import replay

pytestmark = pytest.mark.slow  # compiling the loop takes 20 s at first

ROOMY = Chip.open("hc1").with_values({"sram.capacity_mib": 160})  # of 2,560 tokens, 5 blocks


def note(seen: Counter[tuple[str, Any]], policy: Policy, log: ServingLog) -> None:
    """Which choices were met, and what came of them."""
    for name in CHOICES:
        seen[name, getattr(policy, name)] += 1
    seen["slots", policy.slots is not None] += 1
    seen["pinned", bool(policy.pinned)] += 1
    seen["preempted", True] += bool(log.preemptions.any())
    seen["evicted", True] += len(log.spans[1].unit) > 0


def crowded(seed: int) -> tuple[tuple[Server, Workload, Policy], float | None]:
    """A load on cards where little fits, and the share of its time at which it is cut off.

    By numpy, which meets all choices alike: Hypothesis prefers some.
    """
    rng = np.random.default_rng(seed)
    count, adapters = int(rng.integers(8, 24)), int(rng.integers(0, 7))
    workload = Workload(
        name="crowded",
        arrival_s=np.sort(rng.uniform(0, rng.choice([0.0, 0.001, 0.05]), count)),
        prompt=rng.integers(1, rng.choice([20, 150]), count),
        output=rng.integers(1, rng.choice([20, 200]), count),
        adapter=rng.integers(BASE, adapters, count).astype(np.int32),
        adapters=tuple("abcdef"[:adapters]),
        duration_s=0.05,
    )
    chosen: dict[str, Any] = {name: str(rng.choice(known)) for name, known in CHOICES.items()}
    slots = (None, None, 1, 2)[rng.integers(4)]
    free = adapters if slots is None else min(adapters, slots)
    policy = Policy(
        **chosen,
        slots=slots,
        pinned=workload.adapters[: min(free, int(rng.integers(0, 2)))],
        prefetch=int(rng.integers(0, 4)),
        fairness_s=float(rng.choice([0.0, 1e-3, 1.0])),
        reserve_s=(None, 0.0, 1e-3, 1e-2)[rng.integers(4)],
        spill_s=float(rng.choice([0.0, 1e-2])),
        estimate_error=float(rng.choice([0.0, 0.5])),
        host_warm=bool(rng.integers(2)),
        power_limit_w=(None, None, 1200.0, 2000.0)[rng.integers(4)],
    )
    server = machine(
        int(rng.integers(1, 4)),
        int(rng.choice([1, 2, 5])),
        str(rng.choice(["serial", "pipelined"])),
        str(rng.choice(["each", "shared"])),
    )
    return (server, workload, policy), (None, None, 0.3, 0.9)[rng.integers(4)]


def test_the_compiled_loop_is_the_one_in_simpy():
    """Cut off at a share of the time, too, and whatever the windows are that requests come in."""
    tried, compared = 0, 0
    seen: Counter[tuple[str, Any]] = Counter()

    @examples(40)
    @given(st.integers(0, 2**32 - 1))
    def law(seed):
        nonlocal tried, compared
        run, share = crowded(seed)
        tried += 1
        try:
            events = serve(run)
        except InputError:  # a power limit below rest, pinned adapters that leave no room
            with pytest.raises(InputError):
                serve(run, engine="compiled")
            return
        until_s = None if share is None else share * events.end_s
        if until_s is not None:
            events = serve(run, until_s=until_s)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "_WINDOW", 1 + seed % 29)
            compiled = serve(run, engine="compiled", until_s=until_s)
        assert (events.engine, compiled.engine) == ("events", "compiled")
        assert not differences(compiled, events)
        compared += 1
        note(seen, run[2], events)

    law()
    assert 2 * compared >= tried
    few = compared // 20
    for name, options in CHOICES.items():
        for option in options:
            assert seen[name, option] >= few, (name, option)
    for what in ("slots", "pinned", "preempted", "evicted"):
        assert seen[what, True] >= few, what


@st.composite
def stories(draw):
    """Prompts that begin with the same blocks, on cards where few of them fit."""
    count = draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prompt = rng.integers(200, 1500, count)
    blocks = -(-prompt // PREFIX_BLOCK_TOKENS)
    first = np.concatenate(([0], np.cumsum(blocks)))
    story = rng.integers(0, 2, count)
    hashes = np.concatenate([10 * story[i] + np.arange(blocks[i]) for i in range(count)])
    span = draw(st.sampled_from([0.0, 0.1, 0.5]))
    workload = Workload(
        name="stories",
        arrival_s=np.sort(rng.uniform(0, span, count)),
        prompt=prompt,
        output=rng.integers(1, draw(st.sampled_from([5, 400])), count, endpoint=True),
        adapter=rng.integers(BASE, 2, count).astype(np.int32),
        adapters=("a", "b"),
        duration_s=span,
        prefixes=Prefixes(first.astype(np.int64), hashes.astype(np.int64)),
    )
    policy = dataclasses.replace(draw(policies()), prefix_reuse=True)
    return draw(machines), workload, policy


@examples(20, HealthCheck.filter_too_much)
@given(stories())
def test_so_it_is_with_prefixes(run):
    server, workload, policy = run
    two = [SHAPES[0], SHAPES[2]]
    logs = [
        replay(server, workload, two, policy, chip=ROOMY, engine=name)
        for name in ("compiled", "events")
    ]
    assert not differences(*logs)


def test_a_full_buffer_is_emptied_and_a_crowded_line_made_longer(monkeypatch):
    """The arrays that events and transfers go into grow; a run of any length fits."""
    monkeypatch.setattr(layout, "_EVENTS", 0)
    monkeypatch.setattr(layout, "_TRANSFERS", 0)
    monkeypatch.setattr(windows, "_ARRIVALS_BETWEEN_PROGRESS", 7)
    rng = np.random.default_rng(0)
    count = 300
    workload = Workload(
        "many",
        np.sort(rng.uniform(0, 0.2, count)),
        rng.integers(1, 100, count),
        rng.integers(1, 40, count),
        rng.integers(BASE, 6, count).astype(np.int32),
        tuple("abcdef"),
        0.2,
    )
    told: list[float] = []
    run = machine(2, 3, "serial", "shared"), workload, Policy(host_warm=False)
    compiled = serve(run, engine="compiled", progress=told.append)
    assert not differences(compiled, serve(run))
    assert len(told) > 10 and told == sorted(told)  # not at each stop: others come between


def test_an_interrupt_leaves_what_was_there(monkeypatch):
    """Between two calls of compiled code."""
    monkeypatch.setattr(windows, "_ARRIVALS_BETWEEN_PROGRESS", 5)

    def stop(now_s: float) -> None:
        if now_s > 0.01:
            raise KeyboardInterrupt

    workload = Workload(
        "long",
        np.linspace(0, 0.1, 50),
        np.full(50, 20),
        np.full(50, 10),
        np.full(50, BASE, np.int32),
        (),
        0.1,
    )
    run = machine(1, 2, "serial", "each"), workload, Policy()
    log = serve(run, engine="compiled", progress=stop)
    assert "simulated time" in log.definitions["interrupted"]
    assert 0 < (log.status == 0).sum() < 50


@dataclasses.dataclass(frozen=True)
class _Newer(Policy):
    """With a choice that the compiled loop does not know."""

    batching: bool = False


def test_what_the_loop_lacks_is_run_in_simpy_and_said():
    workload = Workload(
        "two", np.zeros(2), np.full(2, 9), np.full(2, 3), np.full(2, BASE, np.int32), (), 0.0
    )
    server = machine(1, 2, "serial", "each")
    log = serve((server, workload, _Newer()), engine="compiled")
    assert log.engine == "compiled"
    log = serve((server, workload, _Newer(batching=True)), engine="compiled")
    assert log.engine == "events (batching is not compiled)"
    odd = Policy()
    object.__setattr__(odd, "routing", "by_length")  # as a name that came later
    plan = CardServer(server, SMALL, workload, (), Policy(), 0, "compiled").plan
    assert engine.lacks(plan) == ""
    assert engine.lacks(dataclasses.replace(plan, policy=odd)) == "routing by_length"
