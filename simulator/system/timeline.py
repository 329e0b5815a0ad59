"""What an engine says of a run of a system: when everything happened, and what time went to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.requests import Requests


@dataclass(frozen=True, eq=False)
class SystemTimeline:
    """Timestamps of a run, in ticks. Tokens are numbered request by request, in order.

    Attributes
    ----------
    first : (U + 1,) int64, the number of the first token of each request; the last is the count.
    offered, issued, done : (T,) int64
        When a token was known, when its first visit began, when its last step ended.
    spent : (T, 6) int64, the ticks from ``offered`` to ``done`` by ``CAUSES``.
    start, end : (T, slots) int64 or None
        Every visit, by ``SystemProgram.slot``; -1 where there is none; recorded on demand.
    slice_done : (loads, layers) int64, when all of a layer was written on all dies; -1 if empty.
    load_done : (loads,) int64, when the last die had it all.
    burst_start : (B,) int64
    """

    first: NDArray[np.int64]
    offered: NDArray[np.int64]
    issued: NDArray[np.int64]
    done: NDArray[np.int64]
    spent: NDArray[np.int64]
    start: NDArray[np.int64] | None
    end: NDArray[np.int64] | None
    slice_done: NDArray[np.int64]
    load_done: NDArray[np.int64]
    burst_start: NDArray[np.int64]

    def of_request(self, requests: Requests, user: int, *, decoded: bool) -> slice:
        """Numbers of the tokens of a request that yield an output, or of its decode steps alone."""
        begin = int(self.first[user] + requests.prompt[user] - 1)
        return slice(begin + decoded, int(self.first[user + 1]))
