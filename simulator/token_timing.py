"""The cycles of one token: by stage, kind of layer and adapter, and how attention grows.

Two rules make cycles time, and all read them here: how attention grows with context, and that a
stage ends when both of its branches have ended. All numbers may be arrays with one element per
design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.lowrank.lowrank import Work
from hardwire.models.energy import Activity
from hardwire.models.whole import ceil_div
from hardwire.simulator.datapath import (
    BYPASS_CYCLES,
    LayerStages,
    Rates,
    Stage,
    TokenStages,
    own_unit,
)

MEAN_ROUNDING = 0.5
"""Mean of ``⌈x⌉ − x`` over many contexts."""

Reading = Callable[[Stage], Any]
"""Cycles of a stage of attention: at a context, or their mean over some."""


def grown(rates: Rates, context: Any) -> Any:
    """Cycles that a stage adds for its context: the slower of reads and products, rounded up."""
    (n1, d1), (n2, d2) = rates
    return np.maximum(ceil_div(context * n1, d1), ceil_div(context * n2, d2))


def rate(rates: Rates) -> Any:
    """Cycles per token of context, as ``grown`` but not rounded up."""
    (n1, d1), (n2, d2) = rates
    return np.maximum(n1 / d1, n2 / d2)


def slower(rates: Rates) -> tuple[Any, Any]:
    """The one rate, numerator and denominator, that decides ``grown`` whatever the context.

    Rounding up keeps order: the greater of ``⌈c · a⌉`` and ``⌈c · b⌉`` is that of the greater.
    """
    (n1, d1), (n2, d2) = rates
    reads = n1 * d2 >= n2 * d1
    return np.where(reads, n1, n2), np.where(reads, d1, d2)


def joined(main: Any, side: Any) -> Any:
    """Cycles of a stage with a side path: it ends when both branches have ended."""
    return np.maximum(main, side)


@dataclass(frozen=True)
class LikeLayers:
    """Layers of one kind of the model that have equal ranks beside their matrices.

    Attributes
    ----------
    layers : how many there are.
    stages : what a token visits in each.
    side : cycles of the side path by the name of the ROM stage that it belongs to.
    """

    layers: int
    stages: LayerStages
    side: dict[str, Any]


@dataclass(frozen=True)
class TokenTiming:
    """A token with one adapter, or with none.

    Attributes
    ----------
    stages : what the token visits.
    kinds : of layers, by their stages and what the adapter puts beside them.
    kind_of : (layers,) int64, the kind of each layer.
    head_side : cycles of the side path by the name of the head's stage that it belongs to; empty
        where the chip has none there.
    work, head_work : what the side paths in the layers, and at the head, multiply and read.
    bit_mm, head_bit_mm : bits times mm that the buses of those side paths carry.
    busy, head_busy : cycles for which the layers, and the head, keep units of each block of
        ``hardwire.models.fabric.units`` busy, summed over the units; those of attention left out.
    fixed : cycles by operation (see ``OPERATIONS``), those of attention left out.
    sequential : a low-rank product is a stage of its own behind the ROM stage, not beside it.
    shared : layers share their units.
    overlapped : last layers that the next token of a prompt does not wait for, in serial issue.
    """

    stages: TokenStages
    kinds: tuple[LikeLayers, ...]
    kind_of: NDArray[np.int64]
    head_side: dict[str, Any]
    work: Work
    head_work: Work
    bit_mm: Any
    head_bit_mm: Any
    busy: dict[str, Any]
    head_busy: dict[str, Any]
    fixed: dict[str, Any]
    sequential: bool
    shared: bool
    overlapped: Any

    @property
    def layers(self) -> int:
        return len(self.kind_of)

    @property
    def head(self) -> Any:
        """Cycles of what turns the last layer's output into a token."""
        return sum(self.head_parts)

    @property
    def head_parts(self) -> tuple[Any, ...]:
        """Cycles of what follows each other at the head."""
        return tuple(p for stage in self.stages.head for p in self.parts(stage, self.head_side))

    def parts(self, stage: Stage, side: dict[str, Any]) -> tuple[Any, ...]:
        """Cycles of what follows each other in a stage: of both its branches, or of each."""
        if stage.name not in side:
            return (stage.cycles,)
        branches = self.alone(stage, side), side[stage.name]
        return branches if self.sequential else (joined(*branches),)

    def alone(self, stage: Stage, side: dict[str, Any]) -> Any:
        """Cycles of a stage on its own unit, without those of its attention.

        A matrix hands its result to the side path behind it through a register. A token that has
        nothing to add is in that register in the last cycle of the matrix, and no later than it
        would have been without a side path.
        """
        if not self.sequential or stage.name not in side:
            return stage.cycles
        return stage.cycles - BYPASS_CYCLES * (side[stage.name] == BYPASS_CYCLES)

    def attention(self) -> Iterator[tuple[int, Stage]]:
        """How many layers have a stage of attention, and that stage, for all kinds of layers."""
        for layers, stages in self._attention:
            for stage in stages:
                yield layers, stage

    @cached_property
    def _alike(self) -> tuple[tuple[LayerStages, tuple[int, ...]], ...]:
        """Stages of layers, and the numbers of the ``kinds`` that have them."""
        found: dict[int, tuple[LayerStages, tuple[int, ...]]] = {}
        for number, kind in enumerate(self.kinds):
            _, numbers = found.get(id(kind.stages), (kind.stages, ()))
            found[id(kind.stages)] = (kind.stages, (*numbers, number))
        return tuple(found.values())

    @cached_property
    def _attention(self) -> tuple[tuple[int, tuple[Stage, ...]], ...]:
        """Layers that share their stages of attention, whatever else is in them."""
        found: dict[int, tuple[int, tuple[Stage, ...]]] = {}
        for kind in self.kinds:
            stages = kind.stages.attention
            layers, _ = found.get(id(stages), (0, stages))
            found[id(stages)] = (layers + kind.layers, stages)
        return tuple(found.values())

    def attended(self, context: Any, spread: Any = 0) -> Any:
        """Tokens that a token attends to, mean over layers, of contexts as ``mean`` takes them."""
        windows = [(layers, stages[0].window) for layers, stages in self._attention]
        if all(window is None for _, window in windows):
            return context
        kept = sum(layers * _kept(context, spread, window)[0] for layers, window in windows)
        return kept / self.layers

    def activity(self, context: Any, *, sampled: bool, spread: Any = 0) -> Activity:
        """What the token makes the chip do; a side path reads its weights once for each token.

        Parameters
        ----------
        context, spread : as ``mean``.
        """
        work, bit_mm = self.work, self.bit_mm
        cycles = dict(self.busy)
        if sampled:
            work, bit_mm = work + self.head_work, bit_mm + self.head_bit_mm
            for block, more in self.head_busy.items():
                cycles[block] = cycles[block] + more
        # On average: whether a last cycle of a read is whole hardly matters for its energy.
        cycles["attention"] = sum(
            layers
            * sum(
                stage.cycles + rate(stage.rates) * _kept(context, spread, stage.window)[0]
                for stage in stages
            )
            for layers, stages in self._attention
        )
        attended = self.attended(context, spread)
        return Activity(attended, cycles, work.macs, work.bytes, bit_mm, sampled)

    def by_operation(self, attention: Reading) -> dict[str, Any]:
        """Cycles of the token with the chip to itself, by operation (see ``OPERATIONS``).

        ``lora`` is what the low-rank product adds to the base: zero where it hides behind it.
        """
        cycles = dict(self.fixed)
        for layers, stage in self.attention():
            read = layers * attention(stage)
            cycles[stage.operation] = cycles[stage.operation] + read
        return cycles

    def ahead(self, attention: Reading) -> Any:
        """Cycles before the end of a prompt token at which the next may begin, in serial issue."""
        if not np.any(self.overlapped):
            return 0
        cycles: Any = 0
        # How many layers of each kind are among the last ones.
        last = np.asarray(self.overlapped, np.int64)
        times = [
            np.cumsum(np.append(0, (self.kind_of == number)[::-1]))[last]
            for number in range(len(self.kinds))
        ]
        for stages, numbers in self._alike:
            layers = sum(times[number] for number in numbers)
            for stage in stages.all:
                each = attention(stage) if stage.rates else stage.cycles
                cycles = cycles + layers * each
                for number in numbers:
                    side = self.kinds[number].side
                    if stage.name in side:
                        longer = sum(self.parts(stage, side)) - stage.cycles
                        cycles = cycles + times[number] * longer
        return cycles

    def by_unit(self, attention: Reading, *, inside_prompt: bool = False) -> dict[str, Any]:
        """Cycles that the token takes of each unit; of like units of several layers, the most.

        A token ``inside_prompt`` does not visit the head.
        """
        busy: dict[str, Any] = {}

        def visit(unit: str, stage: Stage, cycles: Any, times: int) -> None:
            if self.shared:
                busy[unit] = busy.get(unit, 0) + times * cycles
            else:
                name = own_unit(unit, stage.name)
                busy[name] = np.maximum(busy[name], cycles) if name in busy else cycles

        embedding = self.stages.embedding
        busy[embedding.unit] = embedding.cycles
        for stages, numbers in self._alike:
            kinds = [self.kinds[number] for number in numbers]
            for stage in stages.all:
                if stage.name not in kinds[0].side:
                    cycles = attention(stage) if stage.rates else stage.cycles
                    visit(stage.unit, stage, cycles, sum(kind.layers for kind in kinds))
                    continue
                for kind in kinds:
                    visit(stage.unit, stage, self.alone(stage, kind.side), kind.layers)
                    visit("lora", stage, kind.side[stage.name], kind.layers)
        for stage in () if inside_prompt else self.stages.head:
            visit(stage.unit, stage, self.alone(stage, self.head_side), 1)
            if stage.name in self.head_side:
                visit("lora", stage, self.head_side[stage.name], 1)
        return busy


def at(context: Any) -> Reading:
    """Reads attention at a context, or at each of an array of them."""
    return lambda stage: stage.cycles + grown(stage.rates, stage.attended(context))


def mean(context: Any, spread: Any = 0) -> Reading:
    """Reads attention as the mean over contexts, given their mean.

    Parameters
    ----------
    context : mean of the contexts.
    spread : how many tokens lie between the shortest and the longest of them; they are spread
        evenly. It matters only where the window of a layer lies between them.
    """

    def read(stage: Stage) -> Any:
        if stage.window is None:
            return stage.cycles + rate(stage.rates) * context + MEAN_ROUNDING
        _, below, share = _kept(context, spread, stage.window)
        growing = rate(stage.rates) * below + MEAN_ROUNDING
        # Beyond the window each token takes the same, and nothing is rounded on average.
        full = grown(stage.rates, stage.window)
        return stage.cycles + share * growing + (1 - share) * full

    return read


def _kept(context: Any, spread: Any, window: int | None) -> tuple[Any, Any, Any]:
    """Of contexts spread evenly: mean of those tokens that a window keeps, mean of the contexts
    that are below the window, and the share of these."""
    if window is None:
        return context, context, 1.0
    low, high = context - spread / 2, context + spread / 2
    width = np.maximum(high - low, 1e-9)
    share = np.clip((window - low) / width, 0.0, 1.0)
    below = np.where(share < 1, (low + window) / 2, context)
    return (share * below + (1 - share) * window)[()], below[()], share[()]
