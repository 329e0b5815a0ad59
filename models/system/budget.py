"""Whether each die holds what is placed on it: area, SRAM, and what it takes while it waits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardwire.models.area import BYTES_PER_MIB, area, transistors
from hardwire.models.chip import Chip
from hardwire.models.cost import die_cost_usd, murphy_yield
from hardwire.models.energy import idle_power
from hardwire.models.errors import InputError
from hardwire.models.fabric import registers, registers_per_unit
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.models.rom import (
    LATENT_KEYS,
    LATENT_VALUES,
    RomMatrix,
    adder_bits,
    adder_bits_of,
    rescale_units_of,
    rom_bits,
    rom_formats,
)
from hardwire.models.sram import kv_layer_bits
from hardwire.models.system.contents import EMBEDDING, Contents, contents
from hardwire.models.system.slices import Slice
from hardwire.models.system.system import System

Made = tuple[tuple[int, RomMatrix], ...]
"""Matrices, and how many there are of each."""


@dataclass(frozen=True)
class DieBudget:
    """What one die has, and what it would need.

    Attributes
    ----------
    die, chip : their names.
    held : what lies on the die.
    area_mm2 : by block and in ``total``, see ``hardwire.models.area.area``.
    die_mm2, reticle_mm2 : the die as stated, and the largest that can be made.
    sram_bytes, kv_bytes, adapter_bytes : of SRAM, and what users and adapters take of it.
    memory_bytes : beside the die, for keys and values.
    idle_w : of the chip by block while it waits, without regulators and board.
    card_idle_w : of its card.
    yield_share : of dies that are good, by Murphy's model.
    die_usd : cost of a good die; infinite where none can be made.
    """

    die: str
    chip: str
    held: Contents
    area_mm2: Mapping[str, float]
    die_mm2: float
    reticle_mm2: float
    sram_bytes: float
    kv_bytes: float
    adapter_bytes: float
    memory_bytes: float
    idle_w: Mapping[str, float]
    card_idle_w: float
    yield_share: float
    die_usd: float

    @property
    def over_mm2(self) -> float:
        """mm² by which the blocks exceed the die; negative by what is left."""
        return self.area_mm2["total"] - self.die_mm2

    @property
    def over_bytes(self) -> float:
        """Bytes by which users and adapters exceed SRAM and memory; negative by what is left."""
        spill = self.kv_bytes + self.adapter_bytes - self.sram_bytes
        if self.adapter_bytes <= self.sram_bytes and spill > 0:
            return spill - self.memory_bytes
        return spill

    @property
    def spilled_bytes(self) -> float:
        """Bytes of keys and values that lie in the memory beside the die."""
        spill = self.kv_bytes + self.adapter_bytes - self.sram_bytes
        return min(max(spill, 0.0), self.memory_bytes)

    @property
    def fits(self) -> bool:
        """Whether the die holds what is placed on it."""
        return self.obstacle is None

    @property
    def obstacle(self) -> str | None:
        """What the die cannot hold, in one sentence, or None."""
        over = []
        if self.over_mm2 > 0:
            over.append(
                f"{self.over_mm2:,.1f} mm² (its blocks take {self.area_mm2['total']:,.1f} of "
                f"{self.die_mm2:,g})"
            )
        elif self.die_mm2 > self.reticle_mm2:
            over.append(
                f"{self.die_mm2 - self.reticle_mm2:,.1f} mm² of the reticle's {self.reticle_mm2:g}"
            )
        if self.over_bytes > 0:
            over.append(
                f"{self.over_bytes / BYTES_PER_MIB:,.1f} MiB of SRAM (KV cache "
                f"{self.kv_bytes / BYTES_PER_MIB:,.1f} and adapters "
                f"{self.adapter_bytes / BYTES_PER_MIB:,.1f} of "
                f"{self.sram_bytes / BYTES_PER_MIB:,g})"
            )
        return f"die {self.die} overflows by {' and by '.join(over)}" if over else None


def budgets(
    system: System,
    *,
    users: int = 1,
    context_tokens: int = 2048,
    adapter_bytes: Mapping[str, float] | None = None,
) -> dict[str, DieBudget]:
    """What each die of a system has and needs, by its name.

    Parameters
    ----------
    users, context_tokens : whose KV caches lie in SRAM.
    adapter_bytes : of the dies' slices of adapters, by the die's name.

    Raises
    ------
    InputError
        If a chip shares one array among its layers: it has no die for part of a model.
    """
    held = contents(system)
    sizes = adapter_bytes or {}
    # Dies of one chip that hold alike have the same hardware.
    known: dict[tuple[int, Made, LanguageModel], dict[str, Any]] = {}
    found = {}
    for die in system.dies:
        one = held[die.name]
        made = matrices_on(one, system.model)
        base = part_of(system.model, one)
        key = id(die.chip), made, base
        if key not in known:
            known[key] = _hardware(die.chip, base, made)
        found[die.name] = DieBudget(
            die=die.name,
            chip=die.chip.name,
            held=one,
            sram_bytes=float(die.chip.sram.capacity_mib) * BYTES_PER_MIB,
            kv_bytes=users * kv_bytes(die.chip, system.model, one, context_tokens),
            adapter_bytes=float(sizes.get(die.name, 0)),
            memory_bytes=system.memory_gib * 2**30,
            **known[key],
        )
    return found


def matrices_on(held: Contents, model: LanguageModel) -> Made:
    """The matrices that are cast on a die, LM head and embedding last."""
    counted: Counter[RomMatrix] = Counter()
    for parts in held.slices.values():
        for part in parts:
            for number, matrix in _arrays(part, model):
                counted[matrix] += number
    made = [(number, matrix) for matrix, number in counted.items() if number]
    rows = held.head_rows
    embedded = held.weights.get(EMBEDDING, 0) + held.copies.get(EMBEDDING, 0)
    for number in (rows, embedded // model.hidden):
        if number:
            made.append((1, RomMatrix(HEAD, model.hidden, number, ())))
    return tuple(made)


def _arrays(part: Slice, model: LanguageModel) -> Made:
    """The arrays of a slice; that from the latent to heads is one to keys and one to values each,
    as ``hardwire.models.rom.layer_matrices`` has them."""
    latent = model.latent
    if part.matrix != "kv_b" or latent is None:
        return ((part.times, RomMatrix(part.matrix, part.in_features, part.out_features, ())),)
    heads = part.out_features // (latent.nope_dim + latent.value_dim)
    return (
        (heads, RomMatrix(LATENT_KEYS, latent.nope_dim, part.in_features, ())),
        (heads, RomMatrix(LATENT_VALUES, part.in_features, latent.value_dim, ())),
    )


def _hardware(chip: Chip, base: LanguageModel, made: Made) -> dict[str, Any]:
    """Area, idle power and cost of a die with these matrices and the rest of a model's layers."""
    if chip.datapath.layers != "distinct":
        raise InputError(
            f"{chip.name}: datapath.layers: must be distinct in a system of several dies"
        )
    blocks, idle = _blocks_and_idle(chip, base, made)
    card = sum(idle.values()) / float(chip.power.regulator_efficiency) + float(chip.power.board_w)
    die_mm2 = float(chip.die.area_mm2)
    critical = max(die_mm2, blocks["total"]) * (1 - float(chip.floorplan.defect_tolerant_share))
    return {
        "area_mm2": blocks,
        "die_mm2": die_mm2,
        "reticle_mm2": float(chip.process.reticle_mm2),
        "idle_w": idle,
        "card_idle_w": card,
        "yield_share": float(murphy_yield(critical, chip.process.defects_per_cm2)),
        "die_usd": float(die_cost_usd(chip, blocks["total"])),
    }


def _blocks_and_idle(
    chip: Chip, base: LanguageModel, made: Made
) -> tuple[dict[str, float], dict[str, float]]:
    """Area and idle power by block.

    What does not depend on matrices, the memories and units of layers, is that of ``part_of``; what
    does is counted matrix by matrix, by the same formulas.
    A die without the LM head has no top-k scan, but the reader of a chip wants one: it is charged.
    """
    process, fmt = chip.process, rom_formats(chip)
    bits = sum(number * fmt(matrix).stored_bits(matrix) for number, matrix in made)
    # An embedding is read by rows: it has no adders behind it.
    driven = made[:-1] if len([m for _, m in made if m.name == HEAD]) > 1 else made
    outputs = sum(n * min(chip.datapath.outputs_per_pass, m.out_features) for n, m in driven)
    counts = registers(chip, base)
    each = registers_per_unit(chip, base)
    counts["matrix_adders"] = outputs * each["matrix_adders"]
    counts["broadcast"] = sum(n for n, _ in driven) * each["broadcast"]
    adders = adder_bits_of(chip, driven)
    counted = transistors(chip, base) | {
        "matrix_adders": adders * process.adder_transistors_per_bit,
        "rescale": rescale_units_of(chip, driven) * process.fp16_transistors,
        "registers": sum(counts.values()) * process.flop_transistors,
    }
    blocks = area(chip, base, counted)
    blocks["rom"] = bits / 1e6 / chip.rom.density_mbit_per_mm2
    if chip.rom.sums == "within":
        beside = sum(number for block, number in counts.items() if block != "matrix_adders")
        per_mm2 = process.logic_mtransistors_per_mm2 * 1e6
        blocks["registers"] = beside * process.flop_transistors / per_mm2
    placed = sum(v for k, v in blocks.items() if k not in ("overhead", "io", "total"))
    blocks["overhead"] = chip.floorplan.overhead_share * placed
    blocks["total"] = placed + blocks["overhead"] + blocks["io"]
    idle = idle_power(chip, base, blocks)
    idle["rom_leakage"] *= bits / rom_bits(chip, base)
    for block, number in registers(chip, base).items():
        idle[f"waiting_{block}"] *= counts[block] / number if number else 1
    idle["toggling_adders"] *= adders / adder_bits(chip, base)
    return (
        {block: float(mm2) for block, mm2 in blocks.items()},
        {block: float(watts) for block, watts in idle.items()},
    )


def part_of(model: LanguageModel, held: Contents) -> LanguageModel:
    """The layers of a die as a model of their own, with as many experts as the die has of one.

    What no matrix decides, the memories and units of layers, is counted by it. A die without layers
    is taken for one of one layer: it has an SRAM with its ports.
    """
    layers = sorted(held.slices) or [0]
    experts = model.experts
    if experts is not None:
        count = max((len(one) for one in held.experts.values()), default=experts.count)
        active = min(experts.active, count)
        experts = dataclasses.replace(experts, count=max(count, 1), active=max(active, 1))

    def kept(numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place for place, layer in enumerate(layers) if layer in frozenset(numbers))

    return dataclasses.replace(
        model,
        layers=len(layers),
        dense_layers=kept(model.dense_layers),
        sliding_layers=kept(model.sliding_layers),
        experts=experts,
    )


def kv_bytes(chip: Chip, model: LanguageModel, held: Contents, context_tokens: int) -> float:
    """Bytes that one user's keys and values take on a die, scales included.

    A layer with a window keeps no more tokens than that.
    """
    tokens = sum(
        model.kind_of(layer).attended(context_tokens) * share
        for layer, share in held.kv_share.items()
    )
    bits = kv_layer_bits(model, chip.formats.kv_bits, chip.formats.kv_8bit)
    return float(tokens) * float(bits) / 8
