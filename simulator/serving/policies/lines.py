"""Waiting requests in an order, of which the first that fits can be found among many thousands.

Two requests with the same adapter differ only in the tokens that they need room for. A line keeps
the needs of each adapter's requests, and of all, in trees of minima over its order, and finds the
first that fits in them. As long as the first of a line fits, it keeps no trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

NOBODY = -1
UNBOUNDED = 1 << 62
"""More tokens than any memory has room for."""

Test = Callable[[int], bool]


class Order:
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


class Line:
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

    def __init__(self, order: Order, adapter: list[int], need: list[int] | None) -> None:
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
