"""The loop over arrays: what happens next, at which server on its clock, and at which card."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from numba import njit

from hardwire.simulator.serving.cards import rounds_jit
from hardwire.simulator.serving.cards.compiled.access_jit import (
    backlog,
    card_at,
    fleet_at,
    inner,
    line_at,
    loads,
    put_load,
    request_at,
    server_at,
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
from hardwire.simulator.serving.cards.compiled.state import CROWDED, DONE, FULL, HUNGRY, PAUSED
from hardwire.simulator.serving.policies import queueing, residency, routing

_choose = inner(routing.choose)


@inner
def _route(s: int, request: int) -> int:
    """The card that a request joins."""
    world, asked = world_at(s, 0), request_at(s, request)
    card = _choose(world.routing, backlog(s), asked.adapter, world.routed, world.spill)
    world.routed += 1
    backlog(s)[card] += asked.estimate
    world.backlog += asked.estimate
    return card


@inner
def _send(f: int, request: int) -> int:
    """The server that a request is sent to; of several one by its backlog, as cards are chosen."""
    s = server_at(f, 0)
    fleet, asked, chosen = fleet_at(s, 0), request_at(s, request), 0
    if fleet.servers > 1:
        for number in range(fleet.servers):
            put_load(s, number, world_at(server_at(f, number), 0).backlog)
        chosen = _choose(fleet.routing, loads(s), asked.adapter, fleet.routed, fleet.spill)
    fleet.routed += 1
    asked.server = chosen
    return chosen


@inner
def _next_arrival(f: int, s: int, now: int) -> None:
    """A request came to a server; when the next one comes, and its place among equal ticks.

    It is behind what is set before the request that came to the same server before it: one that
    comes at that one's tick is before all else.
    """
    fleet, world = fleet_at(s, 0), world_at(s, 0)
    fleet.arrived += 1
    world.last, world.reserved = now, world.orders
    world.orders += 1
    fleet.arrival_tick = fleet.after
    if fleet.arrived < fleet.rows:
        fleet.arrival_tick = request_at(s, fleet.arrived).arrival
    for number in range(fleet.servers):
        other = world_at(server_at(f, number), 0)
        if fleet.arrival_tick > other.last:
            other.arrival_order = other.reserved
    fleet.turn = 0


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
    def run(f: int, arrivals: int) -> int:
        """Go on until nothing is left before ``until``, or so many arrivals came.

        Each server goes on to where the next request comes, then one of them is chosen for it.
        Returns DONE, PAUSED, FULL, CROWDED or HUNGRY.
        """
        _ = version
        fleet = fleet_at(server_at(f, 0), 0)
        last = fleet.arrived + arrivals
        while True:
            s = server_at(f, fleet.turn)
            world, short = world_at(s, 0), _room_left(s)
            if short != DONE:
                return short
            tick, order, who = fleet.arrival_tick, world.arrival_order, -1
            for number in range(world.cards):
                card = card_at(s, number)
                if card.tick < tick or (card.tick == tick and card.order < order):
                    tick, order, who = card.tick, card.order, number
            over, comes = tick >= world.until, who < 0
            if over:
                world.now = world.until if world.until < NEVER else world.now
            if over or comes:
                if fleet.turn + 1 < fleet.servers:
                    fleet.turn += 1
                    continue
                if over:
                    return DONE
                if fleet.arrived == fleet.rows:
                    return HUNGRY
                if fleet.arrived >= last:
                    return PAUSED
                s = server_at(f, _send(f, fleet.arrived))
                world = world_at(s, 0)
            world.now, then = tick, GO
            if comes:
                who = _route(s, fleet.arrived)
                then = submit(s, who, fleet.arrived)
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
                _next_arrival(f, s, tick)

    @njit(cache=True, nogil=True, error_model="numpy")
    def cut(f: int) -> None:
        """Note how far those in flight are now."""
        _ = version
        for place in range(fleet_at(server_at(f, 0), 0).servers):
            s = server_at(f, place)
            for number in range(world_at(s, 0).cards):
                cut_off(s, number, world_at(s, 0).now)

    return run, cut


_FOLDER = Path(__file__).parent
_FILES = [*sorted(_FOLDER.glob("*_jit.py")), _FOLDER / "state.py"] + [
    Path(str(module.__file__)) for module in (rounds_jit, queueing, residency, routing)
]
run, cut = _entries(zlib.crc32(b"".join(path.read_bytes() for path in _FILES)))
