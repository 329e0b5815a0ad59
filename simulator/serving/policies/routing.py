"""Which card of a server a request joins.

A router knows each card's backlog: the expected ticks of work that were sent to it and are not
done. It does not know what a card's SRAM holds; affinity keeps an adapter on one card instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.policies import policy

ROUND_ROBIN, LEAST_LOADED, AFFINE, AFFINE_SPILL = range(len(policy.CHOICES["routing"]))
"""The names in ``Policy.routing``, in their order."""


def choose(routing: int, backlog: Sequence[int], adapter: int, sent: int, spill: int) -> int:
    """The card for a request; in the part of Python that numba compiles, too.

    Parameters
    ----------
    routing : one of the numbers above.
    backlog : (cards,) ticks of expected work that was sent and is not done.
    adapter : index into the catalogue, negative for none.
    sent : how many requests were sent before.
    spill : ticks of backlog beyond which ``affine_spill`` leaves the adapter's own card.

    Notes
    -----
    Under ``affine`` an adapter's card is its index modulo the cards, in turn rather than by a hash:
    numbers of adapters per card then differ by one at most, and the most popular ones, which stand
    first in Zipf catalogues, are on different cards.
    """
    if routing == ROUND_ROBIN:
        return sent % len(backlog)
    idlest = 0
    for card in range(1, len(backlog)):
        if backlog[card] < backlog[idlest]:
            idlest = card
    if routing == LEAST_LOADED or adapter < 0:
        return idlest
    own = adapter % len(backlog)
    if routing == AFFINE_SPILL and backlog[own] > spill and backlog[idlest] < backlog[own]:
        return idlest
    return own


def foreseen(
    routing: policy.Routing, adapter: NDArray[np.int32], count: int, sent: int = 0
) -> NDArray[np.int64] | None:
    """Where all requests go, where that does not depend on backlogs; else None.

    Parameters
    ----------
    adapter : (N,) indices into the catalogue, negative for none, in order of arrival.
    count : of the cards or servers.
    sent : how many requests were sent before.

    Returns
    -------
    (N,) numbers of cards or servers, as ``choose`` has them.
    """
    if routing == "round_robin":
        return np.arange(sent, sent + len(adapter)) % count
    if routing == "affine" and (adapter >= 0).all():
        return adapter.astype(np.int64) % count
    return None


class Router:
    """Sends requests to cards 0, 1, … and keeps their backlogs; made by ``make_router``.

    Attributes
    ----------
    backlog : (cards,) ticks of expected work that was sent and is not done.
    """

    __slots__ = ("_routing", "_sent", "_spill", "backlog")

    def __init__(self, routing: int, cards: int, spill: int) -> None:
        self._routing, self._spill = routing, spill
        self._sent = 0
        self.backlog = [0] * cards

    def route(self, request: int, adapter: int, estimate: int) -> int:
        """The card for a request, whose work is added to the card's backlog.

        Parameters
        ----------
        request : its index in the workload.
        adapter : index into the catalogue, negative for none.
        estimate : expected ticks of work, at least 0.
        """
        card = choose(self._routing, self.backlog, adapter, self._sent, self._spill)
        self._sent += 1
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
    names = policy.CHOICES["routing"]
    if name not in names:
        raise ValueError(f"routing: must be one of {', '.join(names)}")
    return Router(names.index(name), cards, spill)
