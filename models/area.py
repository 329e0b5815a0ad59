"""Area and transistors by block, closed form. Everything takes numbers or NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.chip import Chip
from hardwire.models.fabric import (
    LOGIT_BITS,
    TOPK_PLACES,
    active_experts,
    kv_multiplier,
    outputs_at_once,
    registers,
    routers,
    units,
)
from hardwire.models.language_model import LanguageModel
from hardwire.models.memories import matrix_mm2, rom_mm2, sram_mm2
from hardwire.models.rom import (
    ACTIVATION_BITS,
    RomFormat,
    RomMatrix,
    adder_bits,
    arrays,
    head_matrix,
    layer_matrices,
    rescale_units,
    rom_bits,
    rom_transistors,
)

BYTES_PER_MIB = 1 << 20


def matrix_side_mm(chip: Chip, model: LanguageModel, matrix: RomMatrix, lanes: Any) -> Any:
    """Side of a matrix that is as wide as high, its ROM and the adders of so many lanes, in mm.

    Of the array that all layers share, where they do.
    """
    process = chip.process
    rom = matrix_mm2(chip, matrix)
    if chip.datapath.layers == "shared":
        ((_, matrix),) = arrays(chip, model)
        rom = rom_bits(chip, model) / 1e6 / chip.rom.density_mbit_per_mm2
    adders = outputs_at_once(chip, model, matrix) * process.adder_transistors_per_bit
    per_mm2 = process.logic_mtransistors_per_mm2 * 1e6
    fmt = RomFormat.of(chip, matrix)
    bits = fmt.tree_bits(lanes) + fmt.sum_bits(matrix.in_features)
    return np.sqrt(rom + bits * adders / per_mm2)


def heard_per_cycle(chip: Chip) -> Any:
    """Activations that a side path hears per cycle: at least those that its matrix hears."""
    return np.maximum(chip.lora.activations_per_cycle, chip.datapath.lanes)


def lora_bus_bits(chip: Chip) -> Any:
    """Width of the bus that brings a side path what the broadcast does not; 0 for none."""
    return (heard_per_cycle(chip) - chip.datapath.lanes) * ACTIVATION_BITS


def lora_bus_mm(chip: Chip, model: LanguageModel, matrix: RomMatrix) -> Any:
    """Length of that bus: along one side of its matrix, or of the array that all layers share."""
    shared = chip.datapath.layers == "shared"
    return np.sqrt(rom_mm2(chip, model) if shared else matrix_mm2(chip, matrix))


def lora_wire_mm(chip: Chip, model: LanguageModel) -> Any:
    """Length of all wires of the buses of side paths, one wire for each bit."""
    if chip.datapath.layers == "shared":
        return lora_bus_bits(chip) * lora_bus_mm(chip, model, layer_matrices(model)[0])
    run = sum(
        len(kind.layers)
        * sum(m.side_paths * lora_bus_mm(chip, model, m) for m in layer_matrices(model, kind))
        for kind in model.layer_kinds
    )
    if chip.lora.head == "present":
        run = run + lora_bus_mm(chip, model, head_matrix(model))
    return lora_bus_bits(chip) * run


def transistors(chip: Chip, model: LanguageModel) -> dict[str, Any]:
    """Transistors by block, and ``total``, for ``model`` hardwired on ``chip``.

    ROM is charged per weight (Taalas states one transistor per weight) and per bit of a scale, SRAM
    per bit cell, arithmetic per full-adder bit, rescaling per 16-bit floating-point unit, registers
    by ``hardwire.models.fabric``. Macro periphery, routing and repair are in no block: the sum is a
    lower bound on a published count.
    """
    process = chip.process
    number = units(chip, model)
    full_adder = process.adder_transistors_per_bit
    mac = process.mac_int8_transistors
    blocks = {
        "rom": rom_transistors(chip, model),
        "sram": chip.sram.capacity_mib * BYTES_PER_MIB * 8 * process.sram_transistors_per_bit,
        "matrix_adders": adder_bits(chip, model) * full_adder,
        "rescale": rescale_units(chip, model) * process.fp16_transistors,
        "attention": (
            number["attention"] * chip.attention.macs_per_cycle * kv_multiplier(chip).transistors
        ),
        "lora": number["lora"] * chip.lora.macs_per_cycle * mac,
        "vector_units": (
            number["vector_units"] * chip.datapath.vector_lanes * process.fp16_transistors
        ),
        # A comparator per scanned logit, or score of an expert, and place of the sorted list.
        "sampling": (
            (
                chip.sampling.topk_logits_per_cycle * TOPK_PLACES
                + routers(chip, model) * chip.datapath.vector_lanes * active_experts(model)
            )
            * LOGIT_BITS
            * full_adder
        ),
        "registers": sum(registers(chip, model).values()) * process.flop_transistors,
    }
    return {**blocks, "total": sum(blocks.values())}


def area(chip: Chip, model: LanguageModel, counted: dict[str, Any] | None = None) -> dict[str, Any]:
    """Area by block in mm², and ``total``.

    ROM and SRAM from what they hold and how wide they are read (``hardwire.models.memories``),
    logic from transistors over placed density, but for what ``rom.sums`` has in the ROM, buses of
    side paths from their wires, ``overhead`` a share of the sum, ``io`` stated.

    Parameters
    ----------
    counted : ``transistors`` of the same chip and model, where they are at hand.
    """
    counted = counted or transistors(chip, model)
    density = chip.process.logic_mtransistors_per_mm2 * 1e6
    blocks = {
        "rom": rom_mm2(chip, model),
        "sram": sram_mm2(chip, model, chip.sram.capacity_mib * BYTES_PER_MIB * 8),
    }
    for block in (
        "matrix_adders", "rescale", "attention", "lora", "vector_units", "sampling", "registers",
    ):  # fmt: skip
        blocks[block] = counted[block] / density
    if chip.rom.sums == "within":
        within = registers(chip, model)["matrix_adders"] * chip.process.flop_transistors
        blocks["matrix_adders"] = blocks["rescale"] = 0.0
        blocks["registers"] = (counted["registers"] - within) / density
    blocks["lora_bus"] = lora_wire_mm(chip, model) * chip.process.bus_um_per_bit / 1e3
    blocks["overhead"] = chip.floorplan.overhead_share * sum(blocks.values())
    blocks["io"] = chip.floorplan.io_mm2
    return {**blocks, "total": sum(blocks.values())}


def logic_area(blocks: dict[str, Any]) -> Any:
    """mm² of dense logic in an ``area`` result: what leaks and is clocked as logic."""
    other = ("rom", "sram", "lora_bus", "io")
    return blocks["total"] - sum(blocks[block] for block in other)
