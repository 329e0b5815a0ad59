"""What one die of a group does of a layer: the stages of the datapath, on its part of each matrix.

The stages, and the cycles of a die that has all of a layer, are those of
``hardwire.simulator.datapath``. Of a group, inputs and outputs of matrices are divided by the
split, and heads and widths with them; norms work on whole vectors, which every die of a group has.

In a system of several dies experts are units: the arrays of an expert are its own, held once for a
token that chose it, and the die's vector unit is held once for each chosen expert that the die has,
so that a stage waits for its busiest die. A pipeline's fill is a delay then and holds nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hardwire.kernels.lowrank.lowrank import Work as Products
from hardwire.kernels.lowrank.lowrank import phase_work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import EXPERT, HEAD, SHARED, LanguageModel
from hardwire.models.pipeline import matrix_fill_cycles
from hardwire.models.rom import LATENT_KEYS, LATENT_VALUES, RomMatrix
from hardwire.models.system.placement import Stage as Group
from hardwire.models.system.slices import grid_of
from hardwire.models.system.system import System
from hardwire.simulator.datapath import (
    BYPASS_CYCLES,
    Rates,
    Stage,
    Stages,
    adapter_format,
    side_cycles,
)
from hardwire.simulator.timing import Timing

GATE_UP, DOWN, COMBINE = "gate_up", "down", "combine"
"""Stages of an MLP, or of experts, and of their sum."""


@dataclass(frozen=True)
class Work:
    """A visit of a unit of a die, in its cycles.

    Attributes
    ----------
    name : of the stage.
    unit : kind of the unit: ``rom``, ``vector``, ``kv`` and so on.
    cycles : for which the unit is held, but for what the context adds.
    tail : cycles from there to the end of the visit.
    rates : cycles per token of context, as of a stage of the datapath.
    dies : among which the context is divided.
    window : tokens of context at most, 0 for all.
    side : cycles of the low-rank product by adapter, 0 for none; empty where there is no side path.
    experts : numbers of the die's experts: a visit for each that a token chose; empty for a visit
        of every token.
    """

    name: str
    unit: str
    cycles: int
    tail: int = 0
    rates: Rates = ()
    dies: int = 1
    window: int = 0
    side: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()

    @classmethod
    def of(cls, stage: Stage, *, dies: int = 1, side: tuple[int, ...] = ()) -> Work:
        """A stage of the datapath."""
        return cls(
            stage.name,
            stage.unit,
            int(stage.cycles),
            rates=tuple((int(n), int(d)) for n, d in stage.rates),
            dies=dies,
            window=stage.window or 0,
            side=side,
        )


def whole_layer(timing: Timing, layer: int) -> list[Work]:
    """The stages of a layer on a die that has all of it, with the side paths of all adapters."""
    likes = [token.kinds[token.kind_of[layer]] for token in timing.tokens]
    return [
        Work.of(stage, side=tuple(int(like.side[stage.name]) for like in likes))
        if stage.name in likes[0].side
        else Work.of(stage)
        for stage in likes[0].stages.all
    ]


def placed_name(matrix: RomMatrix) -> str:
    """What a placement calls a matrix."""
    if matrix.name in (LATENT_KEYS, LATENT_VALUES):
        return "kv_b"
    if matrix.targets and matrix.targets[0].startswith(EXPERT):
        return f"{EXPERT}{matrix.name}"
    if matrix.targets and matrix.targets[0].startswith(SHARED):
        return f"{SHARED}{matrix.name.removeprefix('shared_')}"
    return matrix.name


class DieLayer:
    """The stages of one layer on one die of a group, by name.

    Parameters
    ----------
    group, place : the group that has the layer, and the die's place in it.
    heads, kv_heads : that the die works on; 0 where another die of the group has all of the layer's
        keys and values.
    width : of the die's part of a dense MLP, between its two matrices.
    positions : dies among which the tokens of the context are divided.
    adapters : whose side paths are counted beside the matrices.
    """

    def __init__(
        self,
        chip: Chip,
        model: LanguageModel,
        group: Group,
        place: int,
        layer: int,
        *,
        heads: int,
        kv_heads: int,
        width: int,
        positions: int,
        adapters: Sequence[Adapter],
    ) -> None:
        self.chip, self.model, self.group, self.place = chip, model, group, place
        self.layer, self.adapters, self.positions = layer, adapters, positions
        self.attends = heads > 0
        part = replace(model, heads=max(heads, 1), kv_heads=max(kv_heads, 1), intermediate=width)
        kind = model.layer_kinds.index(model.kind_of(layer))
        self.datapath = Stages(chip, part)
        self.stages = {stage.name: stage for stage in self.datapath.token().kinds[kind].all}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(self.stages)

    def work(self, name: str) -> list[Work]:
        """What the die does in a stage: nothing in that of an attention that is another die's."""
        stage = self.stages[name]
        if stage.matrices:
            return [self.rom(stage.matrices, stage.name)]
        if stage.rates and not self.attends:
            return []
        return [Work.of(stage, dies=self.positions if stage.rates else 1)]

    # --- matrices -----------------------------------------------------------------------------

    def part(self, matrix: RomMatrix) -> RomMatrix:
        """The die's part of a matrix; of those per head, which are whole, as many as its heads."""
        if matrix.copies > 1:
            return matrix
        inputs, outputs = grid_of(self.group, placed_name(matrix))
        whole_in, whole_out = matrix.in_features, matrix.out_features
        if matrix.targets:  # those of the part of the model are of fewer heads already
            shapes = [self.model.linear_shape(target) for target in matrix.targets]
            whole_in, whole_out = shapes[0][1], sum(shape[0] for shape in shapes)
        return replace(matrix, in_features=whole_in // inputs, out_features=whole_out // outputs)

    def rom(self, matrices: Sequence[RomMatrix], name: str) -> Work:
        """Matrices that begin together, on the die's parts."""
        parts = [self.part(matrix) for matrix in matrices]
        fills = matrix_fill_cycles(self.chip, self.model, parts)
        self.datapath.fills.update(zip(parts, fills, strict=True))
        cycles = int(self.datapath.rom(parts).cycles)
        sides = [self._side(part) for part in parts if part.targets]
        side = tuple(max(row) for row in zip(*sides, strict=True)) if sides else ()
        return Work(name, "rom", cycles, side=side)

    def _side(self, part: RomMatrix) -> tuple[int, ...]:
        """By adapter: A over the die's inputs, then B to its outputs, of the targets of a matrix.

        Where the inputs are split, B is applied to the die's part of ``A x`` and its outputs are
        summed with those of the base; where the outputs are, each die has all of A.
        """
        rows = [BYPASS_CYCLES]
        for adapter in self.adapters:
            down, up = Products(0, 0), Products(0, 0)
            for target in part.targets:
                if rank := adapter.rank(self.layer, target):
                    a, b = self.slice_work(adapter, placed_name(part), target)
                    down += Products(rank * a.macs, rank * a.bytes)
                    up += Products(rank * b.macs, rank * b.bytes)
            rows.append(int(side_cycles(self.chip, part, down, up)))
        return tuple(rows)

    def slice_work(self, adapter: Adapter, name: str, target: str) -> tuple[Products, Products]:
        """Work of a row of A and of a column of B, of the die's slice of a target."""
        n_out, n_in = self.model.linear_shape(target)
        inputs, outputs = grid_of(self.group, name)
        fmt = adapter_format(self.chip, adapter)
        return phase_work(1, n_in // inputs, fmt), phase_work(1, n_out // outputs, fmt)

    # --- experts ------------------------------------------------------------------------------

    @functools.cached_property
    def experts(self) -> tuple[int, ...]:
        """Experts of this layer that the die has."""
        places = self.group.experts[self.layer]
        return tuple(expert for expert, place in enumerate(places) if place == self.place)

    def of_experts(self, name: str) -> list[Work]:
        """A stage of the experts: visits of those that the die has, and of what stands beside."""
        stage = self.stages[name]
        found = []
        for matrix in stage.matrices:
            one = replace(matrix, uses=1)
            work = self.rom((one,), name)
            routed = matrix.copies > 1
            found.append(replace(work, side=(), experts=self.experts) if routed else work)
        return found or self._passes(name)

    def _passes(self, name: str) -> list[Work]:
        """Of the vector unit: a pass for each expert, and one for the MLP beside them."""
        assert self.model.experts is not None
        wide, beside = self.model.experts.intermediate, self.model.experts.shared_intermediate
        _, outputs = grid_of(self.group, f"{SHARED}{GATE_UP}")
        beside = beside // outputs
        if name == COMBINE:
            wide, beside = self.model.hidden, self.model.hidden * (beside > 0)
        fill = int(self.datapath.fill)

        def passes(width: int) -> Work:
            return Work(name, "vector", int(self.datapath.pass_of_vector(width)), fill)

        works = [replace(passes(wide), experts=self.experts)]
        return [*works, passes(beside)] if beside else works


def head_rows(system: System) -> dict[str, int]:
    """Rows of the LM head on each of its dies: equal parts, the first ones with one more."""
    head = system.placement.head
    each, more = divmod(system.model.vocab, len(head))
    return {die: each + (place < more) for place, die in enumerate(head)}


def head_works(
    chip: Chip, model: LanguageModel, rows: int, adapters: Sequence[Adapter]
) -> list[Work]:
    """The stages of the head on a die that has so many rows of it; the last is the sampler."""
    works = []
    for stage in Stages(chip, replace(model, vocab=rows)).token().head:
        side: tuple[int, ...] = ()
        for matrix in stage.matrices:
            found = [BYPASS_CYCLES]
            for adapter in adapters:
                rank, fmt = adapter.rank(model.layers, HEAD), adapter_format(chip, adapter)
                a, b = phase_work(1, model.hidden, fmt), phase_work(1, rows, fmt)
                down = Products(rank * a.macs, rank * a.bytes)
                up = Products(rank * b.macs, rank * b.bytes)
                found.append(int(side_cycles(chip, matrix, down, up)))
            side = tuple(found)
        works.append(Work.of(stage, side=side))
    return works
