"""The clocked hardware of a chip: the units of each block, and the registers in them.

A unit is what is clocked as one while it works: the registers behind an output of a ROM matrix, a
KV memory with its multipliers, a side path, a vector unit, the top-k scan, the lines that bring a
matrix its input. Everything takes numbers or NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import ACTIVATION_BITS, RomMatrix, head_matrix, layer_matrices

PRODUCT_BITS = 12
"""An 8-bit activation times a weight of up to 4 bits."""

TOPK_PLACES, LOGIT_BITS = 8, 16
"""Top-k keeps a sorted list of eight, and compares logits of 16 bits."""


def outputs_at_once(chip: Chip, model: LanguageModel, matrix: RomMatrix) -> Any:
    """Outputs whose registers are clocked while a matrix works: its own, or those of the array
    that all layers share; at most ``datapath.outputs_per_pass``."""
    wide = matrix.out_features
    if chip.datapath.layers == "shared":
        wide = max(m.out_features for m in (*layer_matrices(model), head_matrix(model)))
    return np.minimum(chip.datapath.outputs_per_pass, wide)


def line_bits(chip: Chip) -> Any:
    """Lines that bring a matrix its input, in bits: activations, and where the cells select, the
    products of each with all ``2^rom.bits_per_weight`` weights (US 2025/0123802)."""
    bits = ACTIVATION_BITS
    if chip.rom.product == "select":
        bits = bits + np.exp2(chip.rom.bits_per_weight) * PRODUCT_BITS
    return chip.datapath.lanes * bits


def units(chip: Chip, model: LanguageModel) -> dict[str, Any]:
    """Units by block: those of all layers, or of the one set that layers share."""
    matrices, head = layer_matrices(model), head_matrix(model)
    shared = chip.datapath.layers == "shared"
    engines = 1 if shared else model.layers
    if shared:
        outputs = outputs_at_once(chip, model, head)
    else:
        layer = sum(outputs_at_once(chip, model, matrix) for matrix in matrices)
        outputs = model.layers * layer + outputs_at_once(chip, model, head)
    return {
        "matrix_adders": outputs,
        "broadcast": 1 if shared else model.layers * len(matrices) + 1,
        "attention": engines * (2 if chip.attention.kv_memories == "separate" else 1),
        "lora": engines * len(matrices) + (chip.lora.head == "present"),
        # Norms, RoPE and the activation of a layer are separate units, plus the final norm.
        "vector_units": engines * (6 if model.sub_norm else 4) + 1,
        "sampling": 1,
    }


def registers_per_unit(chip: Chip) -> dict[str, Any]:
    """Registers, each of one bit, in a unit of each block of ``units``."""
    process = chip.process
    return {
        "matrix_adders": chip.rom.registers_per_output,
        # Once, where the products are formed: repeaters along the lines hold nothing.
        "broadcast": line_bits(chip),
        "attention": chip.attention.macs_per_cycle * process.mac_int8_registers,
        "lora": chip.lora.macs_per_cycle * process.mac_int8_registers,
        "vector_units": chip.datapath.vector_lanes * process.fp16_registers,
        "sampling": chip.sampling.topk_logits_per_cycle * process.compare_registers,
    }


def registers(chip: Chip, model: LanguageModel) -> dict[str, Any]:
    """Registers by block."""
    each = registers_per_unit(chip)
    return {block: number * each[block] for block, number in units(chip, model).items()}
