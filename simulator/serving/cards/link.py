"""What moves adapters and KV pages: lines that carry one transfer at a time, and host memory."""

from __future__ import annotations


class Line:
    """A link or a disk, which carries one transfer at a time.

    A transfer gets its time when it is asked for, the first that is free for long enough once its
    bytes are there; no later one moves it. So one that waits for the disk leaves the line to
    others until then, and of those that are ready the first come is the first served.

    Attributes
    ----------
    busy : ticks spent sending.
    """

    __slots__ = ("_taken", "busy")

    def __init__(self) -> None:
        self._taken: list[tuple[int, int]] = []  # begins and ends to come, in order
        self.busy = 0

    def send(self, now: int, ticks: int, ready: int = 0) -> int:
        """Give a transfer its time; the tick at which it begins.

        Parameters
        ----------
        now : tick, never less than before.
        ticks : that it takes.
        ready : tick from which its bytes are there.
        """
        taken, begin, place = self._taken, max(now, ready), 0
        while taken and taken[0][1] <= now:
            del taken[0]
        for begun, ended in taken:
            if begin < begun and begin + ticks <= begun:
                break
            begin, place = max(begin, ended), place + 1
        first, last = begin, begin + ticks
        # Times that touch become one, so that a long queue is one entry.
        if place < len(taken) and taken[place][0] == last:
            last = taken.pop(place)[1]
        if place and taken[place - 1][1] == first:
            first = taken.pop(place - 1)[0]
            place -= 1
        taken.insert(place, (first, last))
        self.busy += ticks
        return begin


class HostMemory:
    """Adapters in the memory of the host, least recently used out first, and the disk behind it.

    Parameters
    ----------
    capacity : bytes for adapters.
    sizes : bytes of each adapter.
    disk_ticks : ticks to read each from disk.
    warm : whether the first adapters are there from the begin, as many as fit.
    """

    __slots__ = ("_capacity", "_disk_ticks", "_ready", "_sizes", "_used", "disk")

    def __init__(
        self, capacity: int, sizes: list[int], disk_ticks: list[int], *, warm: bool
    ) -> None:
        self._capacity = capacity
        self._sizes = sizes
        self._disk_ticks = disk_ticks
        self._ready: dict[int, int] = {}  # when each is read, in order of last use
        self._used = 0
        self.disk = Line()
        if warm:
            for adapter, size in enumerate(sizes):
                if self._used + size > capacity:
                    break
                self._ready[adapter] = 0
                self._used += size

    def fetch(self, adapter: int, now: int) -> int:
        """The tick from which the adapter can be sent to a card."""
        ready = self._ready.pop(adapter, None)
        if ready is not None:
            self._ready[adapter] = ready
            return max(now, ready)
        ticks = self._disk_ticks[adapter]
        ready = self.disk.send(now, ticks) + ticks
        size = self._sizes[adapter]
        if size <= self._capacity:  # one that is larger passes through
            while self._used + size > self._capacity:
                oldest = next(iter(self._ready))
                del self._ready[oldest]
                self._used -= self._sizes[oldest]
            self._ready[adapter] = ready
            self._used += size
        return ready
