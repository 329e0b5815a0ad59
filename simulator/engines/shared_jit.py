"""Numba kernel of pipelined issue where layers share their units, for many designs."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.simulator.engines.designs_jit import ceil_sum, grown

NEVER = np.iinfo(np.int64).max
NO_SIDE = np.int64(-(1 << 62))
"""Cycles of a side path that nobody waits for."""

TOKEN = np.dtype(
    [("ready", "i8"), ("added", "i8"), ("index", "i8"), ("place", "i4"), ("following", "u4")],
    align=True,
)
STAGE = np.dtype(
    [("cycles", "i8"), ("side_cycles", "i8"), ("grows", "i8"), ("room", "i8"),
     ("unit", "u4"), ("beside", "u4"), ("list", "u4"), ("padding", "u4")],
    align=True,
)  # fmt: skip

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
    tokens = np.empty(most + 1 + lists, TOKEN)
    for slot in range(len(tokens)):
        tokens[slot].ready = -1
    tokens[most].ready = NEVER
    tail = np.empty(lists, np.uint32)
    seen = np.empty((3, most + units), np.int64)
    free = np.empty(units + 1, np.int64)  # the last beside what has no side path
    stages = np.empty(places + 1, STAGE)
    heads = np.uint32(most + 1)
    for p in range(len(prompt)):
        users, asked = users_at[p + 1] - users_at[p], prompt[p]
        count = asked + output[p] - 1
        num, den = rate[p]
        slots = users * asked
        whole, growing, begun = 0, 0, 0
        for at in range(places + 1):
            stages[at].list = list_of[at]
            if at < places:
                stages[at].unit, stages[at].beside = unit[at], side_unit[at]
                stages[at].cycles, stages[at].grows = main[p, column[at]], grows[at]
                none = side_unit[at] == units
                stages[at].side_cycles = NO_SIDE if none else side[p, column[at]]
                whole += max(stages[at].cycles, stages[at].side_cycles)
                growing += grows[at]
                begun += stages[at].cycles if at == 0 or at > body else 0
        for at in range(places + 1):
            how = straight[at]
            stages[at].room = -FAR if how == BY_LIST else begun if how == MAY_MEET else FAR
        for slot in range(slots):
            tokens[slot].place = NOT_YET
        free[:] = 0
        for x in range(lists):
            tokens[heads + np.uint32(x)].following, tail[x] = most, heads + np.uint32(x)
        for u in range(users):
            slot = u * asked
            tokens[slot].place, tokens[slot].index = 0, 0
            tokens[slot].added, tokens[slot].ready = grown(1, num, den), 0
            _put(np.uint32(slot), list_of[0], most, tokens, tail)
        flying, prefilling, waiting = users, slots, users
        passed, again, then = 0, 1, 0
        seen_at: Any = np.int64(-1)
        while flying > 0:
            out: Any = np.uint32(0)
            slot = tokens[heads].following
            if ordered == 2:  # as a rule: from the vector unit and from attention
                s = tokens[heads + np.uint32(1)].following
                mine, theirs = tokens[slot].ready, tokens[s].ready
                if theirs < mine or (theirs == mine and s < slot):
                    out, slot = np.uint32(1), s
            else:
                out, slot = _first(0, ordered, most, tokens)
            now, soonest = tokens[slot].ready, NEVER
            if waiting > 0:
                other, s = _first(ordered, lists, most, tokens)
                soonest = tokens[s].ready
                if soonest <= max(now, free[anchor]):
                    out, slot, now = other, s, soonest
                    waiting -= 1
            after = tokens[slot].following
            tokens[heads + np.uint32(out)].following = after
            if after == most:
                tail[out] = heads + np.uint32(out)
            at = np.uint32(tokens[slot].place)
            if out >= ordered:
                if at == 1 and tokens[slot].index < asked - 1:
                    i = tokens[slot].index + 1
                    s = slot + np.uint32(1)
                    tokens[s].place, tokens[s].index = 0, i
                    tokens[s].added, tokens[s].ready = grown(i + 1, num, den), now
                    flying += 1
                    waiting += 1
                    _put(s, list_of[0], most, tokens, tail)
                elif at == places:
                    i = tokens[slot].index
                    user = users_at[p] + slot // asked
                    if i == asked - 1:
                        first[user] = now
                        prefilling -= 1
                        if users == 1 and flying == 1:
                            sums = ceil_sum(count, num, den) - ceil_sum(asked, num, den)
                            last[user] = now + (count - asked) * whole + growing * sums
                            break
                    if i == count - 1:
                        last[user] = now
                        tokens[slot].place = ENDED
                        flying -= 1
                        continue
                    at, tokens[slot].index = np.uint32(0), i + 1
                    tokens[slot].added = grown(i + 2, num, den)
                elif at == body and tokens[slot].index < asked - 1:
                    tokens[slot].place = ENDED
                    prefilling -= 1
                    flying -= 1
                    continue
            leader = 0 if prefilling else asked - 1
            if slot == leader and begin <= at < behind and (at - begin) % length == 1:
                tokens[slot].ready = now
                # Of a prompt's tokens all, later the last alone are followed.
                stride = 1 if prefilling else asked
                passed += 1
                same = seen_at >= 0 and then == flying
                for x in range(units):
                    same = same and seen[0, slots + x] == max(free[x] - now, 0)
                left = layers
                if same or seen_at < 0 or passed == again:
                    for s in range(leader, slots, stride):
                        w = tokens[s].place
                        if w == ENDED:
                            continue
                        inside = begin <= w < behind
                        left = min(left, (behind - 1 - w) // length) if inside else 0
                        same = same and seen[0, s] == w - at
                        same = same and seen[1, s] == tokens[s].ready - now
                        same = same and seen[2, s] == tokens[s].index  # has not begun anew
                if left == 0:
                    seen_at = -1
                elif same:
                    times = left // passed
                    later = times * (now - seen_at)
                    now += later
                    at = np.uint32(at + times * passed * length)
                    for s in range(leader, slots, stride):
                        if tokens[s].place != ENDED:
                            tokens[s].ready += later
                            tokens[s].place += times * passed * length
                    free += later
                    seen_at = -1
                elif seen_at < 0 or passed == again:
                    again = 1 if seen_at < 0 else 2 * again
                    passed, seen_at, then = 0, now, flying
                    for s in range(leader, slots, stride):
                        seen[0, s], seen[1, s] = tokens[s].place - at, tokens[s].ready - now
                        seen[2, s] = tokens[s].index
                    for x in range(units):
                        seen[0, slots + x] = max(free[x] - now, 0)
            if out >= ordered:
                soonest = tokens[_first(ordered, lists, most, tokens)[1]].ready
            more = tokens[slot].added
            while True:
                stage = stages[at]
                x, y = stage.unit, stage.beside
                end = max(now, free[x]) + stage.cycles + more * stage.grows
                joins = max(now, free[y]) + stage.side_cycles
                free[x], free[y] = end, joins
                now = max(end, joins)
                at += np.uint32(1)
                if now >= min(soonest, free[anchor] + stages[at].room):
                    break
            tokens[slot].place, tokens[slot].ready = at, now
            x = stages[at].list
            waiting += x >= ordered
            _put(slot, x, most, tokens, tail)


@nb.njit(cache=True, inline="always")
def _first(begin: int, end: int, most: int, tokens: Any) -> tuple[Any, Any]:
    """The list whose first token is ready before those of the others, and this token."""
    heads = np.uint32(most + 1)
    out: Any = np.uint32(begin)
    slot = tokens[heads + np.uint32(begin)].following
    for x in range(begin + 1, end):
        s = tokens[heads + np.uint32(x)].following
        if tokens[s].ready < tokens[slot].ready or (
            tokens[s].ready == tokens[slot].ready and s < slot
        ):
            out, slot = np.uint32(x), s
    return out, slot


@nb.njit(cache=True, inline="always")
def _put(slot: Any, x: int, most: int, tokens: Any, tail: Any) -> None:
    """Put a token into a list, which is by time and number: nearly always at its end."""
    end, before = tokens[slot].ready, tail[x]
    if tokens[before].ready < end:
        tokens[before].following, tokens[slot].following, tail[x] = slot, most, slot
        return
    before = np.uint32(most + 1 + x)  # no side path beside this stage, but beside the one before
    after = tokens[before].following
    while tokens[after].ready < end or (tokens[after].ready == end and after < slot):
        before, after = after, tokens[after].following
    tokens[before].following, tokens[slot].following = slot, after
    if after == most:
        tail[x] = slot
