"""One token on a chip at rest while its adapter is loaded: the reference's rules, for that alone.

One token and one load need no queue of events, and no numba, whose import takes longer than this.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import AdapterLoad, LoadMode, schedule_bursts


class _Line:
    """The bursts that arrive at a unit, in order of arrival, and how many of them are written."""

    def __init__(self, arrival: NDArray[np.int64], cycles: NDArray[np.int64], layer: Any) -> None:
        self.arrival, self.layer = arrival, layer
        self.arrivals: list[int] = arrival.tolist()
        self.work = np.concatenate(([0], np.cumsum(cycles)))
        self.next = 0


class _Ports:
    """The units of the chip, and the bursts that arrive at some of them."""

    def __init__(self, program: TokenProgram, loads: list[AdapterLoad]) -> None:
        bursts = schedule_bursts(program, loads)
        self.free = [0] * len(program.units)
        self.last_arrival = [0] * program.ports.shape[0]
        self.written = np.zeros(program.ports.shape[0], dtype=np.int64)
        for layer, arrival in zip(bursts.layer.tolist(), bursts.arrival.tolist(), strict=True):
            self.last_arrival[layer] = arrival
        self.of_layer: list[list[int]] = program.ports.tolist()
        self.waiting: dict[int, _Line] = {}
        for port in np.unique(bursts.port).tolist():
            here = bursts.port == port
            self.waiting[port] = _Line(
                bursts.arrival[here], bursts.cycles[here], bursts.layer[here]
            )

    def write(self, unit: int, until: int) -> None:
        """Serve the bursts that have asked for a unit at a cycle: first come, before any token."""
        line = self.waiting.get(unit)
        if line is None or line.next == len(line.arrivals) or line.arrivals[line.next] > until:
            return
        begin, end = line.next, bisect_right(line.arrivals, until)
        # Each begins when it has arrived and the one before it has ended (Lindley's recursion).
        work = line.work[begin : end + 1] - line.work[begin]
        idle = np.maximum.accumulate(line.arrival[begin:end] - work[:-1])
        ends = work[1:] + np.maximum(idle, self.free[unit])
        self.free[unit] = int(ends[-1])
        np.maximum.at(self.written, line.layer[begin:end], ends)
        line.next = end

    def visit(self, unit: int, ready: int, cycles: int) -> int:
        """When a visit that asks for a unit at ``ready`` has ended."""
        self.write(unit, ready)
        self.free[unit] = max(self.free[unit], ready) + cycles
        return self.free[unit]

    def slice_of(self, layer: int) -> int:
        """When a layer's slice is written; 0 where it has none. The token is at no unit then."""
        for unit in self.of_layer[layer]:
            self.write(unit, self.last_arrival[layer])
        return int(self.written[layer])

    def all_slices(self) -> int:
        """When all slices are written."""
        last = max(self.last_arrival)
        for unit in self.waiting:
            self.write(unit, last)
        return int(self.written.max())


def first_token(program: TokenProgram, mode: LoadMode | None) -> int:
    """When the only token of a request is done that needs adapter 1, in cycles.

    Token and load are asked for at cycle 0; the prompt is one token.

    Parameters
    ----------
    mode : how the adapter is loaded; None where it is resident.
    """
    ports = _Ports(program, [] if mode is None else [AdapterLoad(adapter=1, start=0, mode=mode)])
    added = program.grown(np.ones(1, dtype=np.int64))[program.rate_of, 0]
    ready = 0
    if mode not in {None, "streamed"}:
        ready = ports.all_slices()
    for layer, unit, cycles, beside, beside_cycles in zip(
        program.layer.tolist(), program.main_unit.tolist(),
        (program.main_cycles[1] + added).tolist(),
        program.side_unit.tolist(), program.side_cycles[1].tolist(), strict=True,
    ):  # fmt: skip
        if mode == "streamed" and layer >= 0:
            ready = max(ready, ports.slice_of(layer))
        end = ports.visit(unit, ready, cycles)
        if beside >= 0:
            end = max(end, ports.visit(beside, ready, beside_cycles))
        ready = end
    return ready
