"""Links, disk and host memory over arrays: the rules of ``link``."""

from __future__ import annotations

from hardwire.simulator.serving.cards.compiled.access_jit import (
    adapter_at,
    inner,
    line_at,
    put_taken_word,
    taken_word,
    world_at,
)

NONE = -1


@inner
def _move(s: int, begin: int, count: int, by: int) -> None:
    """Times of a line from place ``begin`` on go ``by`` places up or down."""
    first, last, step = 2 * begin, 2 * (begin + count), 1
    if by > 0:
        first, last, step = last - 1, first - 1, -1
    for word in range(first, last, step):
        put_taken_word(s, word + 2 * by, taken_word(s, word))


@inner
def send(s: int, number: int, now: int, ticks: int, ready: int) -> int:
    """Give a transfer its time on a line, as ``Line.send``; the tick at which it begins."""
    line, base = line_at(s, number), number * world_at(s, 0).transfers
    past = 0
    while past < line.count and taken_word(s, 2 * (base + past) + 1) <= now:
        past += 1
    if past:
        line.count -= past
        _move(s, base + past, line.count, -past)
    begin, place = max(now, ready), base
    end = base + line.count
    while place < end:
        begun = taken_word(s, 2 * place)
        if begin < begun and begin + ticks <= begun:
            break
        begin = max(begin, taken_word(s, 2 * place + 1))
        place += 1
    line.busy += ticks
    touches_next = place < end and taken_word(s, 2 * place) == begin + ticks
    touches_last = place > base and taken_word(s, 2 * place - 1) == begin
    if touches_next and touches_last:
        put_taken_word(s, 2 * place - 1, taken_word(s, 2 * place + 1))
        line.count -= 1
        _move(s, place + 1, end - place - 1, -1)
    elif touches_next:
        put_taken_word(s, 2 * place, begin)
    elif touches_last:
        put_taken_word(s, 2 * place - 1, begin + ticks)
    else:
        _move(s, place, end - place, 1)
        put_taken_word(s, 2 * place, begin)
        put_taken_word(s, 2 * place + 1, begin + ticks)
        line.count += 1
    return begin


@inner
def put_last(s: int, number: int) -> None:
    """An adapter is the last used of those in host memory."""
    world, adapter = world_at(s, 0), adapter_at(s, number)
    adapter.previous, adapter.next = world.last_host, NONE
    if world.last_host == NONE:
        world.first_host = number
    else:
        adapter_at(s, world.last_host).next = number
    world.last_host = number


@inner
def _take_out(s: int, number: int) -> None:
    world, adapter = world_at(s, 0), adapter_at(s, number)
    if adapter.previous == NONE:
        world.first_host = adapter.next
    else:
        adapter_at(s, adapter.previous).next = adapter.next
    if adapter.next == NONE:
        world.last_host = adapter.previous
    else:
        adapter_at(s, adapter.next).previous = adapter.previous


@inner
def fetch_to_host(s: int, number: int, now: int) -> int:
    """The tick from which an adapter can be sent to a card, as ``HostMemory.fetch``."""
    world, adapter = world_at(s, 0), adapter_at(s, number)
    if adapter.ready >= 0:
        _take_out(s, number)
        put_last(s, number)
        return max(now, adapter.ready)
    ready = send(s, world.links, now, adapter.disk_ticks, 0) + adapter.disk_ticks
    if adapter.host_bytes <= world.host_capacity:
        while world.host_used + adapter.host_bytes > world.host_capacity:
            oldest = world.first_host
            _take_out(s, oldest)
            adapter_at(s, oldest).ready = NONE
            world.host_used -= adapter_at(s, oldest).host_bytes
        put_last(s, number)
        adapter.ready = ready
        world.host_used += adapter.host_bytes
    return ready
