"""The clocked hardware of a chip: the units of each block, and the registers in them.

A unit is what is clocked as one while it works: the registers behind an output of a ROM matrix, a
KV memory with its multipliers, a side path, a vector unit, the top-k scan, the lines that bring a
matrix its input. Everything takes numbers or NumPy arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import (
    ACTIVATION_BITS,
    RomMatrix,
    arrays,
    layer_matrices,
    rom_formats,
)

TOPK_PLACES, LOGIT_BITS = 8, 16
"""Top-k keeps a sorted list of eight, and compares logits of 16 bits."""


def outputs_at_once(chip: Chip, model: LanguageModel, matrix: RomMatrix) -> Any:
    """Outputs whose registers are clocked while a matrix works: its own, or those of the array
    that all layers share; at most ``datapath.outputs_per_pass``."""
    if chip.datapath.layers == "shared":
        ((_, matrix),) = arrays(chip, model)
    return np.minimum(chip.datapath.outputs_per_pass, matrix.out_features)


def line_bits(chip: Chip, model: LanguageModel) -> Any:
    """Lines that bring a matrix its input, in bits, mean over the matrices: activations, and where
    the cells select, the products of each (``RomFormat.line_bits``)."""
    bits: Any = ACTIVATION_BITS
    if chip.rom.product == "select":
        fmt, made = rom_formats(chip), arrays(chip, model)
        counts: dict[Any, int] = {}
        for count, matrix in made:
            counts[fmt(matrix)] = counts.get(fmt(matrix), 0) + count
        total = sum(counts.values())
        bits = bits + sum(f.line_bits * (n / total) for f, n in counts.items())
    return chip.datapath.lanes * bits


def engines(chip: Chip, model: LanguageModel) -> int:
    """Sets of the hardware of a layer: one for each, or the one that all layers share."""
    return 1 if chip.datapath.layers == "shared" else model.layers


def kv_memories(chip: Chip, model: LanguageModel) -> int:
    """KV memories: one in a layer, or one for keys and one for values. A latent is both."""
    separate = chip.attention.kv_memories == "separate" and model.latent is None
    return engines(chip, model) * (2 if separate else 1)


def side_paths(chip: Chip, model: LanguageModel) -> int:
    """Side paths for low-rank products: one beside each matrix that may have one, and of experts
    one beside each that a token may be sent to. Where layers share them, those of the layer that
    has most."""
    of_kind = [
        sum(matrix.side_paths for matrix in layer_matrices(model, kind))
        for kind in model.layer_kinds
    ]
    if chip.datapath.layers == "shared":
        in_layers = max(of_kind)
    else:
        layers = [len(kind.layers) for kind in model.layer_kinds]
        in_layers = sum(n * paths for n, paths in zip(layers, of_kind, strict=True))
    return in_layers + (chip.lora.head == "present")


def active_experts(model: LanguageModel) -> int:
    """Experts that a token is sent to in a layer that has any."""
    return 0 if model.experts is None else model.experts.active


def routers(chip: Chip, model: LanguageModel) -> int:
    """Units that choose experts: one for each layer that has any, or one that layers share."""
    if model.experts is None:
        return 0
    return 1 if chip.datapath.layers == "shared" else model.layers - len(model.dense_layers)


def _vector_units(chip: Chip, model: LanguageModel) -> int:
    """Norms, RoPE and the activation of a layer are separate units, plus the final norm; so are the
    norm of a latent, and of experts their scores and the sum of what they give."""
    each = 6 if model.sub_norm else 4
    each += (2 if model.post_norms else 0) + (1 if model.latent is not None else 0)
    return engines(chip, model) * each + 2 * routers(chip, model) + 1


@dataclass(frozen=True)
class Multiplier:
    """A multiply-accumulate unit: transistors, registers in bits, and pJ per operation."""

    transistors: Any
    registers: Any
    pj: Any


def kv_multiplier(chip: Chip) -> Multiplier:
    """What multiplies an element of the KV cache: of 8 bits for integers of up to 8, of FP8 for
    e4m3, and in 16-bit floating point, a multiplication and an addition, for float16."""
    process, bits = chip.process, chip.formats.kv_bits
    found = Multiplier(
        process.mac_int8_transistors, process.mac_int8_registers, process.mac_int8_pj
    )
    if chip.formats.kv_8bit == "e4m3":
        times = np.where(np.equal(bits, 8), process.mac_fp8_factor, 1)[()]
        found = Multiplier(found.transistors * times, found.registers, found.pj * times)
    if np.any(wide := np.equal(bits, 16)):
        found = Multiplier(
            np.where(wide, process.fp16_transistors, found.transistors)[()],
            np.where(wide, process.fp16_registers, found.registers)[()],
            np.where(wide, 2 * process.fp16_op_pj, found.pj)[()],
        )
    return found


def units(chip: Chip, model: LanguageModel) -> dict[str, Any]:
    """Units by block: those of all layers, or of the one set that layers share."""
    made = arrays(chip, model)
    return {
        "matrix_adders": sum(
            count * outputs_at_once(chip, model, matrix) for count, matrix in made
        ),
        "broadcast": sum(count for count, _ in made),
        "attention": kv_memories(chip, model),
        "lora": side_paths(chip, model),
        "vector_units": _vector_units(chip, model),
        "sampling": 1,
    }


def registers_per_unit(chip: Chip, model: LanguageModel) -> dict[str, Any]:
    """Registers, each of one bit, in a unit of each block of ``units``."""
    process = chip.process
    return {
        "matrix_adders": chip.rom.registers_per_output,
        # Once, where the products are formed: repeaters along the lines hold nothing.
        "broadcast": line_bits(chip, model),
        "attention": chip.attention.macs_per_cycle * kv_multiplier(chip).registers,
        "lora": chip.lora.macs_per_cycle * process.mac_int8_registers,
        "vector_units": chip.datapath.vector_lanes * process.fp16_registers,
        "sampling": chip.sampling.topk_logits_per_cycle * process.compare_registers,
    }


def registers(chip: Chip, model: LanguageModel) -> dict[str, Any]:
    """Registers by block."""
    each = registers_per_unit(chip, model)
    return {block: number * each[block] for block, number in units(chip, model).items()}
