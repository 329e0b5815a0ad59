"""HNLPU: SRAM, blocks, yield and cost of a die, masks; the rate of its sixteen chips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.experiments.validation.technology import (
    DIES,
    TWO_PORT_CELL,
    TWO_PORT_CELL_RANGE,
    compiler,
    spread,
)
from hardwire.models.breakdown import Breakdown, block_power, neurons_mm2, vector_unit_mm2
from hardwire.models.cost import mask_units
from hardwire.models.published import PublishedRow
from hardwire.models.system.system import System
from hardwire.simulator.belief.draws import DRAWS
from hardwire.simulator.system.closed_form import SystemRates
from hardwire.simulator.system.measured import measure


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


def _of_breakdown(take: Callable[[Breakdown], Any]) -> Callable[[Bench, PublishedRow], Predicted]:
    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        name = str(row.conditions["breakdown"])
        one, many = (take(chip) for chip in (bench.breakdown(name), bench.drawn_breakdown(name)))
        return Predicted(float(one), np.asarray(many, dtype=float))

    return predictor


def _block_power(bench: Bench, row: PublishedRow) -> Predicted:
    """Of one block, with all its contributors."""
    block = str(row.conditions["block"])
    return _of_breakdown(lambda chip: sum(block_power(chip)[block].values()))(bench, row)


def _chip_power(chip: Breakdown) -> Any:
    return sum(watts for block in block_power(chip).values() for watts in block.values())


def _system_power(bench: Bench, row: PublishedRow) -> Predicted:
    c = row.conditions
    return Predicted(float(c["chips"]) * float(c["chip_w"]) * float(c["pue"]))


def _measured(bench: Bench, row: PublishedRow) -> SystemRates:
    """Users who decode from a context on, by the compiled engine, once for both rows."""
    c = row.conditions

    def run(name: str) -> SystemRates:
        output = int(c["output"])
        return measure(
            System.open(name),
            prompt=1,
            output=output,
            users=int(c["users"]),
            past=int(c["context"]) - output // 2,
            seed=bench.seed,
        )

    found: SystemRates = bench.once("rates of a system", str(c["system"]), run)
    return found


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
    "neurons_area_mm2": _of_breakdown(neurons_mm2),
    "vector_unit_area_mm2": _of_breakdown(vector_unit_mm2),
    "block_power_w": _block_power,
    "chip_power_w": _of_breakdown(_chip_power),
    "system_power_w": _system_power,
    "decode_tokens_per_s": lambda bench, row: Predicted(
        float(_measured(bench, row).decode_tokens_per_s_system)
    ),
    "token_s": lambda bench, row: Predicted(float(_measured(bench, row).token_s)),
    "mask_units": lambda bench, row: Predicted(_full_set(row)),
    "variant_mask_share": lambda bench, row: Predicted(_variant_share(row)),
    "variant_mask_usd": lambda bench, row: Predicted(
        _variant_share(row) * float(row.conditions["set_usd"])
    ),
}
