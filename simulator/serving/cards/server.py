"""A server of hardwired chips under a workload: cards, links and host memory on one SimPy clock.

The clock counts cycles of the chip. SimPy carries what decides: arrivals, routing, letting in,
loading adapters, ends. What lies between is computed by compiled code, so that a run costs by its
requests and not by its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import simpy
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import Chip
from hardwire.models.energy import transfer_energy
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.models.sram import kv_bytes_on
from hardwire.simulator.datapath import adapter_room
from hardwire.simulator.serving.cards import rounds
from hardwire.simulator.serving.cards.card import Card, Plant
from hardwire.simulator.serving.cards.costs import token_costs
from hardwire.simulator.serving.cards.link import HostMemory, Line
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.sram import Layout
from hardwire.simulator.serving.closed_loop import with_refused
from hardwire.simulator.serving.load.synthetic import stream
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS, Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans, Status
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.policies.prefix import Key
from hardwire.simulator.serving.policies.queueing import make_queues
from hardwire.simulator.serving.policies.residency import Future, make_residency
from hardwire.simulator.serving.policies.routing import make_router
from hardwire.simulator.supply import supply
from hardwire.simulator.swap import swap_latency

PAGE_TOKENS = 16
"""Tokens of a KV page, as in the decoder's KV cache and in vLLM's blocks."""

_ARRIVALS_BETWEEN_PROGRESS = 256


class CardServer:
    """The moving parts of one replay; for parameters see ``hardwire.simulator.serving.replay``."""

    def __init__(
        self,
        server: Server,
        chip: Chip,
        workload: Workload,
        adapters: Sequence[Adapter],
        policy: Policy,
        seed: int,
        engine: Literal["compiled", "reference"],
    ) -> None:
        if len(adapters) != len(workload.adapters):
            raise ValueError("every adapter of the workload needs its shape")
        self.server, self.chip, self.workload, self.policy = server, chip, workload, policy
        self.model = model = LanguageModel.open(chip.model)
        machine = server.machine
        page_bytes = int(PAGE_TOKENS * kv_bytes_on(chip, model))
        capacity = int(chip.sram.capacity_mib * BYTES_PER_MIB)
        kinds = {id(adapter): adapter for adapter in adapters}
        for adapter in kinds.values():
            check_base(adapter, model)
        size_of = {key: adapter_room(chip, model, adapter) for key, adapter in kinds.items()}
        sizes = [size_of[id(adapter)] for adapter in adapters]
        usable = [adapter.max_rank <= chip.formats.max_rank for adapter in adapters]
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
                f"in {chip.sram.capacity_mib:g} MiB of SRAM"
            )
        self.capacity, self.page_bytes = capacity, page_bytes
        self.status = self._refusals(sizes, usable, fixed, set(pinned))
        longest = min(model.max_position, capacity // page_bytes * PAGE_TOKENS)
        self.costs = costs = token_costs(
            chip,
            model,
            adapters,
            longest=longest,
            issue=server.issue,
            limit_w=server.card_limit_w(policy.power_limit_w),
        )
        swaps = {
            key: swap_latency(chip, model, adapter)
            for key, adapter in kinds.items()
            if adapter.max_rank <= chip.formats.max_rank
        }
        hertz = costs.clock_hz
        switch = int(chip.lora.switch_cycles)
        bytes_per_s = float(chip.link.bandwidth_gb_per_s) * 1e9

        def swap_ticks(mode: str) -> list[int]:
            ticks = {key: round(getattr(s, mode) * hertz) - switch for key, s in swaps.items()}
            return [ticks.get(id(adapter), 0) for adapter in adapters]

        way_of = {key: supply(chip, model, adapter) for key, adapter in kinds.items()}
        ways = [way_of[id(adapter)] for adapter in adapters]
        self.env = simpy.Environment()
        self.record = Record(len(workload))
        self.arrival: list[int] = np.ceil(workload.arrival_s * hertz).astype(np.int64).tolist()
        if workload.concurrency is not None and policy.schedule == "slo":
            raise InputError(
                "--concurrency: deadlines are known only when requests come, so --schedule slo "
                "cannot rank by them"
            )
        self._places = simpy.Container(self.env, init=workload.concurrency or 0)
        estimate = self._estimates(seed)
        self.estimate: list[int] = estimate.tolist()
        self.link_of = [Line() for _ in range(1 if machine.links == "shared" else server.cards)]
        self.host = HostMemory(
            int(machine.host_memory_gib * 2**30),
            [int(way.host_bytes) for way in ways],
            [round(hertz * way.disk_s) for way in ways],
            warm=policy.host_warm,
        )
        advance = rounds.compiled if engine == "compiled" else rounds.reference
        plant = Plant(
            env=self.env,
            costs=costs,
            advance=advance(costs, PAGE_TOKENS, in_turn=policy.prefill == "in_turn"),
            policy=policy,
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
            users=int(machine.users_per_card),
            transfer=[int(np.ceil(way.image_bytes / way.bytes_per_s * hertz)) for way in ways],
            load=swap_ticks("warm"),
            stream=swap_ticks("streamed"),
            image_bytes=[int(way.image_bytes) for way in ways],
            switch=switch,
            page_transfer=int(np.ceil(page_bytes / bytes_per_s * hertz)),
            prompt=workload.prompt.tolist(),
            output=workload.output.tolist(),
            adapter=workload.adapter.tolist(),
            prefix_keys=partial(_prefix_keys, workload),
            record=self.record,
        )
        self.router = make_router(policy.routing, server.cards, spill=round(policy.spill_s * hertz))
        self._served = served = self.status == Status.UNFINISHED
        self._came = 0  # of a closed loop, requests of those that are served
        future = Future(np.where(served, workload.adapter, BASE))
        whole = policy.admission == "whole" or plant.users == 1
        queues = make_queues(
            policy.schedule,
            server.cards,
            arrival=self.arrival,
            adapter=workload.adapter,
            estimate=estimate,
            deadline=np.array(self.arrival, np.int64) + round(policy.ttft_goal_s * hertz),
            fairness=round(policy.fairness_s * hertz),
            reserve=None if policy.reserve_s is None else round(policy.reserve_s * hertz),
            need=None if policy.prefix_reuse else workload.prompt + whole * (workload.output - 1),
        )
        self.cards = [
            Card(
                number,
                plant,
                queues[number],
                make_residency(policy.residency, sizes=sizes, load_time=plant.load, future=future),
                self.link_of[number % len(self.link_of)],
                self.host,
                pinned,
                partial(self._ended, number),
            )
            for number in range(server.cards)
        ]

    def _refusals(
        self, sizes: list[int], usable: list[bool], fixed: int, pinned: set[int]
    ) -> NDArray[np.int8]:
        """What can never be served, by request; the others count as unfinished so far."""
        workload = self.workload
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

    def _estimates(self, seed: int) -> NDArray[np.int64]:
        """Ticks that a request is expected to take, with the policy's error in its output."""
        costs, workload = self.costs, self.workload
        longest = costs.body.shape[1] - 1
        output = workload.output.astype(float)
        if self.policy.estimate_error:
            rng = stream(seed, "estimates")
            output *= rng.lognormal(0.0, self.policy.estimate_error, len(output))
        row = np.array(costs.row)[workload.adapter + 1]
        prompt = np.minimum(workload.prompt, longest)
        last = np.minimum(prompt + np.maximum(np.rint(output), 1).astype(np.int64) - 1, longest)
        decode = costs.whole_sum[row, last] - costs.whole_sum[row, prompt - 1]
        ticks: NDArray[np.int64] = costs.body_sum[row, prompt - 1] + decode
        return ticks

    def serve(self, until_s: float | None, progress: Callable[[float], None] | None) -> ServingLog:
        """Run to the end, or until it is cut off; what happened."""
        env, hertz = self.env, self.costs.clock_hz
        closed = self.workload.concurrency is not None
        env.process(self._as_places_free() if closed else self._arrivals(progress))
        try:
            env.run(until=None if until_s is None else max(1, round(until_s * hertz)))
        except KeyboardInterrupt:
            return self._log(f"at {env.now / hertz:.1f} s of the simulated time")
        return self._log()

    def _arrivals(
        self, progress: Callable[[float], None] | None
    ) -> Generator[simpy.Event, Any, None]:
        env, cards, router = self.env, self.cards, self.router
        adapter, estimate = self.workload.adapter.tolist(), self.estimate
        served = np.flatnonzero(self.status == Status.UNFINISHED)
        route, timeout = router.route, env.timeout
        for count, (request, tick) in enumerate(
            (request, self.arrival[request]) for request in served.tolist()
        ):
            if tick > env.now:
                yield timeout(tick - env.now)
            cards[route(request, adapter[request], estimate[request])].submit(request)
            if progress is not None and count % _ARRIVALS_BETWEEN_PROGRESS == 0:
                progress(env.now / self.costs.clock_hz)

    def _as_places_free(self) -> Generator[simpy.Event, Any, None]:
        """The arrivals of a closed loop: each request takes a place, which its end gives back."""
        adapter, estimate = self.workload.adapter.tolist(), self.estimate
        for request in np.flatnonzero(self.status == Status.UNFINISHED).tolist():
            yield self._places.get(1)
            self.arrival[request] = int(self.env.now)
            self._came += 1
            card = self.router.route(request, adapter[request], estimate[request])
            self.cards[card].submit(request)

    def _ended(self, card: int, request: int) -> None:
        self.status[request] = Status.COMPLETED
        self.router.done(card, self.estimate[request])
        if self.workload.concurrency is not None:
            self._places.put(1)

    def _came_s(self) -> NDArray[np.float64] | None:
        """Arrivals of a closed loop, s; NaN where it never came to a request."""
        if self.workload.concurrency is None:
            return None
        served = np.flatnonzero(self._served)
        at = np.array(self.arrival, np.int64)[served] / self.costs.clock_hz
        at[self._came :] = np.nan
        return with_refused(served, at, len(self.workload))

    def _log(self, interrupted: str | None = None) -> ServingLog:
        record, hertz = self.record, self.costs.clock_hz
        if (self.status == Status.UNFINISHED).any():
            for card in self.cards:
                card.cut_off(int(self.env.now))
        came_s = self._came_s()
        arrival_s = self.workload.arrival_s if came_s is None else came_s
        columns = record.columns(self.status, arrival_s, hertz)
        done, finish = self.status == Status.COMPLETED, columns["finish_s"]
        end_s = float(np.nanmax(finish, initial=float(self.workload.duration_s)))
        if (self.status == Status.UNFINISHED).any():  # cut off
            end_s = max(self.env.now / hertz, float(np.max(finish[done], initial=0.0)))
        elif done.any():
            end_s = float(np.nanmax(finish))
        memory = np.array(record.memory, dtype=np.int64).reshape(-1, 4)
        energy = self._energy(done, end_s)
        machine = self.server.machine
        loads = [(c, a, b / hertz, e / hertz, n) for c, a, b, e, n in record.loads]
        out = [(c, a, t / hertz, t / hertz, 0) for c, a, t in record.evictions]
        definitions = {
            "start": "let in by its card: its prefill begins, or waits for its adapter only",
            "hit": "its adapter was complete in SRAM when the request was let in",
            "swap": "a load of an adapter into SRAM",
        }
        ahead = self.policy.known_ahead(int(machine.users_per_card), self.server.cards)
        if ahead:
            definitions["output lengths"] = f"known ahead, as no server has them: {ahead}"
        if interrupted is not None:
            definitions["interrupted"] = interrupted
        return ServingLog(
            **columns,
            units=tuple(f"card {card.number}" for card in self.cards),
            busy_s={
                "compute": np.array([card.busy for card in self.cards]) / hertz,
                "link": np.array([line.busy for line in self.link_of]) / hertz,
                "disk": np.array([self.host.disk.busy]) / hertz,
            },
            capacity_bytes=self.capacity,
            spans=(Spans.of("adapter load", loads), Spans.of("evict", out)),
            occupancy=Occupancy(
                memory[:, 0].astype(np.int32),
                memory[:, 1] / hertz,
                memory[:, 2] * self.page_bytes,
                memory[:, 3],
            ),
            end_s=end_s,
            energy_j=sum(energy.values()),
            energy_by_j=energy,
            capex_usd_per_s=machine.capex_usd_per_s,
            energy_usd_per_j=machine.energy_usd_per_j,
            swaps=len(record.loads),
            definitions=definitions,
            arrival_s=came_s,
        )

    def _energy(self, done: NDArray[np.bool_], end_s: float) -> dict[str, float]:
        """Joules of the server from 0 to ``end_s``: of tokens that were computed, of adapters and
        KV pages that moved over the host links, and at rest."""
        costs, workload, server, record = self.costs, self.workload, self.server, self.record
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
        moved = transfer_energy(self.chip, sum(row[4] for row in record.loads) + record.kv_bytes)
        return {
            "prefill": float(prefill) / efficiency,
            "decode": float(decode) / efficiency,
            "recomputation": float(again) / efficiency,
            **{part: float(joule) / efficiency for part, joule in moved.items()},
            "cards_at_rest": costs.idle_w * server.cards * end_s,
            "host": server.host_w * end_s,
        }


def _pinned(policy: Policy, workload: Workload) -> tuple[int, ...]:
    known = {name: number for number, name in enumerate(workload.adapters)}
    for name in policy.pinned:
        if name not in known:
            raise InputError(f"pinned: {name!r} is no adapter of the workload")
    return tuple(sorted(known[name] for name in policy.pinned))


def _prefix_keys(workload: Workload, request: int) -> tuple[Key, ...]:
    prefixes = workload.prefixes
    if prefixes is None:
        return ()
    begin, end = prefixes.first[request], prefixes.first[request + 1]
    adapter = int(workload.adapter[request])
    return tuple((adapter, block) for block in prefixes.hashes[begin:end].tolist())
