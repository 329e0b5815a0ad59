"""The cycles of a token on one chip: by kind of layer, stage and adapter, counted once.

``Timing.of`` asks the stage formulas of ``hardwire.simulator.datapath`` once. The closed forms, the
token program of the engines, the engine for many designs and serving all read what it holds, and
take from here the two rules that make it time: how attention grows with context, and that a stage
ends when both of its branches have ended. All numbers may be arrays with one element per design.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.lowrank.lowrank import Work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base, head_obstacle
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import Chip
from hardwire.models.energy import Activity
from hardwire.models.errors import InputError
from hardwire.models.fabric import outputs_at_once
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.models.rom import head_matrix, layer_matrices
from hardwire.models.whole import ceil_div
from hardwire.simulator.datapath import (
    BYPASS_CYCLES,
    OPERATIONS,
    Rates,
    Stage,
    TokenStages,
    adapter_format,
    attention_stages,
    overlapped_layers,
    own_unit,
    sample_cycles,
    side_bit_mm,
    side_cycles,
    side_work,
    token_stages,
)

CLOCK = "datapath.clock_ghz"
"""The parameter that changes no cycle, but of what waits for a host."""

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
class LayerKind:
    """Layers that have equal ranks beside their matrices.

    Attributes
    ----------
    layers : how many there are.
    side : cycles of the side path by the name of the ROM stage that it belongs to.
    """

    layers: int
    side: dict[str, Any]


@dataclass(frozen=True)
class TokenTiming:
    """A token with one adapter, or with none.

    Attributes
    ----------
    stages : what the token visits.
    kinds : of layers, by what the adapter puts beside their stages.
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
    kinds: tuple[LayerKind, ...]
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

    def activity(self, context: Any, *, sampled: bool) -> Activity:
        """What the token makes the chip do; a side path reads its weights once for each token."""
        work, bit_mm = self.work, self.bit_mm
        cycles = dict(self.busy)
        if sampled:
            work, bit_mm = work + self.head_work, bit_mm + self.head_bit_mm
            for block, more in self.head_busy.items():
                cycles[block] = cycles[block] + more
        # On average: whether a last cycle of a read is whole hardly matters for its energy.
        cycles["attention"] = self.layers * sum(
            stage.cycles + rate(stage.rates) * context for stage in self.stages.attention
        )
        return Activity(context, cycles, work.macs, work.bytes, bit_mm, sampled)

    def by_operation(self, attention: Reading) -> dict[str, Any]:
        """Cycles of the token with the chip to itself, by operation (see ``OPERATIONS``).

        ``lora`` is what the low-rank product adds to the base: zero where it hides behind it.
        """
        cycles = dict(self.fixed)
        for stage in self.stages.attention:
            read = self.layers * attention(stage)
            cycles[stage.operation] = cycles[stage.operation] + read
        return cycles

    def ahead(self, attention: Reading) -> Any:
        """Cycles before the end of a prompt token at which the next may begin, in serial issue."""
        if not np.any(self.overlapped):
            return 0
        cycles: Any = 0
        for stage in self.stages.layer:
            each = attention(stage) if stage.rates else stage.cycles
            cycles = cycles + self.overlapped * each
            if stage.matrix is None:
                continue
            for number, kind in enumerate(self.kinds):
                behind = np.cumsum(np.append(0, (self.kind_of == number)[::-1]))
                times = behind[np.asarray(self.overlapped, np.int64)]
                cycles = cycles + times * (sum(self.parts(stage, kind.side)) - stage.cycles)
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
        for stage in self.stages.layer:
            if stage.matrix is None:
                cycles = attention(stage) if stage.rates else stage.cycles
                visit(stage.unit, stage, cycles, self.layers)
                continue
            for kind in self.kinds:
                visit(stage.unit, stage, self.alone(stage, kind.side), kind.layers)
                visit("lora", stage, kind.side[stage.name], kind.layers)
        for stage in () if inside_prompt else self.stages.head:
            visit(stage.unit, stage, self.alone(stage, self.head_side), 1)
            if stage.name in self.head_side:
                visit("lora", stage, self.head_side[stage.name], 1)
        return busy


@dataclass(frozen=True)
class Timing:
    """Tokens of a model on a chip, without and with adapters.

    Attributes
    ----------
    adapters : (A,), numbered from 1.
    tokens : (A + 1,), number 0 without an adapter.
    """

    chip: Chip
    model: LanguageModel
    adapters: tuple[Adapter | AdapterShape, ...]
    tokens: tuple[TokenTiming, ...]

    @classmethod
    def of(
        cls,
        chip: Chip,
        model: LanguageModel,
        adapters: Sequence[Adapter | AdapterShape] = (),
    ) -> Timing:
        """Count the cycles of ``model`` on ``chip`` with each of ``adapters``.

        Parameters
        ----------
        chip : its numbers may be arrays, shape ``(P,)``, as may be the rank of an adapter's shape.

        Raises
        ------
        InputError
            If an adapter was made for a model of other dimensions, or is on the LM head of a chip
            that has no side path there.
        """
        for adapter in adapters:
            check_base(adapter, model)
            if obstacle := head_obstacle(chip, adapter.targets):
                raise InputError(f"{adapter.name}: {obstacle}")
        stages = token_stages(chip, model)
        fixed = _fixed(stages, model.layers)
        tokens = tuple(_token(chip, model, stages, fixed, one) for one in (None, *adapters))
        return cls(chip, model, tuple(adapters), tokens)

    def recounted(self, chip: Chip, parameter: str) -> Timing:
        """The timing of a chip that differs in one parameter: only what that changes is counted."""
        # A row of the host's comes in seconds, not in cycles.
        if parameter == CLOCK and self.chip.rom.embedding == "rom":
            return replace(self, chip=chip, tokens=tuple(_sampled(t, chip) for t in self.tokens))
        if not parameter.startswith("attention."):
            return Timing.of(chip, self.model, self.adapters)
        attention = attention_stages(chip, self.model)
        tokens = tuple(
            replace(token, stages=replace(token.stages, attention=attention))
            for token in self.tokens
        )
        return replace(self, chip=chip, tokens=tokens)

    @property
    def hz(self) -> Any:
        """Cycles per second."""
        return self.chip.datapath.clock_ghz * 1e9

    def tables(self, longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cycles of a token alone on the chip by adapter and context, (A + 1, longest + 1) each.

        The first inside a prompt, the second with the head. The chip's numbers are no arrays.
        """
        context = np.arange(longest + 1, dtype=np.int64)
        whole = np.empty((len(self.tokens), longest + 1), np.int64)
        for row, token in enumerate(self.tokens):
            whole[row] = sum(token.by_operation(at(context)).values())
        return whole - np.array([[int(token.head)] for token in self.tokens]), whole

    def ahead(self, longest: int) -> NDArray[np.int64]:
        """``TokenTiming.ahead`` by adapter and context, as ``tables``."""
        context = np.arange(longest + 1, dtype=np.int64)
        found = np.zeros((len(self.tokens), longest + 1), np.int64)
        for row, token in enumerate(self.tokens):
            found[row] = token.ahead(at(context))
        return found

    def intervals(self, longest: int, *, inside_prompt: bool = False) -> NDArray[np.int64]:
        """Cycles that a token takes of its busiest unit, (A + 1, longest + 1), as ``tables``."""
        context = np.arange(longest + 1, dtype=np.int64)
        busiest = np.zeros((len(self.tokens), longest + 1), np.int64)
        for row, token in enumerate(self.tokens):
            for cycles in token.by_unit(at(context), inside_prompt=inside_prompt).values():
                np.maximum(busiest[row], cycles, out=busiest[row], casting="unsafe")
        return busiest


def at(context: Any) -> Reading:
    """Reads attention at a context, or at each of an array of them."""
    return lambda stage: stage.cycles + grown(stage.rates, context)


def mean(context: Any) -> Reading:
    """Reads attention as the mean over contexts, given their mean."""
    return lambda stage: stage.cycles + rate(stage.rates) * context + MEAN_ROUNDING


def _token(
    chip: Chip,
    model: LanguageModel,
    stages: TokenStages,
    fixed: dict[str, Any],
    adapter: Adapter | AdapterShape | None,
) -> TokenTiming:
    if adapter is not None:
        check_base(adapter, model)
    fmt = "" if adapter is None else adapter_format(chip, adapter)
    sequential = chip.lora.order == "sequential"

    def beside(part: Sequence[Stage], ranks: _Ranks) -> tuple[dict[str, Any], Work, Any, Any]:
        """Of the side paths of some stages: cycles, work, bits times mm, and what they add."""
        roms = [(stage, stage.matrix) for stage in part if stage.matrix is not None]
        side: dict[str, Any] = {}
        work, bit_mm, added = Work(0, 0), 0, 0
        for (stage, matrix), group in zip(roms, ranks, strict=True):
            down, up = side_work(model, matrix, group, fmt)
            work = work + down + up
            bit_mm = bit_mm + side_bit_mm(chip, model, matrix, down)
            side[stage.name] = cycles = side_cycles(chip, matrix, down, up)
            if sequential:
                more = cycles * (cycles != BYPASS_CYCLES)  # see ``TokenTiming.alone``
            else:
                more = joined(stage.cycles, cycles) - stage.cycles
            added = added + more
        return side, work, bit_mm, added

    ranks, kind_of = _ranks_of_layers(adapter, model)
    kinds = []
    work, bit_mm, added = Work(0, 0), 0, 0
    for of_matrix, layers in zip(ranks, np.bincount(kind_of).tolist(), strict=True):
        side, done, moved, more = beside(stages.layer, of_matrix)
        work += Work(layers * done.macs, layers * done.bytes)
        bit_mm = bit_mm + layers * moved
        added = added + layers * more
        kinds.append(LayerKind(layers, side))
    at_head = _ranks_of_head(adapter, model) if chip.lora.head == "present" else ()
    head_side, head_work, head_bit_mm, more = beside(stages.head, at_head)
    busy = _busy(chip, model, (*stages.before, *stages.behind), model.layers)
    busy["lora"] = sum(kind.layers * sum(kind.side.values()) for kind in kinds)
    head_busy = _busy(chip, model, stages.head, 1)
    head_busy["lora"] = sum(head_side.values())
    return TokenTiming(
        stages=stages,
        kinds=tuple(kinds),
        kind_of=kind_of,
        head_side=head_side,
        work=work,
        head_work=head_work,
        bit_mm=bit_mm,
        head_bit_mm=head_bit_mm,
        busy=busy,
        head_busy=head_busy,
        fixed={**fixed, "lora": added + more},
        sequential=sequential,
        shared=chip.datapath.layers == "shared",
        overlapped=overlapped_layers(chip, model),
    )


def _sampled(token: TokenTiming, chip: Chip) -> TokenTiming:
    """The token of a chip at another clock."""
    *before, sample = token.stages.head
    cycles = sample_cycles(chip)
    if not np.any(cycles != sample.cycles):
        return token
    head = (*before, replace(sample, cycles=cycles))
    operation = token.fixed[sample.operation] + cycles - sample.cycles
    return replace(
        token,
        stages=replace(token.stages, head=head),
        fixed={**token.fixed, sample.operation: operation},
    )


_BLOCKS = {"vector": "vector_units", "topk": "sampling"}
"""Blocks of ``hardwire.models.fabric.units`` by the name of a unit that is one of them."""


def _busy(chip: Chip, model: LanguageModel, stages: Sequence[Stage], times: int) -> dict[str, Any]:
    """Cycles of busy units by block, of stages that a token visits so many times."""
    matrices = {matrix.name: matrix for matrix in (*layer_matrices(model), head_matrix(model))}
    busy: dict[str, Any] = dict.fromkeys(("matrix_adders", "broadcast", *_BLOCKS.values()), 0)
    for stage in stages:
        if stage.unit == "rom":
            outputs = times * outputs_at_once(chip, model, matrices[stage.name])
            busy["matrix_adders"] = busy["matrix_adders"] + outputs * stage.cycles
            busy["broadcast"] = busy["broadcast"] + times * stage.cycles
        elif stage.unit in _BLOCKS:
            block = _BLOCKS[stage.unit]
            busy[block] = busy[block] + times * stage.cycles
    return busy


def _fixed(stages: TokenStages, layers: int) -> dict[str, Any]:
    """Cycles of a token by operation, without attention and low-rank products."""
    cycles: dict[str, Any] = dict.fromkeys(OPERATIONS, 0)
    for part, times in (
        ((stages.embedding,), 1),
        ((*stages.before, *stages.behind), layers),
        (stages.head, 1),
    ):
        for stage in part:
            cycles[stage.operation] = cycles[stage.operation] + times * stage.cycles
    return cycles


_Ranks = tuple[tuple[Any, ...], ...]
"""Of a layer, beside each target of each matrix; 0 where there is none."""


def _ranks_of_layers(
    adapter: Adapter | AdapterShape | None, model: LanguageModel
) -> tuple[list[_Ranks], NDArray[np.int64]]:
    """The different ranks that layers have, and the number of its ranks for each layer."""
    matrices = layer_matrices(model)
    if adapter is None or isinstance(adapter, AdapterShape):
        rank, targets = (0, ()) if adapter is None else (adapter.rank, adapter.targets)
        groups = (tuple(rank if t in targets else 0 for t in m.targets) for m in matrices)
        return [tuple(groups)], np.zeros(model.layers, np.int64)
    numbers: dict[_Ranks, int] = {}
    kind_of = np.empty(model.layers, np.int64)
    for layer in range(model.layers):
        ranks = tuple(tuple(adapter.rank(layer, t) for t in m.targets) for m in matrices)
        kind_of[layer] = numbers.setdefault(ranks, len(numbers))
    return list(numbers), kind_of


def _ranks_of_head(adapter: Adapter | AdapterShape | None, model: LanguageModel) -> _Ranks:
    """The rank beside the LM head, 0 where there is none."""
    if adapter is None or HEAD not in adapter.targets:
        return ((0,),)
    if isinstance(adapter, AdapterShape):
        return ((adapter.rank,),)
    return ((adapter.rank(model.layers, HEAD),),)
