"""The reference engine of systems: SimPy, for reading. One process per user, token and visit.

Rules that both engines obey, in whole ticks:

- A unit (of a die, a link, a port) serves one visit at a time, first come first served; of visits
  that ask in the same tick it serves SRAM bursts first, then by (user, token), then as the step
  lists them.
- All that happens in a tick happens before any unit is granted in that tick: first what ends and
  arrives, then places and gates, first come first served by (user, token), then units.
- A visit holds its unit and then ends a tail later, in which it holds nothing. A step ends when all
  its visits have ended; then the next begins.
- A visit with a turn is made only by tokens at the positions of its turn. A visit to experts is one
  visit to each expert that was chosen for the token.
- A token takes a place of the system when it is offered and gives it up at its end. Before a step
  with a gate it takes the gate, and gives it up behind the last step that the gate guards.
- The next token of a prompt is offered when the one before has ended the step ``followed``; a
  decode token when the token before it has ended.
- ``streamed`` load: a token of that adapter enters a layer when the layer's slices are written on
  all dies of the layer. ``double_buffered``: it is offered when all slices on all dies are.
  ``blocking``: so is every token that is offered after the load began.

A die alone is a system without links, and these rules are then those of
``hardwire.simulator.engines.reference``.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import simpy

from hardwire.simulator.requests import AdapterLoad, Requests
from hardwire.simulator.system.loads import schedule
from hardwire.simulator.system.program import CAUSES, LINK, QUEUE, STALL, SystemProgram
from hardwire.simulator.system.routing import Choices
from hardwire.simulator.system.timeline import SystemTimeline

Process = Generator[simpy.Event, Any, Any]

BURST_KEY = -1
"""User number of SRAM bursts in a tie: before every user."""

PLACES, GATES, UNITS = range(3)
"""In a tick, who decides first."""


class Queue:
    """A unit, a gate or the places of a system, for so many at a time, and who waits for it.

    One among the ``undecided`` chooses whom it serves when the tick's other events are done.
    """

    def __init__(self, env: simpy.Environment, undecided: deque[Queue], places: float) -> None:
        self.env, self.undecided, self.free = env, undecided, places
        self.waiting: list[tuple[int, tuple[int, ...], simpy.Event]] = []

    def request(self, key: tuple[int, ...]) -> simpy.Event:
        """An event that fires when it is this one's turn; ``key`` breaks ties of a tick."""
        granted = self.env.event()
        heapq.heappush(self.waiting, (int(self.env.now), key, granted))
        self.undecided.append(self)
        return granted

    def release(self) -> None:
        self.free += 1
        self.undecided.append(self)

    def decide(self) -> None:
        """Serve the first in the queue, if there is room and anybody waits."""
        while self.free > 0 and self.waiting:
            self.free -= 1
            heapq.heappop(self.waiting)[2].succeed()


def alone(visits: Sequence[tuple[int, int, int, int]]) -> int:
    """Ticks that a step takes where its units are free: visits to one unit follow each other."""
    held: dict[int, int] = {}
    longest = 0
    for _, unit, ticks, tail in visits:
        held[unit] = held.get(unit, 0) + ticks
        longest = max(longest, held[unit] + tail)
    return longest


class _Run:
    def __init__(
        self,
        program: SystemProgram,
        requests: Requests,
        loads: Sequence[AdapterLoad],
        choices: Choices | None,
        record: bool,
    ) -> None:
        self.program, self.requests, self.loads, self.choices = program, requests, loads, choices
        self.env = env = simpy.Environment()
        self.undecided: tuple[deque[Queue], ...] = (deque(), deque(), deque())
        self.units = [Queue(env, self.undecided[UNITS], 1) for _ in program.units]
        self.gates = [Queue(env, self.undecided[GATES], int(n)) for n in program.gates]
        self.places = Queue(env, self.undecided[PLACES], program.places or math.inf)
        self.bursts = schedule(program, loads)
        self.first = np.concatenate([[0], np.cumsum(requests.tokens)]).astype(np.int64)
        tokens, self.record = int(self.first[-1]), record
        self.offered, self.issued, self.done = (np.full(tokens, -1, np.int64) for _ in range(3))
        self.spent = np.zeros((tokens, len(CAUSES)), np.int64)
        shape = (tokens, int(program.slot[-1])) if record else (0, 0)
        self.start, self.end = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
        self.remaining = self.bursts.remaining.copy()
        self.slice_done = np.full(self.remaining.shape, -1, np.int64)
        self.load_done = np.full(len(loads), -1, np.int64)
        self.burst_start = np.full(len(self.bursts.arrival), -1, np.int64)
        self.slice_events = [[env.event() for _ in row] for row in self.remaining]
        self.load_events = [env.event() for _ in loads]
        self.load_of = {load.adapter: number for number, load in enumerate(loads)}

    @property
    def now(self) -> int:
        return int(self.env.now)

    def run(self) -> None:
        """All events of a tick, then the places, the gates and the units, to the end."""
        for user in range(self.requests.users):
            self.env.process(self.user(user))
        self.env.process(self.bursts_arrive())
        while any(self.undecided) or self.env.peek() < math.inf:
            if any(self.undecided) and self.env.peek() > self.now:
                next(queues for queues in self.undecided if queues).popleft().decide()
            else:
                self.env.step()

    # --- adapter loads ------------------------------------------------------------------------

    def bursts_arrive(self) -> Process:
        for number, arrival in enumerate(self.bursts.arrival):
            yield self.env.timeout(int(arrival) - self.now)
            self.env.process(self.burst(number))

    def burst(self, number: int) -> Process:
        unit = self.units[self.bursts.port[number]]
        yield unit.request((BURST_KEY, number))
        self.burst_start[number] = self.now
        yield self.env.timeout(int(self.bursts.cycles[number]))
        unit.release()
        load, layer = self.bursts.load[number], self.bursts.layer[number]
        self.remaining[load, layer] -= 1
        if self.remaining[load, layer] == 0:
            self.slice_done[load, layer] = self.now
            self.slice_events[load][layer].succeed()
            if not self.remaining[load].any():
                self.load_done[load] = self.now
                self.load_events[load].succeed()

    def awaited_load(self, adapter: int) -> simpy.Event | None:
        """A load that an offer made now must wait for."""
        for number, load in enumerate(self.loads):
            if self.load_done[number] >= 0:
                continue
            own = load.adapter == adapter and load.mode != "streamed"
            stalled = load.mode == "blocking" and self.now >= load.start
            if own or stalled:
                return self.load_events[number]
        return None

    def awaited_slice(self, adapter: int, layer: int) -> simpy.Event | None:
        """A slice that a token must wait for before it enters a layer."""
        load = self.load_of.get(adapter)
        if layer < 0 or load is None or self.loads[load].mode != "streamed":
            return None
        return self.slice_events[load][layer] if self.remaining[load, layer] else None

    # --- tokens -------------------------------------------------------------------------------

    def user(self, number: int) -> Process:
        requests = self.requests
        adapter = int(requests.adapter[number])
        yield self.env.timeout(int(requests.arrival[number]))
        for index in range(int(requests.tokens[number])):
            self.offered[self.first[number] + index] = self.now
            while (event := self.awaited_load(adapter)) is not None:
                yield event
            followed = self.env.event()
            token = self.env.process(self.token(number, index, adapter, followed))
            inside_prompt = index < requests.prompt[number] - 1
            yield followed if inside_prompt else token

    def token(self, user: int, index: int, adapter: int, followed: simpy.Event) -> Process:
        program, number, key = self.program, int(self.first[user]) + index, (user, index)
        inside_prompt = index < self.requests.prompt[user] - 1
        leaves = program.leaves[1 if inside_prompt else 0]
        ended = int(self.offered[number])
        yield self.places.request(key)
        for step in range(program.body if inside_prompt else program.steps):
            if program.enters[step] >= 0:
                yield self.gates[program.enters[step]].request(key)
            if (event := self.awaited_slice(adapter, int(program.opens[step]))) is not None:
                yield event
            asked = self.now
            visits = list(self.visits(number, adapter, step, program.past + index + 1))
            yield self.env.all_of(
                [self.env.process(self.visit(number, (*key, visit[0]), *visit)) for visit in visits]
            )
            own = alone(visits)
            cause = int(program.cause[step])
            self.spent[number, STALL] += asked - ended
            self.spent[number, cause] += own
            self.spent[number, QUEUE if cause == LINK else STALL] += self.now - asked - own
            ended = self.now
            if leaves[step] >= 0:
                self.gates[leaves[step]].release()
            if inside_prompt and step == program.followed:
                followed.succeed()
        self.done[number] = self.now
        self.places.release()

    def visits(
        self, token: int, adapter: int, step: int, context: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Slot, unit, ticks and tail of the visits that a token makes in a step."""
        program = self.program
        for visit in range(program.begin[step], program.begin[step + 1]):
            slot, tail = int(program.slot[visit]), int(program.tail[visit])
            modulus, remainder = program.turn[visit].tolist()
            if (context - 1) % modulus != remainder:
                continue
            if (row := program.routed[visit]) >= 0:
                assert self.choices is not None
                for expert in self.choices.of_token[token, program.choice[row]]:
                    unit, ticks = (
                        program.expert_unit[row, expert],
                        program.expert_ticks[row, expert],
                    )
                    yield slot, int(unit), int(ticks), tail
                    slot += 1
                continue
            n1, d1, n2, d2, dies, window, num, den = program.rates[program.growth[visit]].tolist()
            share = -(-min(context, window or context) // dies)
            cycles = max(-(-share * n1 // d1), -(-share * n2 // d2))
            ticks = int(program.ticks[adapter, visit]) + -(-cycles * num // den)
            yield slot, int(program.unit[visit]), ticks, tail

    def visit(
        self, token: int, key: tuple[int, ...], slot: int, unit: int, ticks: int, tail: int
    ) -> Process:
        yield self.units[unit].request(key)
        if slot == 0:
            self.issued[token] = self.now
        if self.record:
            self.start[token, slot] = self.now
        yield self.env.timeout(ticks)
        if self.record:
            self.end[token, slot] = self.now
        self.units[unit].release()
        yield self.env.timeout(tail)


def simulate(
    program: SystemProgram,
    requests: Requests,
    loads: Sequence[AdapterLoad] = (),
    *,
    choices: Choices | None = None,
    record: bool = False,
) -> SystemTimeline:
    """Run the program event by event. See the module's rules; exact, and slow.

    Parameters
    ----------
    choices : of experts, for a program that has some.
    record : keep start and end of every visit.
    """
    run = _Run(program, requests, loads, choices, record)
    run.run()
    return SystemTimeline(
        first=run.first,
        offered=run.offered,
        issued=run.issued,
        done=run.done,
        spent=run.spent,
        start=run.start if record else None,
        end=run.end if record else None,
        slice_done=run.slice_done,
        load_done=run.load_done,
        burst_start=run.burst_start,
    )
