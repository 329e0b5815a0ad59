"""Ticks of a token of a system by context: what serving sums up, from the program of the engines.

A token alone takes its steps one after the other, each as long as its longest visit. The next token
can follow it after the interval: the ticks for which it holds the unit, link, or stage of one token
that it holds longest, and of a system with places its share of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.system.program import SystemProgram
from hardwire.simulator.system.routing import Routing

DRAWS = 2048
"""Tokens whose chosen experts are drawn for the mean of a step: its standard error is then 2% of
the spread of one token's time."""

Key = tuple[int, ...]


@dataclass(frozen=True)
class TokenTicks:
    """Tables of one kind of token by row of adapters and context, ``(A + 1, C + 1)`` int64.

    Column 0, of no context, is 0. ``latency`` is from the first step to the last, or in a serial
    system to that behind which the next token starts.
    """

    latency: NDArray[np.int64]
    interval: NDArray[np.int64]


def is_serial(program: SystemProgram) -> bool:
    """Whether the whole system has one token in flight."""
    return bool(len(program.gates) == 1 and program.enters[0] == 0 and program.leaves[0, -1] == 0)


def token_ticks(program: SystemProgram, longest: int, *, sampled: bool) -> TokenTicks:
    """Tabulate tokens of contexts 1 to ``longest``.

    Parameters
    ----------
    sampled : tokens with a head; else those inside a prompt.
    """
    made = _Tables(program, longest)
    rows = range(len(program.ticks))
    found = [made.row(row, sampled=sampled) for row in rows]
    return TokenTicks(
        np.array([latency for latency, _ in found]), np.array([interval for _, interval in found])
    )


class _Tables:
    """Steps and units that are alike are computed once: layers mostly are."""

    def __init__(self, program: SystemProgram, longest: int) -> None:
        self.program = program
        self.context = np.arange(longest + 1, dtype=np.int64)
        self.grown = program.grown(self.context)
        self.kinds: dict[tuple[int, ...], int] = {}  # of visits to experts, by their pattern
        self.kind_of = [self._kind(table) for table in range(len(program.choice))]
        self.drawn: dict[int, NDArray[np.int64]] = {}

    def row(self, row: int, *, sampled: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        program = self.program
        end = program.steps if sampled else program.body
        kinds = [self._step(row, step) for step in range(end)]
        ticks = {kind: self._duration(kind) for kind in set(kinds)}
        latency = self._sum(kinds, ticks)
        leaves = program.leaves[0 if sampled else 1]
        intervals = []
        for gate in range(len(program.gates)):
            last = int(np.argmax(leaves == gate))
            held = kinds[int(np.argmax(program.enters == gate)) : last + 1]
            intervals.append(self._sum(held, ticks))
        if is_serial(program):
            return intervals[0], intervals[0]
        intervals += self._units(row, end)
        if program.places:
            intervals.append(-(-latency // program.places))
        return latency, np.maximum.reduce(intervals)

    def _sum(self, kinds: list[Key], ticks: dict[Key, NDArray[np.int64]]) -> NDArray[np.int64]:
        total = np.zeros_like(self.context)
        for kind, times in Counter(kinds).items():
            total += times * ticks[kind]
        total[0] = 0
        return total

    def _step(self, row: int, step: int) -> Key:
        """What decides the duration of a step: its unlike visits, six numbers each."""
        program = self.program
        found = set()
        for visit in range(program.begin[step], program.begin[step + 1]):
            table = int(program.routed[visit])
            found.add(
                (
                    int(program.ticks[row, visit]),
                    int(program.growth[visit]),
                    int(program.tail[visit]),
                    *(int(one) for one in program.turn[visit]),
                    -1 if table < 0 else self.kind_of[table],
                )
            )
        return tuple(number for one in sorted(found) for number in one)

    def _duration(self, kind: Key) -> NDArray[np.int64]:
        longest = np.zeros_like(self.context)
        for place in range(0, len(kind), 6):
            ticks, growth, tail, modulus, remainder, experts = kind[place : place + 6]
            if experts >= 0:
                ticks = round(float(self._experts(experts).max(axis=1).mean()))
            taken = ticks + self.grown[growth] + tail
            if modulus > 1:  # the position of a token is its context less itself
                taken = np.where((self.context - 1) % modulus == remainder, taken, 0)
            longest = np.maximum(longest, taken)
        return longest

    def _units(self, row: int, end: int) -> list[NDArray[np.int64]]:
        """Ticks for which a token holds each unit, one of those that are alike.

        Of visits that tokens make in turn, the mean: others hold the unit in between.
        """
        program = self.program
        held: dict[int, Counter[Key]] = {}
        mean: Counter[int] = Counter()  # of units of experts
        for visit in range(program.begin[end]):
            table = int(program.routed[visit])
            if table < 0:
                kind = (
                    int(program.ticks[row, visit]),
                    int(program.growth[visit]),
                    int(program.turn[visit, 0]),
                )
                held.setdefault(int(program.unit[visit]), Counter())[kind] += 1
                continue
            units = np.unique(program.expert_unit[table]).tolist()
            busy = self._experts(self.kind_of[table]).mean(axis=0).tolist()
            mean.update(dict(zip(units, busy, strict=True)))
        for unit, ticks in mean.items():
            held.setdefault(unit, Counter())[(round(ticks), 0, 1)] += 1
        unlike = {frozenset(visits.items()) for visits in held.values()}
        return [self._held(dict(visits)) for visits in unlike]

    def _held(self, visits: dict[Key, int]) -> NDArray[np.int64]:
        total = np.zeros(len(self.context))
        for (ticks, growth, modulus), times in visits.items():
            total += times * (ticks + self.grown[growth]) / modulus
        total[0] = 0
        return np.ceil(total).astype(np.int64)

    # --- experts ------------------------------------------------------------------------------

    def _kind(self, table: int) -> int:
        """A number for the pattern of a table: which experts share a unit, and their ticks."""
        program = self.program
        _, places = np.unique(program.expert_unit[table], return_inverse=True)
        pattern = (*places.tolist(), *program.expert_ticks[table].tolist())
        return self.kinds.setdefault(pattern, len(self.kinds))

    def _experts(self, kind: int) -> NDArray[np.int64]:
        """Ticks for which drawn tokens hold each unit of experts, ``(DRAWS, units)``."""
        if kind not in self.drawn:
            pattern = np.array(next(key for key, number in self.kinds.items() if number == kind))
            places, ticks = np.split(pattern, 2)
            chosen = Routing().draw(DRAWS, 1, len(places), self.program.chosen).of_token[:, 0]
            busy = np.zeros((DRAWS, int(places.max()) + 1), np.int64)
            rows = np.arange(DRAWS)
            for choice in chosen.T.astype(np.int64):
                np.add.at(busy, (rows, places[choice]), ticks[choice])
            self.drawn[kind] = busy
        return self.drawn[kind]
