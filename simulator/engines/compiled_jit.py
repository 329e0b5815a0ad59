"""Numba kernels of the compiled engine. Integer cycles in, integer cycles out."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.kernels.jit import inner

BLOCKING, DOUBLE_BUFFERED, STREAMED = 0, 1, 2
NEVER = np.iinfo(np.int64).max
FIRST = np.int64(1 << 62)
"""Taken off a burst's node number, so that it sorts before every token's."""


# --- a binary heap of (time, item), in two arrays ------------------------------------------------


@nb.njit(cache=True, inline="always")
def _before(t1: int, i1: int, t2: int, i2: int) -> bool:
    return t1 < t2 or (t1 == t2 and i1 < i2)


@inner
def _push(times: Any, items: Any, size: int, time: int, item: int) -> int:
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if not _before(time, item, times[parent], items[parent]):
            break
        times[at], items[at] = times[parent], items[parent]
        at = parent
    times[at], items[at] = time, item
    return size + 1


@inner
def _pop(times: Any, items: Any, size: int) -> int:
    """Remove the first entry; the caller has read it."""
    size -= 1
    time, item = times[size], items[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _before(times[right], items[right], times[child], items[child]):
            child = right
        if not _before(times[child], items[child], time, item):
            break
        times[at], items[at] = times[child], items[child]
        at = child
    times[at], items[at] = time, item
    return size


# --- one token in flight -------------------------------------------------------------------------


@nb.njit(cache=True, nogil=True)
def serial(
    arrival: Any, prompt: Any, tokens: Any, adapter: Any, first: Any,
    body: Any, whole: Any, issued: Any, done: Any,
) -> None:  # fmt: skip
    """Users offer a token each; the earliest offer (then the lowest user) runs alone."""
    users = len(arrival)
    times = np.empty(users + 1, np.int64)
    items = np.empty(users + 1, np.int64)
    size = 0
    for user in range(users):
        size = _push(times, items, size, arrival[user], user)
    index = np.zeros(users, np.int64)
    free = np.int64(0)
    while size > 0:
        ready, user = times[0], items[0]
        size = _pop(times, items, size)
        i = index[user]
        cycles = (
            whole[adapter[user], i + 1] if i >= prompt[user] - 1 else body[adapter[user], i + 1]
        )
        begin = max(ready, free)
        free = begin + cycles
        issued[first[user] + i] = begin
        done[first[user] + i] = free
        index[user] = i + 1
        if i + 1 < tokens[user]:
            size = _push(times, items, size, free, user)


# --- tokens in order -----------------------------------------------------------------------------


@nb.njit(cache=True, nogil=True)
def max_plus(
    arrival: Any, prompt: Any, tokens: Any, adapter: Any, first: Any,
    main_cycles: Any, side_cycles: Any, rate_of: Any, grown: Any, has_side: Any,
    body_stages: int, held_stages: int, one_in_flight: bool, record: bool,
    issued: Any, done: Any, start: Any, end: Any,
) -> None:  # fmt: skip
    """Each unit is one stage's, so ``main_free`` and ``side_free`` are indexed by stage.

    A stage adds ``grown[rate_of[stage], context]``. With one token in flight a unit that stages
    share is always free when it is reached; tokens overlap only where none is shared.
    """
    users, stages = len(arrival), len(rate_of)
    times = np.empty(users + 1, np.int64)
    items = np.empty(users + 1, np.int64)
    size = 0
    for user in range(users):
        size = _push(times, items, size, arrival[user], user)
    index = np.zeros(users, np.int64)
    main_free = np.zeros(stages, np.int64)
    side_free = np.zeros(stages, np.int64)
    added = np.zeros(len(grown), np.int64)
    chip_free = np.int64(0)
    while size > 0:
        offered, user = times[0], items[0]
        size = _pop(times, items, size)
        i = index[user]
        row = adapter[user]
        inside_prompt = i < prompt[user] - 1
        last = body_stages if inside_prompt else stages
        for k in range(len(grown)):
            added[k] = grown[k, i + 1]
        number = first[user] + i
        ready = max(offered, chip_free) if one_in_flight else offered
        held = held_stages if inside_prompt else stages
        issued[number] = max(ready, main_free[0])
        if record:
            for s in range(last):
                begin = max(ready, main_free[s])
                finish = begin + main_cycles[row, s] + added[rate_of[s]]
                main_free[s] = finish
                start[number, s, 0] = begin
                end[number, s, 0] = finish
                if has_side[s]:
                    begin = max(ready, side_free[s])
                    beside = begin + side_cycles[row, s]
                    side_free[s] = beside
                    start[number, s, 1] = begin
                    end[number, s, 1] = beside
                    finish = max(finish, beside)
                ready = finish
                if s + 1 == held:
                    chip_free = finish
        else:
            main_row, side_row = main_cycles[row], side_cycles[row]
            for s in range(last):
                finish = max(ready, main_free[s]) + (main_row[s] + added[rate_of[s]])
                main_free[s] = finish
                if has_side[s]:
                    beside = max(ready, side_free[s]) + side_row[s]
                    side_free[s] = beside
                    finish = max(finish, beside)
                ready = finish
                if s + 1 == held:
                    chip_free = finish
        done[number] = ready
        index[user] = i + 1
        if i + 1 < tokens[user]:
            following = ready
            if inside_prompt:
                following = chip_free if one_in_flight else main_free[0]
            size = _push(times, items, size, following, user)


# --- everything else -----------------------------------------------------------------------------


@nb.njit(cache=True, nogil=True)
def event_queue(
    arrival: Any, prompt: Any, tokens: Any, adapter: Any, first: Any,
    main_unit: Any, side_unit: Any, main_cycles: Any, side_cycles: Any, rate_of: Any, grown: Any,
    layer: Any, body_stages: int, held_stages: int, one_in_flight: bool, units: int,
    adapter_load: Any, load_start: Any, load_mode: Any,
    burst_arrival: Any, burst_cycles: Any, burst_port: Any, burst_load: Any, burst_layer: Any,
    remaining: Any, record: bool,
    issued: Any, done: Any, start: Any, end: Any,
    slice_done: Any, load_done: Any, burst_start: Any,
) -> None:  # fmt: skip
    """Cycle by cycle: first all that ends or arrives in it, then the grants.

    A *node* is something that can hold a unit: ``2 t`` and ``2 t + 1`` are the branches of token
    ``t``, ``2 T + b`` is burst ``b``, ``2 T + B + u`` (only in the event heap) is the arrival of
    user ``u``. Each unit's queue is a linked list of nodes; requests come in order of time, so
    only those of the same cycle have to be sorted in. Unit number ``units`` is the whole chip,
    which the token in flight holds under serial issue.
    """
    users, stages = len(arrival), len(main_unit)
    total, bursts, loads = first[users], len(burst_arrival), len(load_start)
    burst_node, user_node = 2 * total, 2 * total + bursts
    chip = units

    queue_next = np.full(user_node, -1, np.int64)
    queue_prev = np.full(user_node, -1, np.int64)
    queue_time = np.zeros(user_node, np.int64)
    head = np.full(units + 1, -1, np.int64)
    tail = np.full(units + 1, -1, np.int64)
    free = np.ones(units + 1, np.bool_)
    is_dirty = np.zeros(units + 1, np.bool_)
    dirty = np.empty(units + 1, np.int64)
    dirty_count = 0

    heap_size = 0
    heap_time = np.empty(units + users + 2, np.int64)
    heap_item = np.empty(units + users + 2, np.int64)
    for user in range(users):
        heap_size = _push(heap_time, heap_item, heap_size, arrival[user], user_node + user)

    user_of = np.empty(total, np.int64)
    for user in range(users):
        user_of[first[user] : first[user + 1]] = user
    stage_of = np.zeros(total, np.int64)
    branches = np.zeros(total, np.int64)
    unit_of = np.zeros(user_node, np.int64)
    next_burst = 0

    offers = np.empty(users, np.int64)  # users whose next token is to be offered this cycle
    held = np.zeros(users, np.bool_)  # users whose offer waits for a load
    index = np.zeros(users, np.int64)
    entering = np.empty(2 * (users + 2) + total, np.int64)  # tokens about to request a stage
    gated = np.empty(total, np.int64)  # tokens that wait for a slice
    gated_count = 0

    while heap_size > 0 or next_burst < bursts:
        now = NEVER
        if heap_size > 0:
            now = heap_time[0]
        if next_burst < bursts and burst_arrival[next_burst] < now:
            now = burst_arrival[next_burst]
        offer_count = 0
        enter_count = 0
        slices_moved = False
        loads_moved = False

        # All that ends in this cycle.
        while heap_size > 0 and heap_time[0] == now:
            node = heap_item[0]
            heap_size = _pop(heap_time, heap_item, heap_size)
            if node >= user_node:
                offers[offer_count] = node - user_node
                offer_count += 1
                continue
            unit = unit_of[node]
            free[unit] = True
            if not is_dirty[unit]:
                is_dirty[unit] = True
                dirty[dirty_count] = unit
                dirty_count += 1
            if node >= burst_node:
                b = node - burst_node
                load = burst_load[b]
                remaining[load, burst_layer[b]] -= 1
                if remaining[load, burst_layer[b]] == 0:
                    slice_done[load, burst_layer[b]] = now
                    slices_moved = True
                    if remaining[load].sum() == 0:
                        load_done[load] = now
                        loads_moved = True
                continue
            token = node >> 1
            stage = stage_of[token]
            if record:
                end[token, stage, node & 1] = now
            branches[token] -= 1
            if branches[token] > 0:
                continue
            user = user_of[token]
            i = token - first[user]
            inside_prompt = i < prompt[user] - 1
            follows = stage + 1 == stages
            if inside_prompt:
                follows = stage + 1 == (held_stages if one_in_flight else 1)
            if follows and one_in_flight:
                free[chip] = True
                if not is_dirty[chip]:
                    is_dirty[chip] = True
                    dirty[dirty_count] = chip
                    dirty_count += 1
            if follows and i + 1 < tokens[user]:
                offers[offer_count] = user
                offer_count += 1
            stage_of[token] = stage + 1
            if stage + 1 < (body_stages if inside_prompt else stages):
                entering[enter_count] = token
                enter_count += 1
            else:
                done[token] = now

        # Bursts that arrive are queued at their port.
        while next_burst < bursts and burst_arrival[next_burst] == now:
            unit = burst_port[next_burst]
            node = burst_node + next_burst
            unit_of[node] = unit
            dirty_count = _enqueue(
                node, now, unit, burst_node, queue_next, queue_prev, queue_time, head, tail,
                is_dirty, dirty, dirty_count,
            )  # fmt: skip
            next_burst += 1

        if slices_moved:
            kept = 0
            for g in range(gated_count):
                token = gated[g]
                load = adapter_load[adapter[user_of[token]]]
                if remaining[load, layer[stage_of[token]]] == 0:
                    entering[enter_count] = token
                    enter_count += 1
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

        # Offers: tokens that may be issued from now on.
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
            if one_in_flight:
                unit_of[2 * token] = chip
                dirty_count = _enqueue(
                    2 * token, now, chip, burst_node, queue_next, queue_prev, queue_time, head,
                    tail, is_dirty, dirty, dirty_count,
                )  # fmt: skip
            else:
                entering[enter_count] = token
                enter_count += 1

        # Requests and grants, until nothing moves in this cycle.
        while True:
            for e in range(enter_count):
                token = entering[e]
                stage = stage_of[token]
                load = adapter_load[adapter[user_of[token]]]
                opens = layer[stage]
                streamed = opens >= 0 and load >= 0 and load_mode[load] == STREAMED
                if streamed and remaining[load, opens] > 0:
                    gated[gated_count] = token
                    gated_count += 1
                    continue
                branches[token] = 1
                unit_of[2 * token] = main_unit[stage]
                dirty_count = _enqueue(
                    2 * token, now, main_unit[stage], burst_node, queue_next, queue_prev,
                    queue_time, head, tail, is_dirty, dirty, dirty_count,
                )  # fmt: skip
                if side_unit[stage] >= 0:
                    branches[token] = 2
                    unit_of[2 * token + 1] = side_unit[stage]
                    dirty_count = _enqueue(
                        2 * token + 1, now, side_unit[stage], burst_node, queue_next, queue_prev,
                        queue_time, head, tail, is_dirty, dirty, dirty_count,
                    )  # fmt: skip
            enter_count = 0
            if dirty_count == 0:
                break
            for d in range(dirty_count):
                unit = dirty[d]
                is_dirty[unit] = False
                node = head[unit]
                if not free[unit] or node < 0:
                    continue
                free[unit] = False
                head[unit] = queue_next[node]
                if head[unit] >= 0:
                    queue_prev[head[unit]] = -1
                else:
                    tail[unit] = -1
                if unit == chip:
                    entering[enter_count] = node >> 1
                    enter_count += 1
                    continue
                if node >= burst_node:
                    cycles = burst_cycles[node - burst_node]
                    burst_start[node - burst_node] = now
                else:
                    token = node >> 1
                    user = user_of[token]
                    stage = stage_of[token]
                    if stage == 0:
                        issued[token] = now
                    if node & 1:
                        cycles = side_cycles[adapter[user], stage]
                    else:
                        context = token - first[user] + 1
                        cycles = main_cycles[adapter[user], stage] + grown[rate_of[stage], context]
                    if record:
                        start[token, stage, node & 1] = now
                heap_size = _push(heap_time, heap_item, heap_size, now + cycles, node)
            dirty_count = 0


@inner
def _enqueue(
    node: int, now: int, unit: int, burst_node: int,
    queue_next: Any, queue_prev: Any, queue_time: Any, head: Any, tail: Any,
    is_dirty: Any, dirty: Any, dirty_count: int,
) -> int:  # fmt: skip
    """Append a node to a unit's queue, before those of the same cycle that it precedes.

    Bursts precede tokens; tokens are numbered by (user, index), which is their order in a tie.
    """
    queue_time[node] = now
    rank = node - FIRST if node >= burst_node else node
    after = tail[unit]
    while after >= 0 and queue_time[after] == now:
        other = after - FIRST if after >= burst_node else after
        if other < rank:
            break
        after = queue_prev[after]
    if after < 0:
        following = head[unit]
        head[unit] = node
    else:
        following = queue_next[after]
        queue_next[after] = node
    queue_prev[node] = after
    queue_next[node] = following
    if following >= 0:
        queue_prev[following] = node
    else:
        tail[unit] = node
    if not is_dirty[unit]:
        is_dirty[unit] = True
        dirty[dirty_count] = unit
        dirty_count += 1
    return dirty_count
