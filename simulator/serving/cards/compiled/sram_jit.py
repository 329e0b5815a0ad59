"""The SRAM of a card over arrays: the rules of ``sram.Sram``."""

from __future__ import annotations

from hardwire.simulator.serving.cards.compiled.access_jit import (
    adapter_at,
    card_at,
    first_key,
    here_at,
    inner,
    put_event_word,
    request_at,
    soon_at,
    world_at,
)
from hardwire.simulator.serving.cards.compiled.blocks_jit import (
    drop_block,
    hold,
    idle_of,
    match,
    release_and_keep,
)
from hardwire.simulator.serving.cards.compiled.moves_jit import fetch_to_host, send
from hardwire.simulator.serving.cards.compiled.state import EVENT_COLUMNS, EVICTION, LOAD, MEMORY
from hardwire.simulator.serving.policies import residency

SWAP_BLOCKING, SWAP_DOUBLE_BUFFERED, SWAP_STREAMED = range(3)

_value_of_use = inner(residency.value_of_use)
_value_of_keeping = inner(residency.value_of_keeping)


@inner
def event(s: int, kind: int, number: int, first: int, second: int, third: int, last: int) -> None:
    """Note a row of the record."""
    place = world_at(s, 0).events * EVENT_COLUMNS
    put_event_word(s, place, kind)
    put_event_word(s, place + 1, number)
    put_event_word(s, place + 2, first)
    put_event_word(s, place + 3, second)
    put_event_word(s, place + 4, third)
    put_event_word(s, place + 5, last)
    world_at(s, 0).events += 1


@inner
def note(s: int, number: int, now: int) -> None:
    """Enter into the record what is in use."""
    card = card_at(s, number)
    event(s, MEMORY, number, now, card.kv_pages, card.adapter_bytes, 0)


@inner
def free_pages(s: int, number: int) -> int:
    """Pages that nobody holds and that are not reserved."""
    world, card = world_at(s, 0), card_at(s, number)
    adapters = world.slots * world.slot_bytes if world.slots else card.adapter_bytes
    return (world.capacity - adapters) // world.page_bytes - card.kv_pages - card.reserved


@inner
def most_pages(s: int, number: int) -> int:
    """Pages that could be free if all that is idle were put out."""
    world, card = world_at(s, 0), card_at(s, number)
    pages = free_pages(s, number) + card.idle_blocks * world.block_pages
    if not world.slots:
        pages += -(-card.idle_bytes // world.page_bytes)
    return pages


@inner
def admits(s: int, number: int, wanted: int, pages: int, begin: int, end: int) -> bool:
    """Whether a request can be let in, everything idle put out; it may share keys from ``begin``
    to ``end``."""
    world, card = world_at(s, 0), card_at(s, number)
    spare = card.idle_blocks
    if end > begin:
        shared = match(s, number, begin, end)
        pages -= shared * world.block_pages
        spare -= idle_of(s, number, begin, begin + shared)
    spare *= world.block_pages
    absent = wanted >= 0 and here_at(s, number, wanted).resident == 0
    if world.slots:
        if absent and card.resident >= world.slots and card.idle == 0:
            return False
        return pages <= free_pages(s, number) + spare
    free = world.capacity - card.adapter_bytes + card.idle_bytes
    if absent or (wanted >= 0 and here_at(s, number, wanted).place >= 0):
        free -= adapter_at(s, wanted).size
    return (pages + card.kv_pages + card.reserved - spare) * world.page_bytes <= free


# Adapters.


@inner
def _rest(s: int, number: int, adapter: int) -> None:
    card = card_at(s, number)
    here_at(s, number, card.idle).idle = adapter
    here_at(s, number, adapter).place = card.idle
    card.idle += 1
    card.idle_bytes += adapter_at(s, adapter).size


@inner
def _wake(s: int, number: int, adapter: int) -> None:
    """The adapter is no longer idle."""
    card = card_at(s, number)
    place = here_at(s, number, adapter).place
    card.idle -= 1
    last = here_at(s, number, card.idle).idle
    here_at(s, number, place).idle = last
    here_at(s, number, last).place = place
    here_at(s, number, adapter).place = -1
    card.idle_bytes -= adapter_at(s, adapter).size


@inner
def _victim(s: int, number: int, soon: int) -> int:
    """The idle adapter to lose, not of the first ``soon`` that are wanted; -1 if there is none."""
    found, least = -1, 0.0
    for place in range(card_at(s, number).idle):
        adapter = here_at(s, number, place).idle
        spare = True
        for i in range(soon):
            spare = spare and soon_at(s, i) != adapter
        if spare:
            value = _value_of_keeping(
                world_at(s, 0).residency,
                here_at(s, number, adapter).value,
                adapter_at(s, adapter).wanted,
            )
            if found < 0 or value < least or (value == least and adapter < found):
                found, least = adapter, value
    return found


@inner
def _evict(s: int, number: int, adapter: int, now: int) -> None:
    card, here = card_at(s, number), here_at(s, number, adapter)
    _wake(s, number, adapter)
    here.resident = 0
    card.resident -= 1
    card.adapter_bytes -= adapter_at(s, adapter).size
    card.floor = max(card.floor, here.value)
    here.uses = 0
    event(s, EVICTION, number, adapter, now, 0, 0)
    note(s, number, now)


@inner
def _fits(s: int, number: int, adapter: int) -> bool:
    world, card = world_at(s, 0), card_at(s, number)
    if world.slots:
        return card.resident < world.slots
    used = card.adapter_bytes + (card.kv_pages + card.reserved) * world.page_bytes
    return used + adapter_at(s, adapter).size <= world.capacity


@inner
def _fetch(s: int, number: int, wanted: int, now: int) -> int:
    """Begin to move an adapter into SRAM; the tick from which a token may use it."""
    world, card, adapter = world_at(s, 0), card_at(s, number), adapter_at(s, wanted)
    fetched = fetch_to_host(s, wanted, now)
    begin = send(s, number % world.links, now, adapter.transfer, fetched)
    done = begin + adapter.load
    if world.swap == SWAP_BLOCKING:
        card.stopped_until = max(card.stopped_until, done)
    event(s, LOAD, number, wanted, begin, done, adapter.image_bytes)
    return begin + adapter.stream if world.swap == SWAP_STREAMED else done


@inner
def _loaded(s: int, number: int, adapter: int, now: int) -> None:
    here = here_at(s, number, adapter)
    here.value = _value_of_use(
        world_at(s, 0).residency,
        now,
        card_at(s, number).floor,
        here.uses,
        adapter_at(s, adapter).worth,
    )


@inner
def _load(s: int, number: int, adapter: int, now: int) -> int:
    card, here = card_at(s, number), here_at(s, number, adapter)
    here.usable = _fetch(s, number, adapter, now)
    here.resident = 1
    card.resident += 1
    card.adapter_bytes += adapter_at(s, adapter).size
    _loaded(s, number, adapter, now)
    note(s, number, now)
    return here.usable


@inner
def _use(s: int, number: int, adapter: int, now: int, request: int) -> None:
    """A request with this adapter was let in."""
    here_at(s, number, adapter).uses += 1
    _loaded(s, number, adapter, now)
    if world_at(s, 0).residency == residency.BELADY:
        request_at(s, request).begun = 1
        place = adapter_at(s, adapter).wanted
        while place < world_at(s, 0).requests and request_at(s, place).begun:
            place = request_at(s, place).following
        adapter_at(s, adapter).wanted = place


# Requests come and go.


@inner
def reclaim(s: int, number: int, pages: int, now: int) -> bool:
    """Make some pages free without touching requests; whether that could be."""
    card = card_at(s, number)
    while free_pages(s, number) < pages:
        if card.idle_blocks:
            drop_block(s, number)
        elif card.idle and not world_at(s, 0).slots:
            _evict(s, number, _victim(s, number, 0), now)
        else:
            return False
    return True


@inner
def take_in(s: int, number: int, request: int, pages: int, keys: int, now: int) -> tuple[int, int]:
    """Give a request its pages and its adapter, which is fetched if it is absent.

    ``keys`` is how many of its prefix blocks it may share. Returns the tick from which the adapter
    is usable, and 1 where it was complete, 0 where not, -1 where none is wanted.
    """
    world, card, asked = world_at(s, 0), card_at(s, number), request_at(s, request)
    if keys:  # held first, so that the blocks are not what makes room for the adapter
        begin = first_key(s, request)
        keys = match(s, number, begin, begin + keys)
        hold(s, number, begin, begin + keys)
    asked.blocks = keys
    usable, hit, wanted = now, -1, asked.adapter
    if wanted >= 0:
        if here_at(s, number, wanted).resident:
            usable = max(now, here_at(s, number, wanted).usable)
            hit = int(usable == now)
        else:
            while not _fits(s, number, wanted):
                if card.idle_blocks and not world.slots:
                    drop_block(s, number)
                elif card.idle:
                    _evict(s, number, _victim(s, number, 0), now)
                else:
                    raise ValueError("an adapter is let in without room for it")
            usable = max(now, _load(s, number, wanted, now))
            hit = 0
        if here_at(s, number, wanted).place >= 0:
            _wake(s, number, wanted)
        here_at(s, number, wanted).readers += 1
        _use(s, number, wanted, now, request)
    taken = pages - keys * world.block_pages
    if not reclaim(s, number, taken, now):
        raise ValueError("a request is let in without room for its pages")
    card.kv_pages += taken
    note(s, number, now)
    return usable, hit


@inner
def release(s: int, number: int, request: int, pages: int, keep: int, now: int) -> None:
    """Take back what a request holds; ``keep`` of its prefix blocks stay for others."""
    card, asked = card_at(s, number), request_at(s, request)
    shared = asked.blocks
    if shared or keep:
        begin = first_key(s, request)
        new = release_and_keep(s, number, begin, begin + shared, begin + max(keep, shared))
        pages -= (shared + new) * world_at(s, 0).block_pages
    card.kv_pages -= pages
    wanted = asked.adapter
    if wanted >= 0:
        here_at(s, number, wanted).readers -= 1
        if here_at(s, number, wanted).readers == 0:
            _rest(s, number, wanted)
    note(s, number, now)


@inner
def reserve(s: int, number: int, pages: int) -> None:
    """Keep pages for what is computed ahead, in place of those reserved so far."""
    card = card_at(s, number)
    card.reserved = 0
    if pages > free_pages(s, number):
        raise ValueError("more pages are reserved than are free")
    card.reserved = pages


@inner
def load_ahead(s: int, number: int, count: int, now: int) -> None:
    """Fetch the first ``count`` adapters of ``soon``, sorted, where idle ones that are not of them
    can make room."""
    for i in range(count):
        adapter = soon_at(s, i)
        if adapter < 0 or here_at(s, number, adapter).resident:
            continue
        while not _fits(s, number, adapter):
            victim = _victim(s, number, count)
            if victim < 0:
                return
            _evict(s, number, victim, now)
        _load(s, number, adapter, now)
        _rest(s, number, adapter)
