"""Lays out the arrays of the compiled loop: servers at their begin, and requests to be fed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.cards.compiled import state
from hardwire.simulator.serving.cards.compiled.state import State
from hardwire.simulator.serving.cards.plan import Asked, Plan
from hardwire.simulator.serving.cards.rounds import NEVER
from hardwire.simulator.serving.load.workload import PREFIX_BLOCK_TOKENS
from hardwire.simulator.serving.policies.policy import CHOICES
from hardwire.simulator.serving.policies.residency import first_use, next_use, worth_of_uses

_EVENTS = 1 << 16
_TRANSFERS = 64


def _code(plan: Plan, name: str) -> int:
    return CHOICES[name].index(getattr(plan.policy, name))


def lay_out(plan: Plan, until: int | None, servers: int = 1) -> list[State]:
    """The states of like servers on one clock at its begin, before the first request is fed."""
    fleet = np.zeros(1, state.FLEET)
    fleet["servers"], fleet["spill"] = servers, plan.spill
    fleet["after"] = fleet["arrival_tick"] = NEVER
    loads = np.zeros(servers, np.int64)
    costs = _costs(plan)
    return [_server(plan, until, fleet, loads, costs) for _ in range(servers)]


def _server(
    plan: Plan,
    until: int | None,
    fleet: NDArray[Any],
    loads: NDArray[np.int64],
    costs: NDArray[np.int64],
) -> State:
    policy, layout = plan.policy, plan.layout
    lines = plan.links + 1
    prefetch = policy.prefetch
    steps = 2 * plan.users + prefetch + 2
    adapters = _adapters(plan)
    room = 8 * steps + 4 * len(adapters) + _EVENTS // len(loads)
    s = State(
        fleet=fleet,
        loads=loads,
        world=np.zeros(1, state.WORLD),
        requests=np.zeros(0, state.REQUEST),
        waits=np.zeros((plan.cards, 0), np.int64),
        least=np.zeros((plan.cards, 0), np.int64),
        cards=np.zeros(plan.cards, state.CARD),
        backlog=np.zeros(plan.cards, np.int64),
        adapters=adapters,
        here=np.zeros((plan.cards, len(adapters)), state.HERE),
        users=np.zeros((3, plan.cards, plan.users, state.TABLE_COLUMNS), np.int64),
        lines=np.zeros(lines, state.LINE),
        taken=np.zeros((lines, 2 * steps + _TRANSFERS, 2), np.int64),
        costs=costs,
        rises=plan.costs.rises,
        first_key=np.zeros(1, np.int64),
        keys=np.zeros(0, np.int64),
        blocks=np.zeros((plan.cards, 0), state.BLOCK),
        soon=np.zeros(prefetch, np.int64),
        events=np.zeros((room, state.EVENT_COLUMNS), np.int64),
    )
    for name in ("first_block", "last_block", "first_waiting", "last_waiting", "first_returned"):
        s.cards[name] = -1
    s.cards["reserved_to"] = s.cards["aged_to"] = -1
    s.cards["tick"] = s.cards["least_need"] = NEVER
    pinned = list(plan.pinned)
    s.cards["adapter_bytes"] = sum(layout.sizes[adapter] for adapter in pinned)
    s.cards["resident"] = len(pinned)
    s.here["place"] = -1
    s.here["resident"][:, pinned] = s.here["readers"][:, pinned] = 1
    chosen = {name: _code(plan, name) for name in ("routing", "schedule", "residency", "swap")}
    numbers = {
        "cards": plan.cards,
        "adapters": len(adapters),
        "rows": s.costs.shape[1],
        "contexts": s.costs.shape[2],
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
        "last": -1,
        "orders": 1,  # the first arrival comes before all that it sets
    }
    for name, value in (numbers | chosen | _warm(plan, adapters)).items():
        s.world[name] = value
    return s


def enter(plan: Plan, asked: Asked, table: NDArray[Any]) -> None:
    """Fill (N,) of REQUEST that are zero with requests that did not come yet."""
    table["arrival"], table["estimate"] = asked.arrival, asked.estimate
    table["prompt"], table["output"] = asked.prompt, asked.output
    table["adapter"] = asked.adapter
    table["latest"] = asked.arrival + plan.ttft_goal - asked.estimate
    if asked.prefilled is not None:
        table["prefilled"] = asked.prefilled
    if asked.need is not None:
        table["need"] = asked.need
    for name in ("server", "queue", "start", "first", "finish", "unit", "hit", "reached"):
        table[name] = -1


def grouped(
    plan: Plan, table: NDArray[Any], server: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``waits`` and ``least`` of a server, of requests of which some wait."""
    groups = -(-len(table) // state.GROUP)
    waits = np.zeros((plan.cards, groups), np.int64)
    least = np.full((plan.cards, groups), NEVER)
    who = np.flatnonzero((table["queue"] >= 0) & (table["server"] == server))
    where = table["queue"][who], who // state.GROUP
    np.bitwise_or.at(waits, where, np.left_shift(1, who % state.GROUP))
    np.minimum.at(least, where, table["need"][who])
    return waits, least


def with_all(s: State, plan: Plan, asked: Asked) -> State:
    """What has to know all requests at once: who is wanted next, and the blocks of prefixes.

    ``s.requests`` are those.
    """
    if plan.policy.residency == "belady":
        s.requests["following"] = next_use(asked.adapter)
        first = first_use(asked.adapter)
        s.adapters["wanted"] = [first.get(place, len(asked)) for place in range(len(s.adapters))]
    if asked.prefixes is None:
        return s._replace(first_key=np.zeros(len(asked) + 1, np.int64))
    adapter = np.repeat(asked.adapter.astype(np.int64), np.diff(asked.prefixes.first))
    pairs = np.stack((adapter, asked.prefixes.hashes), axis=1)
    kinds, keys = np.unique(pairs, axis=0, return_inverse=True)
    s.world["kinds"] = len(kinds)
    return s._replace(
        first_key=asked.prefixes.first.astype(np.int64),
        keys=keys.reshape(-1).astype(np.int64),
        blocks=np.full((plan.cards, len(kinds)), -1, state.BLOCK),
    )


def _adapters(plan: Plan) -> NDArray[Any]:
    table = np.zeros(len(plan.load), state.ADAPTER)
    table["size"], table["image_bytes"] = plan.layout.sizes, plan.image_bytes
    table["transfer"], table["load"], table["stream"] = plan.transfer, plan.load, plan.stream
    table["row"] = plan.costs.row[1:]
    table["host_bytes"], table["disk_ticks"] = plan.host_bytes, plan.disk_ticks
    table["ready"] = table["next"] = table["previous"] = -1
    table["worth"] = worth_of_uses(plan.policy.residency, plan.layout.sizes, plan.load)
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
