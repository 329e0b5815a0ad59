"""Which request wants which adapter: popularity, burstiness and temporal locality.

Independent draws (uniform, Zipf, geometric, weighted) say how often an adapter is wanted.
`Local` and `Tenants` also say when: an adapter just used is likely to be used again soon.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.synthetic import renewal_times, stream
from hardwire.simulator.serving.load.workload import BASE, Workload


class Popularity(ABC):
    """A model of who wants which adapter."""

    @abstractmethod
    def draw(self, count: int, adapters: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """Draw the adapters ``(count,)`` of requests in order of arrival.

        Values are 0 to ``adapters - 1``; ``adapters`` is at least 1.
        """


class Independent(Popularity):
    """Adapters are drawn one by one, each time with the same shares."""

    @abstractmethod
    def shares(self, adapters: int) -> NDArray[np.float64]:
        """Probability of each adapter, ``(adapters,)``, in sum 1."""

    def draw(self, count: int, adapters: int, rng: np.random.Generator) -> NDArray[np.int32]:
        return _pick(self.shares(adapters), count, rng)


@dataclass(frozen=True)
class Uniform(Independent):
    """All adapters alike: ``P(i) = 1/N``."""

    def shares(self, adapters: int) -> NDArray[np.float64]:
        return np.full(adapters, 1 / adapters)


@dataclass(frozen=True)
class Zipf(Independent):
    """``P(i) ∝ 1 / i^alpha`` for the i-th adapter, i = 1 to N; ``alpha`` 0 is uniform."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_range("zipf", "alpha", self.alpha, 0, 20)

    def shares(self, adapters: int) -> NDArray[np.float64]:
        return _power(adapters, self.alpha)


@dataclass(frozen=True)
class Geometric(Independent):
    """``P(i) ∝ ratio^-i``: each adapter is wanted ``ratio`` times as often as the next.

    What Punica calls Skewed, with a ratio of 1.5 (arXiv 2310.18547).
    """

    ratio: float = 1.5

    def __post_init__(self) -> None:
        _check_range("geometric", "ratio", self.ratio, 1, 1000)

    def shares(self, adapters: int) -> NDArray[np.float64]:
        weights = np.exp(-math.log(self.ratio) * np.arange(adapters))
        return weights / weights.sum()


@dataclass(frozen=True)
class Weighted(Independent):
    """Shares in proportion to given weights, one per adapter, as a catalogue file states them."""

    weights: tuple[float, ...]

    def shares(self, adapters: int) -> NDArray[np.float64]:
        if len(self.weights) != adapters:
            raise ValueError(f"{len(self.weights)} weights, but {adapters} adapters")
        weights = np.array(self.weights)
        return weights / weights.sum()


@dataclass(frozen=True)
class Local(Popularity):
    """Temporal locality: a stack-distance model with a given LRU hit rate.

    All adapters stand in a stack, the one used last on top. Each request takes the adapter at
    distance d, 1 on top, with ``P(d) ∝ 1 / d^s`` and moves it to the top (Mattson et al. 1970: an
    LRU cache of k slots holds the top k, so its hit rate is ``P(d ≤ k)``). ``s`` is such that
    ``slots`` slots have the hit rate ``hit_rate``. No adapter is favoured over another in the long
    run: shuffled, the same requests hit with about ``slots / N``. The stack begins in random order.

    Attributes
    ----------
    hit_rate : of an LRU of ``slots`` slots, apart from the first use of each adapter.
    slots : int
    """

    hit_rate: float = 0.83
    slots: int = 8

    def __post_init__(self) -> None:
        _check_range("local", "hit rate", self.hit_rate, 0.001, 0.999)
        _check_range("local", "slots", self.slots, 1, 1_000_000)
        if self.slots != int(self.slots):
            raise InputError(f"popularity local: slots must be a whole number, not {self.slots}")
        object.__setattr__(self, "slots", int(self.slots))  # from an option's text it is a float

    def exponent(self, adapters: int) -> float:
        """The exponent s for a number of adapters.

        With ``slots`` adapters or fewer every one would hit; they get the exponent of
        8 × ``slots`` adapters.

        Raises
        ------
        InputError
            If the hit rate is lower than ``slots / adapters``, which even a uniform draw has.
        """
        if adapters <= self.slots:
            adapters = 8 * self.slots
        uniform = self.slots / adapters
        if self.hit_rate < uniform:
            raise InputError(
                f"popularity local: a hit rate of {self.hit_rate:g} is less than the {uniform:.4g} "
                f"that {self.slots} slots of {adapters} adapters have without any locality"
            )
        low, high = 0.0, 64.0
        for _ in range(60):
            middle = (low + high) / 2
            if _power(adapters, middle)[: self.slots].sum() < self.hit_rate:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def draw(self, count: int, adapters: int, rng: np.random.Generator) -> NDArray[np.int32]:
        distances = _pick(_power(adapters, self.exponent(adapters)), count, rng)
        # The top is the list's end, so that taking and putting back move only what lies above.
        stack = rng.permutation(adapters).tolist()
        chosen = []
        for distance in distances.tolist():
            adapter = stack.pop(-1 - distance)
            stack.append(adapter)
            chosen.append(adapter)
        return np.array(chosen, dtype=np.int32)


@dataclass(frozen=True)
class Tenants(Popularity):
    """Each adapter is a tenant whose requests come in bursts of their own.

    Tenant i's requests are a stationary renewal process with Gamma gaps of coefficient of variation
    ``cv`` and a rate ∝ 1 / i^alpha. Its time counts requests of all tenants together, so that the
    tenants take turns within whatever arrivals the workload has. (`make_tenants` draws arrivals
    from the tenants instead.)
    """

    cv: float = 4.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_range("tenants", "CV", self.cv, 0.01, 100)
        _check_range("tenants", "alpha", self.alpha, 0, 20)

    def draw(self, count: int, adapters: int, rng: np.random.Generator) -> NDArray[np.int32]:
        shares = _power(adapters, self.alpha)
        times: list[NDArray[np.float64]] = [np.empty(0)] * adapters
        begin, span, have = 0.0, 1.25 * count, 0
        while have < count:
            for tenant, share in enumerate(shares):
                more = begin + renewal_times(float(share), self.cv, span, rng)
                times[tenant] = np.concatenate([times[tenant], more])
            have = sum(map(len, times))
            begin += span
        tenants = np.repeat(np.arange(adapters, dtype=np.int32), [len(part) for part in times])
        return tenants[np.argsort(np.concatenate(times), kind="stable")[:count]]


_BY_WORD: dict[str, type[Popularity]] = {
    "uniform": Uniform,
    "zipf": Zipf,
    "geometric": Geometric,
    "local": Local,
    "tenants": Tenants,
}
_USAGE = "uniform, zipf:ALPHA, geometric:RATIO, local:HIT_RATE:SLOTS or tenants:CV:ALPHA"


def parse_popularity(text: str) -> Popularity:
    """Read a popularity from an option's text, such as ``zipf:0.9`` or ``local:0.83:8``.

    Numbers may be left out from the end; then the defaults hold.

    Raises
    ------
    InputError
        On an unknown word, too many or malformed numbers, or one out of range.
    """
    word, *numbers = text.strip().lower().split(":")
    if word not in _BY_WORD:
        raise InputError(
            f"popularity: '{text:.60}' is not known; use {_USAGE}{did_you_mean(word, _BY_WORD)}"
        )
    kind = _BY_WORD[word]
    if len(numbers) > len(fields(kind)):  # type: ignore[arg-type]
        raise InputError(f"popularity: '{text:.60}' has too many numbers; use {_USAGE}")
    values = []
    for number in numbers:
        try:
            values.append(float(number))
        except ValueError:
            raise InputError(
                f"popularity: '{number:.40}' in '{text:.60}' is no number; use {_USAGE}"
            ) from None
    return kind(*values)


def assign_adapters(
    workload: Workload, names: Sequence[str], popularity: Popularity, seed: int = 0
) -> Workload:
    """Give every request an adapter; what it wanted before is forgotten.

    Parameters
    ----------
    workload : Workload
    names : adapters; the first is the most popular where popularity differs. Without any, all
        requests want the base model.
    popularity : Popularity
    seed : int
        Same seed, same adapters, whatever else is drawn from it.
    """
    count = len(workload)
    if not names:
        return workload.with_adapters((), np.full(count, BASE, dtype=np.int32))
    drawn = popularity.draw(count, len(names), stream(seed, "adapters"))
    return workload.with_adapters(tuple(names), drawn)


def _power(count: int, exponent: float) -> NDArray[np.float64]:
    """Shares ∝ 1 / i^exponent, i = 1 to ``count``."""
    weights = np.exp(-exponent * np.log(np.arange(1, count + 1)))
    return weights / weights.sum()


def _pick(shares: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw ``count`` independent indices with the given probabilities, by inversion."""
    edges = np.cumsum(shares)
    # Against the last edge with a share, so that rounding of the sum can choose no other.
    found = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    return found.astype(np.int32)


def _check_range(word: str, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"popularity {word}: {name} must be {low:g} to {high:g}, not {value:g}")
