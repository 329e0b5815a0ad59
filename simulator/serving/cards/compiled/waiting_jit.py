"""Who waits at a card over arrays: the rules of ``queueing.Queue``.

Requests that came wait in a list by arrival, preempted ones in another, by arrival, before it.
"""

from __future__ import annotations

from hardwire.simulator.serving.cards.compiled.access_jit import (
    card_at,
    first_key,
    here_at,
    inner,
    least_at,
    put_least,
    put_soon,
    put_waits,
    request_at,
    soon_at,
    waits_at,
    world_at,
)
from hardwire.simulator.serving.cards.compiled.sram_jit import admits, most_pages
from hardwire.simulator.serving.cards.compiled.state import GROUP
from hardwire.simulator.serving.policies import queueing

NEVER = 2**62
NONE = -1

_turn = inner(queueing.turn)


@inner
def push(s: int, number: int, request: int) -> None:
    """A request begins to wait, behind all that came before."""
    card, asked = card_at(s, number), request_at(s, request)
    asked.previous, asked.next = card.last_waiting, NONE
    if card.last_waiting == NONE:
        card.first_waiting = request
    else:
        request_at(s, card.last_waiting).next = request
    card.last_waiting = request
    card.waiting += 1
    group, bit = request // GROUP, 1 << (request % GROUP)
    bits = waits_at(s, number, group)
    asked.queue = number
    put_waits(s, number, group, bits | bit)
    put_least(s, number, group, min(least_at(s, number, group), asked.need))
    card.least_need = min(card.least_need, asked.need)


@inner
def push_front(s: int, number: int, request: int) -> None:
    """A preempted request waits again: before all others, among its like by arrival."""
    card = card_at(s, number)
    before, after = NONE, card.first_returned
    while after != NONE and after < request:
        before, after = after, request_at(s, after).next
    request_at(s, request).next = after
    if before == NONE:
        card.first_returned = request
    else:
        request_at(s, before).next = request
    card.returned += 1


@inner
def _take_out(s: int, number: int, request: int) -> None:
    card, asked = card_at(s, number), request_at(s, request)
    if asked.previous == NONE:
        card.first_waiting = asked.next
    else:
        request_at(s, asked.previous).next = asked.next
    if asked.next == NONE:
        card.last_waiting = asked.previous
    else:
        request_at(s, asked.next).previous = asked.previous
    card.waiting -= 1
    group = request // GROUP
    asked.queue = NONE
    put_waits(s, number, group, waits_at(s, number, group) & ~(1 << (request % GROUP)))


@inner
def pages_for(s: int, request: int) -> int:
    """KV pages that a request takes when it is let in."""
    world, asked = world_at(s, 0), request_at(s, request)
    if world.whole:
        tokens = asked.prompt + asked.output - 1
    elif asked.offloaded:
        return asked.pages
    else:
        # After a preemption, what it made goes through prefill, too.
        tokens = asked.prompt + asked.generated
    return -(-tokens // world.page_tokens)


@inner
def shareable(s: int, request: int) -> int:
    """Leading blocks of its prompt that it may share; at least one token is left to compute."""
    world, asked = world_at(s, 0), request_at(s, request)
    if not world.reuse or asked.offloaded:
        return 0
    keys = first_key(s, request + 1) - first_key(s, request)
    return min(keys, (asked.prompt - 1) // world.block_tokens)


@inner
def admissible(s: int, number: int, request: int) -> bool:
    """Whether SRAM has room for its pages and its adapter, idle adapters put out."""
    begin = first_key(s, request) if world_at(s, 0).reuse else 0
    end = begin + shareable(s, request)
    return admits(s, number, request_at(s, request).adapter, pages_for(s, request), begin, end)


@inner
def _rank(s: int, number: int, request: int, now: int) -> tuple[int, int]:
    world, asked = world_at(s, 0), request_at(s, request)
    here = asked.adapter < 0 or here_at(s, number, asked.adapter).resident != 0
    return _turn(
        world.schedule, now, world.fairness, asked.arrival, asked.estimate, asked.latest, here
    )


@inner
def _choose(s: int, number: int, now: int) -> int:
    world, card = world_at(s, 0), card_at(s, number)
    card.aged_to = now - world.fairness
    room = most_pages(s, number) * world.page_tokens
    found, best = NONE, (0, 0)
    if card.least_need > room and world.schedule != queueing.SLO:  # which notes who is late
        return found
    if card.waiting > GROUP and world.schedule != queueing.SLO:
        return _search(s, number, now, room)
    request, least = card.first_waiting, NEVER
    while request != NONE:
        asked = request_at(s, request)
        least = min(least, asked.need)
        rank = _rank(s, number, request, now)
        asked.late = asked.latest < now
        if asked.need <= room and (found == NONE or rank < best) and admissible(s, number, request):
            found, best = request, rank
            if world.schedule != queueing.SLO and best == (0, 0):
                return found
        request = asked.next
    card.least_need = least
    return found


@inner
def _search(s: int, number: int, now: int, room: int) -> int:
    """The same in a long queue: groups that need more than there is are not looked into."""
    card = card_at(s, number)
    found, best, least_of_all = NONE, (0, 0), NEVER
    for group in range(card.first_waiting // GROUP, card.last_waiting // GROUP + 1):
        bits, least = waits_at(s, number, group), least_at(s, number, group)
        if bits != 0 and least <= room:
            least = NEVER
            for place in range(GROUP):
                if (bits >> place) & 1 == 0:
                    continue
                request = group * GROUP + place
                need = request_at(s, request).need
                least = min(least, need)
                if need > room:
                    continue
                rank = _rank(s, number, request, now)
                if (found == NONE or rank < best) and admissible(s, number, request):
                    found, best = request, rank
                    if best == (0, 0):
                        return found
            put_least(s, number, group, least)
        if bits != 0:
            least_of_all = min(least_of_all, least)
    card.least_need = least_of_all
    return found


@inner
def pop_next(s: int, number: int, now: int) -> int:
    """Take out the first request, in the order of the policy, that is admissible, or NONE."""
    world, card = world_at(s, 0), card_at(s, number)
    if world.reserve >= 0:
        card.reserved_to = now - world.reserve
    before, request = NONE, card.first_returned
    while request != NONE:
        after = request_at(s, request).next
        if admissible(s, number, request):
            if before == NONE:
                card.first_returned = after
            else:
                request_at(s, before).next = after
            card.returned -= 1
            return request
        if request_at(s, request).arrival <= card.reserved_to:
            return NONE
        before, request = request, after
    request = card.first_waiting
    if request == NONE or request_at(s, request).arrival > card.reserved_to:
        request = _choose(s, number, now)
    elif not admissible(s, number, request):
        return NONE
    if request != NONE:
        _take_out(s, number, request)
    return request


@inner
def _note_soon(s: int, found: int, request: int) -> int:
    """Put a request among those that are next, unless it is there; how many there are then."""
    for i in range(found):
        if soon_at(s, i) == request:
            return found
    put_soon(s, found, request)
    return found + 1


@inner
def _by_turn(s: int, number: int, found: int, count: int) -> int:
    """Add the next by expected work or slack, not looking at who has waited for long."""
    world = world_at(s, 0)
    chosen = 0
    last = (-1, NONE)
    while chosen < count and found < count:
        best, request, next_one = (0, 0), card_at(s, number).first_waiting, NONE
        while request != NONE:
            asked = request_at(s, request)
            key = asked.latest if world.schedule == queueing.SLO else asked.estimate
            rank = (key, request)
            left_out = world.schedule == queueing.SLO and asked.late
            if not left_out and rank > last and (next_one == NONE or rank < best):
                best, next_one = rank, request
            request = asked.next
        if next_one == NONE:
            break
        last = best
        chosen += 1
        found = _note_soon(s, found, next_one)
    return found


@inner
def peek_ahead(s: int, number: int) -> int:
    """Put the next in the order of the policy into ``soon``, as of the last ``pop_next``; how many.

    Under ``grouped`` by arrival: those whose adapter is resident need no prefetching.
    """
    world, card = world_at(s, 0), card_at(s, number)
    count, found = world.prefetch, 0
    request = card.first_returned
    while request != NONE and found < count:
        put_soon(s, found, request)
        found += 1
        request = request_at(s, request).next
    if world.reserve >= 0:
        request = card.first_waiting
        while found < count and request != NONE:
            if request_at(s, request).arrival > card.reserved_to:
                break
            put_soon(s, found, request)
            found += 1
            request = request_at(s, request).next
    if found == count:
        return found
    if world.schedule == queueing.SHORTEST:
        request = card.first_waiting
        while found < count and request != NONE and request_at(s, request).arrival <= card.aged_to:
            found = _note_soon(s, found, request)
            request = request_at(s, request).next
    if world.schedule in (queueing.SHORTEST, queueing.SLO):
        found = _by_turn(s, number, found, count)
    request, seen = card.first_waiting, 0
    while found < count and seen < count and request != NONE:
        found = _note_soon(s, found, request)
        request, seen = request_at(s, request).next, seen + 1
    return found
