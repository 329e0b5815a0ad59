"""The SRAM of a card: KV pages, adapters and prefix blocks, and what leaves to make room.

Adapters have fixed slots and KV pages the rest; or both share one pool, with a movable border.
What nobody reads can go: prefix blocks first, then idle adapters. What requests hold never goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.policies.prefix import Key, PrefixCache
from hardwire.simulator.serving.policies.residency import Residency


@dataclass(frozen=True)
class Layout:
    """How the cards of a server divide their SRAM.

    Attributes
    ----------
    capacity : bytes for KV pages and adapters.
    page_bytes : of a KV page.
    block_pages : pages of a prefix block.
    sizes : bytes that each adapter takes of it.
    slots : fixed adapter slots; 0 where KV and adapters share one pool.
    slot_bytes : of a slot.
    """

    capacity: int
    page_bytes: int
    block_pages: int
    sizes: list[int]
    slots: int = 0
    slot_bytes: int = 0


class Place(NamedTuple):
    """What a request finds when it is let in.

    Attributes
    ----------
    usable : tick from which a token may use its adapter.
    hit : 1 where the adapter was complete in SRAM, 0 where not, -1 for a request without.
    blocks : leading prefix blocks that were there.
    """

    usable: int
    hit: int
    blocks: int


class Sram:
    """Who holds what in the SRAM of one card. Times are ticks that never go back.

    Parameters
    ----------
    card : its number in the record.
    layout
    residency : which idle adapter leaves when room is needed.
    fetch : begins to move an adapter here at a tick; the tick from which a token may use it.
    record : every eviction and every change of what is in use is noted there.
    pinned : adapters that are there from the begin and stay.

    Attributes
    ----------
    resident : adapters that are there or on their way, and the tick from which each is usable.
    pages : KV pages held by requests and by the prefix cache.
    adapter_bytes : of the resident adapters.
    """

    __slots__ = (
        "_card",
        "_fetch",
        "_held",
        "_idle",
        "_idle_bytes",
        "_layout",
        "_prefixes",
        "_readers",
        "_record",
        "_reserved",
        "_residency",
        "adapter_bytes",
        "pages",
        "resident",
    )

    def __init__(
        self,
        card: int,
        layout: Layout,
        residency: Residency,
        fetch: Callable[[int, int], int],
        record: Record,
        pinned: tuple[int, ...] = (),
    ) -> None:
        self._card, self._layout, self._record = card, layout, record
        self._residency, self._fetch = residency, fetch
        self.pages = 0
        self.adapter_bytes = sum(layout.sizes[adapter] for adapter in pinned)
        self.resident = dict.fromkeys(pinned, 0)
        self._readers = dict.fromkeys(pinned, 1)  # requests let in with each; a pin is one
        self._idle: dict[int, None] = {}  # resident, not pinned, read by nobody
        self._idle_bytes = 0
        self._prefixes = PrefixCache()
        self._held: dict[int, tuple[int, tuple[Key, ...]]] = {}  # adapter and blocks by request
        self._reserved = 0

    # What is free.

    def free_pages(self) -> int:
        """Pages that nobody holds and that are not reserved."""
        layout = self._layout
        adapters = layout.slots * layout.slot_bytes if layout.slots else self.adapter_bytes
        return (layout.capacity - adapters) // layout.page_bytes - self.pages - self._reserved

    def most_pages(self) -> int:
        """Pages that could be free if all that is idle were put out."""
        layout = self._layout
        pages = self.free_pages() + self._prefixes.idle * layout.block_pages
        if not layout.slots:
            pages += -(-self._idle_bytes // layout.page_bytes)
        return pages

    def admits(self, adapter: int, pages: int, keys: tuple[Key, ...] = ()) -> bool:
        """Whether a request can be let in, everything idle put out.

        Parameters
        ----------
        adapter : -1 for none.
        pages : that it will hold.
        keys : prefix blocks that it would share, of those that are there.
        """
        layout = self._layout
        shared = self._prefixes.match(keys) if keys else 0
        pages -= shared * layout.block_pages
        # Shared blocks that nobody reads will be held; those that others read never were spare.
        spare = self._prefixes.idle - self._prefixes.idle_of(keys[:shared])
        spare *= layout.block_pages
        absent = adapter >= 0 and adapter not in self.resident
        if layout.slots:
            if absent and len(self.resident) >= layout.slots and not self._idle:
                return False
            return pages <= self.free_pages() + spare
        free = layout.capacity - self.adapter_bytes + self._idle_bytes
        if absent or adapter in self._idle:
            free -= layout.sizes[adapter]
        return (pages + self.pages + self._reserved - spare) * layout.page_bytes <= free

    # Requests come and go.

    def let_in(
        self, request: int, adapter: int, pages: int, keys: tuple[Key, ...], now: int
    ) -> Place:
        """Give a request its pages and its adapter, which is fetched if it is absent.

        Parameters
        ----------
        adapter, pages, keys : as in ``admits``.

        Raises
        ------
        ValueError
            If the request is in already, or is not admissible.
        """
        if request in self._held:
            raise ValueError(f"request {request} is let in already")
        if keys:  # held first, so that the blocks are not what makes room for the adapter
            keys = keys[: self._prefixes.match(keys)]
            self._prefixes.hold(keys)
        usable, hit = now, -1
        if adapter >= 0:
            if adapter in self.resident:
                usable = max(now, self.resident[adapter])
                hit = int(usable == now)
            else:
                self._make_room(adapter, now)
                usable = max(now, self._load(adapter, now))
                hit = 0
            if adapter in self._idle:
                del self._idle[adapter]
                self._idle_bytes -= self._layout.sizes[adapter]
            self._readers[adapter] = self._readers.get(adapter, 0) + 1
            self._residency.use(adapter, now, request)
        taken = pages - len(keys) * self._layout.block_pages
        if not self.reclaim(taken, now):
            raise ValueError(f"request {request} is let in without room for its pages")
        self.pages += taken
        self._held[request] = adapter, keys
        self.note(now)
        return Place(usable, hit, len(keys))

    def release(self, request: int, pages: int, now: int, keep: tuple[Key, ...] = ()) -> None:
        """Take back what a request holds.

        Parameters
        ----------
        pages : that it holds by now, with those of the blocks that it shares.
        keep : prefix blocks that stay for others, the shared ones first.

        Raises
        ------
        ValueError
            If the request holds nothing.
        """
        if request not in self._held:
            raise ValueError(f"request {request} holds nothing")
        adapter, shared = self._held.pop(request)
        if shared or keep:
            self._prefixes.release(shared)
            kept = len(shared) + self._prefixes.insert(keep[len(shared) :])
            pages -= kept * self._layout.block_pages
        self.pages -= pages
        if adapter >= 0:
            self._readers[adapter] -= 1
            if not self._readers[adapter]:
                self._rest(adapter)
        self.note(now)

    def reserve(self, pages: int) -> None:
        """Keep pages for what is computed ahead, in place of those reserved so far.

        Raises
        ------
        ValueError
            If so many are not free.
        """
        self._reserved = 0
        if pages > self.free_pages():
            raise ValueError(f"{pages} pages are more than the {self.free_pages()} free ones")
        self._reserved = pages

    def take_reserved(self) -> None:
        """The reserved pages are held from now on, by the requests that are in."""
        self.pages += self._reserved
        self._reserved = 0

    # Making room.

    def reclaim(self, pages: int, now: int) -> bool:
        """Make some pages free without touching requests; whether that could be."""
        while self.free_pages() < pages:
            if self._prefixes.idle:
                self._drop_block()
            elif self._idle and not self._layout.slots:
                self._evict(self._residency.victim(self._idle), now)
            else:
                return False
        return True

    def load_ahead(self, soon: Collection[int], now: int) -> None:
        """Fetch adapters that are wanted soon, where idle ones that are not can make room."""
        for adapter in sorted(soon):
            if adapter < 0 or adapter in self.resident:
                continue
            while not self._fits(adapter):
                spare = [idle for idle in self._idle if idle not in soon]
                if not spare:
                    return
                self._evict(self._residency.victim(spare), now)
            self._load(adapter, now)
            self._rest(adapter)

    def note(self, now: int) -> None:
        """Enter into the record what is in use."""
        self._record.memory.extend((self._card, now, self.pages, self.adapter_bytes))

    def _fits(self, adapter: int) -> bool:
        layout = self._layout
        if layout.slots:
            return len(self.resident) < layout.slots
        used = self.adapter_bytes + (self.pages + self._reserved) * layout.page_bytes
        return used + layout.sizes[adapter] <= layout.capacity

    def _make_room(self, adapter: int, now: int) -> None:
        while not self._fits(adapter):
            if self._prefixes.idle and not self._layout.slots:
                self._drop_block()
            elif self._idle:
                self._evict(self._residency.victim(self._idle), now)
            else:
                raise ValueError(f"adapter {adapter} is let in without room for it")

    def _load(self, adapter: int, now: int) -> int:
        usable = self.resident[adapter] = self._fetch(adapter, now)
        self.adapter_bytes += self._layout.sizes[adapter]
        self._residency.loaded(adapter, now)
        self.note(now)
        return usable

    def _rest(self, adapter: int) -> None:
        self._idle[adapter] = None
        self._idle_bytes += self._layout.sizes[adapter]

    def _evict(self, adapter: int, now: int) -> None:
        del self._idle[adapter]
        del self.resident[adapter]
        self._idle_bytes -= self._layout.sizes[adapter]
        self.adapter_bytes -= self._layout.sizes[adapter]
        self._residency.evicted(adapter)
        self._record.evictions.extend((self._card, adapter, now))
        self.note(now)

    def _drop_block(self) -> None:
        self._prefixes.drop()
        self.pages -= self._layout.block_pages
