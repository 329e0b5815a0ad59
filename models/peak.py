"""Power at full activity: what a chip would draw if every unit worked in every cycle.

No load does that, and hardly a card could carry it: in serial issue one layer works while all
others wait. It is the bound that power delivery and gating are judged by, and what tables
of power by block mostly state. Everything takes numbers or NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.area import area, lora_wire_mm
from hardwire.models.chip import Chip
from hardwire.models.energy import (
    FEMTO,
    OPS_PER_ELEMENT,
    PICO,
    RESULT_BITS,
    idle_power,
    line_mm_per_bit,
    product_fj,
)
from hardwire.models.fabric import (
    LOGIT_BITS,
    TOPK_PLACES,
    kv_multiplier,
    outputs_at_once,
    registers,
    units,
)
from hardwire.models.language_model import LanguageModel
from hardwire.models.memories import sram_port_bits
from hardwire.models.rom import (
    ACTIVATION_BITS,
    RomMatrix,
    adder_bits,
    arrays,
    rescale_units,
    rom_formats,
)

STANDING = ("logic_leakage", "sram_leakage", "rom_leakage", "clock_spine")
"""Parts of idle power that work adds nothing to."""


def peak_power(
    chip: Chip, model: LanguageModel, blocks: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Watts of a card by part at full activity, its regulators and board included.

    Each matrix reads, selects or multiplies, and adds for all its lanes and outputs; all ports of
    SRAM read; attention, side paths, vector units and top-k use all their lanes; every register
    takes new data; the host link is at its rate. The power limit is no part of it.

    Parameters
    ----------
    blocks : ``area`` of the same chip and model, where it is at hand.
    """
    process, number = chip.process, units(chip, model)
    blocks = blocks or area(chip, model)
    per_cycle = process.energy_factor(chip.datapath.supply_v) * chip.datapath.clock_ghz * 1e9
    pico, femto = PICO * per_cycle, FEMTO * per_cycle
    lanes, fmt = chip.datapath.lanes, rom_formats(chip)
    made, selects = arrays(chip, model), chip.rom.product == "select"

    def total(per_array: Any) -> Any:
        return sum(count * per_array(array) for count, array in made)

    def products(array: RomMatrix) -> Any:
        return lanes * outputs_at_once(chip, model, array)

    def product(array: RomMatrix) -> Any:
        return products(array) * product_fj(chip, fmt(array))

    def read_bits(array: RomMatrix) -> Any:
        return products(array) * fmt(array).stored_bits(array) / array.weights

    def line_mm(array: RomMatrix) -> Any:
        """Length of all lines that carry a lane's activation, or products of it, for all lanes."""
        bits = fmt(array).line_bits if selects else ACTIVATION_BITS
        reached = array.in_features * outputs_at_once(chip, model, array)
        return lanes * bits * reached * (fmt(array).code_bits * line_mm_per_bit(chip))

    def crossing_bits(array: RomMatrix) -> Any:
        """Inputs, and results as often as the inputs are through."""
        results = products(array) * RESULT_BITS / array.in_features
        return lanes * ACTIVATION_BITS + results

    idle = idle_power(chip, model, blocks)
    wire, fp16 = process.wire_fj_per_bit_mm, process.fp16_op_pj * OPS_PER_ELEMENT * pico
    macs = number["attention"] * chip.attention.macs_per_cycle
    side_macs = number["lora"] * chip.lora.macs_per_cycle
    logits = chip.sampling.topk_logits_per_cycle
    flop_fj = process.flop_clock_fj + process.flop_data_fj
    found = {
        **{part: watts for part, watts in idle.items() if part in STANDING},
        "registers": sum(registers(chip, model).values()) * (flop_fj * femto),
        "rom_read": total(read_bits) / 8 * (process.rom_read_pj_per_byte * pico),
        "select" if selects else "multiply": total(product) * femto,
        "accumulate": (
            adder_bits(chip, model) * (process.adder_fj_per_bit * process.glitch_factor * femto)
        ),
        "rescale": rescale_units(chip, model) * 2 * (process.fp16_op_pj * pico),
        "broadcast": total(line_mm) * (wire * femto),
        "die_wires": total(crossing_bits) * np.sqrt(chip.die.area_mm2) * (wire * femto),
        "sram_ports": sram_port_bits(chip, model) / 8 * (process.sram_pj_per_byte * pico),
        "attention": macs * (kv_multiplier(chip).pj * pico),
        "softmax": macs / model.score_products * fp16,
        "lora": side_macs * (process.mac_int8_pj * pico),
        "lora_bus": lora_wire_mm(chip, model) * (wire * femto),
        "vector": number["vector_units"] * chip.datapath.vector_lanes * fp16,
        "topk": logits * TOPK_PLACES * LOGIT_BITS * (process.adder_fj_per_bit * femto),
        "host_link": chip.link.bandwidth_gb_per_s * 8e9 * (chip.link.pj_per_bit * PICO),
    }
    chip_w = sum(found.values())
    return {
        **found,
        "regulators": chip_w * (1 / chip.power.regulator_efficiency - 1),
        "board": chip.power.board_w,
    }
