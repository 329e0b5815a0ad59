"""Numba kernel of pipelined issue where layers share their units, for many designs."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.simulator.engines.designs_jit import ceil_sum, grown

NEVER = np.iinfo(np.int64).max
NO_SIDE = np.int64(-(1 << 62))
"""Cycles of a side path that nobody waits for."""

FAR = np.int64(1 << 62)
BY_LIST, STRAIGHT, MAY_MEET = 0, 1, 2
"""How a token reaches a place of its way: see ``shared.reached``."""

NOT_YET, ENDED = -1, -2
"""Places of a token that has not begun, and of one that has ended."""


@nb.njit(cache=True, nogil=True)
def shared(
    unit: Any, side_unit: Any, grows: Any, list_of: Any, straight: Any, anchor: int, units: int,
    ordered: int, lists: int, begin: int, length: int, layers: int, body: int, column: Any,
    main: Any, side: Any, rate: Any, prompt: Any, output: Any, users_at: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Visit by visit; see ``hardwire.simulator.engines.shared``.

    A token's number orders it by user and place in the sequence; the last of a prompt's numbers
    goes on as the user's decode tokens. ``place`` is what a token requests next, at ``ready``.

    ``layers`` equal layers of ``length`` places begin at place ``begin``. When a token is where it
    was in an earlier layer, and so is all else, the layers between repeat until somebody leaves
    the last layer: they are skipped, which changes no cycle.
    """
    at: Any
    slot: Any
    s: Any
    x: Any
    left: Any
    places, behind = len(unit), begin + layers * length
    most = 1
    for p in range(len(prompt)):
        most = max(most, prompt[p] * (users_at[p + 1] - users_at[p]))
    # Number ``most`` ends every list, and those behind it begin one each.
    ready = np.full(most + 1 + lists, -1, np.int64)
    ready[most] = NEVER
    following = np.empty(most + 1 + lists, np.uint32)
    tail = np.empty(lists, np.uint32)
    place = np.empty(most, np.int32)
    index = np.empty(most, np.int64)
    added = np.empty(most, np.int64)
    seen = np.empty((2, most + units), np.int64)
    free = np.empty(units + 1, np.int64)  # the last beside what has no side path
    cycles = np.empty(places, np.int64)
    beside = np.empty(places, np.int64)
    room = np.empty(places + 1, np.int64)
    for p in range(len(prompt)):
        users, asked = users_at[p + 1] - users_at[p], prompt[p]
        tokens = asked + output[p] - 1
        num, den = rate[p]
        slots = users * asked
        whole, growing, turn = 0, 0, 0
        for at in range(places):
            cycles[at], beside[at] = main[p, column[at]], side[p, column[at]]
            if side_unit[at] == units:
                beside[at] = NO_SIDE
            whole += max(cycles[at], beside[at])
            growing += grows[at]
            turn += cycles[at] if at == 0 or at > body else 0
        for at in range(places + 1):
            room[at] = (
                -FAR if straight[at] == BY_LIST else turn if straight[at] == MAY_MEET else FAR
            )
        place[:slots] = NOT_YET
        free[:] = 0
        for x in range(lists):
            following[most + 1 + x], tail[x] = most, most + 1 + x
        for u in range(users):
            slot = u * asked
            place[slot], index[slot], added[slot], ready[slot] = 0, 0, grown(1, num, den), 0
            _put(np.uint32(slot), list_of[0], most, ready, following, tail)
        flying, prefilling, waiting = users, slots, users
        passed, until, then = 0, 1, 0
        seen_at: Any = np.int64(-1)
        while flying > 0:
            out: Any = np.uint32(0)
            slot = following[most + 1]
            for x in range(np.uint32(1), ordered):
                s = following[most + 1 + x]
                sooner = (ready[s] < ready[slot]) | ((ready[s] == ready[slot]) & (s < slot))
                out, slot = x if sooner else out, s if sooner else slot
            now, soonest = ready[slot], NEVER
            if waiting > 0:
                other, s = _first(ordered, lists, most, ready, following)
                soonest = ready[s]
                if soonest <= max(now, free[anchor]):
                    out, slot, now = other, s, soonest
                    waiting -= 1
            after = following[slot]
            following[most + 1 + out] = after
            if after == most:
                tail[out] = most + 1 + out
            at = np.uint32(place[slot])
            if out >= ordered:
                if at == 1 and index[slot] < asked - 1:
                    i = index[slot] + 1
                    s = slot + np.uint32(1)
                    place[s], index[s], added[s], ready[s] = 0, i, grown(i + 1, num, den), now
                    flying += 1
                    waiting += 1
                    _put(s, list_of[0], most, ready, following, tail)
                elif at == places:
                    i = index[slot]
                    user = users_at[p] + slot // asked
                    if i == asked - 1:
                        first[user] = now
                        prefilling -= 1
                        if users == 1 and flying == 1:
                            sums = ceil_sum(tokens, num, den) - ceil_sum(asked, num, den)
                            last[user] = now + (tokens - asked) * whole + growing * sums
                            break
                    if i == tokens - 1:
                        last[user] = now
                        place[slot] = ENDED
                        flying -= 1
                        continue
                    at, index[slot], added[slot] = np.uint32(0), i + 1, grown(i + 2, num, den)
                elif at == body and index[slot] < asked - 1:
                    place[slot] = ENDED
                    prefilling -= 1
                    flying -= 1
                    continue
            leader = 0 if prefilling else asked - 1
            if slot == leader and begin <= at < behind and (at - begin) % length == 1:
                ready[slot] = now
                # Of a prompt's tokens all, later the last alone are followed.
                stride = 1 if prefilling else asked
                passed += 1
                left, same = layers, seen_at >= 0 and then == flying
                for s in range(leader, slots, stride):
                    w = place[s]
                    if w == ENDED:
                        continue
                    inside = begin <= w < behind
                    left = min(left, (behind - 1 - w) // length) if inside else 0
                    same = same and seen[0, s] == w - at and seen[1, s] == ready[s] - now
                for x in range(units):
                    same = same and seen[0, slots + x] == max(free[x] - now, 0)
                if left == 0:
                    seen_at = -1
                elif same:
                    times = left // passed
                    later = times * (now - seen_at)
                    now += later
                    at = np.uint32(at + times * passed * length)
                    for s in range(leader, slots, stride):
                        if place[s] != ENDED:
                            ready[s] += later
                            place[s] += times * passed * length
                    free += later
                    seen_at = -1
                elif seen_at < 0 or passed == until:
                    until = 1 if seen_at < 0 else 2 * until
                    passed, seen_at, then = 0, now, flying
                    for s in range(leader, slots, stride):
                        seen[0, s], seen[1, s] = place[s] - at, ready[s] - now
                    for x in range(units):
                        seen[0, slots + x] = max(free[x] - now, 0)
            if out >= ordered:
                soonest = ready[_first(ordered, lists, most, ready, following)[1]]
            more = added[slot]
            while True:
                x, y = unit[at], side_unit[at]
                end = max(now, free[x]) + cycles[at] + more * grows[at]
                joins = max(now, free[y]) + beside[at]
                free[x], free[y] = end, joins
                now = max(end, joins)
                at += np.uint32(1)
                if now >= min(soonest, free[anchor] + room[at]):
                    break
            place[slot], ready[slot] = at, now
            waiting += list_of[at] >= ordered
            _put(slot, list_of[at], most, ready, following, tail)


@nb.njit(cache=True, inline="always")
def _first(begin: int, end: int, most: int, ready: Any, following: Any) -> tuple[Any, Any]:
    """The list whose first token is ready before those of the others, and this token."""
    out: Any = np.uint32(begin)
    slot = following[most + 1 + begin]
    for x in range(begin + 1, end):
        s = following[most + 1 + x]
        if ready[s] < ready[slot] or (ready[s] == ready[slot] and s < slot):
            out, slot = np.uint32(x), s
    return out, slot


@nb.njit(cache=True, inline="always")
def _put(slot: Any, x: int, most: int, ready: Any, following: Any, tail: Any) -> None:
    """Put a token into a list, which is by time and number: nearly always at its end."""
    end, before = ready[slot], tail[x]
    if ready[before] < end:
        following[before], following[slot], tail[x] = slot, most, slot
        return
    before = np.uint32(most + 1 + x)  # no side path beside this stage, but beside the one before
    after = following[before]
    while ready[after] < end or (ready[after] == end and after < slot):
        before, after = after, following[after]
    following[before], following[slot] = slot, after
    if after == most:
        tail[x] = slot
