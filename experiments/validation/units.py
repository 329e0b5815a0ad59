"""Powers and energies of single units, measured or published, from the constants of a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.breakdown import BITS_PER_MIBIT
from hardwire.models.energy import FEMTO, PICO, RESULT_BITS
from hardwire.models.process import Process
from hardwire.models.published import PublishedRow
from hardwire.models.rom import RomFormat

MACS = {
    "int8": lambda p: (p.mac_int8_pj, p.mac_int8_registers),
    "fp16": lambda p: (2 * p.fp16_op_pj, p.fp16_registers),
}
"""Energy of a multiply and an addition, and their registers, by format."""


def _of_process(
    take: Callable[[Process, PublishedRow], Any],
) -> Callable[[Bench, PublishedRow], Predicted]:
    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        name = str(row.conditions["process"])
        one, many = (
            take(process, row) for process in (bench.process(name), bench.drawn_process(name))
        )
        return Predicted(float(one), np.asarray(many, dtype=float))

    return predictor


def _flop_fj(process: Process) -> Any:
    return process.flop_clock_fj + process.flop_data_fj


def _memory_unit_mw(process: Process, row: PublishedRow) -> Any:
    """A memory whose words are multiplied by activations and added up, in every cycle."""
    c = row.conditions
    products = float(c["products"])
    rom = c["memory"] == "rom"
    read_pj = process.rom_read_pj_per_byte if rom else process.sram_pj_per_byte
    bits = float(c["memory_bytes"]) * 8
    leak_mw = bits / 1e6 * process.rom_leakage_mw_per_mbit
    if not rom:
        leak_mw = bits / BITS_PER_MIBIT * process.sram_leakage_mw_per_mib
    tree = RomFormat(float(c["weight_bits"]), products).tree_bits(products) + RESULT_BITS
    logic = (
        products * process.multiply_4x8_fj
        + tree * process.adder_fj_per_bit * process.glitch_factor
        + RESULT_BITS * _flop_fj(process)
    )
    per_cycle_pj = float(c["bytes_per_cycle"]) * read_pj + logic * FEMTO / PICO
    return leak_mw + float(c["clock_ghz"]) * per_cycle_pj  # pJ at 10^9 a second are mW


def _mac_pj(process: Process, row: PublishedRow) -> Any:
    """A multiply and an addition with the registers of their lane, at a voltage."""
    c = row.conditions
    operation, registers = MACS[str(c["format"])](process)
    square = process.energy_factor(float(c["supply_v"]))
    return (operation + registers * _flop_fj(process) * FEMTO / PICO) * square


def _clock_pj_per_mm2(process: Process, row: PublishedRow) -> Any:
    """A clock with all the registers that it drives, in a cycle."""
    c = row.conditions
    clocked = float(c["registers_per_mm2"]) * process.flop_clock_fj * FEMTO / PICO
    square = process.energy_factor(float(c["supply_v"]))
    return (clocked + process.clock_spine_pj_per_mm2) * square


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "memory_unit_mw": _of_process(_memory_unit_mw),
    "mac_pj": _of_process(_mac_pj),
    "clock_pj_per_mm2": _of_process(_clock_pj_per_mm2),
}
