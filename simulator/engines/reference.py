"""The reference engine: SimPy, written for reading. One process per request, token and visit.

Rules that both engines obey, in integer cycles:

- A unit serves one visit at a time, first come first served; requests of the same cycle are
  served SRAM bursts first, then by (user, token).
- All that happens in a cycle happens before any unit is granted in that cycle.
- A stage with a side unit ends when both branches have ended.
- Serial issue: one token in flight on the chip. But where prompts overlap, a token that is not the
  last of its prompt gives the chip free, and the next of its prompt is offered, before it enters
  the first of the overlapped layers. Pipelined: a user's next prompt token is offered when the one
  before has left the first unit. A decode token is always offered when the token before it has been
  sampled.
- Attention adds to its stage, for a context of c tokens, the slower of ``⌈c · n/d⌉`` for memory
  and for multipliers; in layers with a window, c is at most that.
- ``streamed`` load: a token of that adapter enters a layer when the layer's slice is written.
  ``double_buffered``: it is offered when all slices are. ``blocking``: so is every token that is
  offered after the load began.

How attention grows and when a stage ends are said here once more, beside
``hardwire.simulator.timing``: an oracle that called the code it checks would agree with its
mistakes.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import simpy

from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import AdapterLoad, Requests, Timeline, schedule_bursts

BURST_KEY = -1
"""User number of SRAM bursts in a tie: before every user."""

Process = Generator[simpy.Event, Any, Any]


class Unit:
    """A unit of the datapath with its queue.

    A unit among the ``undecided`` chooses whom it serves once the cycle's other events are done.
    """

    def __init__(self, env: simpy.Environment, undecided: deque[Unit]) -> None:
        self.env, self.undecided = env, undecided
        self.free = True
        self.waiting: list[tuple[int, tuple[int, int], simpy.Event]] = []

    def request(self, key: tuple[int, int]) -> simpy.Event:
        """An event that fires when the unit is this visit's; ``key`` breaks ties of a cycle."""
        granted = self.env.event()
        heapq.heappush(self.waiting, (int(self.env.now), key, granted))
        if self.free:
            self.undecided.append(self)
        return granted

    def release(self) -> None:
        self.free = True
        if self.waiting:
            self.undecided.append(self)

    def decide(self) -> None:
        """Serve the first in the queue, if the unit is free and anybody waits."""
        if self.free and self.waiting:
            self.free = False
            heapq.heappop(self.waiting)[2].succeed()


def visits(
    program: TokenProgram, adapter: int, stage: int, context: int
) -> Iterator[tuple[int, int]]:
    """Unit and cycles of the main branch of a stage, then of its side branch if it has one."""
    num1, den1, num2, den2 = program.rates[stage].tolist()
    context = min(context, int(program.windows[stage]))
    grown = max(-(-context * num1 // den1), -(-context * num2 // den2))
    yield int(program.main_unit[stage]), int(program.main_cycles[adapter, stage]) + grown
    if program.side_unit[stage] >= 0:
        yield int(program.side_unit[stage]), int(program.side_cycles[adapter, stage])


class _Run:
    def __init__(
        self,
        program: TokenProgram,
        requests: Requests,
        loads: Sequence[AdapterLoad],
        record: bool,
    ) -> None:
        self.program, self.requests, self.loads = program, requests, loads
        self.env = simpy.Environment()
        self.undecided: deque[Unit] = deque()
        self.units = [Unit(self.env, self.undecided) for _ in program.units]
        self.chip = Unit(self.env, self.undecided)  # held by the token in flight under serial issue
        self.bursts = schedule_bursts(program, loads)
        self.first = np.concatenate([[0], np.cumsum(requests.tokens)]).astype(np.int64)
        tokens, stages = int(self.first[-1]), program.stages
        self.issued = np.full(tokens, -1, dtype=np.int64)
        self.done = np.full(tokens, -1, dtype=np.int64)
        shape = (tokens, stages, 2) if record else (0, 0, 2)
        self.start = np.full(shape, -1, dtype=np.int64)
        self.end = np.full(shape, -1, dtype=np.int64)
        self.record = record
        self.remaining = self.bursts.remaining.copy()
        self.slice_done = np.full(self.remaining.shape, -1, dtype=np.int64)
        self.load_done = np.full(len(loads), -1, dtype=np.int64)
        self.burst_start = np.full(len(self.bursts.arrival), -1, dtype=np.int64)
        self.slice_events = [[self.env.event() for _ in row] for row in self.remaining]
        self.load_events = [self.env.event() for _ in loads]
        self.load_of = {load.adapter: number for number, load in enumerate(loads)}

    def run(self) -> None:
        """All events of a cycle before any unit is granted in it, to the end."""
        for user in range(self.requests.users):
            self.env.process(self.user(user))
        self.env.process(self.dma())
        while self.undecided or self.env.peek() < math.inf:
            if self.undecided and self.env.peek() > self.env.now:
                self.undecided.popleft().decide()
            else:
                self.env.step()

    # --- adapter loads ------------------------------------------------------------------------

    def dma(self) -> Process:
        for number, arrival in enumerate(self.bursts.arrival):
            yield self.env.timeout(int(arrival) - int(self.env.now))
            self.env.process(self.burst(number))

    def burst(self, number: int) -> Process:
        unit = self.units[self.bursts.port[number]]
        yield unit.request((BURST_KEY, number))
        self.burst_start[number] = self.env.now
        yield self.env.timeout(int(self.bursts.cycles[number]))
        unit.release()
        load, layer = self.bursts.load[number], self.bursts.layer[number]
        self.remaining[load, layer] -= 1
        if self.remaining[load, layer] == 0:
            self.slice_done[load, layer] = self.env.now
            self.slice_events[load][layer].succeed()
            if not self.remaining[load].any():
                self.load_done[load] = self.env.now
                self.load_events[load].succeed()

    def awaited_load(self, adapter: int) -> simpy.Event | None:
        """A load that an offer made now must wait for."""
        for number, load in enumerate(self.loads):
            if self.load_done[number] >= 0:
                continue
            own = load.adapter == adapter and load.mode != "streamed"
            stalled = load.mode == "blocking" and self.env.now >= load.start
            if own or stalled:
                return self.load_events[number]
        return None

    # --- tokens -------------------------------------------------------------------------------

    def user(self, number: int) -> Process:
        requests = self.requests
        adapter = int(requests.adapter[number])
        yield self.env.timeout(int(requests.arrival[number]))
        for index in range(int(requests.tokens[number])):
            while (event := self.awaited_load(adapter)) is not None:
                yield event
            followed = self.env.event()
            token = self.env.process(self.token(number, index, adapter, followed))
            inside_prompt = index < requests.prompt[number] - 1
            yield followed if inside_prompt else token

    def token(self, user: int, index: int, adapter: int, followed: simpy.Event) -> Process:
        program = self.program
        key = (user, index)
        number = int(self.first[user]) + index
        if program.serial:
            yield self.chip.request(key)
        last_of_prompt = index >= self.requests.prompt[user] - 1
        stages = program.stages if last_of_prompt else program.body_stages
        parting = (program.held_stages if program.serial else 1) - 1
        for stage in range(stages):
            layer = int(program.layer[stage])
            if layer >= 0 and adapter in self.load_of:
                yield from self.slice_of(self.load_of[adapter], layer)
            branches = [
                self.visit(number, key, stage, branch, unit, cycles)
                for branch, (unit, cycles) in enumerate(visits(program, adapter, stage, index + 1))
            ]
            yield self.env.all_of([self.env.process(branch) for branch in branches])
            if stage == parting and not last_of_prompt:
                if program.serial:
                    self.chip.release()
                followed.succeed()
        self.done[number] = self.env.now
        if program.serial and last_of_prompt:
            self.chip.release()

    def slice_of(self, load: int, layer: int) -> Process:
        if self.loads[load].mode == "streamed" and self.remaining[load, layer]:
            yield self.slice_events[load][layer]

    def visit(
        self, token: int, key: tuple[int, int], stage: int, branch: int, unit: int, cycles: int
    ) -> Process:
        yield self.units[unit].request(key)
        if stage == 0:
            self.issued[token] = self.env.now
        if self.record:
            self.start[token, stage, branch] = self.env.now
        yield self.env.timeout(cycles)
        if self.record:
            self.end[token, stage, branch] = self.env.now
        self.units[unit].release()


def simulate(
    program: TokenProgram,
    requests: Requests,
    loads: Sequence[AdapterLoad] = (),
    record: bool = False,
) -> Timeline:
    """Run the token program event by event. See the module's rules; exact, and slow."""
    run = _Run(program, requests, loads, record)
    run.run()
    return Timeline(
        first=run.first,
        issued=run.issued,
        done=run.done,
        start=run.start if record else None,
        end=run.end if record else None,
        slice_done=run.slice_done,
        load_done=run.load_done,
        burst_start=run.burst_start,
    )
