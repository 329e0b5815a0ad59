"""Area of a chip's memories: what they hold, and how wide they are read.

A port that reads more bits in a cycle takes more macros side by side. Each then has fewer rows for
the same bits, and a macro's periphery weighs on fewer rows: ports are paid for in area.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.chip import Chip
from hardwire.models.fabric import engines, kv_memories, outputs_at_once, side_paths
from hardwire.models.language_model import LanguageModel
from hardwire.models.macro import Macro
from hardwire.models.rom import RomFormat, RomMatrix, arrays, rom_bits


def sram_port_bits(chip: Chip, model: LanguageModel) -> Any:
    """Bits that all SRAM of the chip has to read, or write, in one cycle.

    A KV memory writes through the port that it reads by. A token reads its KV cache and the weights
    of each side path one after the other, so that one port can serve all, and does where
    ``sram.ports`` are shared. Reads of several tokens that meet there are not modelled.
    """
    kv = kv_memories(chip, model) * np.maximum(
        chip.attention.kv_read_bytes_per_cycle, chip.sram.write_bytes_per_cycle
    )
    adapter = chip.lora.read_bytes_per_cycle
    if chip.sram.ports == "shared":
        return 8 * np.maximum(kv, engines(chip, model) * adapter)
    return 8 * (kv + side_paths(chip, model) * adapter)


def sram_rows(chip: Chip, model: LanguageModel, bits: Any) -> Any:
    """Words of the SRAM macros that hold ``bits`` on the chip: as few as the ports need, or as many
    as the deepest macro has."""
    return np.minimum(chip.sram.macro_rows, bits / sram_port_bits(chip, model))


def sram_mm2(chip: Chip, model: LanguageModel, bits: Any) -> Any:
    """Area of ``bits`` of SRAM, in mm²."""
    process = chip.process
    macro = Macro.of_density(
        chip.sram.density_mbit_per_mm2, chip.sram.macro_rows, process.sram_periphery_rows
    ).widened(chip.sram.macro_bits / 64, process.macro_shared_periphery)
    return macro.area_mm2(bits, sram_rows(chip, model, bits))


def matrix_mm2(chip: Chip, matrix: RomMatrix) -> Any:
    """Area of the codes and scales of one matrix at the density of the chip's ROM, in mm²."""
    return RomFormat.of(chip, matrix).stored_bits(matrix) / 1e6 / chip.rom.density_mbit_per_mm2


def rom_mm2(chip: Chip, model: LanguageModel) -> Any:
    """Area of the ROM, in mm².

    An array that all layers share is read like any memory: the codes of every lane and output in
    each cycle. Where layers are distinct hardware there is nothing to read: each cell selects its
    product when that is broadcast, and the density is of the array as it is.
    """
    bits = rom_bits(chip, model)
    if chip.datapath.layers == "distinct":
        return bits / 1e6 / chip.rom.density_mbit_per_mm2
    ((_, array),) = arrays(chip, model)
    outputs = outputs_at_once(chip, model, array)
    rows = bits / (chip.datapath.lanes * outputs * RomFormat.of(chip, array).code_bits)
    macro = Macro.of_density(
        chip.rom.density_mbit_per_mm2, chip.rom.macro_rows, chip.process.rom_periphery_rows
    )
    return macro.area_mm2(bits, rows)
