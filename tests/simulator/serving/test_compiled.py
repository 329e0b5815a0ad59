"""The compiled loop against the one in SimPy: the same log, to the tick, whatever is asked.

The events of a server and their order are the same in both; what differs is how they are kept.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from examples import FACTORS, PROFILE
from serving_runs import SMALL, differences, machine, serve

from hardwire.models import Chip
from hardwire.models.errors import InputError
from hardwire.models.server import Server
from hardwire.simulator.serving.cards.compiled import engine, layout, windows
from hardwire.simulator.serving.cards.hardware import Card
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS, Prefixes, Workload
from hardwire.simulator.serving.log import ServingLog
from hardwire.simulator.serving.policies.policy import CHOICES, Policy

pytestmark = pytest.mark.slow  # compiling the loop takes 20 s at first

ROOMY = Chip.open("hc1").with_values({"sram.capacity_mib": 160})  # of 2,560 tokens, 5 blocks


CROSSED = ("routing", "schedule", "residency", "admission", "swap")
"""Choices of which every combination is tried."""

LOADS = 500
"""Random loads of the nightly profile; the usual one tries a tenth of them."""

PAIRED = 48
"""Loads that meet each choice of these beside each of another."""


def crossed(number: int) -> dict[str, str]:
    """The choices of a load by its number: first all pairs are met, then all combinations."""
    routing, schedule, block = number % 4, number // 4 % 4, number // 16
    places = [routing, schedule, (routing + schedule) % 4, (schedule + block) % 2, block]
    if number >= PAIRED:
        places, rest = [], number - PAIRED
        for name in CROSSED:
            places.append(rest % len(CHOICES[name]))
            rest //= len(CHOICES[name])
    return {name: CHOICES[name][place] for name, place in zip(CROSSED, places, strict=True)}


def policy_by(number: int, rng: np.random.Generator, workload: Workload) -> Policy:
    chosen: dict[str, Any] = {name: str(rng.choice(known)) for name, known in CHOICES.items()}
    slots = (None, None, 1, 2)[rng.integers(4)]
    adapters = len(workload.adapters)
    free = adapters if slots is None else min(adapters, slots)
    return Policy(
        **(chosen | crossed(number)),
        slots=slots,
        pinned=workload.adapters[: min(free, int(rng.integers(0, 2)))],
        prefetch=int(rng.integers(0, 4)),
        fairness_s=float(rng.choice([0.0, 1e-3, 1.0])),
        reserve_s=(None, 0.0, 1e-3, 1e-2)[rng.integers(4)],
        spill_s=float(rng.choice([0.0, 1e-2])),
        estimate_error=float(rng.choice([0.0, 0.5])),
        host_warm=bool(rng.integers(2)),
        prefix_reuse=workload.prefixes is not None,
        power_limit_w=(None, None, 1200.0, 2000.0)[rng.integers(4)],
    )


def crowded(rng: np.random.Generator) -> Workload:
    """Requests for cards where little fits."""
    count, adapters = int(rng.integers(8, 24)), int(rng.integers(0, 7))
    return Workload(
        name="crowded",
        arrival_s=np.sort(rng.uniform(0, rng.choice([0.0, 0.001, 0.05]), count)),
        prompt=rng.integers(1, rng.choice([20, 150]), count),
        output=rng.integers(1, rng.choice([20, 200]), count),
        adapter=rng.integers(BASE, adapters, count).astype(np.int32),
        adapters=tuple("abcdef"[:adapters]),
        duration_s=0.05,
    )


def stories(rng: np.random.Generator) -> Workload:
    """Prompts that begin with the same blocks, for cards where few of them fit."""
    count = int(rng.integers(2, 15))
    prompt = rng.integers(200, 1500, count)
    blocks = -(-prompt // PREFIX_BLOCK_TOKENS)
    first = np.concatenate(([0], np.cumsum(blocks)))
    story = rng.integers(0, 2, count)
    hashes = np.concatenate([10 * story[i] + np.arange(blocks[i]) for i in range(count)])
    span = float(rng.choice([0.0, 0.1, 0.5]))
    return Workload(
        name="stories",
        arrival_s=np.sort(rng.uniform(0, span, count)),
        prompt=prompt,
        output=rng.integers(1, rng.choice([5, 400]), count, endpoint=True),
        adapter=rng.integers(BASE, 2, count).astype(np.int32),
        adapters=("a", "b"),
        duration_s=span,
        prefixes=Prefixes(first.astype(np.int64), hashes.astype(np.int64)),
    )


def random_load(
    number: int, attempt: int
) -> tuple[Any, tuple[Server, Workload, Policy], float | None]:
    """A chip, a run on it, and the share of its time at which it is cut off."""
    rng = np.random.default_rng([number, attempt])
    told = number % 5 == 0
    workload = stories(rng) if told else crowded(rng)
    policy = policy_by(number, rng, workload)
    server = machine(
        int(rng.integers(1, 4)),
        int(rng.choice([1, 2, 5])),
        str(rng.choice(["serial", "pipelined"])),
        str(rng.choice(["each", "shared"])),
    )
    share = None if policy.prefix_reuse else (None, None, 0.3, 0.9)[rng.integers(4)]
    return ROOMY if told else SMALL, (server, workload, policy), share


def note(seen: Counter[Any], run: tuple[Server, Workload, Policy], log: ServingLog) -> None:
    """Which choices were met, and what came of them."""
    server, _, policy = run
    for one in CROSSED:
        for other in CROSSED:
            seen[one, getattr(policy, one), other, getattr(policy, other)] += 1
    seen[tuple(getattr(policy, name) for name in CROSSED)] += 1
    seen["slots"] += policy.slots is not None
    seen["pinned"] += bool(policy.pinned)
    seen["shared links"] += server.machine.links == "shared"
    seen["power limit"] += policy.power_limit_w is not None
    seen["prefixes"] += bool(log.reused_tokens.any())
    seen["preempted", policy.preemption] += bool(log.preemptions.any())
    seen["prefill", policy.prefill] += 1
    seen["evicted"] += len(log.spans[1].unit) > 0


def compared(number: int, attempt: int = 0) -> tuple[tuple[Server, Workload, Policy], ServingLog]:
    """Run a load in both; where neither can start, another one with its choices."""
    chip, run, share = random_load(number, attempt)
    until_s = None
    try:
        events = serve(run, chip=chip)
    except InputError:  # a power limit below rest, pinned adapters that leave no room
        with pytest.raises(InputError):
            serve(run, chip=chip, engine="compiled")
        return compared(number, attempt + 1)
    if share is not None:
        until_s = share * events.end_s
        events = serve(run, chip=chip, until_s=until_s)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_WINDOW", 1 + number % 29)
        compiled = serve(run, chip=chip, engine="compiled", until_s=until_s)
    assert (events.engine, compiled.engine) == ("events", "compiled")
    assert not differences(compiled, events), number
    return run, events


def test_the_compiled_loop_is_the_one_in_simpy():
    """Cut off at a share of the time, too, and whatever the windows are that requests come in."""
    loads = round(LOADS * FACTORS[PROFILE] / FACTORS["nightly"])
    seen: Counter[Any] = Counter()
    for number in range(loads):
        note(seen, *compared(number))
    if loads < PAIRED:
        return
    for one, other in itertools.permutations(CROSSED, 2):
        for pair in itertools.product(CHOICES[one], CHOICES[other]):
            assert seen[one, pair[0], other, pair[1]], (one, other, pair)
    for what in ("slots", "pinned", "shared links", "power limit", "prefixes", "evicted"):
        assert seen[what] >= loads // 25, what
    for name in ("preemption", "prefill"):
        for option in CHOICES[name]:
            assert seen["preempted" if name == "preemption" else name, option], option
    if loads >= LOADS:
        met = [seen[combination] for combination in itertools.product(*map(CHOICES.get, CROSSED))]
        assert len(met) == 384 and all(met)


@pytest.mark.parametrize("issue", ["serial", "pipelined"])
@pytest.mark.parametrize("schedule", CHOICES["schedule"])
def test_so_it_is_in_long_queues(schedule, issue, monkeypatch):
    """Of more requests than a search looks at one by one, which windows cut."""
    rng = np.random.default_rng(len(schedule))
    count = 400
    workload = Workload(
        "queue",
        np.sort(rng.uniform(0, 0.02, count)),
        rng.integers(1, 250, count),
        rng.integers(1, 60, count),
        rng.integers(BASE, 6, count).astype(np.int32),
        tuple("abcdef"),
        0.02,
    )
    for window, policy in (
        (70, Policy(schedule=schedule, fairness_s=0.05)),
        (1000, Policy(schedule=schedule, reserve_s=0.05, prefetch=2, routing="round_robin")),
        (150, Policy(schedule=schedule, slots=1, admission="whole", residency="lfu")),
    ):
        monkeypatch.setattr(engine, "_WINDOW", window)
        run = machine(2, 3, issue, "shared"), workload, policy
        events = serve(run)
        assert not differences(serve(run, engine="compiled"), events)
        assert (events.start_s - workload.arrival_s > 0.02).sum() > 200


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
    plan = CardServer(server, Card(server, SMALL, ()), workload, (), Policy(), 0, "compiled").plan
    assert engine.lacks(plan) == ""
    assert engine.lacks(dataclasses.replace(plan, policy=odd)) == "routing by_length"
