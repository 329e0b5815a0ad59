"""Swap latency: how long until the next token can use another adapter.

Measured by simulation on a chip that is otherwise idle: an adapter is asked for at cycle 0 and one
token wants it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import AdapterLoad, LoadMode, Requests
from hardwire.simulator.supply import supply
from hardwire.simulator.timing import Timing


@dataclass(frozen=True)
class SwapLatency:
    """Seconds that a swap adds to the first token of a request, by where the adapter is.

    Attributes
    ----------
    cold : on disk; its file is read to host memory, then as warm. See ``simulator.supply``.
    warm : in host memory; over the link into SRAM, complete before the token starts.
    streamed : in host memory; the token enters a layer when the layer's slice has arrived.
    resident : in SRAM; a pointer changes.
    """

    cold: float
    warm: float
    streamed: float
    resident: float


def swap_latency(
    chip: Chip, model: LanguageModel, adapter: Adapter, *, timing: Timing | None = None
) -> SwapLatency:
    """Swap latencies of ``adapter`` on ``chip``, each the delay against a resident adapter.

    Parameters
    ----------
    timing : ``Timing.of(chip, model, [adapter])``, where it is at hand.
    """
    from hardwire.simulator.engines.compiled import simulate  # noqa: PLC0415 - numba only where it is needed

    program = build_program(chip, model, [adapter], timing=timing)
    requests = Requests.uniform(users=1, prompt=1, output=1, adapter=1)

    def finished(mode: LoadMode | None) -> int:
        loads = [] if mode is None else [AdapterLoad(adapter=1, start=0, mode=mode)]
        # The event queue also for the run without a load: three runs of one compiled pass.
        return int(simulate(program, requests, loads, engine_pass="event_queue").done[-1])

    alone = finished(None)
    switch = float(chip.lora.switch_cycles) / program.clock_hz
    warm = (finished("blocking") - alone) / program.clock_hz + switch
    streamed = (finished("streamed") - alone) / program.clock_hz + switch
    disk = float(supply(chip, model, adapter).disk_s)
    return SwapLatency(cold=disk + warm, warm=warm, streamed=streamed, resident=switch)
