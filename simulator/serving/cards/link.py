"""What moves adapters and KV pages: lines that send one thing after the other, and host memory."""

from __future__ import annotations


class Line:
    """A link or a disk: first come, first served.

    Attributes
    ----------
    free_at : tick at which it can begin with the next transfer.
    busy : ticks spent sending.
    """

    __slots__ = ("busy", "free_at")

    def __init__(self) -> None:
        self.free_at = 0
        self.busy = 0

    def send(self, now: int, ticks: int, ready: int = 0) -> int:
        """Queue a transfer that can begin at ``ready``; the tick at which it begins.

        What is not ready yet holds its place but not the line: others go meanwhile.
        """
        begin = max(now, ready, self.free_at)
        self.free_at = max(now, self.free_at) + ticks
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

    __slots__ = ("_capacity", "_disk_ticks", "_here", "_sizes", "_used", "disk")

    def __init__(
        self, capacity: int, sizes: list[int], disk_ticks: list[int], *, warm: bool
    ) -> None:
        self._capacity = capacity
        self._sizes = sizes
        self._disk_ticks = disk_ticks
        self._here: dict[int, None] = {}
        self._used = 0
        self.disk = Line()
        if warm:
            for adapter, size in enumerate(sizes):
                if self._used + size > capacity:
                    break
                self._here[adapter] = None
                self._used += size

    def fetch(self, adapter: int, now: int) -> int:
        """The tick from which the adapter can be sent to a card."""
        if adapter in self._here:
            del self._here[adapter]
            self._here[adapter] = None
            return now
        ticks = self._disk_ticks[adapter]
        ready = self.disk.send(now, ticks) + ticks
        size = self._sizes[adapter]
        if size <= self._capacity:  # one that is larger passes through
            while self._used + size > self._capacity:
                oldest = next(iter(self._here))
                del self._here[oldest]
                self._used -= self._sizes[oldest]
            self._here[adapter] = None
            self._used += size
        return ready
