"""The compiled loop over requests that are fed window by window, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.cards.compiled import state
from hardwire.simulator.serving.cards.compiled.layout import enter, grouped, lay_out, with_all
from hardwire.simulator.serving.cards.compiled.loop_jit import cut, run
from hardwire.simulator.serving.cards.plan import Asked, Outcome, Plan
from hardwire.simulator.serving.cards.record import Record

_ARRIVALS_BETWEEN_PROGRESS = 16384  # 5 to 100 ms of computing, which an interrupt waits

Take = Callable[[int, NDArray[np.int64]], None]
"""Takes a server's number and (M, EVENT_COLUMNS) of its events, requests by their numbers."""


def needs_all(plan: Plan) -> bool:
    """Whether the requests cannot come window by window: Belady's rule looks ahead, and blocks of
    prefixes are numbered together."""
    return plan.policy.residency == "belady" or plan.policy.prefix_reuse


class Loop:
    """Like servers on one clock, to which requests are fed.

    Parameters
    ----------
    plan : of each server; its requests are not looked at.
    until : the tick at which to stop, or None.
    servers : how many.
    routing : how a request's server is chosen, a number of ``policies.routing``.
    """

    def __init__(
        self, plan: Plan, until: int | None, *, servers: int = 1, routing: int = 0
    ) -> None:
        self._plan, self._states = plan, lay_out(plan, until, servers)
        self._fleet = self._states[0].fleet[0]
        self._fleet["routing"] = routing
        self._numbers = np.zeros(0, np.int64)
        self._point()

    def _point(self) -> None:
        """Note where the arrays are."""
        self._tables = [s.addresses() for s in self._states]
        self._servers = np.array([table.ctypes.data for table in self._tables], np.int64)

    def feed(self, asked: Asked, after: int) -> None:
        """Feed a window of requests behind those that are still there.

        Parameters
        ----------
        asked : a plan that ``needs_all`` has all of them in the first window.
        after : the tick at which the first one of the next window comes; ``NEVER`` if none does.
        """
        old = self._states[0].requests
        left = np.flatnonzero(old["finish"] < 0)
        table = np.zeros(len(left) + len(asked), state.REQUEST)
        table[: len(left)] = _rows(old, left)
        enter(self._plan, asked, table[len(left) :])
        place = np.full(len(old) + 1, -1)  # the last is that of none
        place[left] = np.arange(len(left))
        for name in ("next", "previous"):
            table[name][: len(left)] = place[old[name][left]]
        self._numbers = np.concatenate((self._numbers[left], asked.numbers))
        for number, s in enumerate(self._states):
            if len(old):
                for name in ("first_waiting", "last_waiting", "first_returned"):
                    s.cards[name] = place[s.cards[name]]
                s.users[..., 0] = place[s.users[..., 0]]
            waits, least = grouped(self._plan, table, number)
            s.world["requests"], s.world["groups"] = len(table), waits.shape[1]
            fed = s._replace(requests=table, waits=waits, least=least)
            if needs_all(self._plan):
                fed = with_all(fed, self._plan, asked)
            self._states[number] = fed
        fleet = self._fleet
        fleet["rows"], fleet["arrived"], fleet["after"] = len(table), len(left), after
        if len(asked):
            fleet["arrival_tick"] = asked.arrival[0]
        self._point()

    def run(self, take: Take, progress: Callable[[int], None] | None) -> bool:
        """Go on until the next window is wanted; False if none is.

        ``progress`` is called with the tick at times.
        """
        states, why = self._states, state.PAUSED
        try:
            while why not in (state.DONE, state.HUNGRY):
                why = run(self._servers.ctypes.data, _ARRIVALS_BETWEEN_PROGRESS)
                turn = int(self._fleet["turn"])
                if why == state.FULL:
                    self._give(take, turn)
                elif why == state.CROWDED:
                    s = states[turn]
                    taken = np.concatenate((s.taken, np.zeros_like(s.taken)), axis=1)
                    states[turn] = s._replace(taken=taken)
                    s.world["transfers"] = taken.shape[1]
                    self._point()
                elif progress is not None:
                    progress(int(states[0].world[0]["now"]))
        finally:
            for number in range(len(states)):
                self._give(take, number)
        return why == state.HUNGRY

    def _give(self, take: Take, number: int) -> None:
        """Hand the events so far over, which makes room for others."""
        s = self._states[number]
        count = int(s.world[0]["events"])
        s.world[0]["events"] = 0
        events = s.events[:count]
        of_requests = (events[:, 0] == state.DROPPED) | (events[:, 0] == state.SKIPPED)
        events[of_requests, 1] = self._numbers[events[of_requests, 1]]
        if count:
            take(number, events)

    def cut(self) -> None:
        """Note how far those in flight are now, where a run ends before they do."""
        cut(self._servers.ctypes.data)

    def ended(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Numbers and records of the requests of this window, and of those before it, that ended.

        They are there until the next is fed.
        """
        table = self._states[0].requests
        done = np.flatnonzero(table["finish"] >= 0)
        return self._numbers[done], _rows(table, done)

    def all(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The same of all that are there, however they ended."""
        return self._numbers, self._states[0].requests

    def outcome(self, server: int, record: Record, *, interrupted: bool) -> Outcome:
        """What came of a server, of which ``record`` has what became of its requests."""
        s = self._states[server]
        busy = s.lines["busy"].tolist()
        record.kv_bytes = int(s.world[0]["kv_bytes"])
        return Outcome(
            record,
            int(s.world[0]["now"]),
            compute=s.cards["busy"].tolist(),
            link=busy[:-1],
            disk=busy[-1],
            interrupted=interrupted,
        )


def _rows(table: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """Some records. As rows of words: field by field takes five times as long."""
    words = table.view(np.int64).reshape(-1, table.itemsize // 8)[places]
    return words.view(state.REQUEST).reshape(-1)
