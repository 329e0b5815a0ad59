"""A silicon process: densities, energies, leakage, wafer cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.description import FileKind
from hardwire.models.parameters import quantity


@dataclass(frozen=True)
class Process:
    """Technology constants of one node. Fields may hold NumPy arrays in a sweep."""

    logic_mtransistors_per_mm2: Any = quantity(
        "MTr/mm2", 1, 1000, "placed logic density, standard cells"
    )
    sram_transistors_per_bit: Any = quantity("", 4, 12, "transistors per SRAM bit cell")
    sram_periphery_rows: Any = quantity(
        "", 0, 100000, "periphery of a 64-bit SRAM macro, as rows of its array"
    )
    rom_periphery_rows: Any = quantity(
        "", 0, 100000, "periphery of a 64-bit ROM macro, as rows of its array"
    )
    macro_shared_periphery: Any = quantity(
        "", 0, 1, "share of the periphery of a 64-bit macro that wider words do not repeat"
    )
    adder_transistors_per_bit: Any = quantity("", 10, 60, "transistors per full-adder bit")
    mac_int8_transistors: Any = quantity("", 100, 10000, "8-bit multiplier and 24-bit adder")
    mac_fp8_factor: Any = quantity(
        "", 1, 10, "transistors and energy of a multiply-accumulate of FP8, over 8-bit integers"
    )
    fp16_transistors: Any = quantity("", 1000, 100000, "16-bit floating-point multiplier and adder")
    nominal_v: Any = quantity("V", 0.4, 1.1, "supply voltage at which energies and leakage hold")
    threshold_v: Any = quantity("V", 0.05, 0.39, "threshold voltage, of the speed of logic")
    alpha: Any = quantity("", 1, 2, "exponent of the alpha-power law, of the speed of logic")
    max_clock_ghz: Any = quantity("GHz", 0.1, 10, "fastest pipeline at the nominal voltage")
    register_ps: Any = quantity("ps", 1, 90, "time of a register in a cycle, with clock skew")
    adder_level_ps: Any = quantity("ps", 1, 10000, "a level of an adder tree, nominal voltage")
    wire_ps_per_mm: Any = quantity("ps/mm", 1, 10000, "repeated on-chip wire, nominal voltage")
    flop_transistors: Any = quantity("", 8, 100, "transistors of a register's flip-flop, per bit")
    mac_int8_registers: Any = quantity("", 0, 200, "registers, in bits, of a multiplier of 8 bits")
    fp16_registers: Any = quantity("", 0, 1000, "registers, in bits, of a 16-bit vector lane")
    compare_registers: Any = quantity(
        "", 0, 1000, "registers, in bits, for a logit that is scanned"
    )
    adder_fj_per_bit: Any = quantity("fJ", 0.01, 100, "energy of a full-adder bit per addition")
    glitch_factor: Any = quantity("", 1, 10, "switching of an adder tree over one change a result")
    mac_int8_pj: Any = quantity("pJ", 0.001, 10, "8-bit multiply and 32-bit accumulate")
    fp16_op_pj: Any = quantity("pJ", 0.01, 10, "16-bit floating-point multiply or add")
    multiply_4x8_fj: Any = quantity(
        "fJ", 1, 1000, "multiply of an activation by a weight that was read"
    )
    rom_read_pj_per_byte: Any = quantity("pJ/B", 0.001, 10, "mask-ROM read: word and bit lines")
    select_fj: Any = quantity(
        "fJ", 0.1, 1000, "wire from a cell that selects a product to its adder"
    )
    sram_pj_per_byte: Any = quantity("pJ/B", 0.01, 50, "SRAM read or write, macro included")
    wire_fj_per_bit_mm: Any = quantity("fJ/bit/mm", 1, 500, "repeated on-chip wire, random data")
    bus_um_per_bit: Any = quantity("um", 0.01, 10, "die width that a bit of a long bus takes")
    logic_leakage_w_per_mm2: Any = quantity("W/mm2", 0, 1, "leakage of logic, hot")
    sram_leakage_mw_per_mib: Any = quantity("mW/Mib", 0, 100, "leakage of SRAM arrays, hot")
    rom_leakage_mw_per_mbit: Any = quantity("mW/Mb", 0, 100, "leakage of ROM arrays, hot")
    leakage_at_c: Any = quantity("C", -40, 150, "junction temperature of these leakages")
    leakage_efold_k: Any = quantity("K", 5, 200, "warming that multiplies leakage by e")
    flop_clock_fj: Any = quantity(
        "fJ", 0.01, 100, "clocking a register of one bit, its tree included"
    )
    flop_data_fj: Any = quantity(
        "fJ", 0, 100, "a register of one bit that takes new data, per cycle"
    )
    clock_spine_pj_per_mm2: Any = quantity(
        "pJ/mm2", 0, 1000, "top-level clock distribution, never gated, per cycle and mm2 of die"
    )
    wafer_usd: Any = quantity("USD", 100, 100000, "price of a processed wafer")
    wafer_diameter_mm: Any = quantity("mm", 100, 450, "wafer diameter")
    reticle_mm2: Any = quantity("mm2", 1, 100000, "largest die that one exposure prints")
    defects_per_cm2: Any = quantity("/cm2", 0.001, 10, "defect density D0")
    mask_set_usd: Any = quantity("USD", 1000, 1e10, "price of a full set of masks")

    def energy_factor(self, supply_v: Any) -> Any:
        """What a supply voltage makes of energies: they grow with its square."""
        return (supply_v / self.nominal_v) ** 2

    def leakage_factor(self, supply_v: Any, junction_c: Any) -> Any:
        """What voltage and temperature make of leakage.

        It grows with the voltage, and by e for each ``leakage_efold_k`` of warming.
        """
        warmth = np.exp((junction_c - self.leakage_at_c) / self.leakage_efold_k)
        return supply_v / self.nominal_v * warmth


PROCESS = FileKind("process", {"": Process})
"""What may stand in a process file."""
