"""The compiled engine: the same rules as the reference, in numba, at speed.

Three passes, each exact for what it takes; ``simulate`` picks the cheapest:

``serial``
    One token in flight, none overlapped, and no loads: a token's time is a function of context and
    adapter alone, which ``Timing.tables`` gives, and users take turns. One step per token; a lone
    user's are a running sum, for which numba, slower to import than most runs take, stays away.
``max_plus``
    Tokens keep their order at every unit (layers are distinct hardware, or issue is serial) and
    nothing loads: one walk over the units per token, in order of issue, with
    ``start = max(ready, unit_free)``. One step per visit.
``event_queue``
    Everything else: units that layers share under pipelined issue, and adapter loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import LOAD_MODES, AdapterLoad, Requests, Timeline, schedule_bursts

PASSES = ("serial", "max_plus", "event_queue")


def cheapest_pass(program: TokenProgram, loads: Sequence[AdapterLoad], record: bool) -> str:
    """The name of the fastest pass that is exact for this run."""
    if loads or not (program.serial or program.distinct):
        return "event_queue"
    alone = program.serial and program.held_stages == program.body_stages
    return "serial" if alone and not record else "max_plus"


def simulate(
    program: TokenProgram,
    requests: Requests,
    loads: Sequence[AdapterLoad] = (),
    record: bool = False,
    engine_pass: str | None = None,
) -> Timeline:
    """Run the token program in compiled code; timestamps equal the reference's.

    Parameters
    ----------
    record : keep start and end of every visit, 32 bytes per stage and token.
    engine_pass : force one of ``PASSES``, for tests and benchmarks.

    Raises
    ------
    ValueError
        If a forced pass is not exact for this run.
    """
    chosen = engine_pass or cheapest_pass(program, loads, record)
    cheapest = cheapest_pass(program, loads, record)
    if PASSES.index(chosen) < PASSES.index(cheapest):
        raise ValueError(f"the {chosen} pass is not exact here, {cheapest} is")
    first = np.concatenate([[0], np.cumsum(requests.tokens)]).astype(np.int64)
    tokens, stages = int(first[-1]), program.stages
    issued = np.full(tokens, -1, dtype=np.int64)
    done = np.full(tokens, -1, dtype=np.int64)
    shape = (tokens, stages, 2) if record else (0, 0, 2)
    start = np.full(shape, -1, dtype=np.int64)
    end = np.full(shape, -1, dtype=np.int64)
    bursts = schedule_bursts(program, loads)
    slice_done = np.full(bursts.remaining.shape, -1, dtype=np.int64)
    load_done = np.full(len(loads), -1, dtype=np.int64)
    burst_start = np.full(len(bursts.arrival), -1, dtype=np.int64)
    longest = int(requests.tokens.max())
    asked = (requests.arrival, requests.prompt, requests.tokens, requests.adapter, first)
    if chosen == "serial":
        body, whole = program.timing.tables(longest)
        if len(requests.tokens) == 1:
            _alone(requests, body, whole, issued, done)
        else:
            _jit().serial(*asked, body, whole, issued, done)
    elif chosen == "max_plus":
        grown = program.grown(np.arange(longest + 1, dtype=np.int64))
        _jit().max_plus(
            *asked,
            program.main_cycles,
            program.side_cycles,
            program.rate_of,
            grown,
            program.side_unit >= 0,
            program.body_stages,
            program.held_stages,
            program.serial,
            record,
            issued,
            done,
            start,
            end,
        )
    else:
        adapter_load = np.full(len(program.adapters) + 1, -1, dtype=np.int32)
        for number, load in enumerate(loads):
            adapter_load[load.adapter] = number
        grown = program.grown(np.arange(longest + 1, dtype=np.int64))
        _jit().event_queue(
            *asked,
            program.main_unit,
            program.side_unit,
            program.main_cycles,
            program.side_cycles,
            program.rate_of,
            grown,
            program.layer,
            program.body_stages,
            program.held_stages,
            program.serial,
            len(program.units),
            adapter_load,
            np.array([load.start for load in loads], dtype=np.int64),
            np.array([LOAD_MODES.index(load.mode) for load in loads], dtype=np.int64),
            bursts.arrival,
            bursts.cycles,
            bursts.port,
            bursts.load,
            bursts.layer,
            bursts.remaining.copy(),
            record,
            issued,
            done,
            start,
            end,
            slice_done,
            load_done,
            burst_start,
        )
    return Timeline(
        first=first,
        issued=issued,
        done=done,
        start=start if record else None,
        end=end if record else None,
        slice_done=slice_done,
        load_done=load_done,
        burst_start=burst_start,
    )


def _alone(requests: Requests, body: Any, whole: Any, issued: Any, done: Any) -> None:
    """``serial`` for one user: each token begins where the one before it ends."""
    tokens, inside = int(requests.tokens[0]), int(requests.prompt[0]) - 1
    row = int(requests.adapter[0])
    cycles = whole[row, 1 : tokens + 1].copy()
    cycles[:inside] = body[row, 1 : inside + 1]
    done[:] = requests.arrival[0] + np.cumsum(cycles)
    issued[:] = done - cycles


def _jit() -> Any:
    from hardwire.simulator.engines import compiled_jit  # noqa: PLC0415 - only where it is called

    return compiled_jit
