"""What happened to every request of a replay: the common record of all servers, in seconds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Status(IntEnum):
    """How a request ended. Every request ends in exactly one of these."""

    COMPLETED = 0
    TOO_LONG = 1  # longer than the model's context, or than the memory beside its adapter
    ADAPTER_TOO_BIG = 2  # its adapter can never be loaded
    UNFINISHED = 3  # the run was cut off (an interrupt, or a measured run's fixed duration)


@dataclass(frozen=True)
class Spans:
    """Intervals of something, in order of begin: what a unit did, for traces and frames.

    Attributes
    ----------
    kind : what they are, such as ``adapter load`` or ``evict``.
    unit : (M,) int32, card or GPU; -1 for the server as a whole.
    adapter : (M,) int32
    begin_s, end_s : (M,) float64
    bytes : (M,) int64, moved, where that makes sense
    """

    kind: str
    unit: NDArray[np.int32]
    adapter: NDArray[np.int32]
    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    bytes: NDArray[np.int64]

    @classmethod
    def of(cls, kind: str, rows: list[tuple[int, int, float, float, int]]) -> Spans:
        """Spans from rows (unit, adapter, begin_s, end_s, bytes)."""
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
        return cls(
            kind,
            table[:, 0].astype(np.int32),
            table[:, 1].astype(np.int32),
            table[:, 2].copy(),
            table[:, 3].copy(),
            table[:, 4].astype(np.int64),
        )


@dataclass(frozen=True)
class Occupancy:
    """Memory in use, sampled at every change or at least often enough to see its peak.

    Attributes
    ----------
    unit : (M,) int32
    time_s : (M,) float64
    kv_bytes, adapter_bytes : (M,) int64
    """

    unit: NDArray[np.int32]
    time_s: NDArray[np.float64]
    kv_bytes: NDArray[np.int64]
    adapter_bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Handover:
    """Of a disaggregated server: what each request waited for until its second token, by cause.

    (N,) float64 seconds; NaN where a request did not come so far.

    Attributes
    ----------
    queue_s : for the GPU server.
    prefill_s : until the first token, adapters that are copied into slots included.
    link_queue_s, transfer_s : for a link, and on it.
    decode_queue_s : for a card that lets it in, from the last byte of its keys and values on.
    swap_s : for its adapter there.
    second_s : from the first token to the second, which the chip makes.
    kv_bytes : (N,) int64, that went over the link.
    """

    queue_s: NDArray[np.float64]
    prefill_s: NDArray[np.float64]
    link_queue_s: NDArray[np.float64]
    transfer_s: NDArray[np.float64]
    decode_queue_s: NDArray[np.float64]
    swap_s: NDArray[np.float64]
    second_s: NDArray[np.float64]
    kv_bytes: NDArray[np.int64]


@dataclass(frozen=True)
class ServingLog:
    """The record of one replay. Times in seconds from the workload's begin; NaN where none.

    Attributes
    ----------
    status : (N,) int8, see ``Status``.
    unit : (N,) int32, the card or GPU that served it, -1 for none.
    start_s : (N,) when its prefill was first let in.
    first_token_s : (N,) when its first output token was there.
    finish_s : (N,) when its last output token was there, or when it was refused.
    generated : (N,) int64, output tokens made; all of ``output`` where completed.
    adapter_hit : (N,) int8, 1 where its adapter was in SRAM (or a GPU slot) when it was let in,
        0 where it had to be loaded, -1 for requests without an adapter or never let in.
    swap_wait_s : (N,) seconds that it waited for its adapter while it could otherwise have run.
    preemptions : (N,) int32
    reused_tokens : (N,) int64, prompt tokens found in the prefix cache.
    units : names of the cards or GPUs.
    busy_s : unit class (``compute``, ``link``, ``disk``, …) to busy seconds of each unit of it.
    capacity_bytes : memory for KV and adapters of one card or GPU.
    spans : adapter loads and evictions.
    occupancy : memory in use.
    end_s : when the last request ended.
    energy_j : energy of the whole server from 0 to ``end_s``.
    energy_by_j : the same by part.
    capex_usd_per_s, energy_usd_per_j : what time and energy cost.
    swaps : adapter loads into SRAM (or slots).
    definitions : words for what this server calls start, hit and swap, for tables.
    rest_w : parts of the energy that a server takes all the time, busy or not, as power.
    engine : which engine ran it, and why it was not the one that was asked for.
    warnings : a sentence for each way in which the load goes beyond what was measured.
    handover : of a disaggregated server.
    arrival_s : (N,) of a closed loop, when each request came, NaN where it never did; None where
        the workload says when.
    """

    status: NDArray[np.int8]
    unit: NDArray[np.int32]
    start_s: NDArray[np.float64]
    first_token_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    generated: NDArray[np.int64]
    adapter_hit: NDArray[np.int8]
    swap_wait_s: NDArray[np.float64]
    preemptions: NDArray[np.int32]
    reused_tokens: NDArray[np.int64]
    units: tuple[str, ...]
    busy_s: dict[str, NDArray[np.float64]]
    capacity_bytes: int
    spans: tuple[Spans, ...]
    occupancy: Occupancy
    end_s: float
    energy_j: float
    energy_by_j: dict[str, float]
    capex_usd_per_s: float
    energy_usd_per_j: float
    swaps: int
    definitions: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    arrival_s: NDArray[np.float64] | None = None
    rest_w: dict[str, float] = field(default_factory=dict)
    engine: str = ""
    handover: Handover | None = None

    def lasting(self, end_s: float) -> ServingLog:
        """The same with the server at rest from its end to a later one."""
        more_s = end_s - self.end_s
        parts = {
            part: joules + self.rest_w.get(part, 0.0) * more_s
            for part, joules in self.energy_by_j.items()
        }
        return dataclasses.replace(
            self, end_s=end_s, energy_j=sum(parts.values()), energy_by_j=parts
        )

    def to_arrays(self) -> dict[str, Any]:
        """The per-request columns by name."""
        names = [
            "status",
            "unit",
            "start_s",
            "first_token_s",
            "finish_s",
            "generated",
            "adapter_hit",
            "swap_wait_s",
            "preemptions",
            "reused_tokens",
        ]
        return {name: getattr(self, name) for name in names}
