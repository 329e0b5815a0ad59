"""Which idle adapter leaves SRAM when another one needs its room.

Formulas, sources and costs of the policies are on the page ``docs/policies.md``. A card owns one
policy object and tells it what happens; which adapters are idle is the card's to know.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardwire.simulator.serving.policies import policy

LRU, LFU, COST, BELADY = range(len(policy.CHOICES["residency"]))
"""The names in ``Policy.residency``, in their order."""

# What a policy is: the two functions below, in the part of Python that numba compiles, too.


def value_of_use(rule: int, now: int, floor: float, uses: int, worth: float) -> float:
    """What it is worth to keep an adapter that is used now, or loaded.

    Parameters
    ----------
    rule : one of the numbers above.
    now : ticks.
    floor : the most that an evicted adapter was worth.
    uses : requests let in with it since it was loaded. A load counts as a use, as the request that
        it is for may be let in before or after.
    worth : what one use adds.

    Notes
    -----
    ``lru``: least recently used goes. ``cost``: GreedyDual-Size-Frequency (Cherkasova 1998),
    L + uses × load time / bytes; what is used later starts from the value of what was lost, so that
    an adapter that was popular long ago is overtaken: that is the ageing. ``lfu``: LFU-DA (Arlitt
    et al. 1999), L + uses, the same where all adapters cost the same and are of the same size.
    """
    if rule == LRU:
        return float(now)
    return floor + max(uses, 1) * worth


def value_of_keeping(rule: int, value: float, wanted: int) -> float:
    """By which the adapter to lose is chosen: the least goes.

    Parameters
    ----------
    rule : one of the numbers above.
    value : by ``value_of_use`` when it was last used.
    wanted : the first request with it that was not let in yet. ``belady`` (Belady 1966) loses the
        one wanted again latest: optimal for adapters of equal size that cost the same, on one card
        that serves requests in order of arrival; else a good reference, no proven bound.
    """
    if rule == BELADY:
        return -float(wanted)
    return value


class Residency:
    """What a card tells its eviction policy, and the one question that it asks.

    Adapters are indices into the catalogue, times are ticks that never go back. All policies are
    deterministic: of adapters that are equally dispensable, the one of smallest index goes.
    Made by ``make_residency``.

    Parameters
    ----------
    rule : one of the numbers above.
    worth : what one use adds to each adapter's value: seconds that losing it costs, per byte that
        losing it frees, in any unit.
    future : who will want which adapter; of use to ``belady`` alone.
    """

    __slots__ = ("_floor", "_future", "_keeping", "_rule", "_uses", "_value", "_worth")

    def __init__(self, rule: int, worth: Sequence[float], future: Future | None) -> None:
        self._rule, self._worth, self._future = rule, worth, future
        self._uses = [0] * len(worth)
        self._value = [0.0] * len(worth)
        self._keeping = [0.0] * len(worth)  # known at the last use where the future has no say
        self._floor = 0.0

    def use(self, adapter: int, now: int, place: int) -> None:
        """A request with this adapter was let in; ``place`` is its index in the workload."""
        self._uses[adapter] += 1
        self.loaded(adapter, now)
        if self._future is not None:
            self._future.begin(adapter, place)

    def loaded(self, adapter: int, now: int) -> None:
        """The adapter became resident, for a request or ahead of one."""
        self._value[adapter] = value = value_of_use(
            self._rule, now, self._floor, self._uses[adapter], self._worth[adapter]
        )
        self._keeping[adapter] = value_of_keeping(self._rule, value, 0)

    def evicted(self, adapter: int) -> None:
        """The adapter is no longer resident."""
        self._floor = max(self._floor, self._value[adapter])
        self._uses[adapter] = 0

    def victim(self, candidates: Collection[int]) -> int:
        """The adapter to lose, one of the resident ones that nobody is using: O(C log C) for C.

        Raises
        ------
        ValueError
            If there is no candidate.
        """
        future, rule, value = self._future, self._rule, self._value
        if future is None:
            return min(sorted(candidates), key=self._keeping.__getitem__)
        wanted = future.next
        return min(sorted(candidates), key=lambda a: value_of_keeping(rule, value[a], wanted(a)))


class Recency(Residency):
    """``lru``, without asking each candidate: what is used later is never worth less.

    O(1), and one step for each adapter in use that is older than the victim.
    """

    __slots__ = ("_order",)

    def __init__(self, worth: Sequence[float]) -> None:
        super().__init__(LRU, worth, None)
        self._order: dict[int, None] = {}  # the resident ones, by last use

    def loaded(self, adapter: int, now: int) -> None:
        super().loaded(adapter, now)
        self._order.pop(adapter, None)
        self._order[adapter] = None

    def evicted(self, adapter: int) -> None:
        super().evicted(adapter)
        del self._order[adapter]

    def victim(self, candidates: Collection[int]) -> int:
        found = -1
        for adapter in self._order:
            if found >= 0 and self._value[adapter] > self._value[found]:
                break
            if adapter in candidates and (found < 0 or adapter < found):
                found = adapter
        if found < 0:
            raise ValueError("no resident adapter among the candidates")
        return found


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
        self._next = first_use(wanted)

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
    names = policy.CHOICES["residency"]
    if name not in names:
        raise ValueError(f"residency: must be one of {', '.join(names)}")
    if name == "cost" and min(sizes, default=1) <= 0:
        raise ValueError("sizes of adapters are positive")
    if name == "belady" and future is None:
        raise ValueError("belady needs the future")
    worth = worth_of_uses(name, sizes, load_time)
    if name == "lru":
        return Recency(worth)
    return Residency(names.index(name), worth, future if name == "belady" else None)


def worth_of_uses(
    name: policy.Residency, sizes: Sequence[int], load_time: Sequence[float]
) -> list[float]:
    """What a use of each adapter adds to its value: load time per byte under ``cost``, else 1."""
    if name == "cost":
        return [time / size for time, size in zip(load_time, sizes, strict=True)]
    return [1.0] * len(sizes)


def first_use(adapter: ArrayLike) -> dict[int, int]:
    """The first request with each adapter: its place in ``(N,)`` integers, in order of arrival."""
    names, first = np.unique(np.asarray(adapter), return_index=True)
    return dict(zip(names.tolist(), first.tolist(), strict=True))


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
