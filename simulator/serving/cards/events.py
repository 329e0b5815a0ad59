"""The control loop of a hardwired server as SimPy events: the reference, written for reading.

SimPy carries what decides: arrivals, routing, letting in, loading adapters, ends. What lies between
is computed ahead, in compiled rounds or, token by token, in plain Python. Events of the same tick
happen in the order in which they were set; requests that arrive at one tick come together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
import simpy

from hardwire.simulator.serving.cards import rounds
from hardwire.simulator.serving.cards.card import Card, Plant
from hardwire.simulator.serving.cards.link import HostMemory, Line
from hardwire.simulator.serving.cards.plan import Outcome, Plan
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.policies.prefix import Key
from hardwire.simulator.serving.policies.queueing import make_queues
from hardwire.simulator.serving.policies.residency import Future, make_residency
from hardwire.simulator.serving.policies.routing import make_router

_ARRIVALS_BETWEEN_PROGRESS = 256


class Events:
    """One run of a plan: cards, links and host memory on one SimPy clock.

    Parameters
    ----------
    plan
    walk : whether every token is walked in plain Python.
    """

    def __init__(self, plan: Plan, *, walk: bool) -> None:
        self.plan, policy = plan, plan.policy
        self.env = simpy.Environment()
        self.record = Record(len(plan.arrival))
        self.estimate: list[int] = plan.estimate.tolist()
        self.links = [Line() for _ in range(plan.links)]
        self.host = HostMemory(
            plan.host_capacity, plan.host_bytes, plan.disk_ticks, warm=policy.host_warm
        )
        advance = rounds.reference if walk else rounds.compiled
        workload = plan.workload
        plant = Plant(
            **vars(plan),
            env=self.env,
            advance=advance(plan.costs, plan.page_tokens, in_turn=policy.prefill == "in_turn"),
            prompt=workload.prompt.tolist(),
            output=workload.output.tolist(),
            adapter=workload.adapter.tolist(),
            prefix_keys=partial(_prefix_keys, workload),
            prefilled=[0] * len(workload)
            if workload.prefilled is None
            else workload.prefilled.tolist(),
            record=self.record,
        )
        self.closed = workload.concurrency is not None
        self.arrival: list[int] = plan.arrival.tolist()  # of a closed loop filled as they come
        self._places = simpy.Container(self.env, init=workload.concurrency or 0)
        self._came = 0
        self.router = make_router(policy.routing, plan.cards, spill=plan.spill)
        wanted = np.full(len(workload), BASE)
        wanted[plan.served] = workload.adapter[plan.served]
        future = Future(wanted)
        queues = make_queues(
            policy.schedule,
            plan.cards,
            arrival=self.arrival,
            adapter=workload.adapter,
            estimate=self.estimate,
            deadline=plan.arrival + plan.ttft_goal,
            fairness=plan.fairness,
            reserve=plan.reserve,
            need=plan.need,
        )
        self.cards = [
            Card(
                number,
                plant,
                queues[number],
                make_residency(
                    policy.residency, sizes=plan.layout.sizes, load_time=plan.load, future=future
                ),
                self.links[number % plan.links],
                self.host,
                plan.pinned,
                partial(self._ended, number),
            )
            for number in range(plan.cards)
        ]

    def run(self, until: int | None, progress: Callable[[int], None] | None) -> Outcome:
        """Go on to the end, or to tick ``until``; ``progress`` is called with the tick at times."""
        self.env.process(self._as_places_free() if self.closed else self._arrivals(progress))
        interrupted = False
        try:
            self.env.run(until=until)
        except KeyboardInterrupt:
            interrupted = True
        now = int(self.env.now)
        if until is not None or interrupted:
            for card in self.cards:
                card.cut_off(now)
        came = [self.arrival[request] for request in self.plan.served[: self._came].tolist()]
        return Outcome(
            self.record,
            now,
            compute=[card.busy for card in self.cards],
            link=[line.busy for line in self.links],
            disk=self.host.disk.busy,
            interrupted=interrupted,
            came=np.array(came, np.int64) if self.closed else None,
        )

    def _arrivals(
        self, progress: Callable[[int], None] | None
    ) -> Generator[simpy.Event, Any, None]:
        env, cards, served = self.env, self.cards, self.plan.served
        adapter, estimate = self.plan.workload.adapter.tolist(), self.estimate
        route, timeout = self.router.route, env.timeout
        for count, (request, tick) in enumerate(
            zip(served.tolist(), self.plan.arrival[served].tolist(), strict=True)
        ):
            if tick > env.now:
                yield timeout(tick - env.now)
            cards[route(request, adapter[request], estimate[request])].submit(request)
            if progress is not None and count % _ARRIVALS_BETWEEN_PROGRESS == 0:
                progress(int(env.now))

    def _as_places_free(self) -> Generator[simpy.Event, Any, None]:
        """The arrivals of a closed loop: each request takes a place, which its end gives back."""
        adapter, estimate = self.plan.workload.adapter.tolist(), self.estimate
        for request in self.plan.served.tolist():
            yield self._places.get(1)
            self.arrival[request] = int(self.env.now)
            self._came += 1
            card = self.router.route(request, adapter[request], estimate[request])
            self.cards[card].submit(request)

    def _ended(self, card: int, request: int) -> None:
        self.router.done(card, self.estimate[request])
        if self.closed:
            self._places.put(1)


def _prefix_keys(workload: Workload, request: int) -> tuple[Key, ...]:
    prefixes = workload.prefixes
    if prefixes is None:
        return ()
    begin, end = prefixes.first[request], prefixes.first[request + 1]
    adapter = int(workload.adapter[request])
    return tuple((adapter, block) for block in prefixes.hashes[begin:end].tolist())
