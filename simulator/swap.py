"""Swap latency: how long until the next token can use another adapter.

Measured by simulation on a chip that is otherwise idle: an adapter is asked for at cycle 0 and one
token wants it.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.engines.first_token import first_token
from hardwire.simulator.program import TokenProgram, build_program
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
    chip: Chip,
    model: LanguageModel,
    adapter: Adapter,
    *,
    timing: Timing | None = None,
    program: TokenProgram | None = None,
) -> SwapLatency:
    """Swap latencies of ``adapter`` on ``chip``, each the delay against a resident adapter.

    Parameters
    ----------
    timing : ``Timing.of(chip, model, [adapter])``, where it is at hand.
    program : ``build_program(chip, model, [adapter])`` of whichever issue, where that is.
    """
    program = program or build_program(chip, model, [adapter], timing=timing)
    alone = first_token(program, None)
    switch = float(chip.lora.switch_cycles) / program.clock_hz
    warm = (first_token(program, "blocking") - alone) / program.clock_hz + switch
    streamed = (first_token(program, "streamed") - alone) / program.clock_hz + switch
    disk = float(supply(chip, model, adapter).disk_s)
    return SwapLatency(cold=disk + warm, warm=warm, streamed=streamed, resident=switch)
