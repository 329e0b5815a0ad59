"""What a token puts on links, and how long it waits for those that others are on: closed form.

A link that carries messages of every layer is asked by tokens that are in different layers, as if
at random. With ``n`` other tokens in flight and steps of ``S`` seconds it is busy for ``ρ = n I /
S``, and a message waits, as by Pollaczek and Khinchine for one server and known times of service
(L. Kleinrock, Queueing Systems I, 1975, section 5.6),

    w = (n / S) Σ s² / (2 (1 − ρ)) = n Σ s² / (2 (S − n I)),

the sums over the messages of a token on the link, ``I = Σ s``. Only the other tokens are met, as a
token does not wait for itself. A step of several links waits for the slowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardwire.simulator.system.walk import Walk

HALVINGS = 40
"""Of the interval in which the time of a step is sought: to one part in 10^12."""


def link_bytes(walk: Walk) -> dict[str, float]:
    """Bytes that a decode token puts on each link each way, and brings through ports, by unit.

    The mean over positions, where the die that keeps a token's keys and values takes turns.
    """
    found: dict[str, float] = {}
    for part in walk.parts:
        for step in part.steps:
            for send in step.sends:
                found[send.unit] = found.get(send.unit, 0) + send.bytes / send.turn[0]
    return found


Queues = tuple[Sequence[Any], Sequence[Any], Sequence[tuple[float, tuple[int, ...]]]]
"""By link ``Σ s`` and ``Σ s²`` of a token's messages, in seconds; then how often a token makes a
step, and the numbers of its links."""


def waited(step: Any, others: Any, queues: Queues) -> Any:
    """Seconds that a token waits for messages of others, if it has a step in so many seconds.

    Parameters
    ----------
    others : tokens in flight beside it.
    """
    held, squares, steps = queues
    waits = [
        others * square / (2 * np.maximum(step - others * one, np.finfo(float).tiny))
        for one, square in zip(held, squares, strict=True)
    ]
    total: Any = 0.0
    for times, links in steps:
        longest: Any = 0.0
        for link in links:
            longest = np.maximum(longest, waits[link])
        total = total + times * longest
    return total


def step_among_others(token: Any, others: Any, queues: Queues) -> Any:
    """Seconds of a decode step whose messages wait for those of other tokens.

    The solution ``S`` of ``S = token + waited(S)``, of which there is one, as the right side falls
    with ``S``.

    Parameters
    ----------
    token : seconds of a token alone.
    others : tokens in flight beside it.
    """
    held, squares, steps = queues
    if not steps or not np.any(np.asarray(others) > 0):
        return token
    busiest: Any = 0.0
    most: Any = 0.0
    for one, square in zip(held, squares, strict=True):
        busiest, most = np.maximum(busiest, one), np.maximum(most, square)
    low = np.maximum(token, others * busiest)
    messages = sum(times for times, _ in steps)
    high = low + np.sqrt(others * messages * most / 2)  # where no step waits for longer than this
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = token + waited(middle, others, queues) > middle
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return ((low + high) / 2)[()]
