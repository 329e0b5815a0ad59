"""ROMA: rates, times to first token, area by block, power, and the tokens that fit its SRAM."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.experiments.validation.technology import TWO_PORT_CELL, TWO_PORT_CELL_RANGE
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import BYTES_PER_MIB, area
from hardwire.models.chip import Chip
from hardwire.models.fabric import registers
from hardwire.models.published import PublishedRow
from hardwire.models.rom import rom_bits
from hardwire.models.sram import sram_budget
from hardwire.simulator.closed_form import Prediction
from hardwire.simulator.datapath import shape_bytes

MEGABYTES = (1e6, float(BYTES_PER_MIB))
"""What a published MB of SRAM may be."""

ADAPTER_FORMATS = ("int8", "float16")
"""What ROMA may keep adapters in; the catalogue's chip assumes the first."""


def _of_prediction(take: Callable[[Prediction], Any]) -> Callable[[Bench, PublishedRow], Predicted]:
    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        one, many = bench.predictions(row.conditions)
        return Predicted(float(take(one)), np.asarray(take(many), dtype=float))

    return predictor


def _of_area(
    take: Callable[[dict[str, Any], Chip, PublishedRow], Any],
) -> Callable[[Bench, PublishedRow], Predicted]:
    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        name = str(row.conditions["chip"])
        one, many = (
            take(area(chip, bench.model(name)), chip, row)
            for chip in (bench.chip(name), bench.drawn(name))
        )
        return Predicted(float(one), np.asarray(many, dtype=float))

    return predictor


def _rom_bytes(bench: Bench, row: PublishedRow) -> Predicted:
    """What the ROM holds; the draws are with a tied embedding stored once, or again as LM head."""
    name = str(row.conditions["chip"])
    model = bench.model(name)
    again = dataclasses.replace(model, tied_embeddings=False)
    drawn = bench.drawn(name)
    once, twice = (rom_bits(drawn, stored) / 8 for stored in (model, again))
    return Predicted(float(rom_bits(bench.chip(name), model) / 8), np.concatenate([once, twice]))


def _vector_units(bench: Bench, row: PublishedRow) -> Predicted:
    """Lanes with their registers, and the buffer of activations at the density of the chip's SRAM.

    It is written and read in the same cycle: with two ports, or, at the low end of the draws, with
    one at twice the clock.
    """
    name = str(row.conditions["chip"])
    model, ports = bench.model(name), (1.0, TWO_PORT_CELL_RANGE[1])

    def mm2(chip: Chip, cell: Any) -> Any:
        buffer = float(row.conditions["buffer_bytes"]) * 8e-6 / chip.sram.density_mbit_per_mm2
        bits = registers(chip, model)["vector_units"]
        per_mm2 = chip.process.logic_mtransistors_per_mm2 * 1e6
        held = bits * chip.process.flop_transistors / per_mm2
        return area(chip, model)["vector_units"] + held + buffer * cell

    drawn = bench.drawn(name)
    cells = bench.stream(f"{row.id}.cell").uniform(*ports, np.size(drawn.process.flop_transistors))
    return Predicted(float(mm2(bench.chip(name), TWO_PORT_CELL)), mm2(drawn, cells))


def tokens_in_sram(bench: Bench, row: PublishedRow) -> Predicted:
    """Tokens of context beside an adapter, for all readings of the publication.

    The draws are the readings of MB and of the adapter's format, each as likely as the other.
    """
    name = str(row.conditions["chip"])
    model, rank = bench.model(name), int(row.conditions["rank"])

    def tokens(megabyte: float, fmt: str) -> float:
        mib = float(row.conditions["sram_mb"]) * megabyte / BYTES_PER_MIB
        chip = bench.chip(name)._replaced({"sram.capacity_mib": mib})
        shape = AdapterShape.of(model, "all-linear", rank, fmt)
        adapter = shape_bytes(chip, model, shape)
        budget = sram_budget(chip, model, users=1, context_tokens=1, adapter_bytes=adapter)
        return float(budget.max_context_tokens)

    readings = [tokens(mb, fmt) for mb in MEGABYTES for fmt in ADAPTER_FORMATS]
    return Predicted(readings[0], np.repeat(np.array(readings), 500))


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "decode_tokens_per_s": _of_prediction(lambda p: p.decode_tokens_per_s_user),
    "ttft_s": _of_prediction(lambda p: p.ttft_s),
    "chip_power_w": _of_prediction(lambda p: p.power.chip_w),
    "rom_bytes": _rom_bytes,
    "area_total": _of_area(lambda blocks, chip, row: blocks["total"]),
    "area_l_units": _of_area(
        lambda blocks, chip, row: blocks["rom"] + blocks["matrix_adders"] + blocks["rescale"]
    ),
    "area_h_units": _of_area(
        lambda blocks, chip, row: blocks["sram"] + blocks["attention"] + blocks["lora"]
    ),
    "area_vector_units": _vector_units,
    "area_other": _of_area(lambda blocks, chip, row: blocks["overhead"] + blocks["io"]),
    "tokens_in_sram": tokens_in_sram,
}
