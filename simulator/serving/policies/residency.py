"""Which idle adapter leaves SRAM when another one needs its room.

Formulas, sources and costs of the policies are on the page ``docs/policies.md``. A card owns one
policy object and tells it what happens; which adapters are idle is the card's to know.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.simulator.serving.policies import policy


class Residency(ABC):
    """What a card tells its eviction policy, and the one question that it asks.

    Adapters are indices into the catalogue, times are ticks that never go back. All policies are
    deterministic: of adapters that are equally dispensable, the one of smallest index goes.
    """

    __slots__ = ()

    @abstractmethod
    def use(self, adapter: int, now: int, place: int) -> None:
        """A request with this adapter was let in; ``place`` is its index in the workload."""

    @abstractmethod
    def loaded(self, adapter: int, now: int) -> None:
        """The adapter became resident, for a request or ahead of one."""

    @abstractmethod
    def evicted(self, adapter: int) -> None:
        """The adapter is no longer resident."""

    @abstractmethod
    def victim(self, candidates: Collection[int]) -> int:
        """The adapter to lose, one of the resident ones that nobody is using.

        Raises
        ------
        ValueError
            If there is no candidate.
        """


class LRU(Residency):
    """Least recently used. A load counts as a use, so that a prefetched adapter is not the next
    to go. O(1), and one step more for each older adapter that is no candidate."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[int, int] = {}  # ticks, in order of last use

    def use(self, adapter: int, now: int, place: int) -> None:
        self.loaded(adapter, now)

    def loaded(self, adapter: int, now: int) -> None:
        self._last.pop(adapter, None)
        self._last[adapter] = now

    def evicted(self, adapter: int) -> None:
        del self._last[adapter]

    def victim(self, candidates: Collection[int]) -> int:
        found, tick = -1, 0
        for adapter, last in self._last.items():
            if found >= 0 and last != tick:
                break
            if adapter in candidates and (found < 0 or adapter < found):
                found, tick = adapter, last
        if found < 0:
            raise ValueError("no resident adapter among the candidates")
        return found


class CostAware(Residency):
    """GreedyDual-Size-Frequency (Cherkasova 1998): H = L + uses × load time / bytes.

    Parameters
    ----------
    worth : what one use adds to each adapter's H: seconds that losing it costs, per byte that
        losing it frees, in any unit.

    Notes
    -----
    The adapter of least H goes, and L becomes its H. What is used or loaded later starts from
    there, so that an adapter that was popular long ago is overtaken: that is the ageing. Uses are
    counted since the load. O(candidates).
    """

    __slots__ = ("_floor", "_priority", "_uses", "_worth")

    def __init__(self, worth: Sequence[float]) -> None:
        self._worth = worth
        self._uses = [0] * len(worth)
        self._priority = [0.0] * len(worth)
        self._floor = 0.0

    def use(self, adapter: int, now: int, place: int) -> None:
        self._uses[adapter] += 1
        self._priority[adapter] = self._floor + self._uses[adapter] * self._worth[adapter]

    def loaded(self, adapter: int, now: int) -> None:
        # As if used once: the request that it was loaded for may be let in before or after.
        uses = self._uses[adapter] or 1
        self._priority[adapter] = self._floor + uses * self._worth[adapter]

    def evicted(self, adapter: int) -> None:
        self._floor = max(self._floor, self._priority[adapter])
        self._uses[adapter] = 0

    def victim(self, candidates: Collection[int]) -> int:
        return min(sorted(candidates), key=self._priority.__getitem__)


class LFU(CostAware):
    """Least frequently used with dynamic ageing (LFU-DA, Arlitt et al. 1999): H = L + uses.

    The same as cost-aware where all adapters cost the same and are of the same size. Without
    ageing, adapters that were popular once would fill the memory for good.
    """

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__([1.0] * count)


class Future:
    """Who will want which adapter: what only Belady's policy may know.

    The cards of a server share one, because a request that another card takes is no longer a
    reason to keep its adapter here.

    Parameters
    ----------
    adapter : (N,) each request's adapter, in order of arrival, -1 for none. Requests that will
        never be let in (refused ones) count as without.
    """

    __slots__ = ("_begun", "_following", "_next")

    def __init__(self, adapter: ArrayLike) -> None:
        wanted = np.asarray(adapter)
        self._following: list[int] = next_use(wanted).tolist()
        self._begun = bytearray(len(wanted))
        names, first = np.unique(wanted, return_index=True)
        self._next: dict[int, int] = dict(zip(names.tolist(), first.tolist(), strict=True))

    def begin(self, adapter: int, place: int) -> None:
        """A request was let in, on any card. O(1) on average over a run."""
        self._begun[place] = 1
        following, begun = self._following, self._begun
        place = self._next[adapter]
        while place < len(begun) and begun[place]:
            place = following[place]
        self._next[adapter] = place

    def next(self, adapter: int) -> int:
        """The first request with this adapter that was not let in yet, N where there is none."""
        return self._next.get(adapter, len(self._begun))


class Belady(Residency):
    """The one wanted again latest (Belady 1966): a bound, since it knows the future.

    Optimal for adapters of equal size that cost the same, on one card that serves requests in
    order of arrival. With unequal sizes, with cards that share the requests, or where requests
    overtake each other, "latest" is a heuristic: a good reference, no proven bound.
    O(candidates).
    """

    __slots__ = ("_future",)

    def __init__(self, future: Future) -> None:
        self._future = future

    def use(self, adapter: int, now: int, place: int) -> None:
        self._future.begin(adapter, place)

    def loaded(self, adapter: int, now: int) -> None:
        """Nothing to note: whom it was loaded for is in the future already."""

    def evicted(self, adapter: int) -> None:
        """Nothing to note: the future does not depend on it."""

    def victim(self, candidates: Collection[int]) -> int:
        return max(sorted(candidates), key=self._future.next)


def make_residency(
    name: policy.Residency,
    *,
    sizes: Sequence[int],
    load_time: Sequence[float],
    future: Future | None = None,
) -> Residency:
    """The eviction policy of one card.

    Parameters
    ----------
    name : one of the names in ``Policy.residency``.
    sizes : bytes of each adapter in SRAM.
    load_time : seconds or ticks that each takes to load.
    future : the requests of the workload, shared by all cards; only ``belady`` needs it.

    Raises
    ------
    ValueError
        If the name is unknown, the lists do not belong together, a size is not positive, or
        ``belady`` gets no future.
    """
    if len(sizes) != len(load_time):
        raise ValueError("every adapter needs a size and a load time")
    if name == "lru":
        return LRU()
    if name == "lfu":
        return LFU(len(sizes))
    if name == "cost":
        if min(sizes, default=1) <= 0:
            raise ValueError("sizes of adapters are positive")
        return CostAware([time / size for time, size in zip(load_time, sizes, strict=True)])
    if name == "belady":
        if future is None:
            raise ValueError("belady needs the future")
        return Belady(future)
    raise ValueError(f"residency: must be one of {', '.join(get_args(policy.Residency))}")


def next_use(adapter: ArrayLike) -> NDArray[np.int64]:
    """The next request with the same adapter.

    Parameters
    ----------
    adapter : (N,) integers, in order of arrival.

    Returns
    -------
    (N,) int64, places in that order; N where the adapter is not wanted again.
    """
    wanted = np.asarray(adapter)
    order = np.argsort(wanted, kind="stable")
    again = wanted[order[1:]] == wanted[order[:-1]]
    following = np.full(len(wanted), len(wanted), dtype=np.int64)
    following[order[:-1][again]] = order[1:][again]
    return following


def _wanted(sequence: ArrayLike) -> list[int]:
    wanted = np.asarray(sequence, dtype=np.int64)
    return wanted[wanted >= 0].tolist()


def hit_rate(sequence: ArrayLike, slots: int, name: policy.Residency) -> float:
    """Share of requests whose adapter is in one of so many equal slots, empty at the begin.

    A cache and nothing else: no time, no requests in flight, loads only on demand.

    Parameters
    ----------
    sequence : (N,) the adapter of each request, in order; those without (-1) do not count.
    slots : at least 1.
    name : one of the names in ``Policy.residency``.

    Returns
    -------
    The share, NaN where nobody wants an adapter.

    Raises
    ------
    ValueError
        If there is no slot or no such policy.
    """
    if slots < 1:
        raise ValueError("slots: at least 1")
    wanted = _wanted(sequence)
    if not wanted:
        return float("nan")
    count = max(wanted) + 1
    future = Future(wanted) if name == "belady" else None
    rule = make_residency(name, sizes=[1] * count, load_time=[1.0] * count, future=future)
    resident: set[int] = set()
    hits = 0
    for place, adapter in enumerate(wanted):
        if adapter in resident:
            hits += 1
        else:
            if len(resident) == slots:
                victim = rule.victim(resident)
                resident.remove(victim)
                rule.evicted(victim)
            resident.add(adapter)
            rule.loaded(adapter, place)
        rule.use(adapter, place, place)
    return hits / len(wanted)


def lru_hit_rates(sequence: ArrayLike, max_slots: int) -> NDArray[np.float64]:
    """Hit rates of LRU for all numbers of slots, in one pass by stack distances.

    A request hits in ``k`` slots exactly if fewer than ``k`` other adapters were wanted since the
    last time (Mattson, Gecsei, Slutz and Traiger 1970).

    Parameters
    ----------
    sequence : (N,) the adapter of each request, in order; those without (-1) do not count.
    max_slots : at least 1.

    Returns
    -------
    (max_slots + 1,) float64, the rate with that many slots; 0 with none. NaN where nobody wants
    an adapter.

    Raises
    ------
    ValueError
        If there is no slot.
    """
    if max_slots < 1:
        raise ValueError("max_slots: at least 1")
    wanted = _wanted(sequence)
    if not wanted:
        return np.full(max_slots + 1, np.nan)
    stack: list[int] = []  # the latest first
    present: set[int] = set()
    hits = [0] * (max_slots + 1)
    for adapter in wanted:
        if adapter in present:
            distance = stack.index(adapter)
            hits[distance + 1] += 1
            del stack[distance]
        else:
            if len(stack) == max_slots:
                present.remove(stack.pop())
            present.add(adapter)
        stack.insert(0, adapter)
    return np.cumsum(hits) / len(wanted)
