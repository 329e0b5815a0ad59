"""The numba kernel of ``hardwire.simulator.queueing``: integer cycles, as in the engines."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

NEVER = np.iinfo(np.int64).max


@nb.njit(cache=True, nogil=True)
def follow(
    path: Any, unit: Any, side_unit: Any, grows: Any, window: Any, windows: Any, units: int,
    first: int, length: int, layers: int, main: Any, side: Any, rate: Any, prompt: Any, output: Any,
    users: Any, steps: int, step: Any,
) -> None:  # fmt: skip
    """Follow each design's users through ``steps`` decode steps; see ``simulator.queueing``.

    The visit that is requested first, of the lowest user where several are, is served next: no
    later one can come before it, so that a unit serves first come first served with one number,
    the cycle from which it is free.

    ``layers`` equal layers of ``length`` places begin at place ``first``. When the first user
    begins a layer and all else is as it was when he began an earlier one, the layers between repeat
    until somebody leaves the last layer: they are skipped, which changes no cycle.
    """
    places, behind = len(path), first + layers * length
    free = np.empty(units, np.int64)
    most = 1
    for p in range(len(users)):
        most = max(most, users[p])
    ready = np.empty(most, np.int64)
    place = np.empty(most, np.int64)
    ended = np.empty(most, np.int64)
    seen = np.empty(2 * most + units, np.int64)
    added = np.empty((len(windows), steps + 1), np.int64)
    for p in range(len(users)):
        decoded, count = output[p] - 1, users[p]
        taken = min(steps, decoded)
        for k in range(taken):
            context = prompt[p] + 1 + (2 * k + 1) * decoded // (2 * taken)
            for w in range(len(windows)):
                seen_tokens = min(context, windows[w])
                added[w, k + 1] = -(-seen_tokens * rate[p, 0] // rate[p, 1])
        added[:, 0] = added[:, 1]
        cycles, beside = main[p], side[p]
        free[:] = 0
        ready[:] = 0
        place[:] = 0
        ended[:] = 0
        flying = count
        total = 0
        passed, until, seen_at = 0, 1, -1  # layers since the begin that is compared with
        while flying > 0:
            user, now = 0, ready[0]
            for other in range(1, count):
                if ready[other] < now:
                    user, now = other, ready[other]
            at = place[user] - first
            if user == 0 and 0 <= at < layers * length and at % length == 0:
                passed += 1
                left = layers
                same = seen_at >= 0
                for other in range(count):
                    inside = first <= place[other] < behind
                    left = min(left, (behind - 1 - place[other]) // length) if inside else 0
                    same = same and seen[2 * other] == place[other] - place[0]
                    same = same and seen[2 * other + 1] == ready[other] - now
                for x in range(units):
                    same = same and seen[2 * most + x] == max(free[x] - now, 0)
                if left == 0:
                    seen_at = -1
                elif same:
                    times = left // passed
                    later = times * (now - seen_at)
                    now += later
                    for other in range(count):  # a slice takes numba two seconds more to compile
                        ready[other] += later
                        place[other] += times * passed * length
                    free += later
                    seen_at = -1
                elif seen_at < 0 or passed == until:
                    until = 1 if seen_at < 0 else 2 * until
                    passed, seen_at = 0, now
                    for other in range(count):
                        seen[2 * other] = place[other] - place[0]
                        seen[2 * other + 1] = ready[other] - now
                    for x in range(units):
                        seen[2 * most + x] = max(free[x] - now, 0)
            column = path[place[user]]
            end = max(now, free[unit[column]]) + cycles[column]
            if grows[column]:
                end += added[window[column], ended[user]]
            free[unit[column]] = end
            if side_unit[column] >= 0:
                joins = max(now, free[side_unit[column]]) + beside[column]
                free[side_unit[column]] = joins
                end = max(end, joins)
            ready[user] = end
            place[user] += 1
            if place[user] == places:
                place[user] = 0
                if ended[user] == 0:
                    total -= end
                elif ended[user] == taken:
                    total += end
                    ready[user] = NEVER
                    flying -= 1
                ended[user] += 1
        step[p] = total / (count * taken)
