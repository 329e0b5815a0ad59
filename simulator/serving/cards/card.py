"""One card of a hardwired server: who is let in, and when each request is done.

What there is room for is its SRAM's to know. Control events come from SimPy, as callbacks of one
timer per card; what happens between two of them is computed ahead by ``Advance``, and again up to
a shorter time where a request that comes meanwhile can join. Ticks are cycles of the chip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from hardwire.simulator.serving.cards.link import HostMemory, Line
from hardwire.simulator.serving.cards.plan import Plan
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.rounds import NEVER, Advance
from hardwire.simulator.serving.cards.rounds_jit import (
    COLUMNS,
    CONTEXT,
    FINISHED,
    FIRST,
    OUT_OF_PAGES,
    OUTPUT,
    PAGES,
    PROMPT,
    REQUEST,
)
from hardwire.simulator.serving.cards.sram import Sram
from hardwire.simulator.serving.load.workload import PREFIX_BLOCK_TOKENS
from hardwire.simulator.serving.policies.prefix import Key
from hardwire.simulator.serving.policies.queueing import Queue
from hardwire.simulator.serving.policies.residency import Residency


@dataclass(frozen=True)
class Plant(Plan):
    """What the cards of a server share beside its plan: the clock, the requests, the record.

    Attributes
    ----------
    env : the clock.
    advance : computes rounds.
    prompt, output, adapter : by request.
    prefix_keys : the keys of a request's prompt blocks.
    prefilled : by request, tokens whose KV comes with it.
    record : what happens is noted there.
    """

    env: simpy.Environment
    advance: Advance
    prompt: list[int]
    output: list[int]
    adapter: list[int]
    prefix_keys: Callable[[int], tuple[Key, ...]]
    prefilled: list[int]
    record: Record

    def now(self) -> int:
        """The tick; SimPy types its clock as a float."""
        return self.env.now  # type: ignore[return-value]


@dataclass(frozen=True)
class _Alone:
    """Whom a card serves by itself: from which tick on, and the row of the table then and after."""

    start: int
    before: list[int]
    after: list[int]


class Card:
    """A chip with its SRAM and its queue: the clock, and the order of things.

    Parameters
    ----------
    number
    plant
    queue : requests routed to this card that wait.
    residency : which idle adapter leaves when room is needed.
    link, host : where adapters come from; cards may share them.
    pinned : adapters that are there from the begin and stay.
    ended : called with each request that is done.
    """

    def __init__(
        self,
        number: int,
        plant: Plant,
        queue: Queue,
        residency: Residency,
        link: Line,
        host: HostMemory,
        pinned: tuple[int, ...],
        ended: Callable[[int], None],
    ) -> None:
        self.number, self.plant, self.queue = number, plant, queue
        self.link, self.host, self.ended = link, host, ended
        self.sram = Sram(number, plant.layout, residency, self._fetch, plant.record, pinned)
        self.busy = 0
        self._table = np.zeros((plant.users, COLUMNS), dtype=np.int64)
        self._count = 0
        self._pending: list[tuple[int, list[int]]] = []  # let in, waiting for their adapter
        self._offloaded: dict[int, list[int]] = {}
        self._alone: _Alone | None = None  # who is served by itself, under serial issue
        self._timer: simpy.Event | None = None
        # Of what is computed ahead: begin, free pages, held and table there.
        self._segment: tuple[int, int, int, np.ndarray] | None = None
        self._held = 0  # until then prompt tokens that have begun hold the busiest unit
        self._outcome = (FINISHED, 0)
        self._stopped_until = 0  # a blocking load
        self._holding = False  # after a preemption nobody is let in until somebody ends
        self._whole, self._one = plant.whole, plant.one

    # What comes from outside.

    def submit(self, request: int) -> None:
        """Take a request into the queue, and into the datapath where there is room."""
        self.queue.push(request)
        now = self.plant.now()
        if self._timer is None:
            self._go(now)
        elif (
            self._segment is not None
            and self._has_place()
            and not self._holding
            and self._admissible(request)
        ):
            self._cut_short(now)
        if len(self.queue) <= self.plant.policy.prefetch:
            self._prefetch(now)

    # The timer.

    def _set_timer(self, now: int, tick: int) -> None:
        event = simpy.events.Timeout(self.plant.env, tick - now)
        event.callbacks.append(self._on_timer)
        self._timer = event

    def _on_timer(self, event: simpy.Event) -> None:
        if event is not self._timer:
            return  # a segment that was cut short
        self._timer = None
        now = self.plant.now()
        if self._alone is not None:
            alone, self._alone = self._alone, None
            self.busy += now - alone.start
            self._end(alone.after, now)
        elif self._segment is not None:
            begin = self._segment[0]
            why = self._outcome[0]
            self._segment = None
            self.sram.take_reserved()
            self.busy += now - begin
            if why == FINISHED:
                self._end_finished(now)
            elif why == OUT_OF_PAGES:
                self._make_room(now)
        self._go(now)
        self._prefetch(now)

    def _go(self, now: int) -> None:
        """Let in who can be, and compute ahead to the next event."""
        if self.queue and self._has_place() and not self._holding:
            self._admit(now)
        if self._alone is not None:
            return
        if self._stopped_until > now:
            self._set_timer(now, self._stopped_until)
            return
        until = NEVER
        if self._pending:
            self._activate(now)
            until = min((start for start, _ in self._pending), default=NEVER)
        if self._count:
            self._compute(now, until)
        elif until < NEVER:
            self._set_timer(now, until)

    def _compute(self, now: int, until: int) -> None:
        """Run the active users ahead; their table is then that of the end."""
        free = self.sram.free_pages()
        self._segment = (now, free, self._held, self._table[: self._count].copy())
        self._run(now, free, until)
        self._set_timer(now, self._outcome[1])

    def _run(self, begin: int, free: int, until: int) -> None:
        why, tick, left, self._held = self.plant.advance(
            self._table, self._count, free, self._held, begin, until
        )
        self._outcome = why, tick
        self.sram.reserve(free - left)

    def _serve(self, user: list[int], start: int, now: int) -> None:
        """One user under serial issue from ``start`` to its end, in closed form.

        All its pages are there, and nobody can join: no rounds are needed.
        """
        costs = self.plant.costs
        _, row, context, prompt, output, _, first = before = user.copy()
        tick = start
        last = context + prompt
        if prompt:
            tick += costs.body_sum.item(row, last - 1) - costs.body_sum.item(row, context)
            tick += costs.whole.item(row, last)
            output -= 1
            if first < 0:
                user[FIRST] = tick
        tick += costs.whole_sum.item(row, last + output) - costs.whole_sum.item(row, last)
        user[CONTEXT], user[PROMPT], user[OUTPUT] = last + output, 0, 0
        self._alone = _Alone(start, before, user)
        self._set_timer(now, tick)

    def _cut_short(self, now: int) -> None:
        """End the segment at the first round that begins from now on, so that others can join."""
        assert self._segment is not None
        begin, free, self._held, before = self._segment
        self._table[: self._count] = before
        self._run(begin, free, now)
        self._set_timer(now, self._outcome[1])

    def cut_off(self, now: int) -> None:
        """Note how far those in flight are, by the rounds that have ended before ``now``."""
        waiting = [user for _, user in self._pending] + list(self._offloaded.values())
        if self._alone is not None:
            users = self._rounds_before(
                now, self._alone.start, np.array([self._alone.before]), 0, 0
            )
        elif self._segment is not None:
            begin, free, held, before = self._segment
            users = self._rounds_before(now, begin, before, free, held)
        else:
            users = self._table[: self._count]
        record = self.plant.record
        for user in [*users.tolist(), *waiting]:
            request = user[REQUEST]
            record.first[request] = user[FIRST]
            record.generated[request] = self.plant.output[request] - user[OUTPUT]
            record.in_flight[request] = user[CONTEXT], user[PROMPT]

    def _rounds_before(
        self, now: int, begin: int, users: np.ndarray, free: int, held: int
    ) -> np.ndarray:
        """The users after the rounds from ``begin`` on that have ended before ``now``."""
        self.busy += max(now - begin, 0)
        tick = begin
        while tick < now:
            after = users.copy()
            why, tick, free, held = self.plant.advance(
                after, len(after), free, held, tick, tick + 1
            )
            if tick >= now or why == OUT_OF_PAGES:
                break
            users = after
        return users

    # Letting in.

    def _has_place(self) -> bool:
        return self._alone is None and self._count + len(self._pending) < self.plant.users

    def _admit(self, now: int) -> None:
        while self._has_place():
            room = self.sram.most_pages() * self.plant.page_tokens
            request = self.queue.pop_next(now, self._admissible, self.sram.resident, room)
            if request is None:
                return
            self._let_in(request, now)

    def _pages_for(self, request: int) -> int:
        """KV pages that a request takes when it is let in."""
        plant = self.plant
        if self._whole:
            tokens = plant.prompt[request] + plant.output[request] - 1
        elif request in self._offloaded:
            return self._offloaded[request][PAGES]
        else:
            # After a preemption, what it made goes through prefill, too.
            tokens = plant.prompt[request] + plant.record.generated[request]
        return -(-tokens // plant.page_tokens)

    def _shareable(self, request: int) -> tuple[Key, ...]:
        """Leading blocks of its prompt that it may share; at least one token is left to compute."""
        plant = self.plant
        if not plant.policy.prefix_reuse or request in self._offloaded:
            return ()
        blocks = (plant.prompt[request] - 1) // PREFIX_BLOCK_TOKENS
        return plant.prefix_keys(request)[:blocks]

    def _admissible(self, request: int) -> bool:
        """Whether SRAM has room for its pages and its adapter, idle adapters put out."""
        return self.sram.admits(
            self.plant.adapter[request], self._pages_for(request), self._shareable(request)
        )

    def _let_in(self, request: int, now: int) -> None:
        plant, record = self.plant, self.plant.record
        adapter, pages = plant.adapter[request], self._pages_for(request)
        place = self.sram.let_in(request, adapter, pages, self._shareable(request), now)
        first = record.first[request]
        user = self._offloaded.pop(request, None)
        if user is not None:  # its KV pages come back from host memory
            held = -(-user[CONTEXT] // plant.page_tokens)
            transfer = held * plant.page_transfer
            back = self.link.send(now, transfer) + transfer
            record.kv_bytes += int(held) * plant.layout.page_bytes
        else:
            found = place.blocks * PREFIX_BLOCK_TOKENS
            # What came with it is gone after a preemption, and is computed as any prompt.
            came = plant.prefilled[request] if record.start[request] < 0 else 0
            reused = max(found, came)
            made = record.generated[request]
            row = plant.costs.row[adapter + 1]
            prefill = plant.prompt[request] + made - reused
            record.reused[request] += found
            if reused:
                record.skipped.append((request, reused))
            user = [request, row, reused, prefill, plant.output[request] - made, pages, first]
            back = now
        if record.start[request] < 0:
            record.start[request] = now
            record.hit[request] = place.hit
            record.unit[request] = self.number
        record.wait[request] += place.usable - now
        start = max(place.usable, back) + (plant.switch if adapter >= 0 else 0)
        if self._one:
            self._serve(user, start, now)
        elif start <= now:
            self._table[self._count] = user
            self._count += 1
        else:
            self._pending.append((start, user))

    def _activate(self, now: int) -> None:
        """Move those whose adapter is there from waiting to the table."""
        still = []
        for start, user in self._pending:
            if start <= now:
                self._table[self._count] = user
                self._count += 1
            else:
                still.append((start, user))
        self._pending = still

    # Leaving.

    def _end_finished(self, now: int) -> None:
        kept = 0
        for index in range(self._count):
            user = self._table[index]
            if user[OUTPUT] == 0:
                self._end(user.tolist(), now)
            else:
                if kept != index:
                    self._table[kept] = user
                kept += 1
        self._count = kept
        self._holding = False

    def _end(self, user: Sequence[int], now: int) -> None:
        request = user[REQUEST]
        record = self.plant.record
        self.sram.note(now)
        record.first[request] = user[FIRST]
        record.finish[request] = now
        record.generated[request] = self.plant.output[request]
        keep: tuple[Key, ...] = ()
        if self.plant.policy.prefix_reuse:
            blocks = self.plant.prompt[request] // PREFIX_BLOCK_TOKENS
            keep = self.plant.prefix_keys(request)[:blocks]
        self.sram.release(request, user[PAGES], now, keep)
        self.ended(request)

    def _make_room(self, now: int) -> None:
        """Free a page for each active user: prefix blocks, idle adapters, then the last let in."""
        users = self._table[: self._count]
        full = users[:, CONTEXT] == users[:, PAGES] * self.plant.page_tokens
        if self.sram.reclaim(int((full & (users[:, PROMPT] == 0)).sum()), now):
            return
        record, plant = self.plant.record, self.plant
        if self._pending:
            user = np.array(self._pending.pop()[1], dtype=np.int64)
        else:
            self._count -= 1
            user = self._table[self._count].copy()
        request, pages = int(user[REQUEST]), int(user[PAGES])
        record.preemptions[request] += 1
        record.first[request] = int(user[FIRST])
        record.generated[request] = plant.output[request] - int(user[OUTPUT])
        self.sram.release(request, pages, now)
        if plant.policy.preemption == "offload":
            held = -(-int(user[CONTEXT]) // plant.page_tokens)
            # Back in SRAM it needs room for what is left of its prompt, too.
            user[PAGES] = -(-int(user[CONTEXT] + user[PROMPT]) // plant.page_tokens)
            self._offloaded[request] = [int(x) for x in user]
            self.link.send(now, held * plant.page_transfer)
            record.kv_bytes += held * plant.layout.page_bytes
        else:
            record.dropped.append((request, int(user[CONTEXT])))
        self.queue.push_front(request)
        self._holding = self._count + len(self._pending) > 0

    # Adapters.

    def _fetch(self, adapter: int, now: int) -> int:
        """Begin to move an adapter into SRAM; the tick from which a token may use it."""
        plant = self.plant
        fetched = self.host.fetch(adapter, now)
        begin = self.link.send(now, plant.transfer[adapter], fetched)
        done = begin + plant.load[adapter]
        if plant.policy.swap == "blocking":
            self._stopped_until = max(self._stopped_until, done)
        size = plant.image_bytes[adapter]
        plant.record.loads.extend((self.number, adapter, begin, done, size))
        return begin + plant.stream[adapter] if plant.policy.swap == "streamed" else done

    def _prefetch(self, now: int) -> None:
        """Load adapters of the next in the queue."""
        ahead = self.plant.policy.prefetch
        if not ahead or not self.queue or self.plant.policy.swap == "blocking":
            return
        soon = {self.plant.adapter[request] for request in self.queue.peek_ahead(ahead)}
        self.sram.load_ahead(soon, now)
