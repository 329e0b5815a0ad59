"""A server of hardwired chips under a workload: what it is, which engine runs it, and its log.

The clock counts cycles of the chip. Two engines give the same log, to the tick: ``events``, in
SimPy, is written for reading; ``compiled`` has the same rules over flat arrays.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.errors import InputError
from hardwire.models.server import Cards
from hardwire.simulator.serving.cards.hardware import PAGE_TOKENS, Hardware, ticks_of
from hardwire.simulator.serving.cards.plan import Asked, Outcome, Plan
from hardwire.simulator.serving.cards.record import Record, rows_of
from hardwire.simulator.serving.cards.sram import Layout
from hardwire.simulator.serving.closed_loop import with_refused
from hardwire.simulator.serving.load.synthetic import stream
from hardwire.simulator.serving.load.workload import PREFIX_BLOCK_TOKENS, Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans, Status
from hardwire.simulator.serving.policies.policy import Policy, Routing

Engine = Literal["events", "compiled", "reference"]
"""SimPy events with compiled rounds of tokens; all compiled; SimPy with every token walked."""


class CardServer:
    """The moving parts of one replay; for parameters see ``hardwire.simulator.serving.replay``."""

    def __init__(
        self,
        server: Cards,
        hardware: Hardware,
        workload: Workload,
        adapters: Sequence[Adapter],
        policy: Policy,
        seed: int,
        engine: Engine,
    ) -> None:
        if len(adapters) != len(workload.adapters):
            raise ValueError("every adapter of the workload needs its shape")
        self.server, self.workload, self.policy = server, workload, policy
        self.hardware, self.engine = hardware, engine
        self.model = model = hardware.model
        machine = server.machine
        capacity, page_bytes = hardware.capacity, hardware.page_bytes
        sizes = [hardware.rooms[id(adapter)] for adapter in adapters]
        usable = [hardware.usable[id(adapter)] for adapter in adapters]
        pinned = _pinned(policy, workload)
        slot_bytes = 0
        if policy.slots is not None:
            slot_bytes = max((s for s, ok in zip(sizes, usable, strict=True) if ok), default=0)
            if len(pinned) > policy.slots:
                raise InputError(f"pinned: {len(pinned)} adapters are more than the slots")
        fixed = policy.slots * slot_bytes if policy.slots else sum(sizes[a] for a in pinned)
        if fixed + page_bytes > capacity:
            what = f"{policy.slots} adapter slots" if policy.slots else "pinned adapters"
            raise InputError(
                f"{server.name}: {what} of {fixed / BYTES_PER_MIB:,.1f} MiB leave no room for KV "
                f"in {capacity / BYTES_PER_MIB:g} MiB of SRAM"
            )
        hardware.check(policy.slots)
        self.capacity, self.page_bytes = capacity, page_bytes
        self._refuse = partial(self._refusals, sizes, usable, fixed, set(pinned))
        self.status = self._refuse(workload)
        longest = min(model.max_position, capacity // page_bytes * PAGE_TOKENS)
        self.costs = costs = hardware.costs(
            adapters, longest, server.card_limit_w(policy.power_limit_w)
        )
        swaps = hardware.swaps(costs)
        hertz = costs.clock_hz
        switch = round(hardware.switch_s * hertz)

        def swap_ticks(mode: str) -> list[int]:
            ticks = {key: round(getattr(s, mode) * hertz) - switch for key, s in swaps.items()}
            return [ticks.get(id(adapter), 0) for adapter in adapters]

        ways = [hardware.ways[id(adapter)] for adapter in adapters]
        rng = stream(seed, "estimates")
        if workload.concurrency is not None and policy.schedule == "slo":
            raise InputError(
                "--concurrency: deadlines are known only when requests come, so --schedule slo "
                "cannot rank by them"
            )
        users = hardware.users
        self.plan = Plan(
            costs=costs,
            policy=policy,
            workload=workload,
            page_tokens=PAGE_TOKENS,
            layout=Layout(
                capacity=capacity,
                page_bytes=page_bytes,
                block_pages=PREFIX_BLOCK_TOKENS // PAGE_TOKENS,
                sizes=sizes,
                # Where no adapter can ever be loaded there is nothing to be a slot.
                slots=policy.slots or 0 if slot_bytes else 0,
                slot_bytes=slot_bytes,
            ),
            cards=server.cards,
            links=1 if machine.links == "shared" else server.cards,
            users=users,
            transfer=[int(np.ceil(way.image_bytes / way.bytes_per_s * hertz)) for way in ways],
            load=swap_ticks("warm"),
            stream=swap_ticks("streamed"),
            image_bytes=[int(way.image_bytes) for way in ways],
            switch=switch,
            page_transfer=ticks_of(hardware.page_s, hertz),
            host_capacity=int(machine.host_memory_gib * 2**30),
            host_bytes=[int(way.host_bytes) for way in ways],
            disk_ticks=[round(hertz * way.disk_s) for way in ways],
            pinned=pinned,
            arrival=np.ceil(workload.arrival_s * hertz).astype(np.int64),
            served=np.flatnonzero(self.status == Status.UNFINISHED),
            estimate=self._estimates(workload, rng),
            need=None if policy.prefix_reuse else self._needs(workload),
            spill=round(policy.spill_s * hertz),
            fairness=round(policy.fairness_s * hertz),
            reserve=None if policy.reserve_s is None else round(policy.reserve_s * hertz),
            ttft_goal=round(policy.ttft_goal_s * hertz),
        )

    def _refusals(
        self,
        sizes: list[int],
        usable: list[bool],
        fixed: int,
        pinned: set[int],
        workload: Workload,
    ) -> NDArray[np.int8]:
        """What can never be served, by request; the others count as unfinished so far."""
        status = np.full(len(workload), Status.UNFINISHED, dtype=np.int8)
        tokens = workload.prompt + workload.output
        pages = -(-(tokens - 1) // PAGE_TOKENS)
        free = np.array([*(self.capacity - fixed - s for s in sizes), self.capacity - fixed])
        if self.policy.slots:
            free[:] = self.capacity - fixed
        for adapter in pinned:
            free[adapter] = self.capacity - fixed
        status[pages * self.page_bytes > free[workload.adapter]] = Status.TOO_LONG
        status[tokens > self.model.max_position] = Status.TOO_LONG
        never = np.array([not ok or free[a] < self.page_bytes for a, ok in enumerate(usable)], bool)
        wanted = workload.adapter >= 0
        status[wanted] = np.where(
            never[workload.adapter[wanted]], Status.ADAPTER_TOO_BIG, status[wanted]
        )
        return status

    def _needs(self, workload: Workload) -> NDArray[np.int64]:
        """Tokens that each request needs room for when it is first let in."""
        whole = self.policy.admission == "whole" or self.hardware.users == 1
        needs: NDArray[np.int64] = workload.prompt + int(whole) * (workload.output - 1)
        return needs

    def asked(
        self, workload: Workload, first: int, rng: np.random.Generator
    ) -> tuple[Asked, NDArray[np.int8]]:
        """Requests that come later than those of the plan, and the statuses of all of them.

        Parameters
        ----------
        workload : without prefixes that are reused.
        first : number of its first request.
        rng : draws the errors of expected lengths, for one part of a load after the other.
        """
        status = self._refuse(workload)
        who = np.flatnonzero(status == Status.UNFINISHED)
        some = workload.take(who)
        estimate = self._estimates(workload, rng)[who]
        arrival = np.ceil(some.arrival_s * self.costs.clock_hz).astype(np.int64)
        return Asked(
            who + first, arrival, some.prompt, some.output, some.adapter, estimate,
            self._needs(some),
        ), status  # fmt: skip

    def _estimates(self, workload: Workload, rng: np.random.Generator) -> NDArray[np.int64]:
        """Ticks that a request is expected to take, with the policy's error in its output."""
        costs = self.costs
        longest = costs.body.shape[1] - 1
        output = workload.output.astype(float)
        if self.policy.estimate_error:
            output *= rng.lognormal(0.0, self.policy.estimate_error, len(output))
        row = np.array(costs.row)[workload.adapter + 1]
        prompt = np.minimum(workload.prompt, longest)
        last = np.minimum(prompt + np.maximum(np.rint(output), 1).astype(np.int64) - 1, longest)
        decode = costs.whole_sum[row, last] - costs.whole_sum[row, prompt - 1]
        ticks: NDArray[np.int64] = costs.body_sum[row, prompt - 1] + decode
        if workload.prefilled is not None:
            ticks = ticks - costs.body_sum[row, np.minimum(workload.prefilled, prompt - 1)]
        return ticks

    def resumed(self, order: NDArray[np.int64], arrival_s: NDArray[np.float64]) -> CardServer:
        """The same server for some of its requests, in another order and at other times.

        Parameters
        ----------
        order : (M,) places of requests that are not refused.
        arrival_s : (M,) when they come, never falling.
        """
        other, plan = copy.copy(self), self.plan
        last_s = max(float(arrival_s.max(initial=0.0)), self.workload.duration_s)
        # In another order, the times at which they first came would not rise.
        timeless = dataclasses.replace(
            self.workload, arrival_s=np.zeros(len(self.workload)), duration_s=last_s
        )
        taken = timeless.take(order)
        other.workload = dataclasses.replace(taken, arrival_s=arrival_s, duration_s=last_s)
        other.status = self.status[order]
        other.plan = dataclasses.replace(
            plan,
            workload=other.workload,
            arrival=np.ceil(arrival_s * self.costs.clock_hz).astype(np.int64),
            served=np.arange(len(order)),
            estimate=plan.estimate[order],
            need=None if plan.need is None else plan.need[order],
        )
        return other

    def serve(self, until_s: float | None, progress: Callable[[float], None] | None) -> ServingLog:
        """Run to the end, or until it is cut off; what happened."""
        hertz = self.costs.clock_hz
        until = None if until_s is None else max(1, round(until_s * hertz))

        def tell(tick: int) -> None:
            if progress is not None:
                progress(tick / hertz)

        engine_name: str = self.engine
        walk = self.engine == "reference" and self.costs.program is not None
        if self.engine == "reference" and not walk:
            engine_name = "events (the reference walks tokens of one chip, not of several dies)"
        if self.engine == "compiled":
            # Numba only where it runs, and SimPy only where it does.
            from hardwire.simulator.serving.cards.compiled import engine  # noqa: PLC0415

            lacking = engine.lacks(self.plan)
            if not lacking:
                return self.log(engine.serve(self.plan, until, tell), "compiled")
            engine_name = f"events ({lacking} is not compiled)"
        from hardwire.simulator.serving.cards.events import Events  # noqa: PLC0415

        events = Events(self.plan, walk=walk)
        return self.log(events.run(until, tell), engine_name)

    def serve_together(
        self,
        servers: int,
        routing: Routing,
        until_s: float | None,
        progress: Callable[[float], None] | None,
    ) -> tuple[NDArray[np.int64], list[ServingLog]]:
        """Run several like servers on one clock, in the compiled loop.

        Returns
        -------
        sent : (N,) the server of each request; -1 where it is refused or did not come any more.
        logs : of each server, of the requests that were sent to it.

        Raises
        ------
        InputError
            If the policy or the load has something that the loop lacks, or looks ahead.
        """
        from hardwire.simulator.serving.cards.compiled import engine  # noqa: PLC0415

        hertz = self.costs.clock_hz
        if lacking := engine.lacks(self.plan):
            raise InputError(f"servers: {lacking} is not of servers on one clock")
        if self.policy.residency == "belady":
            raise InputError(
                f"servers: who gets a request under {routing} is not known ahead, as residency "
                "belady asks"
            )
        sent, outcomes = engine.serve_together(
            self.plan,
            None if until_s is None else max(1, round(until_s * hertz)),
            lambda tick: progress(tick / hertz) if progress else None,
            servers=servers,
            routing=routing,
        )
        logs = []
        for number, outcome in enumerate(outcomes):
            mine = np.flatnonzero(sent == number)
            logs.append(self.part(self.workload.take(mine), self.status[mine], outcome))
        return sent, logs

    def _came_s(self, outcome: Outcome) -> NDArray[np.float64] | None:
        """Arrivals of a closed loop, s; NaN where it never came to a request."""
        if outcome.came is None:
            return None
        at = np.full(len(self.plan.served), np.nan)
        at[: len(outcome.came)] = outcome.came / self.costs.clock_hz
        return with_refused(self.plan.served, at, len(self.workload))

    def part(self, workload: Workload, status: NDArray[np.int8], outcome: Outcome) -> ServingLog:
        """The log of other requests than those of the plan, that the compiled loop served."""
        other = copy.copy(self)
        other.workload, other.status = workload, status
        return other.log(outcome, "compiled")

    def log(self, outcome: Outcome, engine: str) -> ServingLog:
        """What an engine says of the requests, in seconds and joules."""
        record, hertz = outcome.record, self.costs.clock_hz
        self.status[np.asarray(record.finish) >= 0] = Status.COMPLETED
        came_s = self._came_s(outcome)
        arrival_s = self.workload.arrival_s if came_s is None else came_s
        columns = record.columns(self.status, arrival_s, hertz)
        done, finish = self.status == Status.COMPLETED, columns["finish_s"]
        end_s = float(np.nanmax(finish, initial=float(self.workload.duration_s)))
        if (self.status == Status.UNFINISHED).any():  # cut off
            end_s = max(outcome.now / hertz, float(np.max(finish[done], initial=0.0)))
        elif done.any():
            end_s = float(np.nanmax(finish))
        memory = rows_of(record.memory, 4)
        energy = self._energy(record, done, end_s)
        machine = self.server.machine
        loads = rows_of(record.loads, 5)
        out = rows_of(record.evictions, 3)
        definitions = {
            "start": "let in by its card: its prefill begins, or waits for its adapter only",
            "hit": "its adapter was complete in SRAM when the request was let in",
            "swap": "a load of an adapter into SRAM",
        }
        ahead = self.policy.known_ahead(self.hardware.users, self.server.cards)
        if ahead:
            definitions["output lengths"] = f"known ahead, as no server has them: {ahead}"
        if outcome.interrupted:
            definitions["interrupted"] = f"at {outcome.now / hertz:.1f} s of the simulated time"
        return ServingLog(
            **columns,
            units=tuple(f"{self.hardware.unit} {number}" for number in range(self.server.cards)),
            busy_s={
                "compute": np.array(outcome.compute) / hertz,
                "link": np.array(outcome.link) / hertz,
                "disk": np.array([outcome.disk]) / hertz,
            },
            capacity_bytes=self.capacity,
            spans=(
                _spans("adapter load", loads[:, :2], loads[:, 2:4] / hertz, loads[:, 4]),
                _spans("evict", out[:, :2], out[:, [2, 2]] / hertz, np.zeros(len(out), np.int64)),
            ),
            occupancy=Occupancy(
                memory[:, 0].astype(np.int32),
                memory[:, 1] / hertz,
                memory[:, 2] * self.page_bytes,
                memory[:, 3],
            ),
            end_s=end_s,
            energy_j=sum(energy.values()),
            energy_by_j=energy,
            rest_w=self._rest_w(),
            capex_usd_per_s=machine.capex_usd_per_s,
            energy_usd_per_j=machine.energy_usd_per_j,
            swaps=len(loads),
            definitions=definitions,
            arrival_s=came_s,
            engine=engine,
        )

    def _energy(self, record: Record, done: NDArray[np.bool_], end_s: float) -> dict[str, float]:
        """Joules of the server from 0 to ``end_s``: of tokens that were computed, of adapters and
        KV pages that moved over the host links, and at rest."""
        costs, workload = self.costs, self.workload
        rows = np.array(costs.row)[workload.adapter + 1]
        prompt, output = workload.prompt[done], workload.output[done]
        body, whole = np.cumsum(costs.body_j, axis=1), np.cumsum(costs.whole_j, axis=1)
        prefill = float(body[rows[done], prompt - 1].sum())
        decode = float(
            (whole[rows[done], prompt + output - 1] - whole[rows[done], prompt - 1]).sum()
        )
        again = 0.0
        reached: dict[int, int] = {}  # by request, the most tokens that a preemption threw away
        for request, reused in record.skipped:
            prefill -= body[rows[request], reused]
        for request, tokens in record.dropped:
            again += body[rows[request], tokens]
            reached[request] = max(tokens, reached.get(request, 0))
        begun = (self.status == Status.UNFINISHED) & (np.array(record.start) >= 0)
        for request in np.flatnonzero(begun).tolist():  # cut off on its way
            row, asked, made = (
                rows[request],
                int(workload.prompt[request]),
                record.generated[request],
            )
            context, left = record.in_flight.get(request, (0, asked + made))
            computed = asked - 1 if made else max(context, reached.get(request, 0))
            prefill += body[row, computed]
            decode += whole[row, asked + made - 1] - whole[row, asked - 1]
            # Each throwing away is counted with its whole recomputation: less what is yet to do.
            again += body[row, asked - 1] - body[row, computed]
            again -= body[row, context + left - 1] - body[row, context] if left else 0.0
        efficiency = costs.regulator_efficiency
        moved = self.hardware.moved_j(sum(record.loads[4::5]), record.kv_bytes)
        return {
            "prefill": float(prefill) / efficiency,
            "decode": float(decode) / efficiency,
            "recomputation": float(again) / efficiency,
            **{part: float(joule) / efficiency for part, joule in moved.items()},
            **{part: watts * end_s for part, watts in self._rest_w().items()},
        }

    def _rest_w(self) -> dict[str, float]:
        return {
            "cards_at_rest": self.costs.idle_w * self.server.cards,
            "host": self.server.host_w,
        }


def _pinned(policy: Policy, workload: Workload) -> tuple[int, ...]:
    known = {name: number for number, name in enumerate(workload.adapters)}
    for name in policy.pinned:
        if name not in known:
            raise InputError(f"pinned: {name!r} is no adapter of the workload")
    return tuple(sorted(known[name] for name in policy.pinned))


def _spans(
    kind: str, who: NDArray[np.int64], times_s: NDArray[np.float64], moved: NDArray[np.int64]
) -> Spans:
    """Spans from (M, 2) card and adapter, (M, 2) begin and end, and (M,) bytes."""
    units, adapters = who.astype(np.int32).T
    begin_s, end_s = times_s.T.copy()
    return Spans(kind, units.copy(), adapters.copy(), begin_s, end_s, moved.copy())
