"""The numba kernel of tokens that queue for units: on a die whose layers share them, while adapters
load, and over the dies and links of a system. Integer ticks in, integer ticks out."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.kernels.jit import inner
from hardwire.simulator.engines.heap_jit import pop, push

BLOCKING, DOUBLE_BUFFERED, STREAMED = 0, 1, 2
NEVER = np.iinfo(np.int64).max
CAUSES = 6
CAUSE_LINK, CAUSE_QUEUE, CAUSE_STALL = 2, 3, 5
"""Of what a token's time is divided into: see ``hardwire.simulator.system.program.CAUSES``."""


@inner
def _sort(numbers: Any, count: int) -> None:
    """By insertion: what comes off the heap is nearly sorted already."""
    for i in range(1, count):
        number = numbers[i]
        at = i
        while at > 0 and numbers[at - 1] > number:
            numbers[at] = numbers[at - 1]
            at -= 1
        numbers[at] = number


@nb.njit(cache=True, nogil=True)
def run(
    arrival: Any, prompt: Any, tokens: Any, adapter: Any, first: Any,
    begin: Any, unit: Any, ticks: Any, growth: Any, grown: Any, tail: Any, turn: Any,
    routed: Any, expert_unit: Any, expert_ticks: Any, choice: Any, chosen: Any,
    cause: Any, chained: Any, opens: Any, enters: Any, leaves: Any, gates: Any, places: int,
    body: int, followed: int, past: int, units: int, slot: Any,
    adapter_load: Any, load_start: Any, load_mode: Any,
    burst_arrival: Any, burst_ticks: Any, burst_port: Any, burst_load: Any, burst_layer: Any,
    remaining: Any, record: bool,
    offered: Any, issued: Any, done: Any, spent: Any, start: Any, end: Any,
    slice_done: Any, load_done: Any, burst_start: Any,
) -> None:  # fmt: skip
    """Tick by tick: what ends or arrives, then places and gates, then the steps that begin.

    A unit that serves one visit at a time, first come first served, needs no queue: a visit begins
    when the one that asked before it has ended, and all who ask in a tick are known before the
    first is answered. So a step is settled as a whole when a token asks for it, with one event, at
    its end. Events are numbered: ``t`` is the end of a step of token ``t``, ``T + u`` an offer of
    user ``u``, ``T + U + b`` the end of burst ``b``. Queue 0 is the places, ``g + 1`` gate ``g``.
    """
    users, steps, total = len(arrival), len(cause), first[len(arrival)]
    bursts, loads, queues = len(burst_arrival), len(load_start), len(gates) + 1
    user_item, burst_item = total, total + users
    free_at = np.zeros(units, np.int64)
    room = np.empty(queues, np.int64)
    room[0] = places if places > 0 else NEVER
    for gate in range(queues - 1):
        room[gate + 1] = gates[gate]
    head = np.full(queues, -1, np.int64)
    last = np.full(queues, -1, np.int64)
    behind = np.full(total, -1, np.int64)

    size = 0
    heap_time = np.empty(total + users + bursts + 1, np.int64)
    heap_item = np.empty(total + users + bursts + 1, np.int64)
    for user in range(users):
        size = push(heap_time, heap_item, size, arrival[user], user_item + user)
    user_of = np.empty(total, np.int64)
    for user in range(users):
        user_of[first[user] : first[user + 1]] = user
    at = np.zeros(total, np.int64)  # the step that a token is in, or is about to ask for
    since = np.zeros(total, np.int64)  # the end of the step before, or the offer
    index = np.zeros(users, np.int64)
    next_burst = 0

    offers = np.empty(2 * users, np.int64)
    held = np.zeros(users, np.bool_)  # users whose offer waits for a load
    asking = np.empty(total, np.int64)  # tokens that ask for a place or a gate in this tick
    entering = np.empty(total, np.int64)  # tokens that ask for the units of a step in this tick
    gated = np.empty(total, np.int64)  # tokens that wait for a slice
    gated_count = 0
    mine = np.zeros(units, np.int64)  # ticks that the step at hand has held each unit so far
    stamped = np.zeros(units, np.int64)  # and the number of that step
    stamp = np.int64(0)

    while size > 0 or next_burst < bursts:
        now = heap_time[0] if size > 0 else NEVER
        if next_burst < bursts and burst_arrival[next_burst] < now:
            now = burst_arrival[next_burst]
        offer_count, asking_count, entering_count = 0, 0, 0
        slices_moved, loads_moved, room_made = False, False, False

        # All that ends in this tick.
        while size > 0 and heap_time[0] == now:
            item = heap_item[0]
            size = pop(heap_time, heap_item, size)
            if item >= burst_item:
                b = item - burst_item
                load, layer = burst_load[b], burst_layer[b]
                remaining[load, layer] -= 1
                if remaining[load, layer] == 0:
                    slice_done[load, layer] = now
                    slices_moved = True
                    if remaining[load].sum() == 0:
                        load_done[load] = now
                        loads_moved = True
                continue
            if item >= user_item:
                user = item - user_item
                offered[first[user] + index[user]] = now
                offers[offer_count] = user
                offer_count += 1
                continue
            token, step = item, at[item]
            user = user_of[token]
            i = token - first[user]
            inside_prompt = i < prompt[user] - 1
            gate = leaves[1 if inside_prompt else 0, step]
            if gate >= 0:
                room[gate + 1] += 1
                room_made = True
            since[token] = now
            if step + 1 < (body if inside_prompt else steps):
                at[token] = step + 1
                if enters[step + 1] >= 0:
                    asking[asking_count] = token
                    asking_count += 1
                else:
                    entering[entering_count] = token
                    entering_count += 1
                continue
            done[token] = now
            room[0] += 1
            room_made = True
            if not inside_prompt and i + 1 < tokens[user]:
                offered[first[user] + index[user]] = now
                offers[offer_count] = user
                offer_count += 1

        # Bursts that arrive: before every token of the tick.
        while next_burst < bursts and burst_arrival[next_burst] == now:
            port = burst_port[next_burst]
            burst_start[next_burst] = max(now, free_at[port])
            free_at[port] = burst_start[next_burst] + burst_ticks[next_burst]
            size = push(heap_time, heap_item, size, free_at[port], burst_item + next_burst)
            next_burst += 1

        if slices_moved:
            kept = 0
            for g in range(gated_count):
                token = gated[g]
                load = adapter_load[adapter[user_of[token]]]
                if remaining[load, opens[at[token]]] == 0:
                    entering[entering_count] = token
                    entering_count += 1
                else:
                    gated[kept] = token
                    kept += 1
            gated_count = kept
        if loads_moved:
            for user in range(users):
                if held[user]:
                    held[user] = False
                    offers[offer_count] = user
                    offer_count += 1

        # Offers ask for a place, and who has one for the gate before the first step.
        fresh = asking_count
        for o in range(offer_count):
            user = offers[o]
            wait = False
            for load in range(loads):
                if load_done[load] >= 0:
                    continue
                own = adapter_load[adapter[user]] == load and load_mode[load] != STREAMED
                if own or (load_mode[load] == BLOCKING and now >= load_start[load]):
                    wait = True
            if wait:
                held[user] = True
                continue
            token = first[user] + index[user]
            index[user] += 1
            since[token] = offered[token]
            asking[asking_count] = token
            asking_count += 1
        if asking_count > fresh:
            _sort(asking[fresh:], asking_count - fresh)
            for a in range(fresh, asking_count):
                _append(asking[a], 0, head, last, behind)
            asking_count = fresh
        while room[0] > 0 and head[0] >= 0:
            token = _take(0, head, last, behind)
            room[0] -= 1
            if enters[0] >= 0:
                asking[asking_count] = token
                asking_count += 1
            else:
                entering[entering_count] = token
                entering_count += 1
        if queues > 1 and (asking_count > 0 or room_made):
            _sort(asking, asking_count)
            for a in range(asking_count):
                _append(asking[a], enters[at[asking[a]]] + 1, head, last, behind)
            for queue in range(1, queues):
                while room[queue] > 0 and head[queue] >= 0:
                    room[queue] -= 1
                    entering[entering_count] = _take(queue, head, last, behind)
                    entering_count += 1

        # Steps that begin, and those that are settled with them.
        _sort(entering, entering_count)
        for e in range(entering_count):
            token = entering[e]
            step, user = at[token], user_of[token]
            row, i = adapter[user], token - first[user]
            load = adapter_load[row]
            streamed = load >= 0 and opens[step] >= 0 and load_mode[load] == STREAMED
            if streamed and remaining[load, opens[step]] > 0:
                gated[gated_count] = token
                gated_count += 1
                continue
            inside_prompt = i < prompt[user] - 1
            stop = body if inside_prompt else steps
            spent[token, CAUSE_STALL] += now - since[token]
            asked = now
            while True:
                ended, alone = asked, np.int64(0)
                stamp += 1
                for v in range(begin[step], begin[step + 1]):
                    if turn[v, 0] > 1 and (past + i) % turn[v, 0] != turn[v, 1]:
                        continue
                    if routed[v] < 0:
                        hold = ticks[row, v] + grown[growth[v], i + 1]
                        since_then = max(asked, free_at[unit[v]])
                        until = since_then + hold
                        free_at[unit[v]] = until
                        if record:
                            start[token, slot[v]], end[token, slot[v]] = since_then, until
                        if slot[v] == 0:
                            issued[token] = since_then
                        own_end = _own(unit[v], hold, stamp, mine, stamped)
                        alone = max(alone, own_end + tail[v])
                        ended = max(ended, until + tail[v])
                        continue
                    table = routed[v]
                    for j in range(chosen.shape[2]):
                        expert = chosen[token, choice[table], j]
                        hold = expert_ticks[table, expert]
                        which = expert_unit[table, expert]
                        since_then = max(asked, free_at[which])
                        until = since_then + hold
                        free_at[which] = until
                        if record:
                            start[token, slot[v] + j], end[token, slot[v] + j] = since_then, until
                        own_end = _own(which, hold, stamp, mine, stamped)
                        alone = max(alone, own_end + tail[v])
                        ended = max(ended, until + tail[v])
                own = cause[step]
                spent[token, own] += alone
                waited = CAUSE_QUEUE if own == CAUSE_LINK else CAUSE_STALL
                spent[token, waited] += ended - asked - alone
                if inside_prompt and step == followed and i + 1 < tokens[user]:
                    size = push(heap_time, heap_item, size, ended, user_item + user)
                if step + 1 >= stop or not chained[step + 1]:
                    break
                step += 1
                asked = ended
            at[token] = step
            size = push(heap_time, heap_item, size, ended, token)


@inner
def _own(unit: int, hold: int, stamp: Any, mine: Any, stamped: Any) -> int:
    """Ticks until a visit's end if the step had its units to itself: after its own visits there."""
    mine[unit] = mine[unit] + hold if stamped[unit] == stamp else hold
    stamped[unit] = stamp
    return int(mine[unit])


@inner
def _append(token: int, queue: int, head: Any, last: Any, behind: Any) -> None:
    if head[queue] < 0:
        head[queue] = token
    else:
        behind[last[queue]] = token
    last[queue] = token
    behind[token] = -1


@inner
def _take(queue: int, head: Any, last: Any, behind: Any) -> int:
    token = int(head[queue])
    head[queue] = behind[token]
    return token
