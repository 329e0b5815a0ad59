"""The cycles of tokens on one chip: by kind of layer, stage and adapter, counted once.

``Timing.of`` asks the stage formulas of ``hardwire.simulator.datapath`` once. The closed forms, the
token program of the engines, the engine for many designs and serving all read what it holds;
``hardwire.simulator.token_timing`` says what a token's cycles make of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.lowrank.lowrank import Work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base, head_obstacle
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.fabric import outputs_at_once
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.models.rom import RomMatrix, head_matrix
from hardwire.simulator.datapath import (
    BYPASS_CYCLES,
    OPERATIONS,
    LayerStages,
    Stage,
    TokenStages,
    adapter_format,
    attention_stages,
    overlapped_layers,
    sample_cycles,
    side_bit_mm,
    side_cycles,
    side_work,
    token_stages,
)
from hardwire.simulator.token_timing import (
    LikeLayers,
    Reading,
    TokenTiming,
    at,
    grown,
    joined,
    mean,
    rate,
    slower,
)

__all__ = [
    "CLOCK", "LikeLayers", "Reading", "Timing", "TokenTiming", "at", "beside_stage", "grown",
    "joined", "mean", "rate", "slower",
]  # fmt: skip

CLOCK = "datapath.clock_ghz"
"""The parameter that changes no cycle, but of what waits for a host."""


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
        fixed = _fixed(stages, model)
        tokens = tuple(_token(chip, model, stages, fixed, one) for one in (None, *adapters))
        return cls(chip, model, tuple(adapters), tokens)

    def recounted(self, chip: Chip, parameter: str) -> Timing:
        """The timing of a chip that differs in one parameter: only what that changes is counted."""
        # A row of the host's comes in seconds, not in cycles.
        if parameter == CLOCK and self.chip.rom.embedding == "rom":
            return replace(self, chip=chip, tokens=tuple(_sampled(t, chip) for t in self.tokens))
        if not parameter.startswith("attention."):
            return Timing.of(chip, self.model, self.adapters)
        kinds = tuple(
            replace(stages, attention=attention_stages(chip, self.model, kind))
            for kind, stages in zip(
                self.model.layer_kinds, self.tokens[0].stages.kinds, strict=True
            )
        )
        return replace(
            self, chip=chip, tokens=tuple(_attending(token, kinds) for token in self.tokens)
        )

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
        roms = [stage for stage in part if any(matrix.side_paths for matrix in stage.matrices)]
        side: dict[str, Any] = {}
        work, bit_mm, added = Work(0, 0), 0, 0
        for stage, of_stage in zip(roms, ranks, strict=True):
            cycles, done, moved = beside_stage(chip, model, stage, of_stage, fmt)
            work, bit_mm = work + done, bit_mm + moved
            side[stage.name] = cycles
            if sequential:
                more = cycles * (cycles != BYPASS_CYCLES)  # see ``TokenTiming.alone``
            else:
                more = joined(stage.cycles, cycles) - stage.cycles
            added = added + more
        return side, work, bit_mm, added

    kind_numbers, ranks, kind_of = _ranks_of_layers(adapter, model, stages)
    kinds = []
    work, bit_mm, added = Work(0, 0), 0, 0
    counts = np.bincount(kind_of).tolist()
    for number, of_stages, layers in zip(kind_numbers, ranks, counts, strict=True):
        of_kind = stages.kinds[number]
        side, done, moved, more = beside(of_kind.all, of_stages)
        work += Work(layers * done.macs, layers * done.bytes)
        bit_mm = bit_mm + layers * moved
        added = added + layers * more
        kinds.append(LikeLayers(layers, of_kind, side))
    at_head = _ranks_of_head(adapter, model) if chip.lora.head == "present" else ()
    head_side, head_work, head_bit_mm, more = beside(stages.head, at_head)
    busy: dict[str, Any] = {}
    for kind, of_kind in zip(model.layer_kinds, stages.kinds, strict=True):
        outer = (*of_kind.before, *of_kind.behind)
        for block, cycles in _busy(chip, model, outer, len(kind.layers)).items():
            busy[block] = busy.get(block, 0) + cycles
    busy["lora"] = sum(like.layers * sum(like.side.values()) for like in kinds)
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


def beside_stage(
    chip: Chip,
    model: LanguageModel,
    stage: Stage,
    ranks: Sequence[Sequence[Any]],
    fmt: str,
) -> tuple[Any, Work, Any]:
    """Cycles, work, and bits times mm of the side paths beside a stage.

    Parameters
    ----------
    ranks : by matrix of the stage, beside each of its targets; 0 where there is none.
    """
    cycles: Any = None
    work, bit_mm = Work(0, 0), 0
    for matrix, group in zip(stage.matrices, ranks, strict=True):
        down, up = side_work(model, matrix, group, fmt)
        done, moved = down + up, side_bit_mm(chip, model, matrix, down)
        own = side_cycles(chip, matrix, down, up)
        if matrix.side_paths > 1:  # one beside each chosen expert
            done = Work(matrix.side_paths * done.macs, matrix.side_paths * done.bytes)
            moved = matrix.side_paths * moved
            if chip.datapath.layers == "shared" and np.any(down.macs):
                own = own * matrix.side_paths
        work, bit_mm = work + done, bit_mm + moved
        cycles = own if cycles is None else _with(chip, cycles, own)
    return cycles, work, bit_mm


def _with(chip: Chip, one: Any, other: Any) -> Any:
    """Cycles of two side paths beside one stage: at once, or one after the other where layers share
    one; a token with nothing to add does not stop there."""
    if chip.datapath.layers != "shared":
        return np.maximum(one, other)
    both = one + other
    both = np.where(np.equal(one, BYPASS_CYCLES), other, both)
    return np.where(np.equal(other, BYPASS_CYCLES), one, both)[()]


def _attending(token: TokenTiming, kinds: tuple[LayerStages, ...]) -> TokenTiming:
    """The token with other stages of attention."""
    numbers = {id(stages): number for number, stages in enumerate(token.stages.kinds)}
    return replace(
        token,
        stages=replace(token.stages, kinds=kinds),
        kinds=tuple(replace(like, stages=kinds[numbers[id(like.stages)]]) for like in token.kinds),
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
    busy: dict[str, Any] = dict.fromkeys(("matrix_adders", "broadcast", *_BLOCKS.values()), 0)
    for stage in stages:
        if stage.unit == "rom":
            matrices = stage.matrices or (head_matrix(model),)
            if chip.datapath.layers == "shared":
                matrices = matrices[:1]  # the one array has no others
            for matrix in matrices:
                arrays = times * (1 if chip.datapath.layers == "shared" else matrix.uses)
                outputs = arrays * outputs_at_once(chip, model, matrix)
                busy["matrix_adders"] = busy["matrix_adders"] + outputs * stage.cycles
                busy["broadcast"] = busy["broadcast"] + arrays * stage.cycles
        elif stage.unit in _BLOCKS:
            block = _BLOCKS[stage.unit]
            busy[block] = busy[block] + times * stage.cycles
    return busy


def _fixed(stages: TokenStages, model: LanguageModel) -> dict[str, Any]:
    """Cycles of a token by operation, without attention and low-rank products."""
    cycles: dict[str, Any] = dict.fromkeys(OPERATIONS, 0)
    in_layers = [
        ((*of_kind.before, *of_kind.behind), len(kind.layers))
        for kind, of_kind in zip(model.layer_kinds, stages.kinds, strict=True)
    ]
    for part, times in (((stages.embedding,), 1), *in_layers, (stages.head, 1)):
        for stage in part:
            cycles[stage.operation] = cycles[stage.operation] + times * stage.cycles
    return cycles


_Ranks = tuple[tuple[tuple[Any, ...], ...], ...]
"""Of a layer: by stage with a side path, by matrix, beside each target; 0 where there is none."""


def _ranks_of_layers(
    adapter: Adapter | AdapterShape | None, model: LanguageModel, stages: TokenStages
) -> tuple[list[int], list[_Ranks], NDArray[np.int64]]:
    """The different layers: kind in the model and ranks of each; and of each layer its number."""
    kind_of = np.empty(model.layers, np.int64)
    groups = [_matrices_beside(of_kind.all) for of_kind in stages.kinds]
    if adapter is None or isinstance(adapter, AdapterShape):
        rank, targets = (0, ()) if adapter is None else (adapter.rank, adapter.targets)
        alike = dict.fromkeys(targets, rank)
        for number, kind in enumerate(model.layer_kinds):
            kind_of[list(kind.layers)] = number
        return list(range(len(groups))), [_nested(group, alike) for group in groups], kind_of
    # Flat first: of many layers few differ.
    flat = [[t for matrices in group for m in matrices for t in m.targets] for group in groups]
    of_model = {layer: n for n, kind in enumerate(model.layer_kinds) for layer in kind.layers}
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    for layer in range(model.layers):
        of_kind = of_model[layer]
        ranks = tuple(adapter.rank(layer, target) for target in flat[of_kind])
        kind_of[layer] = numbers.setdefault((of_kind, ranks), len(numbers))
    nested = [
        _nested(groups[of_kind], dict(zip(flat[of_kind], ranks, strict=True)))
        for of_kind, ranks in numbers
    ]
    return [of_kind for of_kind, _ in numbers], nested, kind_of


def _nested(group: Sequence[Sequence[RomMatrix]], ranks: Mapping[str, Any]) -> _Ranks:
    """Ranks by target, as stages, matrices and targets lie in each other."""
    return tuple(
        tuple(tuple(ranks.get(target, 0) for target in m.targets) for m in matrices)
        for matrices in group
    )


def _matrices_beside(stages: Sequence[Stage]) -> list[tuple[RomMatrix, ...]]:
    """The matrices of each stage that has a side path."""
    found = [stage.matrices for stage in stages]
    return [matrices for matrices in found if any(matrix.side_paths for matrix in matrices)]


def _ranks_of_head(adapter: Adapter | AdapterShape | None, model: LanguageModel) -> _Ranks:
    """The rank beside the LM head, 0 where there is none."""
    if adapter is None or HEAD not in adapter.targets:
        rank = 0
    elif isinstance(adapter, AdapterShape):
        rank = adapter.rank
    else:
        rank = adapter.rank(model.layers, HEAD)
    return (((rank,),),)
