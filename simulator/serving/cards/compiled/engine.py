"""Runs a plan in the compiled loop: feeds its requests, and keeps what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.cards.compiled import state
from hardwire.simulator.serving.cards.compiled.windows import Loop, needs_all
from hardwire.simulator.serving.cards.plan import Outcome, Plan
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.rounds import NEVER
from hardwire.simulator.serving.policies.policy import CHOICES, Routing

_WINDOW = 1 << 15
"""Requests that the loop knows at a time: 7 MB of records, which are written once, not paged in
anew for each."""

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
    "skipped", "prefilled",
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
    loop, kept, interrupted = _served(plan, until, progress, 1, 0)
    record = kept.of_all()
    return loop.outcome(0, record, interrupted=interrupted)


def serve_together(
    plan: Plan,
    until: int | None,
    progress: Callable[[int], None] | None,
    *,
    servers: int,
    routing: Routing,
) -> tuple[NDArray[np.int64], list[Outcome]]:
    """The same on several like servers, on one clock, each request sent to one of them.

    Returns
    -------
    sent : (N,) the server of each request of the plan; -1 of those that are refused, or did not
        come before ``until``.
    outcomes : of each server; its record is of the requests that were sent to it, in order.
    """
    chosen = CHOICES["routing"].index(routing)
    loop, kept, interrupted = _served(plan, until, progress, servers, chosen)
    return kept.sent, [
        loop.outcome(server, kept.of_server(server), interrupted=interrupted)
        for server in range(servers)
    ]


def _served(
    plan: Plan,
    until: int | None,
    progress: Callable[[int], None] | None,
    servers: int,
    routing: int,
) -> tuple[Loop, Kept, bool]:
    """A loop at its end, what was kept of it, and whether it was interrupted."""
    count = len(plan.served)
    size = count if needs_all(plan) else _WINDOW
    loop = Loop(plan, until, servers=servers, routing=routing)
    kept = Kept(len(plan.arrival), servers)
    interrupted = False
    try:
        for begin in range(0, max(count, 1), max(size, 1)):
            end = begin + size
            after = int(plan.arrival[plan.served[end]]) if end < count else NEVER
            loop.feed(plan.asked(begin, end), after)
            if not loop.run(kept.events, progress):
                break
            kept.requests(*loop.ended())
    except KeyboardInterrupt:
        interrupted = True
    if until is not None or interrupted:
        loop.cut()
    kept.requests(*loop.all())
    return loop, kept, interrupted


class Kept:
    """Keeps what windows bring.

    Attributes
    ----------
    sent : (N,) the server of each request, -1 for none so far.
    each : of each server, a record of events alone.
    """

    def __init__(self, requests: int, servers: int) -> None:
        self.sent = np.full(requests, -1)
        self._all = Record(requests)
        self.each = [Record(0) for _ in range(servers)]

    def events(self, server: int, rows: NDArray[np.int64]) -> None:
        """Add events, whose requests are numbered as the plan has them."""
        record, kind = self.each[server], rows[:, 0]

        def of(which: int, columns: int) -> NDArray[np.int64]:
            return rows[kind == which, 1 : 1 + columns]

        record.memory.frombytes(of(state.MEMORY, 4).tobytes())
        record.loads.frombytes(of(state.LOAD, 5).tobytes())
        record.evictions.frombytes(of(state.EVICTION, 3).tobytes())
        record.dropped += [(request, tokens) for request, tokens in of(state.DROPPED, 2).tolist()]
        record.skipped += [(request, tokens) for request, tokens in of(state.SKIPPED, 2).tolist()]

    def requests(self, numbers: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Add what became of requests by now."""
        self.sent[numbers] = rows["server"]
        for name in COLUMNS:
            self._all.fill(name, numbers, rows[name])
        flying = np.flatnonzero(rows["reached"] >= 0)
        for who, reached, left in zip(
            numbers[flying].tolist(), rows["reached"][flying].tolist(),
            rows["remaining"][flying].tolist(), strict=True,
        ):  # fmt: skip
            self._all.in_flight[who] = reached, left

    def of_all(self) -> Record:
        """What became of the requests of the plan, which one server serves."""
        record, (events,) = self._all, self.each
        record.memory, record.loads, record.evictions = (
            events.memory,
            events.loads,
            events.evictions,
        )
        record.dropped, record.skipped = events.dropped, events.skipped
        return record

    def of_server(self, server: int) -> Record:
        """What became of the requests that were sent to a server, numbered as they came there."""
        events = self.each[server]
        mine = np.flatnonzero(self.sent == server)
        number = dict(zip(mine.tolist(), range(len(mine)), strict=True))
        record = Record(len(mine))
        for name in COLUMNS:
            record.fill(name, np.arange(len(mine)), np.asarray(getattr(self._all, name))[mine])
        record.memory, record.loads, record.evictions = (
            events.memory,
            events.loads,
            events.evictions,
        )
        record.dropped = [(number[request], tokens) for request, tokens in events.dropped]
        record.skipped = [(number[request], tokens) for request, tokens in events.skipped]
        flying = self._all.in_flight
        record.in_flight = {number[who]: flying[who] for who in flying.keys() & number.keys()}
        return record
