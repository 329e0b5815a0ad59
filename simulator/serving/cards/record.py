"""What a hardwired server notes while it runs: per request and per event, in ticks, compactly."""

from __future__ import annotations

from array import array


def _filled(count: int, value: int, kind: str = "q") -> array[int]:
    return array(kind, [value]) * count


class Record:
    """Ticks and counts by request, -1 where nothing happened yet; rows of events.

    Attributes
    ----------
    loads : rows (card, adapter, begin, end, bytes)
    evictions : rows (card, adapter, tick)
    memory : card, tick, KV pages and adapter bytes, four numbers at every change.
    """

    def __init__(self, requests: int) -> None:
        self.start = _filled(requests, -1)
        self.first = _filled(requests, -1)
        self.finish = _filled(requests, -1)
        self.generated = _filled(requests, 0)
        self.swap_wait = _filled(requests, 0)
        self.reused = _filled(requests, 0)
        self.card = _filled(requests, -1, "i")
        self.preemptions = _filled(requests, 0, "i")
        self.hit = _filled(requests, -1, "b")
        self.loads: list[tuple[int, int, int, int, int]] = []
        self.evictions: list[tuple[int, int, int]] = []
        self.memory = array("q")
        self.recomputed_tokens = 0
