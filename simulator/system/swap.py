"""Swap latency of an adapter over dies: until the last of them has its slices.

As ``hardwire.simulator.swap`` of one chip: a system at rest is asked for an adapter at tick 0, and
one token wants it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.system.system import System
from hardwire.simulator.requests import AdapterLoad, LoadMode, Requests
from hardwire.simulator.supply import supply
from hardwire.simulator.swap import SwapLatency
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.measured import chosen_experts, timeline
from hardwire.simulator.system.program import SystemProgram
from hardwire.simulator.system.routing import Routing


@dataclass(frozen=True)
class SystemSwap:
    """What a swap takes.

    Attributes
    ----------
    latency : seconds that it adds to the first token, by where the adapter is.
    stage_ready_s : by stage, when the last of its dies has the slices of all its layers.
    bytes : that go over the links from the host, what dies replicate included.
    """

    latency: SwapLatency
    stage_ready_s: tuple[float, ...]
    bytes: int


def system_swap(system: System, adapter: Adapter) -> SystemSwap:
    """Swap latencies of an adapter on a system, each the delay against a resident adapter.

    Raises
    ------
    InputError
        As ``walk_of``.
    """
    program = build_program(system, (adapter,))
    alone, _ = _first_token(system, program, None)
    chips = [die.chip for die in system.dies]
    switch = max(
        float(chip.lora.switch_cycles) / (float(chip.datapath.clock_ghz) * 1e9) for chip in chips
    )
    blocking, ready = _first_token(system, program, "blocking")
    streamed, _ = _first_token(system, program, "streamed")
    warm = (blocking - alone) / program.hz + switch
    disk = max(float(supply(chip, system.model, adapter).disk_s) for chip in chips)
    return SystemSwap(
        latency=SwapLatency(
            cold=disk + warm,
            warm=warm,
            streamed=(streamed - alone) / program.hz + switch,
            resident=switch,
        ),
        stage_ready_s=tuple(
            max(max(ready[layer] for layer in stage.layers) / program.hz, 0.0)
            for stage in system.placement.stages
        ),
        bytes=sum(piece.bytes for piece in program.slices[0]),
    )


def _first_token(
    system: System, program: SystemProgram, mode: LoadMode | None
) -> tuple[int, list[int]]:
    """When the only token of a request is done, and when each layer's slices are written."""
    requests = Requests.uniform(users=1, prompt=1, output=1, adapter=1)
    loads = () if mode is None else (AdapterLoad(adapter=1, start=0, mode=mode),)
    choices = chosen_experts(system, program, requests, Routing())
    times = timeline(program, requests, choices, loads=loads)
    written = times.slice_done[0].tolist() if loads else []
    return int(times.done[0]), written
