"""What is asked of a chip: requests and adapter loads, in cycles, the input of all engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hardwire.models.whole import ceil_div
from hardwire.simulator.datapath import adapter_layer_bytes
from hardwire.simulator.program import TokenProgram
from hardwire.simulator.supply import supply

LoadMode = Literal["blocking", "double_buffered", "streamed"]
LOAD_MODES: tuple[LoadMode, ...] = ("blocking", "double_buffered", "streamed")


@dataclass(frozen=True)
class Requests:
    """Requests on one chip, one per user slot, each with its own KV cache.

    Attributes
    ----------
    arrival : (U,) int64, cycles
    prompt, output : (U,) int64, tokens, at least 1
        The first output token comes out of the last prompt token.
    adapter : (U,) int32
        Row of the program's cycle tables; 0 for the base alone.
    """

    arrival: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    adapter: np.ndarray

    def __post_init__(self) -> None:
        if (self.prompt < 1).any() or (self.output < 1).any() or (self.arrival < 0).any():
            raise ValueError("requests need arrival >= 0, prompt >= 1 and output >= 1")

    @classmethod
    def uniform(cls, users: int, prompt: int, output: int, adapter: int = 0) -> Requests:
        """``users`` equal requests that arrive together."""
        return cls(
            arrival=np.zeros(users, dtype=np.int64),
            prompt=np.full(users, prompt, dtype=np.int64),
            output=np.full(users, output, dtype=np.int64),
            adapter=np.full(users, adapter, dtype=np.int32),
        )

    @property
    def users(self) -> int:
        return len(self.arrival)

    @property
    def tokens(self) -> np.ndarray:
        """Tokens that each request sends through the datapath: prompt + output − 1."""
        return self.prompt + self.output - 1


@dataclass(frozen=True)
class AdapterLoad:
    """An adapter that moves from host memory into SRAM from cycle ``start`` on."""

    adapter: int
    start: int
    mode: LoadMode


@dataclass(frozen=True)
class Bursts:
    """All SRAM write bursts of some loads, in order of their arrival over the link.

    Attributes
    ----------
    arrival, cycles : (B,) int64
        When a burst is complete in the layer's staging buffer; how long its write holds a port.
    port, load, layer : (B,) int32
    remaining : (loads, layers, or one more) int64
        Bursts of each slice; 0 where an adapter has nothing in a layer. The last is the LM head's
        on a chip with a side path there.
    """

    arrival: np.ndarray
    cycles: np.ndarray
    port: np.ndarray
    load: np.ndarray
    layer: np.ndarray
    remaining: np.ndarray


def schedule_bursts(program: TokenProgram, loads: Sequence[AdapterLoad]) -> Bursts:
    """Cut loads into bursts and time their arrival over the one link, load after load.

    A load waits for the link until the one before it has been sent. Slices go layer by layer,
    the bursts of a slice in turn to the KV memories of its layer.
    """
    chip = program.chip
    layers, ports = program.ports.shape
    seen = [load.adapter for load in loads]
    if len(set(seen)) != len(seen):
        raise ValueError("an adapter can be loaded once in a run")
    latency = round(float(chip.link.latency_us) * 1e-6 * program.clock_hz)
    burst = int(chip.link.burst_bytes)
    parts = []
    remaining = np.zeros((len(loads), layers), dtype=np.int64)
    link_free = 0
    for number, load in enumerate(loads):
        adapter = program.adapters[load.adapter - 1]
        bytes_per_s = float(supply(chip, program.model, adapter).bytes_per_s)
        begin = max(load.start, link_free) + latency
        sizes = np.array(adapter_layer_bytes(chip, adapter, layers), dtype=np.int64)
        counts = -(-sizes // burst)
        layer = np.repeat(np.arange(layers), counts)
        index = np.arange(len(layer)) - np.repeat(np.cumsum(counts) - counts, counts)
        data = np.minimum(burst, sizes[layer] - index * burst)
        arrival = begin + np.ceil(np.cumsum(data) * program.clock_hz / bytes_per_s).astype(np.int64)
        write = ceil_div(data, chip.sram.write_bytes_per_cycle)
        port = program.ports[layer, index % ports]
        parts.append((arrival, write, port, np.full(len(layer), number), layer))
        remaining[number] = counts
        link_free = int(arrival[-1]) if len(arrival) else begin
    table = [np.concatenate(column) for column in zip(*parts, strict=True)] or [np.zeros(0)] * 5
    return Bursts(
        arrival=table[0].astype(np.int64),
        cycles=table[1].astype(np.int64),
        port=table[2].astype(np.int32),
        load=table[3].astype(np.int32),
        layer=table[4].astype(np.int32),
        remaining=remaining,
    )


@dataclass(frozen=True)
class Timeline:
    """Timestamps of a run, in cycles. Tokens are numbered request by request, in order.

    Attributes
    ----------
    first : (U + 1,) int64
        Number of the first token of each request; the last entry is the count.
    issued, done : (T,) int64
        Start on the first unit; end on the last.
    start, end : (T, S, 2) int64 or None
        Every visit (main, side), -1 where there is none; recorded on demand.
    slice_done : (loads, layers, or one more) int64
        When a layer's slice was written, -1 for an empty slice.
    load_done : (loads,) int64
    burst_start : (B,) int64
    """

    first: np.ndarray
    issued: np.ndarray
    done: np.ndarray
    start: np.ndarray | None
    end: np.ndarray | None
    slice_done: np.ndarray
    load_done: np.ndarray
    burst_start: np.ndarray

    def output_times(self, requests: Requests, user: int) -> np.ndarray:
        """Completion cycles of the output tokens of one request, ``(output,)``."""
        begin = self.first[user] + requests.prompt[user] - 1
        return self.done[begin : self.first[user + 1]]
