"""One card over arrays: the rules of ``card.Card``.

What follows an event is the loop's to call. A timer is a tick and a place among equal ticks; the
last one is put off by setting it again.
"""

from __future__ import annotations

from typing import Any

from hardwire.simulator.serving.cards.compiled.access_jit import (
    adapter_at,
    backlog,
    card_at,
    copy_users,
    costs,
    first_key,
    inner,
    place_of,
    put_soon,
    request_at,
    rises,
    soon_at,
    table,
    user_at,
    world_at,
)
from hardwire.simulator.serving.cards.compiled.moves_jit import send
from hardwire.simulator.serving.cards.compiled.sram_jit import (
    SWAP_BLOCKING,
    event,
    free_pages,
    load_ahead,
    note,
    reclaim,
    release,
    reserve,
    take_in,
)
from hardwire.simulator.serving.cards.compiled.state import (
    ACTIVE,
    ALONE,
    BEFORE,
    BODY,
    BODY_INTERVAL,
    BODY_INTERVAL_SUM,
    BODY_SUM,
    DROPPED,
    PENDING,
    RESTING,
    SEGMENT,
    SKIPPED,
    WAITING,
    WHOLE,
    WHOLE_INTERVAL,
    WHOLE_INTERVAL_SUM,
    WHOLE_SUM,
)
from hardwire.simulator.serving.cards.compiled.waiting_jit import (
    admissible,
    pages_for,
    peek_ahead,
    pop_next,
    push,
    push_front,
    shareable,
)
from hardwire.simulator.serving.cards.rounds_jit import FINISHED, OUT_OF_PAGES, advance

NEVER = 2**62


NOTHING, GO, CUT = range(3)
"""What is to follow an event, for the loop: a call in one place compiles once."""


@inner
def submit(s: int, number: int, request: int) -> int:
    """Take a request into the queue; whether it may go on at once, or cut a segment short."""
    card = card_at(s, number)
    push(s, number, request)
    if card.mode == RESTING:
        return GO
    joins = card.mode == SEGMENT and _has_place(s, number) and not card.holding
    return CUT if joins and admissible(s, number, request) else NOTHING


@inner
def on_timer(s: int, number: int, now: int) -> None:
    """The timer goes off: what it ends. Then the card goes on."""
    card, mode = card_at(s, number), card_at(s, number).mode
    active = place_of(s, ACTIVE, number)
    card.mode, card.tick = RESTING, NEVER
    if mode == ALONE:
        card.busy += now - card.begin
        end_finished(s, number, active, 1, now)
    elif mode == SEGMENT:
        card.kv_pages += card.reserved
        card.reserved = 0
        card.busy += now - card.begin
        if card.why == FINISHED:
            card.count = end_finished(s, number, active, card.count, now)
            card.holding = 0
        elif card.why == OUT_OF_PAGES:
            _make_room(s, number, now)


@inner
def _set_timer(s: int, number: int, mode: int, tick: int) -> None:
    world, card = world_at(s, 0), card_at(s, number)
    card.mode, card.tick, card.order = mode, tick, world.orders
    world.orders += 1


@inner
def go(s: int, number: int, now: int) -> int:
    """Let in who can be; the tick up to which to compute ahead, or ``now`` where there is none."""
    card = card_at(s, number)
    if card.returned + card.waiting > 0 and not card.holding:
        while _has_place(s, number):
            request = pop_next(s, number, now)
            if request < 0:
                break
            _let_in(s, number, request, now)
    if card.mode == ALONE:
        return now
    if card.stopped_until > now:
        _set_timer(s, number, WAITING, card.stopped_until)
        return now
    until = NEVER
    if card.pending:
        until = _activate(s, number, now)
    if card.count:
        card.free = free_pages(s, number)
        card.begin, card.begin_held = now, card.held
        copy_users(s, place_of(s, ACTIVE, number), place_of(s, BEFORE, number), card.count)
        return until
    if until < NEVER:
        _set_timer(s, number, WAITING, until)
    return now


@inner
def _has_place(s: int, number: int) -> bool:
    card = card_at(s, number)
    return card.mode != ALONE and card.count + card.pending < world_at(s, 0).users


@inner
def _advance(
    s: int, which: int, number: int, count: int, free: int, held: int, begin: int, until: int
) -> Any:
    """Rounds of the first users of one of a card's tables; see ``rounds.Advance``."""
    world = world_at(s, 0)
    return advance(
        table(s, which, number), count, costs(s, BODY), costs(s, WHOLE), costs(s, BODY_INTERVAL),
        costs(s, WHOLE_INTERVAL), costs(s, BODY_SUM), costs(s, WHOLE_SUM),
        costs(s, BODY_INTERVAL_SUM), costs(s, WHOLE_INTERVAL_SUM), rises(s), world.serial != 0,
        world.in_turn != 0, world.page_tokens, free, held, begin, until,
    )  # fmt: skip


@inner
def compute(s: int, number: int, until: int) -> None:
    """Compute ahead from where the segment begins; the table is then that of the end."""
    card = card_at(s, number)
    card.why, tick, left, card.held = _advance(
        s, ACTIVE, number, card.count, card.free, card.begin_held, card.begin, until
    )
    reserve(s, number, card.free - left)
    _set_timer(s, number, SEGMENT, tick)


@inner
def back_to_begin(s: int, number: int) -> None:
    """Forget what was computed ahead, so that it can end at the first round from now on."""
    count = card_at(s, number).count
    copy_users(s, place_of(s, BEFORE, number), place_of(s, ACTIVE, number), count)


@inner
def _serve(s: int, number: int, start: int) -> None:
    """One user under serial issue from ``start`` to its end, in closed form."""
    card, place = card_at(s, number), place_of(s, ACTIVE, number)
    copy_users(s, place, place_of(s, BEFORE, number), 1)
    user, tick = user_at(s, place), start
    last = user.context + user.prompt
    if user.prompt:
        body = costs(s, BODY_SUM)
        tick += body[user.row, last - 1] - body[user.row, user.context]
        tick += costs(s, WHOLE)[user.row, last]
        user.output -= 1
        if user.first < 0:
            user.first = tick
    whole = costs(s, WHOLE_SUM)
    tick += whole[user.row, last + user.output] - whole[user.row, last]
    user.context, user.prompt, user.output = last + user.output, 0, 0
    card.begin = start
    _set_timer(s, number, ALONE, tick)


@inner
def _let_in(s: int, number: int, request: int, now: int) -> None:
    world, card, asked = world_at(s, 0), card_at(s, number), request_at(s, request)
    pages = pages_for(s, request)
    usable, hit = take_in(s, number, request, pages, shareable(s, request), now)
    place = place_of(s, PENDING, number) + card.pending
    user = user_at(s, place)
    user.request, user.first = request, asked.first
    user.row = adapter_at(s, asked.adapter).row if asked.adapter >= 0 else 0
    user.output = asked.output - asked.generated
    back = now
    if asked.offloaded:  # its KV pages come back from host memory
        asked.offloaded = 0
        user.context, user.prompt, user.pages = asked.context, asked.left, asked.pages
        transfer = -(-asked.context // world.page_tokens) * world.page_transfer
        back = send(s, number % world.links, now, transfer, 0) + transfer
        world.kv_bytes += -(-asked.context // world.page_tokens) * world.page_bytes
    else:
        reused = asked.blocks * world.block_tokens
        asked.reused += reused
        if asked.start < 0:  # what came with it is gone after a preemption
            reused = max(reused, asked.prefilled)
        if reused:
            event(s, SKIPPED, request, reused, 0, 0, 0)
        user.context, user.pages = reused, pages
        user.prompt = asked.prompt + asked.generated - reused
    if asked.start < 0:
        asked.start, asked.hit, asked.unit = now, hit, number
    asked.wait += usable - now
    user.starts = max(usable, back) + (world.switch if asked.adapter >= 0 else 0)
    if world.one:
        copy_users(s, place, place_of(s, ACTIVE, number), 1)
        _serve(s, number, user.starts)
    elif user.starts <= now:
        copy_users(s, place, place_of(s, ACTIVE, number) + card.count, 1)
        card.count += 1
    else:
        card.pending += 1


@inner
def _activate(s: int, number: int, now: int) -> int:
    """Move those whose adapter is there to the table; the first tick of the others."""
    card, kept, until = card_at(s, number), 0, NEVER
    pending, active = place_of(s, PENDING, number), place_of(s, ACTIVE, number)
    for place in range(pending, pending + card.pending):
        starts = user_at(s, place).starts
        if starts <= now:
            copy_users(s, place, active + card.count, 1)
            card.count += 1
        else:
            until = min(until, starts)
            copy_users(s, place, pending + kept, 1)
            kept += 1
    card.pending = kept
    return until


@inner
def end_finished(s: int, number: int, active: int, count: int, now: int) -> int:
    """End those of the first users of the table at ``active`` who are done; how many are left."""
    world, kept = world_at(s, 0), 0
    for place in range(active, active + count):
        user = user_at(s, place)
        if user.output:
            copy_users(s, place, active + kept, 1)
            kept += 1
            continue
        request = user.request
        asked = request_at(s, request)
        note(s, number, now)
        asked.first, asked.finish, asked.generated = user.first, now, asked.output
        keep = 0
        if world.reuse:
            keys = first_key(s, request + 1) - first_key(s, request)
            keep = min(keys, asked.prompt // world.block_tokens)
        release(s, number, request, user.pages, keep, now)
        backlog(s)[number] -= asked.estimate
        world.backlog -= asked.estimate
    return kept


@inner
def _make_room(s: int, number: int, now: int) -> None:
    """Free a page for each active user: prefix blocks, idle adapters, then the last let in."""
    world, card, active = world_at(s, 0), card_at(s, number), place_of(s, ACTIVE, number)
    wanted = 0
    for place in range(active, active + card.count):
        user = user_at(s, place)
        if user.prompt == 0 and user.context == user.pages * world.page_tokens:
            wanted += 1
    if reclaim(s, number, wanted, now):
        return
    if card.pending:
        card.pending -= 1
        place = place_of(s, PENDING, number) + card.pending
    else:
        card.count -= 1
        place = active + card.count
    user = user_at(s, place)
    request = user.request
    asked = request_at(s, request)
    asked.preemptions += 1
    asked.first, asked.generated = user.first, asked.output - user.output
    release(s, number, request, user.pages, 0, now)
    if world.offload:
        asked.offloaded, asked.context, asked.left = 1, user.context, user.prompt
        # Back in SRAM it needs room for what is left of its prompt, too.
        asked.pages = -(-(asked.context + asked.left) // world.page_tokens)
        held = -(-asked.context // world.page_tokens)
        send(s, number % world.links, now, held * world.page_transfer, 0)
        world.kv_bytes += held * world.page_bytes
    else:
        event(s, DROPPED, request, user.context, 0, 0, 0)
    push_front(s, number, request)
    card.holding = int(card.count + card.pending > 0)


@inner
def prefetch(s: int, number: int, now: int) -> None:
    """Load adapters of the next in the queue."""
    world, card = world_at(s, 0), card_at(s, number)
    if not world.prefetch or card.returned + card.waiting == 0 or world.swap == SWAP_BLOCKING:
        return
    count = peek_ahead(s, number)
    for i in range(count):
        adapter = request_at(s, soon_at(s, i)).adapter
        place = i
        while place > 0 and soon_at(s, place - 1) > adapter:
            put_soon(s, place, soon_at(s, place - 1))
            place -= 1
        put_soon(s, place, adapter)
    load_ahead(s, number, count, now)


@inner
def cut_off(s: int, number: int, now: int) -> None:
    """Note how far those in flight are, by the rounds that have ended before ``now``."""
    card = card_at(s, number)
    active, before = place_of(s, ACTIVE, number), place_of(s, BEFORE, number)
    count = card.count
    if card.mode in (ALONE, SEGMENT):
        card.busy += max(now - card.begin, 0)
        tick, free, held = card.begin, card.free, card.begin_held
        if card.mode == ALONE:
            count, free, held = 1, 0, 0
        copy_users(s, before, active, count)
        while tick < now:
            why, tick, free, held = _advance(s, BEFORE, number, count, free, held, tick, tick + 1)
            if tick >= now or why == OUT_OF_PAGES:
                break
            copy_users(s, before, active, count)
    for place in range(active, active + count):
        _cut_off_user(s, place)
    pending = place_of(s, PENDING, number)
    for place in range(pending, pending + card.pending):
        _cut_off_user(s, place)
    request = card.first_returned
    while request >= 0:
        asked = request_at(s, request)
        if asked.offloaded:
            asked.reached, asked.remaining = asked.context, asked.left
        request = asked.next


@inner
def _cut_off_user(s: int, place: int) -> None:
    user = user_at(s, place)
    asked = request_at(s, user.request)
    asked.first, asked.generated = user.first, asked.output - user.output
    asked.reached, asked.remaining = user.context, user.prompt
