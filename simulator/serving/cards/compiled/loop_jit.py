"""The loop of the server over arrays: what happens next, and at which card."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from numba import njit

from hardwire.simulator.serving.cards import rounds_jit
from hardwire.simulator.serving.cards.compiled.access_jit import (
    backlog,
    card_at,
    inner,
    line_at,
    request_at,
    served_at,
    world_at,
)
from hardwire.simulator.serving.cards.compiled.card_jit import (
    CUT,
    GO,
    NEVER,
    back_to_begin,
    compute,
    cut_off,
    go,
    on_timer,
    prefetch,
    submit,
)
from hardwire.simulator.serving.cards.compiled.state import CROWDED, DONE, FULL, PAUSED
from hardwire.simulator.serving.policies import queueing, residency, routing

_choose = inner(routing.choose)


@inner
def _route(s: int, request: int) -> int:
    """The card that a request joins."""
    world, asked = world_at(s, 0), request_at(s, request)
    card = _choose(world.routing, backlog(s), asked.adapter, world.routed, world.spill)
    world.routed += 1
    backlog(s)[card] += asked.estimate
    return card


@inner
def _next_arrival(s: int, now: int) -> None:
    world = world_at(s, 0)
    world.arrived += 1
    world.arrival_tick = NEVER
    if world.arrived < world.served:
        world.arrival_tick = request_at(s, served_at(s, world.arrived)).arrival
        if world.arrival_tick > now:  # else it comes before all else of this tick
            world.arrival_order = world.orders
            world.orders += 1


@inner
def _room_left(s: int) -> int:
    """FULL or CROWDED where what one event may note needs more room, else DONE."""
    world = world_at(s, 0)
    # Of one event: those let in and ended, their loads and those ahead, and what they put out.
    steps = 2 * world.users + world.prefetch + 2
    if world.room - world.events < 4 * steps + 2 * world.adapters:
        return FULL
    for number in range(world.links + 1):
        if world.transfers - line_at(s, number).count < steps + 1:
            return CROWDED
    return DONE


def _entries(version: int) -> tuple[Any, Any]:
    """The compiled functions, cached under a version of the files that they call into.

    numba renews a cached function when its own file changes, not when a file does that it calls
    into; but what an enclosing function gives it is part of the cache's key.
    """

    @njit(cache=True, nogil=True, error_model="numpy")
    def run(s: int, arrivals: int) -> int:
        """Go on until nothing is left to do before ``until``, or so many arrivals came.

        Returns DONE, PAUSED, FULL or CROWDED.
        """
        _ = version
        world, last = world_at(s, 0), world_at(s, 0).arrived + arrivals
        while True:
            short = _room_left(s)
            if short != DONE:
                return short
            tick, order, who = world.arrival_tick, world.arrival_order, -1
            for number in range(world.cards):
                card = card_at(s, number)
                if card.tick < tick or (card.tick == tick and card.order < order):
                    tick, order, who = card.tick, card.order, number
            if tick >= world.until:
                world.now = world.until if world.until < NEVER else world.now
                return DONE
            comes = who < 0
            if comes and world.arrived >= last:
                return PAUSED
            world.now, then = tick, GO
            if comes:
                request = served_at(s, world.arrived)
                who = _route(s, request)
                then = submit(s, who, request)
            else:
                on_timer(s, who, tick)
            card, until = card_at(s, who), tick
            if then == GO:
                until = go(s, who, tick)
            if then == CUT:
                back_to_begin(s, who)
            if then == CUT or until > tick:
                compute(s, who, until)
            if not comes or card.returned + card.waiting <= world.prefetch:
                prefetch(s, who, tick)
            if comes:
                _next_arrival(s, tick)

    @njit(cache=True, nogil=True, error_model="numpy")
    def cut(s: int) -> None:
        """Note how far those in flight are now."""
        _ = version
        for number in range(world_at(s, 0).cards):
            cut_off(s, number, world_at(s, 0).now)

    return run, cut


_FOLDER = Path(__file__).parent
_FILES = sorted(_FOLDER.glob("*.py")) + [
    Path(str(module.__file__)) for module in (rounds_jit, queueing, residency, routing)
]
run, cut = _entries(zlib.crc32(b"".join(path.read_bytes() for path in _FILES)))
