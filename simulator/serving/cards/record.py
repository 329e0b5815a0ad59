"""What a server of cards notes while it runs, beside what becomes of its requests."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.record import RequestRecord


class Record(RequestRecord):
    """Rows of events, in ticks.

    Attributes
    ----------
    loads : card, adapter, begin, end and bytes, five numbers of each.
    evictions : card, adapter and tick, three numbers of each.
    memory : card, tick, KV pages and adapter bytes, four numbers at every change.
    dropped : rows (request, tokens), whose KV was thrown away by a preemption.
    kv_bytes : that preemption moved to host memory, and back.
    skipped : rows (request, tokens), whose KV was there when the request was let in.
    in_flight : where a run is cut off, by request that a card has begun: its tokens in KV, and how
        many are left to prefill.
    """

    def __init__(self, requests: int) -> None:
        super().__init__(requests)
        self.loads = array("q")
        self.evictions = array("q")
        self.memory = array("q")
        self.dropped: list[tuple[int, int]] = []
        self.kv_bytes = 0
        self.skipped: list[tuple[int, int]] = []
        self.in_flight: dict[int, tuple[int, int]] = {}


def rows_of(numbers: array[int], columns: int) -> NDArray[np.int64]:
    """(M, columns) int64, the rows of an array of a record, without copying them."""
    return np.frombuffer(numbers or b"", np.int64).reshape(-1, columns)
