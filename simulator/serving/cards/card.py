"""One card of a hardwired server: who is let in, which adapters are in SRAM, and when it is done.

Control events come from SimPy, as callbacks of one timer per card; what happens between two of
them is computed ahead by ``Advance``, and again up to a shorter time where a request that comes
meanwhile can join. Ticks are cycles of the chip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from hardwire.simulator.serving.cards.costs import TokenCosts
from hardwire.simulator.serving.cards.link import HostMemory, Line
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
from hardwire.simulator.serving.load.workload import PREFIX_BLOCK_TOKENS
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.policies.prefix import Key, PrefixCache
from hardwire.simulator.serving.policies.queueing import Queue
from hardwire.simulator.serving.policies.residency import Residency


@dataclass(frozen=True)
class Plant:
    """What the cards of a server share: sizes and times of adapters, and the requests.

    Attributes
    ----------
    page_tokens, page_bytes : of a KV page.
    capacity : bytes of SRAM for KV pages and adapters.
    slot_bytes : of a fixed adapter slot; 0 where KV and adapters share one pool.
    users : requests that a card has in its datapath at a time.
    sizes, transfer, load, stream : by adapter: bytes in SRAM; ticks on the link; ticks from the
        begin of its transfer until a token can use it, whole and streamed.
    switch : ticks to point the datapath at another resident adapter.
    page_transfer : ticks on the link of one KV page.
    prompt, output, adapter : by request.
    prefix_keys : the keys of a request's prompt blocks.
    """

    env: simpy.Environment
    costs: TokenCosts
    advance: Advance
    policy: Policy
    page_tokens: int
    page_bytes: int
    capacity: int
    slot_bytes: int
    users: int
    sizes: list[int]
    transfer: list[int]
    load: list[int]
    stream: list[int]
    switch: int
    page_transfer: int
    prompt: list[int]
    output: list[int]
    adapter: list[int]
    prefix_keys: Callable[[int], tuple[Key, ...]]
    record: Record

    def now(self) -> int:
        """The tick; SimPy types its clock as a float."""
        return self.env.now  # type: ignore[return-value]


class Card:
    """A chip with its SRAM and its queue.

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
        self.number, self.plant, self.queue, self.residency = number, plant, queue, residency
        self.link, self.host, self.ended = link, host, ended
        self.busy = 0
        self.pages = 0  # held by requests and by the prefix cache
        self.adapter_bytes = 0
        self.ready: dict[int, int] = {}  # resident adapters and the tick from which each is usable
        self.readers: dict[int, int] = {}  # requests let in with each
        self.idle: dict[int, None] = {}  # resident, not pinned, read by nobody
        self.idle_bytes = 0
        self.prefixes = PrefixCache()
        self._block_pages = PREFIX_BLOCK_TOKENS // plant.page_tokens
        self._table = np.zeros((plant.users, COLUMNS), dtype=np.int64)
        self._count = 0
        self._pending: list[tuple[int, list[int]]] = []  # let in, waiting for their adapter
        self._offloaded: dict[int, list[int]] = {}
        self._reading: dict[int, tuple[Key, ...]] = {}  # prefix blocks that requests share
        self._alone: list[int] | None = None  # who is served by itself, under serial issue
        self._timer: simpy.Event | None = None
        self._segment: tuple[int, int, np.ndarray] | None = None  # begin, free pages, table
        self._outcome = (FINISHED, 0)
        self._growth = 0  # pages that the segment takes until its end
        self._stopped_until = 0  # a blocking load
        self._holding = False  # after a preemption nobody is let in until somebody ends
        self._whole = plant.policy.admission == "whole" or plant.users == 1
        self._one = plant.users == 1 and plant.costs.serial
        for adapter in pinned:
            self.ready[adapter] = 0
            self.readers[adapter] = 1
            self.adapter_bytes += plant.sizes[adapter]

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
            user, self._alone, self._count = self._alone, None, 0
            self._end(user, now)
        elif self._segment is not None:
            begin = self._segment[0]
            why = self._outcome[0]
            self._segment = None
            self.pages += self._growth
            self._growth = 0
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
        free = self._free_pages()
        self._segment = (now, free, self._table[: self._count].copy())
        self._run(now, free, until)
        self._set_timer(now, self._outcome[1])

    def _run(self, begin: int, free: int, until: int) -> None:
        why, tick, left = self.plant.advance(self._table, self._count, free, begin, until)
        self._outcome, self._growth = (why, tick), free - left

    def _serve(self, user: list[int], start: int, now: int) -> None:
        """One user under serial issue from ``start`` to its end, in closed form.

        All its pages are there, and nobody can join: no rounds are needed.
        """
        costs = self.plant.costs
        _, row, context, prompt, output, _, first = user
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
        self._alone = user
        self._count = 1
        self.busy += tick - start
        self._set_timer(now, tick)

    def _cut_short(self, now: int) -> None:
        """End the segment at the first round that begins from now on, so that others can join."""
        assert self._segment is not None
        begin, free, before = self._segment
        self._table[: self._count] = before
        self._run(begin, free, now)
        self._set_timer(now, self._outcome[1])

    # Letting in.

    def _has_place(self) -> bool:
        return self._count + len(self._pending) < self.plant.users

    def _admit(self, now: int) -> None:
        while self._has_place():
            room = self._most_pages() * self.plant.page_tokens
            request = self.queue.pop_next(now, self._admissible, self.ready, room)
            if request is None:
                return
            self._let_in(request, now)

    def _tokens(self, request: int) -> int:
        """Tokens that a request sends through prefill: after a preemption also what it made."""
        return self.plant.prompt[request] + self.plant.record.generated[request]

    def _pages_for(self, request: int) -> int:
        """KV pages that a request takes when it is let in."""
        plant = self.plant
        if self._whole:
            tokens = plant.prompt[request] + plant.output[request] - 1
        elif request in self._offloaded:
            return self._offloaded[request][PAGES]
        else:
            tokens = self._tokens(request)
        return -(-tokens // plant.page_tokens)

    def _matched(self, request: int) -> tuple[Key, ...]:
        """Leading blocks of its prompt that are kept; at least one token is left to compute."""
        if not self.plant.policy.prefix_reuse or request in self._offloaded:
            return ()
        keys = self.plant.prefix_keys(request)
        keys = keys[: (self.plant.prompt[request] - 1) // PREFIX_BLOCK_TOKENS]
        return keys[: self.prefixes.match(keys)]

    def _admissible(self, request: int) -> bool:
        """Whether SRAM has room for its pages and its adapter, idle adapters put out."""
        plant = self.plant
        adapter = plant.adapter[request]
        matched = self._matched(request)
        pages = self._pages_for(request) - len(matched) * self._block_pages
        spare_blocks = self.prefixes.idle - len(matched)
        absent = adapter >= 0 and adapter not in self.ready
        if plant.slot_bytes:
            slots = plant.policy.slots or 0
            if absent and len(self.ready) >= slots and not self.idle:
                return False
            return pages <= self._free_pages() + spare_blocks * self._block_pages
        free = plant.capacity - self.adapter_bytes + self.idle_bytes
        if absent or adapter in self.idle:
            free -= plant.sizes[adapter]
        pages += self.pages + self._growth - spare_blocks * self._block_pages
        return pages * plant.page_bytes <= free

    def _free_pages(self) -> int:
        plant = self.plant
        if plant.slot_bytes:
            kv_bytes = plant.capacity - (plant.policy.slots or 0) * plant.slot_bytes
        else:
            kv_bytes = plant.capacity - self.adapter_bytes
        return kv_bytes // plant.page_bytes - self.pages - self._growth

    def _most_pages(self) -> int:
        """Pages that could be free if all that is idle were put out."""
        plant = self.plant
        pages = self._free_pages() + self.prefixes.idle * self._block_pages
        if not plant.slot_bytes:
            pages += -(-self.idle_bytes // plant.page_bytes)
        return pages

    def _let_in(self, request: int, now: int) -> None:
        plant, record = self.plant, self.plant.record
        adapter = plant.adapter[request]
        # Held first, so that the blocks are not what makes room for the adapter.
        matched = self._matched(request)
        if matched:
            self.prefixes.hold(matched)
            self._reading[request] = matched
        ready = now
        hit = -1
        if adapter >= 0:
            if adapter in self.ready:
                ready = max(now, self.ready[adapter])
                hit = 1 if ready == now else 0
                if adapter in self.idle:
                    del self.idle[adapter]
                    self.idle_bytes -= plant.sizes[adapter]
            else:
                self._make_adapter_room(adapter, now)
                ready = max(now, self._load(adapter, now))
                hit = 0
            self.readers[adapter] = self.readers.get(adapter, 0) + 1
            self.residency.use(adapter, now, request)
        pages = self._pages_for(request)
        taken = pages - len(matched) * self._block_pages
        self._make_page_room(taken, now)
        self.pages += taken
        first = record.first[request]
        user = self._offloaded.pop(request, None)
        if user is not None:  # its KV pages come back from host memory
            held = -(-user[CONTEXT] // plant.page_tokens)
            transfer = held * plant.page_transfer
            back = self.link.send(now, transfer) + transfer
        else:
            reused = len(matched) * PREFIX_BLOCK_TOKENS
            made = record.generated[request]
            row = plant.costs.row[adapter + 1]
            prefill = plant.prompt[request] + made - reused
            record.reused[request] += reused
            user = [request, row, reused, prefill, plant.output[request] - made, pages, first]
            back = now
        if record.start[request] < 0:
            record.start[request] = now
            record.hit[request] = hit
            record.card[request] = self.number
        record.swap_wait[request] += ready - now
        start = max(ready, back) + (plant.switch if adapter >= 0 else 0)
        if self._one:
            self._serve(user, start, now)
        elif start <= now:
            self._table[self._count] = user
            self._count += 1
        else:
            self._pending.append((start, user))
        self._note(now)

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
        self._note(now)
        record.first[request] = user[FIRST]
        record.finish[request] = now
        record.generated[request] = self.plant.output[request]
        self._release(request, user[PAGES], now, keep=True)
        self.ended(request)

    def _release(self, request: int, pages: int, now: int, *, keep: bool) -> None:
        """Give back the pages and the adapter of a request that leaves the datapath."""
        plant = self.plant
        if plant.policy.prefix_reuse:
            # The leading blocks that it read stay; those that it has computed join them.
            read = self._reading.pop(request, ())
            self.prefixes.release(read)
            pages -= len(read) * self._block_pages
            if keep:
                keys = plant.prefix_keys(request)[: plant.prompt[request] // PREFIX_BLOCK_TOKENS]
                pages -= self.prefixes.insert(keys[len(read) :]) * self._block_pages
        self.pages -= pages
        adapter = plant.adapter[request]
        if adapter >= 0:
            self.readers[adapter] -= 1
            if not self.readers[adapter]:
                self.idle[adapter] = None
                self.idle_bytes += plant.sizes[adapter]
        self._note(now)

    def _make_room(self, now: int) -> None:
        """Free a page for each active user: prefix blocks, idle adapters, then the last let in."""
        users = self._table[: self._count]
        full = users[:, CONTEXT] == users[:, PAGES] * self.plant.page_tokens
        if self._reclaim(int((full & (users[:, PROMPT] == 0)).sum()), now):
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
        self._release(request, pages, now, keep=False)
        if plant.policy.preemption == "offload":
            held = -(-int(user[CONTEXT]) // plant.page_tokens)
            # Back in SRAM it needs room for what is left of its prompt, too.
            user[PAGES] = -(-int(user[CONTEXT] + user[PROMPT]) // plant.page_tokens)
            self._offloaded[request] = [int(x) for x in user]
            self.link.send(now, held * plant.page_transfer)
        else:
            record.recomputed_tokens += int(user[CONTEXT])
        self.queue.push_front(request)
        self._holding = self._count + len(self._pending) > 0

    # SRAM.

    def _reclaim(self, pages: int, now: int) -> bool:
        """Make some pages free without touching requests, if that can be."""
        while self._free_pages() < pages:
            if self.prefixes.idle:
                self.prefixes.drop()
                self.pages -= self._block_pages
            elif self.idle and not self.plant.slot_bytes:
                self._evict(self.residency.victim(self.idle), now)
            else:
                return False
        return True

    def _make_page_room(self, pages: int, now: int) -> None:
        if not self._reclaim(pages, now):
            raise AssertionError("a request was let in without room for its pages")

    def _make_adapter_room(self, adapter: int, now: int) -> None:
        plant = self.plant
        if plant.slot_bytes:
            while len(self.ready) >= (plant.policy.slots or 0):
                self._evict(self.residency.victim(self.idle), now)
            return
        while not self._fits(adapter):
            if self.prefixes.idle:
                self.prefixes.drop()
                self.pages -= self._block_pages
            else:
                self._evict(self.residency.victim(self.idle), now)

    def _evict(self, adapter: int, now: int) -> None:
        del self.idle[adapter]
        del self.ready[adapter]
        self.idle_bytes -= self.plant.sizes[adapter]
        self.adapter_bytes -= self.plant.sizes[adapter]
        self.residency.evicted(adapter)
        self.plant.record.evictions.append((self.number, adapter, now))
        self._note(now)

    def _load(self, adapter: int, now: int) -> int:
        """Begin to move an adapter into SRAM; the tick from which a token may start with it."""
        plant = self.plant
        fetched = self.host.fetch(adapter, now)
        begin = self.link.send(now, plant.transfer[adapter], fetched)
        done = begin + plant.load[adapter]
        swap = plant.policy.swap
        usable = begin + plant.stream[adapter] if swap == "streamed" else done
        if swap == "blocking":
            self._stopped_until = max(self._stopped_until, done)
        self.ready[adapter] = usable
        self.adapter_bytes += plant.sizes[adapter]
        self.residency.loaded(adapter, now)
        plant.record.loads.append((self.number, adapter, begin, done, plant.sizes[adapter]))
        self._note(now)
        return usable

    def _prefetch(self, now: int) -> None:
        """Load adapters of the next in the queue, where idle ones can make room for them."""
        plant = self.plant
        ahead = plant.policy.prefetch
        if not ahead or not self.queue or plant.policy.swap == "blocking":
            return
        soon = {plant.adapter[request] for request in self.queue.peek_ahead(ahead)}
        for adapter in sorted(soon):
            if adapter < 0 or adapter in self.ready:
                continue
            while not self._fits(adapter):
                spare = [idle for idle in self.idle if idle not in soon]
                if not spare:
                    return
                self._evict(self.residency.victim(spare), now)
            self._load(adapter, now)
            self.idle[adapter] = None
            self.idle_bytes += plant.sizes[adapter]

    def _fits(self, adapter: int) -> bool:
        plant = self.plant
        if plant.slot_bytes:
            return len(self.ready) < (plant.policy.slots or 0)
        used = self.adapter_bytes + (self.pages + self._growth) * plant.page_bytes
        return used + plant.sizes[adapter] <= plant.capacity

    def _note(self, now: int) -> None:
        self.plant.record.memory.extend((self.number, now, self.pages, self.adapter_bytes))
