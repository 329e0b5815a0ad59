"""A token of a system of dies as integer arrays on numbered units: the one input of its engines.

A token is a chain of *steps*. A step is a set of *visits* that begin together: of units of dies,
of links, of the ports through which a die puts bytes on its links. A visit waits for its unit,
holds it for some ticks, and ends a *tail* of ticks later, in which it holds nothing: the flight of
the last byte. The step ends when all its visits have ended. A tick is a cycle of the dies' clock
where they all have the same, else a picosecond.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

CAUSES = ("compute", "attention", "link_latency", "link_queue", "head", "stall")
"""What a token's time is divided into. A step's own time goes to its cause; what it takes longer
goes to ``link_queue`` where it is on links, else to ``stall``: units, places and adapters."""

COMPUTE, ATTENTION, LINK, QUEUE, HEAD, STALL = range(len(CAUSES))

ALWAYS = (1, 0)
"""The turn of a visit that every token makes."""


@dataclass(frozen=True)
class Slice:
    """An adapter's part of one layer on one die, and its way there.

    Attributes
    ----------
    layer : the number under which a step waits for it; the LM head's is behind the last layer's.
    bytes : of it.
    ports : memory units in which it is written, burst by burst in turn.
    host : number of the link from the host; slices on one link follow each other.
    latency : ticks of that link.
    bytes_per_s : of that link.
    burst_bytes, write_bytes_per_cycle : of a write into the die's memory.
    per_cycle : ticks of a cycle of the die, numerator and denominator.
    """

    layer: int
    bytes: int
    ports: tuple[int, ...]
    host: int
    latency: int
    bytes_per_s: float
    burst_bytes: int
    write_bytes_per_cycle: int
    per_cycle: tuple[int, int]


@dataclass(frozen=True, eq=False)
class SystemProgram:
    """The steps of a token over dies, compiled.

    Shapes: ``S`` steps, ``V`` visits, ``A`` adapters and row 0 for none, ``R`` kinds of growth,
    ``M`` kinds of visits to experts, ``N`` experts, ``G`` gates.

    Attributes
    ----------
    units, step_names : names.
    hz : ticks per second.
    cause : (S,) int8, of the step's own time: an index into ``CAUSES``.
    begin : (S + 1,) int32, the first visit of each step.
    unit : (V,) int32; -1 for visits to experts.
    ticks : (A + 1, V) int64, for which a visit holds its unit, but for what its context adds.
    growth : (V,) int32, the row of ``rates`` by which the context adds ticks.
    rates : (R, 8) int64: two pairs numerator, denominator of cycles per token of context; the dies
        among which the context is divided; the longest context that adds, 0 for all; numerator
        and denominator of ticks per cycle. Row 0 adds nothing.
    tail : (V,) int64, ticks from the end of the hold to that of the visit.
    turn : (V, 2) int32, modulus and remainder: only tokens whose position, counted from 0, has the
        remainder make the visit.
    routed : (V,) int32, a row of the tables of experts: one visit for each expert that was chosen
        for the token there. -1 for other visits.
    expert_unit, expert_ticks : (M, N), unit and ticks of a visit to an expert.
    choice : (M,) int32, which of the token's choices of experts a row goes by.
    chosen : experts that a token chooses each time.
    choices : how often a token chooses.
    opens : (S,) int32, the layer whose slice of the adapter must be there before the step; else -1.
    enters : (S,) int32, the gate that a token takes before a step, or -1.
    leaves : (2, S) int32, the gate that it gives up behind a step: of a token with a head, and of
        one inside a prompt.
    gates : (G,) int64, tokens that are behind a gate at most.
    places : tokens that are in the system at most; 0 for any number.
    body : steps of a token inside a prompt, which skips the head.
    followed : the step behind which the next token of a prompt is offered.
    past : tokens of context that are in the KV cache before the first of a request.
    slices : of each adapter, in the order in which a link from the host sends them.
    layers : numbers of slices that a load may have.
    """

    units: tuple[str, ...]
    step_names: tuple[str, ...]
    hz: float
    cause: NDArray[np.int8]
    begin: NDArray[np.int32]
    unit: NDArray[np.int32]
    ticks: NDArray[np.int64]
    growth: NDArray[np.int32]
    rates: NDArray[np.int64]
    tail: NDArray[np.int64]
    turn: NDArray[np.int32]
    routed: NDArray[np.int32]
    expert_unit: NDArray[np.int32]
    expert_ticks: NDArray[np.int64]
    choice: NDArray[np.int32]
    chosen: int
    choices: int
    opens: NDArray[np.int32]
    enters: NDArray[np.int32]
    leaves: NDArray[np.int32]
    gates: NDArray[np.int64]
    places: int
    body: int
    followed: int
    past: int = 0
    slices: tuple[tuple[Slice, ...], ...] = ()
    layers: int = 0

    def __post_init__(self) -> None:
        held = self.ticks[:, self.routed < 0]
        if (held < 1).any() or (self.expert_ticks < 1).any():
            raise ValueError("a visit holds its unit for one tick at least")
        if (np.diff(self.begin) < 1).any():
            raise ValueError("a step has one visit at least")

    @property
    def steps(self) -> int:
        return len(self.cause)

    @cached_property
    def step_of(self) -> NDArray[np.int32]:
        """The step of each visit, ``(V,)``."""
        return np.repeat(np.arange(self.steps, dtype=np.int32), np.diff(self.begin))

    @cached_property
    def slot(self) -> NDArray[np.int32]:
        """Where each visit is recorded, ``(V + 1,)``: visits to experts take one slot for each."""
        width = np.where(self.routed >= 0, self.chosen, 1)
        return np.concatenate([[0], np.cumsum(width)]).astype(np.int32)

    def grown(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ticks that the context adds for tokens of a request, counted from 1, by row of ``rates``.

        ``(R, len(tokens))``.
        """
        context = tokens + self.past
        n1, d1, n2, d2, dies, window, num, den = (column[:, None] for column in self.rates.T)
        attended = np.where(window > 0, np.minimum(context, window), context)
        share = -(-attended // dies)
        cycles = np.maximum(-(-share * n1 // d1), -(-share * n2 // d2))
        return np.asarray(-(-cycles * num // den), np.int64)

    def merged(self) -> SystemProgram:
        """The same steps without visits to units that do what another unit does, tick by tick.

        Units that all steps visit together, for the same ticks, are asked at the same times in the
        same order: one stands for all. Equal dies of a group are such units, and so are the links
        between them. Experts keep theirs, for tokens choose different ones.
        """
        table = np.concatenate(
            [
                self.step_of[:, None], self.ticks.T, self.growth[:, None], self.tail[:, None],
                self.turn,
            ],
            axis=1,
        ).astype(np.int64)  # fmt: skip
        order = np.argsort(self.unit, kind="stable")
        ends = np.searchsorted(self.unit[order], np.arange(len(self.units) + 1))
        own = set(np.unique(self.expert_unit).tolist())
        keep = self.routed >= 0
        seen: set[bytes] = set()
        for unit in range(len(self.units)):
            visits = order[ends[unit] : ends[unit + 1]]
            does = table[visits].tobytes()
            if unit in own or does not in seen:
                keep[visits] = True
                seen.add(does)
        kept = np.concatenate([[0], np.cumsum(keep)]).astype(np.int32)
        return replace(
            self,
            begin=kept[self.begin],
            unit=self.unit[keep],
            ticks=self.ticks[:, keep].copy(),
            growth=self.growth[keep],
            tail=self.tail[keep],
            turn=self.turn[keep],
            routed=self.routed[keep],
        )

    def chained(self) -> NDArray[np.bool_]:
        """Steps that are settled as soon as the step before them is, ``(S,)``.

        Either their units have no other visits, and tokens come to them in the order in which they
        came to the step before, never two in one tick. Or only the one token behind a gate of one
        place comes to these units.
        """
        step_of, routed = self.step_of, self.routed >= 0
        first = np.full(len(self.units), self.steps)
        last = np.full(len(self.units), -1)

        def seen(units: Any, steps: Any) -> None:
            np.minimum.at(first, units, steps)
            np.maximum.at(last, units, steps)

        seen(self.unit[~routed], step_of[~routed])
        for visit in np.flatnonzero(routed):
            units = np.unique(self.expert_unit[self.routed[visit]])
            seen(units, np.full(len(units), step_of[visit]))
        alone_until = np.full(self.steps, -1)  # last step behind the same gate of one place
        alone_since = np.full(self.steps, self.steps)
        for gate in np.flatnonzero(self.gates == 1):
            low = int(np.argmax(self.enters == gate))
            high = min(int(np.argmax(row == gate)) for row in self.leaves if (row == gate).any())
            alone_since[low : high + 1], alone_until[low : high + 1] = low, high
        if self.places == 1 and self.followed == self.body - 1:
            alone_since[:], alone_until[:] = 0, self.steps
        partly = np.zeros(self.steps, np.bool_)  # not every token makes all visits of the step
        np.logical_or.at(partly, step_of, routed | (self.turn[:, 0] > 1))
        found = np.zeros(self.steps, np.bool_)
        for step in range(1, self.steps):
            parted = self.enters[step] >= 0 or (self.leaves[:, step - 1] >= 0).any()
            if parted:
                continue
            units = self.units_of(step)
            private = bool((first[units] == step).all() and (last[units] == step).all())
            guarded = bool(
                (first[units] >= alone_since[step]).all()
                and (last[units] <= alone_until[step]).all()
            )
            found[step] = guarded or (private and not partly[step - 1])
        return found

    def units_of(self, step: int) -> NDArray[np.int32]:
        """Units that a step may visit."""
        visits = np.arange(self.begin[step], self.begin[step + 1])
        rows = self.routed[visits]
        plain = self.unit[visits[rows < 0]]
        return np.concatenate([plain, np.unique(self.expert_unit[rows[rows >= 0]])])
