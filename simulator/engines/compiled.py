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
    Everything else: units that layers share under pipelined issue, and adapter loads. One event per
    stage, by the kernel of systems of several dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import (
    LOAD_MODES,
    AdapterLoad,
    Bursts,
    Requests,
    Timeline,
    schedule_bursts,
)

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
        _event_queue(program, requests, loads, bursts, record, first, (issued, done, start, end),
                     (slice_done, load_done, burst_start))  # fmt: skip
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


def _event_queue(
    program: TokenProgram,
    requests: Requests,
    loads: Sequence[AdapterLoad],
    bursts: Bursts,
    record: bool,
    first: Any,
    times: tuple[Any, Any, Any, Any],
    of_loads: tuple[Any, Any, Any],
) -> None:
    """``event_queue``: each stage is a step of one visit or of two, which is never left out."""
    from hardwire.simulator.engines import events_jit  # noqa: PLC0415 - only where it is called

    issued, done, start, end = times
    stages, tokens = program.stages, len(issued)
    beside = program.side_unit >= 0
    kept = np.stack([np.ones(stages, np.bool_), beside], axis=1).reshape(-1)
    both = np.stack([program.main_unit, program.side_unit], axis=1).reshape(-1)
    cycles = np.stack([program.main_cycles, program.side_cycles], axis=2)
    grown = program.grown(np.arange(int(requests.tokens.max()) + 1, dtype=np.int64))
    nothing = np.full(stages, len(grown), np.int64)  # what a context adds to a side path
    growth = np.stack([program.rate_of, nothing], axis=1).reshape(-1)
    visits = int(kept.sum())
    enters = np.full(stages, -1, np.int32)
    leaves = np.full((2, stages), -1, np.int32)
    if program.serial:  # the token in flight holds the chip, a gate of one place
        enters[0], leaves[0, -1], leaves[1, program.held_stages - 1] = 0, 0, 0
    adapter_load = np.full(len(program.adapters) + 1, -1, dtype=np.int32)
    for number, load in enumerate(loads):
        adapter_load[load.adapter] = number
    offered = np.empty(tokens, np.int64)
    spent = np.zeros((tokens, events_jit.CAUSES), np.int64)
    events_jit.run(
        requests.arrival,
        requests.prompt,
        requests.tokens,
        requests.adapter,
        first,
        np.concatenate([[0], np.cumsum(1 + beside)]).astype(np.int32),
        both[kept].astype(np.int32),
        cycles.reshape(len(cycles), -1)[:, kept].copy(),
        growth[kept].astype(np.int32),
        np.concatenate([grown, np.zeros_like(grown[:1])]),
        np.zeros(visits, np.int64),
        np.tile(np.array([[1, 0]], np.int32), (visits, 1)),
        np.full(visits, -1, np.int32),
        np.zeros((0, 1), np.int32),
        np.zeros((0, 1), np.int64),
        np.zeros(0, np.int32),
        np.zeros((0, 0, 0), np.int16),
        np.zeros(stages, np.int8),
        np.zeros(stages, np.bool_),
        program.layer,
        enters,
        leaves,
        np.ones(int(program.serial), np.int64),
        0,
        program.body_stages,
        program.held_stages - 1 if program.serial else 0,
        0,
        len(program.units),
        np.flatnonzero(kept).astype(np.int32),
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
        offered,
        issued,
        done,
        spent,
        start.reshape(len(start), 2 * start.shape[1]),
        end.reshape(len(end), 2 * end.shape[1]),
        *of_loads,
    )


def _jit() -> Any:
    from hardwire.simulator.engines import compiled_jit  # noqa: PLC0415 - only where it is called

    return compiled_jit
