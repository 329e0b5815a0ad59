"""Who goes next of the requests that wait at a card.

All queues conserve work: as long as any waiting request is admissible, one is let in, so those
that do not fit are passed by. Orders, bounds and costs are on the page ``docs/policies.md``.

What makes that cheap with many thousands waiting is that two requests with the same adapter differ
only in the tokens that they need room for. A line keeps the needs of each adapter's requests, and
of all, in trees of minima over its order, and finds the first that fits in them. As long as the
first of a line fits, it keeps no trees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import insort
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cached_property
from heapq import heappop, heappush
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.simulator.serving.policies import policy

NOBODY = -1
UNBOUNDED = 1 << 62
"""More tokens than any memory has room for."""

Test = Callable[[int], bool]


class _Order:
    """A fixed order of all requests of a workload, shared by the lines of all cards.

    Parameters
    ----------
    adapter : (N,) int64, each request's adapter, negative for none.
    key : (N,) int64, what they are ordered by, equal ones by index; None for the index alone.
    """

    def __init__(self, adapter: NDArray[np.int64], key: NDArray[np.int64] | None = None) -> None:
        self._adapters = adapter
        self.request: Sequence[int] = range(len(adapter))  # by rank
        self.rank: Sequence[int] = range(len(adapter))  # by request
        if key is not None:
            order = np.argsort(key, kind="stable")
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order))
            self.request, self.rank = order.tolist(), rank.tolist()

    @cached_property
    def groups(self) -> tuple[dict[int, list[int]], list[int]]:
        """Each adapter's requests in this order, and each request's place among them.

        Made when a line first has to look past its head, which many runs never do.
        """
        order = np.lexsort((np.asarray(self.rank), self._adapters))
        names, first, count = np.unique(
            self._adapters[order], return_index=True, return_counts=True
        )
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) - np.repeat(first, count)
        members = np.split(order, first[1:])
        return (
            {name: group.tolist() for name, group in zip(names.tolist(), members, strict=True)},
            place.tolist(),
        )


class _Line:
    """Waiting requests in one order, of which the first or the first that fits can be found.

    Parameters
    ----------
    order
    adapter : (N,) each request's adapter.
    need : (N,) tokens that each needs room for, or None where nothing is known.
    """

    __slots__ = (
        "_adapter",
        "_all",
        "_heap",
        "_least",
        "_need",
        "_order",
        "_request",
        "_trees",
        "_watched",
        "count",
        "members",
        "rank",
    )

    def __init__(self, order: _Order, adapter: list[int], need: list[int] | None) -> None:
        self._order, self._adapter, self._need = order, adapter, need
        self.rank, self._request = order.rank, order.request
        self.members: set[int] = set()
        self.count: dict[int, int] = {}  # members by adapter
        self._heap: list[int] = []  # ranks of members, and of some that left
        self._least = UNBOUNDED  # no member needs less than this
        self._all: list[int] = []
        self._trees: dict[int, list[int]] = {}
        self._watched = False  # whether the trees are kept

    def add(self, request: int) -> None:
        """O(log n)."""
        adapter = self._adapter[request]
        self.members.add(request)
        self.count[adapter] = self.count.get(adapter, 0) + 1
        heappush(self._heap, self.rank[request])
        need = 0 if self._need is None else self._need[request]
        self._least = min(self._least, need)
        if self._watched:
            self._set(request, need)

    def remove(self, request: int) -> None:
        """O(log n); nothing happens where it is not a member."""
        if request not in self.members:
            return
        adapter = self._adapter[request]
        self.members.remove(request)
        left = self.count[adapter] - 1
        if left:
            self.count[adapter] = left
        else:
            del self.count[adapter]
        if self._watched:
            self._set(request, UNBOUNDED)
        if not self.members:
            self._heap.clear()
            self._least = UNBOUNDED
            self._watched = False  # the trees are empty and can be used again

    def head(self) -> int:
        """The first, or NOBODY. O(1), and O(log n) once for each that left."""
        heap, request, members = self._heap, self._request, self.members
        while heap:
            first = request[heap[0]]
            if first in members:
                return first
            heappop(heap)
        return NOBODY

    def ahead(self, count: int) -> list[int]:
        """The first few. O(count log n)."""
        if count == 1:
            head = self.head()
            return [] if head == NOBODY else [head]
        found: dict[int, int] = {}
        while len(found) < count and (head := self.head()) != NOBODY:
            rank = heappop(self._heap)
            found[head] = rank
        for rank in found.values():
            heappush(self._heap, rank)
        return list(found)

    def first(self, admissible: Test, free: int) -> int:
        """The first that is admissible, or NOBODY.

        O(1) if it is the head or all need more than ``free``, O(log n) if it is the first that
        needs no more; beyond that as ``first_of``.
        """
        head = self.head()
        if head == NOBODY or free < (self._all[1] if self._watched else self._least):
            return NOBODY
        if admissible(head):
            return head
        if free < UNBOUNDED and self._need is not None:
            self._watch(self._need)
            if free < self._all[1]:
                return NOBODY
            request = self._request[_leftmost(self._all, free + 1)]
            if request != head and admissible(request):
                return request
        return self.first_of(self.count, admissible, free, refused=head)

    def first_of(
        self, adapters: Iterable[int], admissible: Test, free: int, refused: int = NOBODY
    ) -> int:
        """The first that is admissible and wants one of some adapters, or NOBODY.

        ``refused`` is known not to be admissible.
        O(log n) for each adapter, times the steps by which needs fall from the head of its
        requests to the one that fits, about ln n in random order. O(n) where needs are unknown.
        """
        if self._need is None:
            return self._first_tried(set(adapters), admissible)
        self._watch(self._need)
        groups, _ = self._order.groups
        found, found_rank = NOBODY, len(self.rank)
        for adapter in adapters:
            tree, group = self._trees[adapter], groups[adapter]
            least, below = tree[1], min(free + 1, UNBOUNDED)
            fitting = NOBODY  # the least of them, once that is known to be admissible
            while least < below:
                request = group[_leftmost(tree, below)]
                rank = self.rank[request]
                if rank >= found_rank:
                    break
                if request == fitting or (request != refused and admissible(request)):
                    found, found_rank = request, rank
                    break
                below = self._need[request]
                if fitting == NOBODY and least < below:
                    # Whether any of them fits at all, before going down step by step.
                    fitting = group[_leftmost(tree, least + 1)]
                    if not admissible(fitting):
                        break
        return found

    def _first_tried(self, adapters: set[int], admissible: Test) -> int:
        self._heap.sort()  # which is a heap too, and quick to sort again
        for rank in self._heap:
            request = self._request[rank]
            if (
                request in self.members
                and self._adapter[request] in adapters
                and admissible(request)
            ):
                return request
        return NOBODY

    def _watch(self, needs: list[int]) -> None:
        if self._watched:
            return
        self._watched = True
        self._all = self._all or _tree(len(self.rank))
        for request in self.members:
            self._set(request, needs[request])

    def _set(self, request: int, need: int) -> None:
        groups, places = self._order.groups
        adapter = self._adapter[request]
        tree = self._trees.get(adapter)
        if tree is None:
            tree = self._trees[adapter] = _tree(len(groups[adapter]))
        _put(tree, places[request], need)
        _put(self._all, self.rank[request], need)


def _tree(leaves: int) -> list[int]:
    """An empty tree of minima: the children of node i are 2i and 2i + 1, its root is node 1."""
    return [UNBOUNDED] * (2 << (leaves - 1).bit_length())


def _put(tree: list[int], leaf: int, need: int) -> None:
    node = len(tree) // 2 + leaf
    tree[node] = need
    while node > 1:
        need = min(need, tree[node ^ 1])
        node //= 2
        if tree[node] == need:
            break
        tree[node] = need


def _leftmost(tree: list[int], below: int) -> int:
    """The first leaf of less than ``below``; there must be one."""
    node, leaves = 1, len(tree) // 2
    while node < leaves:
        node *= 2
        if tree[node] >= below:
            node += 1
    return node - leaves


class Queue(ABC):
    """Requests that wait at one card; made by ``make_queues``."""

    __slots__ = ("_arrivals", "_lines", "_returned")

    def __init__(self, arrivals: _Line, *others: _Line) -> None:
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
        The request, or None where no waiting request is admissible.
        """
        for request in self._returned:
            if admissible(request):
                self._returned.remove(request)
                return request
        request = self._choose(now, admissible, resident, free)
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
        return found + self._ahead(count - len(found)) if len(found) < count else found

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

    __slots__ = ("_adapter", "_arrival", "_fairness")

    def __init__(
        self, arrivals: _Line, adapter: list[int], arrival: list[int], fairness: int
    ) -> None:
        super().__init__(arrivals)
        self._adapter, self._arrival, self._fairness = adapter, arrival, fairness

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

    __slots__ = ("_aged", "_arrival", "_fairness", "_keys")

    def __init__(self, arrivals: _Line, keys: _Line, arrival: list[int], fairness: int) -> None:
        super().__init__(arrivals, keys)
        self._keys, self._arrival, self._fairness = keys, arrival, fairness
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

    def __init__(self, arrivals: _Line, keys: _Line, latest: list[int]) -> None:
        super().__init__(arrivals, keys)
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
    need: ArrayLike | None,
) -> list[Queue]:
    """The queues of a server's cards, which share what is the same for all.

    Parameters
    ----------
    name : one of the names in ``Policy.schedule``.
    cards : how many.
    arrival : (N,) ticks, never falling.
    adapter : (N,) indices into the catalogue, negative for none.
    estimate : (N,) ticks of expected work.
    deadline : (N,) ticks by which the work should be done.
    fairness : ticks after which ``grouped`` and ``shortest`` let a request go first.
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
    adapters, arrivals = wanted.tolist(), ticks[0].tolist()
    by_arrival = _Order(wanted)

    def line(order: _Order) -> _Line:
        return _Line(order, adapters, needs)

    if name == "fcfs":
        return [FCFS(line(by_arrival)) for _ in range(cards)]
    if name == "grouped":
        return [Grouped(line(by_arrival), adapters, arrivals, fairness) for _ in range(cards)]
    if name == "shortest":
        by_work = _Order(wanted, ticks[1])
        return [Shortest(line(by_arrival), line(by_work), arrivals, fairness) for _ in range(cards)]
    if name == "slo":
        latest = ticks[2] - ticks[1]
        by_slack, latest_list = _Order(wanted, latest), latest.tolist()
        return [Slack(line(by_arrival), line(by_slack), latest_list) for _ in range(cards)]
    raise ValueError(f"schedule: must be one of {', '.join(get_args(policy.Schedule))}")
