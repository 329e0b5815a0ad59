"""A hardwired server whose requests come part by part, and whose log goes so, in bounded memory.

What a part says is a log like any other, of the requests that have ended and come next in order of
arrival. It holds what takes place of them: how memory was used is summed up here, and energy at
rest and busy times are those of the last part alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.simulator.serving.cards.compiled.engine import COLUMNS, Kept, lacks
from hardwire.simulator.serving.cards.compiled.windows import Loop, needs_all
from hardwire.simulator.serving.cards.plan import Asked
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.rounds import NEVER
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.load.synthetic import stream
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog, Status


@dataclass(frozen=True)
class Part:
    """Requests that have ended, in order of arrival.

    Attributes
    ----------
    numbers : (N,) of the requests among all of the load.
    workload, log : of these requests; loads and evictions are those since the part before.
    """

    numbers: NDArray[np.int64]
    workload: Workload
    log: ServingLog


class Memory:
    """How the memory of a server's cards was used: the most, and the sum over time.

    Parameters
    ----------
    cards : how many.
    """

    def __init__(self, cards: int) -> None:
        self.peak = np.zeros(3, np.int64)  # both, KV, adapters
        self.byte_s = np.zeros(3)
        self._at_s, self._held = np.zeros(cards), np.zeros((cards, 3), np.int64)

    def add(self, log: ServingLog) -> None:
        """Go on with later samples of the cards."""
        used = log.occupancy
        both = used.kv_bytes + used.adapter_bytes
        values = np.stack((both, used.kv_bytes, used.adapter_bytes), axis=1)
        self.peak = np.maximum(self.peak, values.max(axis=0, initial=0))
        order = np.argsort(used.unit, kind="stable")
        units, first = np.unique(used.unit[order], return_index=True)
        for card, rows in zip(units.tolist(), np.split(order, first[1:]), strict=True):
            times = np.append(self._at_s[card], used.time_s[rows])
            held = np.concatenate((self._held[card : card + 1], values[rows]))
            self.byte_s += np.diff(times) @ held[:-1]
            self._at_s[card], self._held[card] = times[-1], held[-1]

    def end(self, end_s: float) -> None:
        """What is held is held to the end."""
        self.byte_s += (end_s - self._at_s) @ self._held
        self._at_s[:] = end_s


class Streamed:
    """One server.

    Parameters
    ----------
    run : of a load without requests.
    seed : of what the server draws.

    Raises
    ------
    InputError
        If the policy has what the compiled loop lacks, or has to know all requests at once.
    """

    def __init__(self, run: CardServer, seed: int) -> None:
        lacking = lacks(run.plan)
        if not lacking and needs_all(run.plan):
            lacking = "prefix reuse" if run.policy.prefix_reuse else "residency belady"
        if lacking:
            raise InputError(f"stream: {lacking} is not of requests that come part by part")
        self._run, self._rng = run, stream(seed, "estimates")
        self._loop = Loop(run.plan, None)
        self._waiting: Asked | None = None  # until it is known when the next one comes
        self._events = Kept(0, 1)
        self._came = self._gone = 0
        self._workload = run.workload
        self._numbers = np.zeros(0, np.int64)
        self._status = np.zeros(0, np.int8)
        self._columns: dict[str, NDArray[np.int64]] = {
            name: np.zeros(0, np.int64) for name in COLUMNS
        }

    def feed(self, numbers: NDArray[np.int64], workload: Workload) -> Iterator[Part]:
        """Take requests that come next; what has ended by then."""
        asked, status = self._run.asked(workload, self._came, self._rng)
        self._came += len(workload)
        self._workload = self._workload.then(workload)
        self._numbers = np.concatenate((self._numbers, numbers))
        self._status = np.concatenate((self._status, status))
        fresh = Record(len(workload))
        for name in COLUMNS:
            column = np.asarray(getattr(fresh, name)).astype(np.int64)
            self._columns[name] = np.concatenate((self._columns[name], column))
        if len(asked):
            yield from self._go(int(asked.arrival[0]))
            self._waiting = asked

    def end(self) -> Iterator[Part]:
        """What is left when no more come."""
        yield from self._go(NEVER)

    def _go(self, after: int) -> Iterator[Part]:
        if self._waiting is not None or after == NEVER:
            if self._waiting is not None:
                self._loop.feed(self._waiting, after)
            self._loop.run(self._events.events, None)
            numbers, rows = self._loop.ended()
            places = numbers - self._gone
            for name in COLUMNS:
                self._columns[name][places] = rows[name]
            self._status[places] = Status.COMPLETED
        open_ = np.flatnonzero(self._status == Status.UNFINISHED)
        count = int(open_[0]) if len(open_) else len(self._status)
        if count or after == NEVER:
            yield self._part(count, last=after == NEVER)

    def _part(self, count: int, *, last: bool) -> Part:
        """The first requests that are still here, which go."""
        record, (kept,) = Record(count), self._events.each
        for name in COLUMNS:
            record.fill(name, np.arange(count), self._columns[name][:count])
            self._columns[name] = self._columns[name][count:]
        record.memory, record.loads, record.evictions = kept.memory, kept.loads, kept.evictions
        end = self._gone + count
        record.dropped, dropped = _split(kept.dropped, self._gone, end)
        record.skipped, skipped = _split(kept.skipped, self._gone, end)
        self._events = Kept(0, 1)
        self._events.each[0].dropped, self._events.each[0].skipped = dropped, skipped
        outcome = self._loop.outcome(0, record, interrupted=False)
        if not last:
            record.kv_bytes = 0
        places = np.arange(len(self._status))
        workload = self._workload.take(places[:count])
        log = self._run.part(workload, self._status[:count], outcome)
        part = Part(self._numbers[:count], workload, log)
        self._workload = self._workload.take(places[count:])
        self._numbers, self._status = self._numbers[count:], self._status[count:]
        self._gone = end
        return part


def _split(
    rows: list[tuple[int, int]], begin: int, end: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Rows of the requests that go, numbered from ``begin``, and of the others."""
    going = [(request - begin, tokens) for request, tokens in rows if request < end]
    return going, [row for row in rows if row[0] >= end]
