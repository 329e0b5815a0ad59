"""Runs a plan in the compiled loop: lays out its arrays, and reads the record from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.cards.compiled import state
from hardwire.simulator.serving.cards.compiled.loop_jit import cut, run
from hardwire.simulator.serving.cards.compiled.state import State
from hardwire.simulator.serving.cards.plan import Outcome, Plan
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.rounds import NEVER
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS
from hardwire.simulator.serving.policies.policy import CHOICES
from hardwire.simulator.serving.policies.residency import first_use, next_use, worth_of_uses

_ARRIVALS_BETWEEN_PROGRESS = 16384  # 0.1 to 0.5 s of computing, which an interrupt waits
_EVENTS = 1 << 16
_TRANSFERS = 64

COLUMNS = (
    "start", "first", "finish", "generated", "wait", "reused", "unit", "preemptions", "hit",
)  # fmt: skip
"""What both engines note of a request, by the names of ``RequestRecord``."""


_KNOWN = {
    "residency": ("lru", "lfu", "cost", "belady"),
    "schedule": ("fcfs", "grouped", "shortest", "slo"),
    "routing": ("round_robin", "least_loaded", "affine", "affine_spill"),
    "preemption": ("recompute", "offload"),
    "admission": ("prompt", "whole"),
    "prefill": ("in_order", "in_turn"),
    "swap": ("blocking", "double_buffered", "streamed"),
}
_KNOWN_OF_POLICIES = {
    *_KNOWN, "fairness_s", "reserve_s", "spill_s", "prefetch", "slots", "prefix_reuse",
    "estimate_error", "pinned", "ttft_goal_s", "host_warm", "power_limit_w",
}  # fmt: skip
_KNOWN_OF_WORKLOADS = {
    "name", "arrival_s", "prompt", "output", "adapter", "adapters", "duration_s", "prefixes",
    "skipped",
}  # fmt: skip


def lacks(plan: Plan) -> str:
    """What of a plan the compiled loop does not have, as words; empty where it has it all.

    Fields and choices that came after it was written are lacking until they are named here.
    """
    for what, known in ((plan.policy, _KNOWN_OF_POLICIES), (plan.workload, _KNOWN_OF_WORKLOADS)):
        for field in dataclasses.fields(what):
            if field.name not in known and getattr(what, field.name) != field.default:
                return field.name.replace("_", " ")
    for name, known_choices in _KNOWN.items():
        if getattr(plan.policy, name) not in known_choices:
            return f"{name} {getattr(plan.policy, name)}"
    return ""


def serve(plan: Plan, until: int | None, progress: Callable[[int], None] | None) -> Outcome:
    """Run a plan to the end, or to tick ``until``; see ``events.Events.run``."""
    s = lay_out(plan, until)
    world, table = s.world[0], s.addresses()
    rows: list[NDArray[np.int64]] = []
    interrupted = False
    try:
        while (why := run(table.ctypes.data, _ARRIVALS_BETWEEN_PROGRESS)) != state.DONE:
            if why == state.FULL:
                rows.append(_taken(s))
            elif why == state.CROWDED:
                s = s._replace(taken=np.concatenate((s.taken, np.zeros_like(s.taken)), axis=1))
                world["transfers"], table = s.taken.shape[1], s.addresses()
            elif progress is not None:
                progress(int(world["now"]))
    except KeyboardInterrupt:
        interrupted = True
    if until is not None or interrupted:
        cut(table.ctypes.data)
    rows.append(_taken(s))
    busy = s.lines["busy"].tolist()
    return Outcome(
        _record(s, np.concatenate(rows)),
        int(world["now"]),
        compute=s.cards["busy"].tolist(),
        link=busy[:-1],
        disk=busy[-1],
        interrupted=interrupted,
    )


def _taken(s: State) -> NDArray[np.int64]:
    """The events so far, which make room for others."""
    count = int(s.world[0]["events"])
    s.world[0]["events"] = 0
    return s.events[:count].copy()


def _code(plan: Plan, name: str) -> int:
    return CHOICES[name].index(getattr(plan.policy, name))


def lay_out(plan: Plan, until: int | None) -> State:
    """The state of a plan at its begin."""
    policy, layout = plan.policy, plan.layout
    first_key, keys, kinds = _keys(plan)
    lines = plan.links + 1
    prefetch = policy.prefetch
    steps = 2 * plan.users + prefetch + 2
    adapters = _adapters(plan)
    s = State(
        world=np.zeros(1, state.WORLD),
        requests=_requests(plan),
        served=plan.served.astype(np.int64),
        cards=np.zeros(plan.cards, state.CARD),
        backlog=np.zeros(plan.cards, np.int64),
        adapters=adapters,
        here=np.zeros((plan.cards, len(adapters)), state.HERE),
        users=np.zeros((3, plan.cards, plan.users, state.TABLE_COLUMNS), np.int64),
        lines=np.zeros(lines, state.LINE),
        taken=np.zeros((lines, 2 * steps + _TRANSFERS, 2), np.int64),
        costs=_costs(plan),
        rises=plan.costs.rises,
        first_key=first_key,
        keys=keys,
        blocks=np.full((plan.cards, kinds), -1, state.BLOCK),
        soon=np.zeros(prefetch, np.int64),
        events=np.zeros((8 * steps + 4 * len(adapters) + _EVENTS, state.EVENT_COLUMNS), np.int64),
    )
    for name in ("first_block", "last_block", "first_waiting", "last_waiting", "first_returned"):
        s.cards[name] = -1
    s.cards["reserved_to"] = s.cards["aged_to"] = -1
    s.cards["tick"] = NEVER
    pinned = list(plan.pinned)
    s.cards["adapter_bytes"] = sum(layout.sizes[adapter] for adapter in pinned)
    s.cards["resident"] = len(pinned)
    s.here["place"] = -1
    s.here["resident"][:, pinned] = s.here["readers"][:, pinned] = 1
    chosen = {name: _code(plan, name) for name in ("routing", "schedule", "residency", "swap")}
    numbers = {
        "requests": len(s.requests),
        "served": len(s.served),
        "cards": plan.cards,
        "adapters": len(adapters),
        "rows": s.costs.shape[1],
        "contexts": s.costs.shape[2],
        "kinds": kinds,
        "transfers": s.taken.shape[1],
        "room": len(s.events),
        "users": plan.users,
        "page_tokens": plan.page_tokens,
        "page_bytes": layout.page_bytes,
        "block_pages": layout.block_pages,
        "block_tokens": PREFIX_BLOCK_TOKENS,
        "capacity": layout.capacity,
        "slots": layout.slots,
        "slot_bytes": layout.slot_bytes,
        "switch": plan.switch,
        "page_transfer": plan.page_transfer,
        "links": plan.links,
        "serial": plan.costs.serial,
        "one": plan.one,
        "spill": plan.spill,
        "fairness": plan.fairness,
        "reserve": -1 if plan.reserve is None else plan.reserve,
        "prefetch": prefetch,
        "whole": plan.whole,
        "in_turn": policy.prefill == "in_turn",
        "offload": policy.preemption == "offload",
        "reuse": policy.prefix_reuse,
        "until": NEVER if until is None else until,
        "arrival_tick": plan.arrival[plan.served[0]] if len(plan.served) else NEVER,
        "orders": 1,  # the first arrival comes before all that it sets
    }
    for name, value in (numbers | chosen | _warm(plan, adapters)).items():
        s.world[name] = value
    return s


def _requests(plan: Plan) -> NDArray[Any]:
    workload, table = plan.workload, np.zeros(len(plan.arrival), state.REQUEST)
    table["arrival"], table["estimate"] = plan.arrival, plan.estimate
    table["prompt"], table["output"] = workload.prompt, workload.output
    table["adapter"] = workload.adapter
    table["latest"] = plan.arrival + plan.ttft_goal - plan.estimate
    if plan.need is not None:
        table["need"] = plan.need
    if plan.policy.residency == "belady":
        table["following"] = next_use(_wanted(plan))
    for name in ("start", "first", "finish", "unit", "hit", "reached"):
        table[name] = -1
    return table


def _wanted(plan: Plan) -> NDArray[np.int64]:
    """Each request's adapter; who is refused wants none."""
    wanted = np.full(len(plan.arrival), BASE)
    wanted[plan.served] = plan.workload.adapter[plan.served]
    return wanted


def _adapters(plan: Plan) -> NDArray[Any]:
    table = np.zeros(len(plan.load), state.ADAPTER)
    table["size"], table["image_bytes"] = plan.layout.sizes, plan.image_bytes
    table["transfer"], table["load"], table["stream"] = plan.transfer, plan.load, plan.stream
    table["row"] = plan.costs.row[1:]
    table["host_bytes"], table["disk_ticks"] = plan.host_bytes, plan.disk_ticks
    table["ready"] = table["next"] = table["previous"] = -1
    table["worth"] = worth_of_uses(plan.policy.residency, plan.layout.sizes, plan.load)
    if plan.policy.residency == "belady":
        first = first_use(_wanted(plan))
        table["wanted"] = [first.get(adapter, len(plan.arrival)) for adapter in range(len(table))]
    return table


def _warm(plan: Plan, adapters: NDArray[Any]) -> dict[str, int]:
    """The first adapters are in host memory, as many as fit, where the policy says so."""
    used, count = np.cumsum(adapters["host_bytes"]), 0
    if plan.policy.host_warm:
        count = int(np.searchsorted(used, plan.host_capacity, side="right"))
    adapters["ready"][:count] = 0
    adapters["previous"][:count] = np.arange(count) - 1
    adapters["next"][:count] = np.arange(count) + 1
    adapters["next"][count - 1 : count] = -1
    return {
        "host_capacity": plan.host_capacity,
        "host_used": int(used[count - 1]) if count else 0,
        "first_host": 0 if count else -1,
        "last_host": count - 1,
    }


def _costs(plan: Plan) -> NDArray[np.int64]:
    costs = plan.costs
    return np.stack(
        (
            costs.body,
            costs.whole,
            costs.body_interval,
            costs.whole_interval,
            costs.body_sum,
            costs.whole_sum,
            costs.body_interval_sum,
            costs.whole_interval_sum,
        )
    )


def _keys(plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Places of the requests' prefix blocks, the blocks by number, and how many kinds there are."""
    prefixes, count = plan.workload.prefixes, len(plan.arrival)
    if prefixes is None or not plan.policy.prefix_reuse:
        return np.zeros(count + 1, np.int64), np.zeros(0, np.int64), 0
    adapter = np.repeat(plan.workload.adapter.astype(np.int64), np.diff(prefixes.first))
    pairs = np.stack((adapter, prefixes.hashes), axis=1)
    kinds, keys = np.unique(pairs, axis=0, return_inverse=True)
    return prefixes.first.astype(np.int64), keys.reshape(-1).astype(np.int64), len(kinds)


def _record(s: State, events: NDArray[np.int64]) -> Record:
    """The record of a run: columns of requests, and rows of events by kind."""
    record, asked = Record(len(s.requests)), s.requests
    for name in COLUMNS:
        record.fill(name, np.arange(len(asked)), asked[name])
    kind = events[:, 0]

    def rows(of: int, columns: int) -> NDArray[np.int64]:
        return events[kind == of, 1 : 1 + columns]

    record.memory.frombytes(rows(state.MEMORY, 4).tobytes())
    record.loads.frombytes(rows(state.LOAD, 5).tobytes())
    record.evictions.frombytes(rows(state.EVICTION, 3).tobytes())
    record.dropped = [(request, tokens) for request, tokens in rows(state.DROPPED, 2).tolist()]
    record.skipped = [(request, tokens) for request, tokens in rows(state.SKIPPED, 2).tolist()]
    record.kv_bytes = int(s.world[0]["kv_bytes"])
    flying = np.flatnonzero(asked["reached"] >= 0)
    reached, left = asked["reached"][flying].tolist(), asked["remaining"][flying].tolist()
    record.in_flight = dict(zip(flying.tolist(), zip(reached, left, strict=True), strict=True))
    return record
