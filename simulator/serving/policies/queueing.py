"""Who goes next of the requests that wait at a card.

All queues conserve work: as long as any waiting request is admissible, one is let in, so those
that do not fit are passed by. Unless memory is reserved: then nobody who came later passes by one
that has waited long enough. Orders, bounds and costs are on the page ``docs/policies.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import insort
from collections.abc import Callable, Container
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from hardwire.simulator.serving.policies import policy
from hardwire.simulator.serving.policies.lines import NOBODY, UNBOUNDED, Line, Order, Test

BY_ARRIVAL, GROUPED, SHORTEST, SLO = range(len(policy.CHOICES["schedule"]))
"""The names in ``Policy.schedule``, in their order."""


def turn(
    schedule: int, now: int, fairness: int, arrival: int, estimate: int, latest: int, here: bool
) -> tuple[int, int]:
    """Whose turn it is: of those that are admissible, the least goes, of equal ones the first come.

    What a schedule is, in the part of Python that numba compiles, too. The queues below find the
    least without asking it of each.

    Parameters
    ----------
    schedule : one of the numbers above.
    now, arrival : ticks.
    fairness : ticks after which ``grouped`` and ``shortest`` let a request go first.
    estimate : ticks of expected work.
    latest : the last tick at which it can be let in and meet its deadline.
    here : whether its adapter is resident, or it wants none.
    """
    if schedule == SLO:
        return (0, latest) if latest >= now else (1, 0)
    if schedule == BY_ARRIVAL or arrival <= now - fairness:
        return (0, 0)
    if schedule == GROUPED:
        return (1 if here else 2), 0
    return 1, estimate


class Queue(ABC):
    """Requests that wait at one card; made by ``make_queues``.

    ``_reserve`` is the ticks of waiting after which nobody passes by, or None.
    """

    __slots__ = ("_arrival", "_arrivals", "_lines", "_reserve", "_reserved", "_returned")

    def __init__(
        self, arrival: list[int], reserve: int | None, arrivals: Line, *others: Line
    ) -> None:
        self._arrival, self._reserve = arrival, reserve
        self._reserved = -1  # who arrived up to here was not passed by at the last pop_next
        self._arrivals = arrivals
        self._lines = (arrivals, *others)
        self._returned: list[int] = []

    def __len__(self) -> int:
        return len(self._returned) + len(self._arrivals.members)

    def push(self, request: int) -> None:
        """A request, by its index in the workload, begins to wait."""
        for line in self._lines:
            line.add(request)

    def push_front(self, request: int) -> None:
        """A preempted request waits again: before all others, among its like by arrival."""
        insort(self._returned, request)

    def pop_next(
        self,
        now: int,
        admissible: Test,
        resident: Container[int],
        free: int = UNBOUNDED,
    ) -> int | None:
        """Take out the first request, in the order of the policy, that is admissible.

        Parameters
        ----------
        now : ticks, never less than before.
        admissible : whether there is room for a request now. It leaves the queue alone. Of two
            pushed requests with the same adapter, if one is admissible then so is the other that
            needs no more tokens (any answers will do where ``need`` is None).
        resident : adapters in SRAM.
        free : no request that needs more tokens than this is admissible. It changes no answer,
            but a full card that knows it spares the search.

        Returns
        -------
        The request, or None where no waiting request is admissible, or memory is reserved for one
        that is not.
        """
        if self._reserve is not None:
            self._reserved = now - self._reserve
        for request in self._returned:
            if admissible(request):
                self._returned.remove(request)
                return request
            if self._arrival[request] <= self._reserved:
                return None
        request = self._arrivals.head()
        if request == NOBODY or self._arrival[request] > self._reserved:
            request = self._choose(now, admissible, resident, free)
        elif not admissible(request):
            return None
        if request == NOBODY:
            return None
        for line in self._lines:
            line.remove(request)
        return request

    def peek_ahead(self, count: int) -> list[int]:
        """The next in the order of the policy, whether admissible or not, as of the last
        ``pop_next``. Under ``grouped`` by arrival: those whose adapter is resident need no
        prefetching. O(count log n)."""
        found = self._returned[:count]
        if self._reserve is not None and len(found) < count:
            ahead = self._arrivals.ahead(count - len(found))
            found = found + [r for r in ahead if self._arrival[r] <= self._reserved]
        if len(found) < count:
            found += [r for r in self._ahead(count) if r not in found]
        return found[:count]

    @abstractmethod
    def _choose(self, now: int, admissible: Test, resident: Container[int], free: int) -> int: ...

    def _ahead(self, count: int) -> list[int]:
        return self._arrivals.ahead(count)


class FCFS(Queue):
    """By arrival."""

    __slots__ = ()

    def _choose(self, now: int, admissible: Test, resident: Container[int], free: int) -> int:
        return self._arrivals.first(admissible, free)


class Grouped(Queue):
    """Those whose adapter is resident, or who want none, by arrival; then the others. Before all
    of them those who have waited ``fairness`` ticks, by arrival."""

    __slots__ = ("_adapter", "_fairness")

    def __init__(
        self,
        arrival: list[int],
        reserve: int | None,
        arrivals: Line,
        adapter: list[int],
        fairness: int,
    ) -> None:
        super().__init__(arrival, reserve, arrivals)
        self._adapter, self._fairness = adapter, fairness

    def _choose(self, now: int, admissible: Test, resident: Container[int], free: int) -> int:
        line = self._arrivals
        first = line.first(admissible, free)
        if first == NOBODY or self._arrival[first] <= now - self._fairness:
            return first
        adapter = self._adapter[first]
        if adapter < 0 or adapter in resident:
            return first
        here = [a for a in line.count if a < 0 or a in resident]
        request = line.first_of(here, admissible, free) if here else NOBODY
        return first if request == NOBODY else request


class Shortest(Queue):
    """Least expected work first. Before all of them those who have waited ``fairness`` ticks, by
    arrival."""

    __slots__ = ("_aged", "_fairness", "_keys")

    def __init__(
        self,
        arrival: list[int],
        reserve: int | None,
        arrivals: Line,
        keys: Line,
        fairness: int,
    ) -> None:
        super().__init__(arrival, reserve, arrivals, keys)
        self._keys, self._fairness = keys, fairness
        self._aged = -1  # who arrived up to here had waited long enough at the last pop_next

    def _choose(self, now: int, admissible: Test, resident: Container[int], free: int) -> int:
        self._aged = now - self._fairness
        head = self._arrivals.head()
        if head == NOBODY:
            return NOBODY
        if self._arrival[head] <= self._aged:
            request = self._arrivals.first(admissible, free)
            if request == NOBODY or self._arrival[request] <= self._aged:
                return request
        return self._keys.first(admissible, free)

    def _ahead(self, count: int) -> list[int]:
        aged = [r for r in self._arrivals.ahead(count) if self._arrival[r] <= self._aged]
        return (aged + [r for r in self._keys.ahead(count) if r not in aged])[:count]


class Slack(Queue):
    """Least slack first, which is the deadline less now and the expected work, of those who can
    still meet theirs; then the others by arrival."""

    __slots__ = ("_keys", "_latest")

    def __init__(
        self,
        arrival: list[int],
        reserve: int | None,
        arrivals: Line,
        keys: Line,
        latest: list[int],
    ) -> None:
        super().__init__(arrival, reserve, arrivals, keys)
        self._keys = keys  # of those who can
        self._latest = latest

    def _choose(self, now: int, admissible: Test, resident: Container[int], free: int) -> int:
        keys = self._keys
        while (head := keys.head()) != NOBODY and self._latest[head] < now:
            keys.remove(head)
        request = keys.first(admissible, free)
        return self._arrivals.first(admissible, free) if request == NOBODY else request

    def _ahead(self, count: int) -> list[int]:
        found = self._keys.ahead(count)
        if len(found) == count:
            return found
        late = [r for r in self._arrivals.ahead(count) if r not in self._keys.members]
        return (found + late)[:count]


def make_queues(
    name: policy.Schedule,
    cards: int,
    *,
    arrival: ArrayLike,
    adapter: ArrayLike,
    estimate: ArrayLike,
    deadline: ArrayLike,
    fairness: int,
    reserve: int | None = None,
    need: ArrayLike | None,
) -> list[Queue]:
    """The queues of a server's cards, which share what is the same for all.

    Parameters
    ----------
    name : one of the names in ``Policy.schedule``.
    cards : how many.
    arrival : (N,) ticks, never falling. A list is kept, and may be filled until each is pushed.
    adapter : (N,) indices into the catalogue, negative for none.
    estimate : (N,) ticks of expected work.
    deadline : (N,) ticks by which the work should be done.
    fairness : ticks after which ``grouped`` and ``shortest`` let a request go first.
    reserve : ticks after which no later request goes before one that is not admissible, or None.
    need : (N,) tokens that each needs room for when it is first let in; None where more tokens do
        not mean more room, as with prefix reuse. Searches past the head are then linear.

    Raises
    ------
    ValueError
        If the name is unknown or the arrays do not belong together.
    """
    wanted = np.asarray(adapter, dtype=np.int64)
    ticks = [np.asarray(x, dtype=np.int64) for x in (arrival, estimate, deadline)]
    needs = None if need is None else np.asarray(need, dtype=np.int64).tolist()
    if {len(x) for x in (*ticks, wanted if needs is None else needs)} != {len(wanted)}:
        raise ValueError("every request needs an arrival, an adapter, an estimate and a deadline")
    adapters = wanted.tolist()
    arrivals = arrival if isinstance(arrival, list) else ticks[0].tolist()
    by_arrival = Order(wanted)

    def line(order: Order) -> Line:
        return Line(order, adapters, needs)

    def each(make: Callable[..., Queue], *others: Order, more: tuple[Any, ...] = ()) -> list[Queue]:
        orders = (by_arrival, *others)
        return [make(arrivals, reserve, *map(line, orders), *more) for _ in range(cards)]

    if name == "fcfs":
        return each(FCFS)
    if name == "grouped":
        return each(Grouped, more=(adapters, fairness))
    if name == "shortest":
        return each(Shortest, Order(wanted, ticks[1]), more=(fairness,))
    if name == "slo":
        latest = ticks[2] - ticks[1]
        return each(Slack, Order(wanted, latest), more=(latest.tolist(),))
    raise ValueError(f"schedule: must be one of {', '.join(get_args(policy.Schedule))}")
