"""What a server notes of its requests while it runs, in ticks and compactly."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.simulator.serving.log import Status


def _filled(count: int, value: int, kind: str = "q") -> array[int]:
    return array(kind, [value]) * count


class RequestRecord:
    """Ticks and counts by request, -1 where nothing happened yet.

    The columns are those of ``ServingLog``, in ticks: ``start``, ``first`` (token), ``finish`` and
    ``wait`` (for an adapter); ``unit``, ``generated``, ``hit``, ``preemptions`` and ``reused``.
    """

    def __init__(self, requests: int) -> None:
        self.start = _filled(requests, -1)
        self.first = _filled(requests, -1)
        self.finish = _filled(requests, -1)
        self.generated = _filled(requests, 0)
        self.wait = _filled(requests, 0)
        self.reused = _filled(requests, 0)
        self.unit = _filled(requests, -1, "i")
        self.preemptions = _filled(requests, 0, "i")
        self.hit = _filled(requests, -1, "b")

    def fill(self, name: str, requests: NDArray[np.int64], values: ArrayLike) -> None:
        """Set a column for some requests at once."""
        np.asarray(getattr(self, name))[requests] = values

    def columns(
        self, status: NDArray[np.int8], arrival_s: NDArray[np.float64], hertz: float
    ) -> dict[str, Any]:
        """The columns of a ``ServingLog``, in seconds.

        Parameters
        ----------
        status : (N,) how each request ended.
        arrival_s : (N,) when it came; one that was refused ended then.
        hertz : ticks per second.
        """

        def seconds(ticks: array[int]) -> NDArray[np.float64]:
            values = np.array(ticks, dtype=np.int64)
            return np.where(values < 0, np.nan, values / hertz)

        finish_s = seconds(self.finish)
        refused = (status == Status.TOO_LONG) | (status == Status.ADAPTER_TOO_BIG)
        finish_s[refused] = arrival_s[refused]
        return {
            "status": status,
            "unit": np.array(self.unit, dtype=np.int32),
            "start_s": seconds(self.start),
            "first_token_s": seconds(self.first),
            "finish_s": finish_s,
            "generated": np.array(self.generated, dtype=np.int64),
            "adapter_hit": np.array(self.hit, dtype=np.int8),
            "swap_wait_s": np.array(self.wait, dtype=np.int64) / hertz,
            "preemptions": np.array(self.preemptions, dtype=np.int32),
            "reused_tokens": np.array(self.reused, dtype=np.int64),
        }
