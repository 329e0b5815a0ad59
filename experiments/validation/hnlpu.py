"""HNLPU, as far as it needs no timing: SRAM, area by block, yield and cost of a die, masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.experiments.validation.technology import DIES, compiler, spread
from hardwire.models.cost import mask_units
from hardwire.models.published import PublishedRow
from hardwire.simulator.belief.draws import DRAWS

TWO_PORT_CELL = 1.3
TWO_PORT_CELL_RANGE = (1.2, 1.5)
"""Area of an 8T cell with a write and a read port over the 6T high-density cell; assumed, since no
figure at 5 nm is published."""

DEEPEST_ROM_ROWS = 8192
"""The deepest macro of the compiler figure."""


def _sram_bytes(bench: Bench, row: PublishedRow) -> Predicted:
    return Predicted(float(row.conditions["banks"]) * float(row.conditions["bank_bytes"]))


def _sram_bandwidth(bench: Bench, row: PublishedRow) -> Predicted:
    c = row.conditions
    per_cycle = float(c["banks"]) * float(c["port_bits"]) / 8
    return Predicted(per_cycle * float(c["clock_ghz"]) * 1e9)


def _sram_area(bench: Bench, row: PublishedRow) -> Predicted:
    """Banks by the macro model of 7 nm, with the cell of 5 nm and room for a second port."""
    c = row.conditions
    bits = float(c["bank_bytes"]) * 8
    depth = bits / float(c["port_bits"])
    single = float(compiler("sram", float(c["cell_um2"])).area_mm2(bits, depth)) * float(c["banks"])
    factor = bench.stream(f"{row.id}.cell").uniform(*TWO_PORT_CELL_RANGE, DRAWS)
    return Predicted(single * TWO_PORT_CELL, spread(bench, row.id, single) * factor)


def _hardwired_area(bench: Bench, row: PublishedRow) -> Predicted:
    """ROM storage alone, the ROM cell of 7 nm scaled as the SRAM cell is."""
    c = row.conditions
    rom = compiler("rom")
    shrink = float(c["cell_um2"]) / float(c["reference_cell_um2"])
    bits = float(c["weights"]) / float(c["chips"]) * float(c["bits"])
    value = float(rom.area_mm2(bits, DEEPEST_ROM_ROWS)) * shrink
    return Predicted(value, spread(bench, row.id, value))


def _attention_area(bench: Bench, row: PublishedRow) -> Predicted:
    """A 16-bit multiplier and adder per query head and element of the K and V read in a cycle."""
    c = row.conditions
    name = str(c["process"])
    macs = 2 * float(c["kv_heads_per_cycle"]) * float(c["head_dim"]) * float(c["heads_per_kv_head"])
    one, many = (
        macs * p.fp16_transistors / (p.logic_mtransistors_per_mm2 * 1e6)
        for p in (bench.process(name), bench.drawn_process(name))
    )
    return Predicted(float(one), np.asarray(many, dtype=float))


def _full_set(row: PublishedRow) -> float:
    c = row.conditions
    return float(mask_units(c["euv"], c["duv"], c["euv_over_duv"]))


def _variant_share(row: PublishedRow) -> float:
    c = row.conditions
    variant = mask_units(c["variant_euv"], c["variant_duv"], c["euv_over_duv"])
    return float(variant) / _full_set(row)


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    **DIES,
    "sram_bytes": _sram_bytes,
    "sram_bytes_per_s": _sram_bandwidth,
    "sram_area_mm2": _sram_area,
    "hardwired_area_mm2": _hardwired_area,
    "attention_area_mm2": _attention_area,
    "mask_units": lambda bench, row: Predicted(_full_set(row)),
    "variant_mask_share": lambda bench, row: Predicted(_variant_share(row)),
    "variant_mask_usd": lambda bench, row: Predicted(
        _variant_share(row) * float(row.conditions["set_usd"])
    ),
}
