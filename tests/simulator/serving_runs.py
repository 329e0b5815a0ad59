"""Random workloads, policies and machines for the laws of a hardwired server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.serving.cards import hardware as cards
from hardwire.simulator.serving.load.workload import BASE, Prefixes, Workload
from hardwire.simulator.serving.log import ServingLog
from hardwire.simulator.serving.policies.policy import CHOICES, Policy
from hardwire.simulator.serving.replay import replay
from hardwire.simulator.supply import supply
from hardwire.simulator.swap import swap_latency

MODEL = LanguageModel.open("llama-3.1-8b")
SHAPES = [
    Adapter.from_shape(shape, MODEL)
    for shape in ("r1:qv:int8", "r4:attention:int8", "r8:qv:int4", "r2:all-linear:int8")
]
SMALL = Chip.open("hc1").with_values({"sram.capacity_mib": 24})
LAWS = examples(30, HealthCheck.filter_too_much)


def machine(cards: int, users: int, issue: str, links: str) -> Server:
    server = Server.open("hc1x10")
    small = dataclasses.replace(server.machine, cards=cards, users_per_card=users, links=links)
    return dataclasses.replace(server, issue=issue, machine=small)


@st.composite
def workloads(draw, most=24):
    count = draw(st.integers(1, most))
    adapters = draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    span = draw(st.sampled_from([0.0, 1e-3, 1e-2, 0.1]))
    prompt = rng.integers(1, draw(st.sampled_from([3, 40, 200])), count, endpoint=True)
    first = np.zeros(count + 1, dtype=np.int64)
    return Workload(
        name="random",
        arrival_s=np.sort(rng.uniform(0, span, count)) if span else np.zeros(count),
        prompt=prompt,
        output=rng.integers(1, draw(st.sampled_from([1, 20, 150])), count, endpoint=True),
        adapter=rng.integers(BASE, adapters, count).astype(np.int32),
        adapters=tuple(f"a{number}" for number in range(adapters)),
        duration_s=span,
        prefixes=Prefixes(first, np.zeros(0, dtype=np.int64)),
    )


@st.composite
def policies(draw):
    chosen = {name: draw(st.sampled_from(options)) for name, options in CHOICES.items()}
    return Policy(
        **chosen,
        fairness_s=draw(st.sampled_from([0.0, 1e-3, 1.0])),
        reserve_s=draw(st.sampled_from([None, None, 0.0, 1e-3, 1e-2])),
        spill_s=draw(st.sampled_from([0.0, 1e-2])),
        prefetch=draw(st.integers(0, 3)),
        slots=draw(st.sampled_from([None, 1, 2])),
        estimate_error=draw(st.sampled_from([0.0, 0.5])),
        host_warm=draw(st.booleans()),
    )


machines = st.builds(
    machine,
    cards=st.integers(1, 3),
    users=st.sampled_from([1, 2, 5]),
    issue=st.sampled_from(["serial", "pipelined"]),
    links=st.sampled_from(["each", "shared"]),
)
runs = st.tuples(machines, workloads(), policies())


class Once:
    """What a function says of a chip of the tests and one of the shapes, asked once.

    A run of a few requests takes a tenth of the time of the walk through the datapath that its
    adapters' loads are found by.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.known = function, {}

    def __call__(self, chip: Chip, model: LanguageModel, adapter: Adapter, **hints: Any) -> Any:
        key = id(chip), id(adapter)  # those of this file and of the tests stay
        if key not in self.known:
            self.known[key] = self.function(chip, model, adapter, **hints)
        return self.known[key]


ONCE = {"swap_latency": Once(swap_latency), "supply": Once(supply)}


def serve(run, how: Callable[..., Any] = replay, **options) -> Any:
    """A run by ``replay``, or by another function of the same parameters."""
    server, workload, policy = run
    options = {"chip": SMALL, **options}
    shapes = [SHAPES[number % len(SHAPES)] for number in range(len(workload.adapters))]
    with pytest.MonkeyPatch.context() as patch:
        for name, function in ONCE.items():
            patch.setattr(cards, name, function)
        return how(server, workload, shapes, policy, **options)


def columns(log: ServingLog) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in log.to_arrays().items()}


def differences(one: ServingLog, other: ServingLog) -> list[str]:
    """Names of what two logs do not agree on; joules may differ by 1e-9 of themselves."""
    pairs: dict[str, tuple[Any, Any]] = {
        name: (values, other.to_arrays()[name]) for name, values in one.to_arrays().items()
    }
    for name in ("unit", "time_s", "kv_bytes", "adapter_bytes"):
        pairs[f"occupancy {name}"] = (getattr(one.occupancy, name), getattr(other.occupancy, name))
    for mine, theirs in zip(one.spans, other.spans, strict=True):
        for name in ("unit", "adapter", "begin_s", "end_s", "bytes"):
            pairs[f"{mine.kind} {name}"] = (getattr(mine, name), getattr(theirs, name))
    pairs |= {f"busy {name}": (busy, other.busy_s[name]) for name, busy in one.busy_s.items()}
    pairs["end"] = (np.array(one.end_s), np.array(other.end_s))
    found = [name for name, (a, b) in pairs.items() if a.tobytes() != b.tobytes()]
    for part, joules in one.energy_by_j.items():
        if joules != pytest.approx(other.energy_by_j[part], rel=1e-9, abs=1e-12):
            found.append(f"energy of {part}")
    return found
