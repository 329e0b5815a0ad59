"""Which card of a server a request joins.

A router knows each card's backlog: the expected ticks of work that were sent to it and are not
done. It does not know what a card's SRAM holds; affinity keeps an adapter on one card instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import get_args

from hardwire.simulator.serving.policies import policy


class Router(ABC):
    """Sends requests to cards 0, 1, … and keeps their backlogs.

    Attributes
    ----------
    backlog : (cards,) ticks of expected work that was sent and is not done.
    """

    __slots__ = ("backlog",)

    def __init__(self, cards: int) -> None:
        self.backlog = [0] * cards

    def route(self, request: int, adapter: int, estimate: int) -> int:
        """The card for a request, whose work is added to the card's backlog.

        Parameters
        ----------
        request : its index in the workload.
        adapter : index into the catalogue, negative for none.
        estimate : expected ticks of work, at least 0.
        """
        card = self._choose(adapter)
        self.backlog[card] += estimate
        return card

    def done(self, card: int, estimate: int) -> None:
        """Work that was sent to a card is done: the estimate it was sent with, or a part of it.

        Raises
        ------
        ValueError
            If the card has less to do than that.
        """
        left = self.backlog[card] - estimate
        if left < 0:
            raise ValueError(f"card {card}: more work is done than was sent")
        self.backlog[card] = left

    @abstractmethod
    def _choose(self, adapter: int) -> int: ...

    def _idlest(self) -> int:
        return self.backlog.index(min(self.backlog))


class RoundRobin(Router):
    """Each card in turn."""

    __slots__ = ("_turn",)

    def __init__(self, cards: int) -> None:
        super().__init__(cards)
        self._turn = 0

    def _choose(self, adapter: int) -> int:
        card = self._turn
        self._turn = (card + 1) % len(self.backlog)
        return card


class LeastLoaded(Router):
    """The card with the least backlog, of equal ones the first."""

    __slots__ = ()

    def _choose(self, adapter: int) -> int:
        return self._idlest()


class Affine(Router):
    """Each adapter has its card, its index modulo the cards; requests without one go to the least
    loaded. In turn rather than by a hash: numbers of adapters per card then differ by one at most,
    and the most popular ones, which stand first in Zipf catalogues, are on different cards."""

    __slots__ = ()

    def _choose(self, adapter: int) -> int:
        return self._idlest() if adapter < 0 else adapter % len(self.backlog)


class AffineSpill(Router):
    """As affine, but when the adapter's card has more backlog than ``spill`` ticks, the least
    loaded one if that has less."""

    __slots__ = ("_spill",)

    def __init__(self, cards: int, spill: int) -> None:
        super().__init__(cards)
        self._spill = spill

    def _choose(self, adapter: int) -> int:
        idlest = self._idlest()
        if adapter < 0:
            return idlest
        backlog = self.backlog
        own = adapter % len(backlog)
        return idlest if backlog[own] > self._spill and backlog[idlest] < backlog[own] else own


def make_router(name: policy.Routing, cards: int, *, spill: int = 0) -> Router:
    """The router of a server.

    Parameters
    ----------
    name : one of the names in ``Policy.routing``.
    cards : at least 1.
    spill : ticks of backlog beyond which ``affine_spill`` leaves the adapter's own card.

    Raises
    ------
    ValueError
        If the name is unknown, there is no card, or the spill is negative.
    """
    if cards < 1:
        raise ValueError("cards: at least 1")
    if spill < 0:
        raise ValueError("spill: not negative")
    if name == "round_robin":
        return RoundRobin(cards)
    if name == "least_loaded":
        return LeastLoaded(cards)
    if name == "affine":
        return Affine(cards)
    if name == "affine_spill":
        return AffineSpill(cards, spill)
    raise ValueError(f"routing: must be one of {', '.join(get_args(policy.Routing))}")
