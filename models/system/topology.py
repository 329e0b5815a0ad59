"""Links between dies: by the shape of a topology, or one by one; and the way from die to die."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardwire.models.errors import InputError
from hardwire.models.system.link import LinkKind

SHAPES = ("all", "chain", "grid", "ring", "switch")
"""Shapes of a topology: every die linked to every other; one behind another; in rows and columns,
each linked to all others of its own row and column; a closed chain; each to one switch."""

SWITCH = "switch"
"""The end of a link that is no die but the switch of that topology."""


@dataclass(frozen=True)
class Link:
    """A link between two dies, or a die and the switch. Each way it is a unit of its own.

    Attributes
    ----------
    ends : names of dies, or ``SWITCH``.
    kind : how fast it is.
    """

    ends: tuple[str, str]
    kind: LinkKind

    def other(self, end: str) -> str:
        """The end that is not ``end``."""
        return self.ends[self.ends[0] == end]


@dataclass(frozen=True)
class Hop:
    """A link on the way of a transfer, from one of its ends to the other.

    ``link`` is its index in ``System.links``.
    """

    link: int
    sender: str
    receiver: str


def links_of(
    shape: str, dies: Sequence[str], kind: LinkKind, rows: int | None, where: str
) -> tuple[Link, ...]:
    """The links of a topology.

    Parameters
    ----------
    shape : one of ``SHAPES``.
    dies : names in order; of a grid row by row.
    rows : of a grid.
    where : begins messages.

    Raises
    ------
    InputError
        If the dies of a grid do not make whole rows, a shape that has no rows is given some, or
        the kind is for a switch and the shape has none, or the other way round.
    """
    if (shape == "switch") != (kind.sheet.way == "switch"):
        goes = "goes to a switch" if kind.sheet.way == "switch" else "goes from die to die"
        raise InputError(f"{where}.shape: {kind.name} {goes}, which is not what a {shape} has")
    if (shape == "grid") != (rows is not None):
        asked = "is missing: a grid has rows" if rows is None else f"a {shape} has no rows"
        raise InputError(f"{where}.rows: {asked}")
    pairs: list[tuple[str, str]]
    if shape == "switch":
        pairs = [(die, SWITCH) for die in dies]
    elif shape in ("chain", "ring"):
        pairs = list(itertools.pairwise(dies))
        if shape == "ring" and len(dies) > 2:
            pairs.append((dies[-1], dies[0]))
    elif rows is None:
        pairs = list(itertools.combinations(dies, 2))
    else:
        if len(dies) % rows:
            raise InputError(f"{where}.rows: {len(dies)} dies do not make {rows} whole rows")
        columns = len(dies) // rows
        pairs = [
            (dies[a], dies[b])
            for a, b in itertools.combinations(range(len(dies)), 2)
            if a // columns == b // columns or a % columns == b % columns
        ]
    return tuple(Link(pair, kind) for pair in pairs)


def routes(links: Sequence[Link], start: str) -> Mapping[str, tuple[Hop, ...]]:
    """The way over the fewest links from a die to all that can be reached, by name.

    Among ways of equal length it is the one whose names come first, so that the order in which
    dies and links are listed decides nothing; of two links between the same ends the faster one.
    """
    beside: dict[str, dict[str, int]] = {}
    for number, link in enumerate(links):
        for sender, receiver in (link.ends, link.ends[::-1]):
            best = beside.setdefault(sender, {})
            if receiver not in best or _slower(links[best[receiver]].kind, link.kind):
                best[receiver] = number
    found: dict[str, tuple[Hop, ...]] = {start: ()}
    waiting = deque([start])
    while waiting:
        sender = waiting.popleft()
        for receiver, number in sorted(beside.get(sender, {}).items()):
            if receiver not in found:
                found[receiver] = (*found[sender], Hop(number, sender, receiver))
                waiting.append(receiver)
    return found


def _slower(one: LinkKind, other: LinkKind) -> bool:
    return (float(one.latency_s), -float(one.bandwidth)) > (
        float(other.latency_s),
        -float(other.bandwidth),
    )
