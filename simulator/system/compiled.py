"""The compiled engine of systems: the reference's rules, in numba, at speed.

An event for each step of a token instead of one for each visit, or one for a chain of steps that
are settled together (``SystemProgram.chained``); and units that do what another one does are
followed once (``SystemProgram.merged``) where no visit is recorded and no adapter loads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardwire.simulator.requests import LOAD_MODES, AdapterLoad, Requests
from hardwire.simulator.system.loads import schedule
from hardwire.simulator.system.program import CAUSES, SystemProgram
from hardwire.simulator.system.routing import Choices
from hardwire.simulator.system.timeline import SystemTimeline


def simulate(
    program: SystemProgram,
    requests: Requests,
    loads: Sequence[AdapterLoad] = (),
    *,
    choices: Choices | None = None,
    record: bool = False,
) -> SystemTimeline:
    """Run the program in compiled code; timestamps equal the reference's.

    Parameters
    ----------
    choices : of experts, for a program that has some.
    record : keep start and end of every visit, 16 bytes per slot and token.
    """
    from hardwire.simulator.engines import events_jit  # noqa: PLC0415 - numba only where it is called

    if not record and not loads:
        program = program.merged()
    # A burst may come between two visits anywhere, and a slice may be missing.
    chained = np.zeros(program.steps, np.bool_) if loads else program.chained()
    first = np.concatenate([[0], np.cumsum(requests.tokens)]).astype(np.int64)
    tokens = int(first[-1])
    bursts = schedule(program, loads)
    offered, issued, done = (np.full(tokens, -1, np.int64) for _ in range(3))
    spent = np.zeros((tokens, len(CAUSES)), np.int64)
    shape = (tokens, int(program.slot[-1])) if record else (0, 0)
    start, end = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    slice_done = np.full(bursts.remaining.shape, -1, np.int64)
    load_done = np.full(len(loads), -1, np.int64)
    burst_start = np.full(len(bursts.arrival), -1, np.int64)
    adapter_load = np.full(len(program.ticks), -1, np.int32)
    for number, load in enumerate(loads):
        adapter_load[load.adapter] = number
    events_jit.run(
        requests.arrival,
        requests.prompt,
        requests.tokens,
        requests.adapter,
        first,
        program.begin,
        program.unit,
        program.ticks,
        program.growth,
        program.grown(np.arange(int(requests.tokens.max()) + 1, dtype=np.int64)),
        program.tail,
        program.turn,
        program.routed,
        program.expert_unit,
        program.expert_ticks,
        program.choice,
        np.zeros((0, 0, 0), np.int16) if choices is None else choices.of_token,
        program.cause,
        chained,
        program.opens,
        program.enters,
        program.leaves,
        program.gates,
        program.places,
        program.body,
        program.followed,
        program.past,
        len(program.units),
        program.slot,
        adapter_load,
        np.array([load.start for load in loads], np.int64),
        np.array([LOAD_MODES.index(load.mode) for load in loads], np.int64),
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
        start,
        end,
        slice_done,
        load_done,
        burst_start,
    )
    return SystemTimeline(
        first=first,
        offered=offered,
        issued=issued,
        done=done,
        spent=spent,
        start=start if record else None,
        end=end if record else None,
        slice_done=slice_done,
        load_done=load_done,
        burst_start=burst_start,
    )
