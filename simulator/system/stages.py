"""What one die of a group does of a layer: the stages of the datapath, on its part of each matrix.

Cycles are those of ``hardwire.simulator.datapath``, with inputs and outputs divided by the split:
of a die that holds all of a layer they are the same, stage by stage. Norms work on whole vectors,
which every die of a group has. In a mixture of experts the arrays of an expert are its own and are
held once for a token that chose it, while the die's vector unit is held once for each chosen expert
of the die, so that a stage waits for its busiest die.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hardwire.kernels.lowrank.lowrank import Work as Products
from hardwire.kernels.lowrank.lowrank import phase_work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import EXPERT, HEAD, LanguageModel
from hardwire.models.pipeline import fill_cycles, matrix_fill_cycles
from hardwire.models.rom import RomMatrix
from hardwire.models.sram import kv_row_bits
from hardwire.models.system.placement import Stage
from hardwire.models.system.slices import ROUTER, grid_of, matrices
from hardwire.models.system.system import System
from hardwire.simulator.datapath import (
    BYPASS_CYCLES,
    Rates,
    adapter_format,
    attention_stages,
    ceil_div,
    side_cycles,
)
from hardwire.simulator.system.collectives import heads_at


@dataclass(frozen=True)
class Work:
    """A visit of a unit of a die, in its cycles.

    Attributes
    ----------
    name : of the stage.
    unit : kind of the unit: ``rom``, ``vector``, ``kv`` and so on.
    cycles : without what the context adds.
    rates : cycles per token of context, as of a stage of the datapath.
    dies : among which the context is divided.
    window : tokens of context at most, 0 for all.
    side : cycles of the low-rank product by adapter, 0 for none; empty where there is no side path.
    experts : numbers of experts, one of whose visits this is; empty for a visit of every token.
    """

    name: str
    unit: str
    cycles: int
    rates: Rates = ()
    dies: int = 1
    window: int = 0
    side: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()


def rom_cycles(chip: Chip, model: LanguageModel, matrix: RomMatrix) -> int:
    """Cycles of a matrix, or of a die's part of one: passes over its inputs, and the fill."""
    (fill,) = matrix_fill_cycles(chip, model, [matrix])
    groups = max(int(ceil_div(matrix.out_features, chip.datapath.outputs_per_pass)), 1)
    return int(ceil_div(matrix.in_features, chip.datapath.lanes)) * groups + int(fill)


class DieLayer:
    """The stages of one layer on one die, by name.

    Parameters
    ----------
    stage, place : the group that has the layer, and the die's place in it.
    adapters : whose side paths are counted beside the matrices.
    """

    def __init__(
        self,
        chip: Chip,
        model: LanguageModel,
        stage: Stage,
        place: int,
        layer: int,
        adapters: Sequence[Adapter],
    ) -> None:
        self.chip, self.model, self.stage, self.place = chip, model, stage, place
        self.layer, self.adapters = layer, adapters
        self.fill = int(fill_cycles(chip))
        self.matrices = {matrix.name: matrix for matrix in matrices(model, layer)}

    def part(self, name: str) -> RomMatrix:
        """The die's part of a matrix."""
        whole = self.matrices[name]
        inputs, outputs = grid_of(self.stage, name)
        return replace(
            whole,
            in_features=whole.in_features // inputs,
            out_features=whole.out_features // outputs,
        )

    def rom(self, name: str) -> Work:
        part = self.part(name)
        return Work(name, "rom", rom_cycles(self.chip, self.model, part), side=self._side(part))

    def vector(self, name: str, width: int, passes: int = 1) -> Work:
        lanes = self.chip.datapath.vector_lanes
        return Work(name, "vector", passes * int(ceil_div(width, lanes)) + self.fill)

    def norm(self, name: str, width: int = 0) -> Work:
        # Sum of squares, then scale.
        return self.vector(name, width or self.model.hidden, passes=2)

    def _side(self, part: RomMatrix) -> tuple[int, ...]:
        """By adapter: A over the die's inputs, then B to its outputs, of the targets of a matrix.

        Where the inputs are split, B is applied to the die's part of ``A x`` and its outputs are
        summed with those of the base; where the outputs are, each die has all of A.
        """
        if not part.targets:
            return ()
        whole = self.matrices[part.name]
        rows = [BYPASS_CYCLES]
        for adapter in self.adapters:
            down, up = Products(0, 0), Products(0, 0)
            for target in part.targets:
                if rank := adapter.rank(self.layer, target):
                    a, b = self.slice_work(adapter, whole, target)
                    down += Products(rank * a.macs, rank * a.bytes)
                    up += Products(rank * b.macs, rank * b.bytes)
            rows.append(int(side_cycles(self.chip, part, down, up)))
        return tuple(rows)

    def slice_work(
        self, adapter: Adapter, whole: RomMatrix, target: str
    ) -> tuple[Products, Products]:
        """Work of a row of A and of a column of B, of the die's slice of a target."""
        n_out, n_in = self.model.linear_shape(target)
        inputs, outputs = grid_of(self.stage, whole.name)
        fmt = adapter_format(self.chip, adapter)
        return phase_work(1, n_in // inputs, fmt), phase_work(1, n_out // outputs, fmt)

    def adapter_bytes(self, adapter: Adapter) -> int:
        """SRAM bytes of the die's slice of an adapter in this layer."""
        total = 0
        for matrix in self.matrices.values():
            for target in matrix.targets:
                if rank := adapter.rank(self.layer, target):
                    a, b = self.slice_work(adapter, matrix, target)
                    total += int(rank * (a.bytes + b.bytes))
        return total

    # --- attention ----------------------------------------------------------------------------

    @functools.cached_property
    def heads(self) -> int:
        """Heads of queries that the die works on."""
        begin, end = heads_at(self.stage, self.model.heads, self.layer)[self.place]
        return end - begin

    def projections(self) -> list[Work]:
        """From the normed vector to queries, keys and values, before they are moved."""
        if self.model.latent is None:
            return [self.rom("qkv")]
        latent = self.model.latent
        normed = (latent.query_rank or 0) + latent.kv_rank
        works = [self.rom("qkv_a"), self.norm("norm_latent", normed)]
        return [*works, self.rom("q_b")] if latent.query_rank else works

    def attention(self, positions: int) -> list[Work]:
        """From queries, keys and values to what attention gives.

        Latent attention has its absorbed form (DeepSeek-V2, arXiv 2405.04434, section 2.1): the
        part of ``kv_b`` that makes keys is applied to the queries, scores and sums are formed over
        the latents, which are read once, and the part that makes values is applied to the sums.

        Parameters
        ----------
        positions : dies among which the tokens are divided.
        """
        model, chip, heads = self.model, self.chip, self.heads
        if not heads:
            return []
        window = model.kind_of(self.layer).window or 0

        def over(stages: Any) -> list[Work]:
            return [
                Work(s.name, s.unit, int(s.cycles), _whole(s.rates), positions, window)
                for s in stages
            ]

        if model.latent is None:
            begin, end = heads_at(self.stage, model.kv_heads, self.layer)[self.place]
            kv_heads = end - begin
            part = replace(model, heads=heads, kv_heads=kv_heads)
            width = (heads + kv_heads) * model.head_dim
            return [self.vector("rope", width), *over(attention_stages(chip, part))]
        latent = model.latent
        rotated = (heads + 1) * latent.rope_dim
        keys = RomMatrix("kv_b_keys", latent.nope_dim, heads * latent.kv_rank, ())
        values = RomMatrix("kv_b_values", latent.kv_rank, heads * latent.value_dim, ())
        one = replace(model, kv_heads=1, head_dim=model.kv_width, latent=None)
        bits = int(kv_row_bits(one, chip.formats.kv_bits, chip.formats.kv_8bit))
        products = heads * (2 * latent.kv_rank + latent.rope_dim)
        rates = (
            (bits, 8 * int(chip.attention.kv_read_bytes_per_cycle)),
            (products, int(chip.attention.macs_per_cycle)),
        )
        write = int(ceil_div(bits, 8 * chip.sram.write_bytes_per_cycle))
        return [
            Work(keys.name, "rom", rom_cycles(chip, model, keys)),
            self.vector("rope", rotated),
            Work("attention", "kv", write + 3 * self.fill, rates, positions, window),
            Work(values.name, "rom", rom_cycles(chip, model, values)),
        ]

    # --- MLP ----------------------------------------------------------------------------------

    def activation(self, prefix: str, width: int, experts: tuple[int, ...] = ()) -> Work:
        name = prefix + self.model.activation
        return replace(self.vector(name, width), experts=experts)

    def expert(self, name: str, experts: tuple[int, ...]) -> Work:
        part = self.part(name)
        cycles = rom_cycles(self.chip, self.model, part)
        return Work(name, "rom", cycles, experts=experts)

    def routing(self) -> list[Work]:
        """The router's numbers, and the choice: a pass over them, and a cycle for each expert."""
        assert self.model.experts is not None
        count, active = self.model.experts.count, self.model.experts.active
        choice = self.vector("route", count)
        return [self.rom(ROUTER), replace(choice, cycles=choice.cycles + active)]

    def experts_here(self) -> tuple[int, ...]:
        """Experts of this layer that the die has, or has a part of."""
        places = self.stage.experts[self.layer]
        if grid_of(self.stage, f"{EXPERT}gate_up") != (1, 1):
            return tuple(range(len(places)))
        return tuple(expert for expert, place in enumerate(places) if place == self.place)


def _whole(rates: Rates) -> Rates:
    return tuple((int(n), int(d)) for n, d in rates)


def head_rows(system: System) -> dict[str, int]:
    """Rows of the LM head on each of its dies: equal parts, the first ones with one more."""
    head = system.placement.head
    each, more = divmod(system.model.vocab, len(head))
    return {die: each + (place < more) for place, die in enumerate(head)}


def head_slice_bytes(system: System, adapter: Adapter) -> dict[str, int]:
    """SRAM bytes of an adapter beside each die's part of the LM head."""
    model, rank = system.model, adapter.rank(system.model.layers, HEAD)
    found = {}
    for die, rows in head_rows(system).items():
        fmt = adapter_format(system.die(die).chip, adapter)
        each = phase_work(1, model.hidden, fmt).bytes + phase_work(1, rows, fmt).bytes
        found[die] = int(rank * each)
    return found


def head_works(
    chip: Chip, model: LanguageModel, rows: int, adapters: Sequence[Adapter]
) -> list[Work]:
    """The head on a die that has so many rows of it, without the sampler."""
    fill = int(fill_cycles(chip))
    path, sampling = chip.datapath, chip.sampling
    matrix = RomMatrix(HEAD, model.hidden, rows, (HEAD,))
    side: tuple[int, ...] = ()
    if chip.lora.head == "present":
        found = [BYPASS_CYCLES]
        for adapter in adapters:
            rank, fmt = adapter.rank(model.layers, HEAD), adapter_format(chip, adapter)
            a, b = phase_work(1, model.hidden, fmt), phase_work(1, rows, fmt)
            down = Products(rank * a.macs, rank * a.bytes)
            up = Products(rank * b.macs, rank * b.bytes)
            found.append(int(side_cycles(chip, matrix, down, up)))
        side = tuple(found)
    return [
        Work("final_norm", "vector", 2 * int(ceil_div(model.hidden, path.vector_lanes)) + fill),
        Work(HEAD, "rom", rom_cycles(chip, model, matrix), side=side),
        Work("topk", "topk", int(ceil_div(rows, sampling.topk_logits_per_cycle)) + fill),
    ]
