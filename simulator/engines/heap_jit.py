"""A binary heap of (time, item) in two arrays, the first in time first: what engines wait for."""

from __future__ import annotations

from typing import Any

import numba as nb

from hardwire.kernels.jit import inner


@nb.njit(cache=True, inline="always")
def _before(t1: int, i1: int, t2: int, i2: int) -> bool:
    return t1 < t2 or (t1 == t2 and i1 < i2)


@inner
def push(times: Any, items: Any, size: int, time: int, item: int) -> int:
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
def pop(times: Any, items: Any, size: int) -> int:
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
