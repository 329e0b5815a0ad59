"""One token on a chip at rest while its adapter is loaded: the reference's rules, for that alone.

One token and one load need no queue of events, and no numba, whose import takes longer than this.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import AdapterLoad, LoadMode, schedule_bursts


class _Ports:
    """The units of the chip, and the bursts that arrive at some of them, in order of arrival."""

    def __init__(self, program: TokenProgram, loads: list[AdapterLoad]) -> None:
        bursts = schedule_bursts(program, loads)
        self.free = [0] * len(program.units)
        self.waiting: dict[int, deque[tuple[int, int, int]]] = {}
        self.last_arrival = [0] * program.ports.shape[0]
        self.written = [0] * program.ports.shape[0]
        for arrival, cycles, port, layer in zip(
            bursts.arrival.tolist(), bursts.cycles.tolist(), bursts.port.tolist(),
            bursts.layer.tolist(), strict=True,
        ):  # fmt: skip
            self.waiting.setdefault(port, deque()).append((arrival, cycles, layer))
            self.last_arrival[layer] = arrival

    def write(self, unit: int, until: int) -> None:
        """Serve the bursts that have asked for a unit at a cycle: first come, before any token."""
        queue = self.waiting.get(unit)
        while queue and queue[0][0] <= until:
            arrival, cycles, layer = queue.popleft()
            self.free[unit] = max(self.free[unit], arrival) + cycles
            self.written[layer] = max(self.written[layer], self.free[unit])

    def visit(self, unit: int, ready: int, cycles: int) -> int:
        """When a visit that asks for a unit at ``ready`` has ended."""
        self.write(unit, ready)
        self.free[unit] = max(self.free[unit], ready) + cycles
        return self.free[unit]

    def slice_of(self, layer: int) -> int:
        """When a layer's slice is written; 0 where it has none. The token is at no unit then."""
        for unit in self.waiting:
            self.write(unit, self.last_arrival[layer])
        return self.written[layer]


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
        ready = max(ports.slice_of(layer) for layer in range(len(ports.written)))
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
