"""Memories pay for what they hold and for how wide they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from designs import HC1, design_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

from hardwire.models.area import area
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.macro import fit_macro
from hardwire.models.memories import rom_mm2, sram_mm2, sram_port_bits, sram_rows
from hardwire.models.published import published

LLAMA = LanguageModel.by_name("llama-3.1-8b")
BITS = 448 * 2**20 * 8

GROWING = (
    "attention.kv_read_bytes_per_cycle", "sram.write_bytes_per_cycle", "lora.read_bytes_per_cycle",
    "attention.macs_per_cycle", "lora.macs_per_cycle", "lora.activations_per_cycle",
    "datapath.lanes", "datapath.vector_lanes", "sampling.topk_logits_per_cycle",
    "rom.bits_per_weight", "rom.scale_bits", "sram.capacity_mib",
)  # fmt: skip
WORDS = {
    "datapath.layers": ("distinct", "shared"),
    "sram.ports": ("shared", "separate"),
    "attention.kv_memories": ("shared", "separate"),
    "lora.head": ("absent", "present"),
}


@settings(max_examples=100, deadline=None)
@given(
    design=design_arrays(size=1),
    words=st.fixed_dictionaries({name: st.sampled_from(each) for name, each in WORDS.items()}),
    name=st.sampled_from(GROWING),
    factor=st.integers(2, 256),
)
def test_a2_no_port_lane_or_bit_costs_less_than_nothing(
    design: dict[str, np.ndarray], words: dict[str, str], name: str, factor: int
) -> None:
    values: dict[str, Any] = {key: array.item() for key, array in design.items()}
    if name == "datapath.lanes":  # more of them leave less for a side path's own bus to bring
        values["lora.activations_per_cycle"] = 1
    few = HC1.with_values(values | words)
    more = few.with_values({name: min(few.value(name) * factor, DECLARED[name].high)})
    before, after = area(few, LLAMA), area(more, LLAMA)
    for block, mm2 in before.items():
        assert after[block] >= mm2 * (1 - 1e-12), block


@pytest.mark.parametrize("name", ["attention.kv_read", "sram.write", "lora.read"])
def test_a2_a_port_of_256_times_the_width_was_free(name: str) -> None:
    name = f"{name}_bytes_per_cycle"
    wide = HC1.with_values({name: min(256 * HC1.value(name), 1 << 20)})
    assert area(wide, LLAMA)["sram"] > 2 * area(HC1, LLAMA)["sram"]


def test_ports_of_hc1_by_hand() -> None:
    """8,192 B a cycle in each of 32 layers of 14 MiB: macros of 1,792 words side by side."""
    assert sram_port_bits(HC1, LLAMA) == 32 * 8192 * 8
    assert sram_rows(HC1, LLAMA, BITS) == 14 * 2**20 / 8192
    # Half of the periphery of 503 rows is there once for 256 bits, not for 64.
    rows_more = 503 * (0.5 + 0.5 / 4) / 1792
    dense = 25.7 * (1 + 503 / 8192)
    assert sram_mm2(HC1, LLAMA, BITS) == pytest.approx(BITS / 1e6 * (1 + rows_more) / dense)


def test_separate_ports_are_added_up() -> None:
    chip = HC1.with_values({"sram.ports": "separate"})
    assert sram_port_bits(chip, LLAMA) == 32 * 8 * (8192 + 4 * 4608)


def test_a_narrow_port_leaves_the_deepest_macros() -> None:
    chip = HC1.with_values({"attention.kv_read_bytes_per_cycle": 64, "sram.macro_bits": 64,
                            "lora.read_bytes_per_cycle": 64})  # fmt: skip
    assert sram_mm2(chip, LLAMA, BITS) == pytest.approx(BITS / 1e6 / 25.7)


def test_an_array_that_layers_share_pays_for_its_lanes() -> None:
    roma, model = Chip.open("roma"), LanguageModel.by_name("llama-3.2-3b")
    filed, twice = (
        rom_mm2(roma.with_values({"datapath.lanes": lanes}), model) for lanes in (256, 512)
    )
    rows = 14190 * filed / (1.86e9 * 8 / 40.4e6)  # nearly as deep as the array of the paper
    assert twice / filed == pytest.approx((1 + 2 * 2579 / rows) / (1 + 2579 / rows), rel=0.02)
    assert rom_mm2(HC1.with_values({"datapath.lanes": 32}), LLAMA) == rom_mm2(HC1, LLAMA)


def test_the_periphery_is_that_of_the_published_macros() -> None:
    """Rows of the array as large as the periphery, by two densities of TSMC's 7 nm compiler."""

    def periphery(memory: str, *depths: int) -> float:
        rows = [r for r in published("technology") if r.metric == "macro_density"]
        of = {r.conditions["rows"]: r for r in rows if r.conditions["memory"] == memory}
        cell = float(of[depths[0]].conditions["cell_um2"])
        first, second = ((float(d), of[d].value) for d in depths)
        fitted = fit_macro(cell, first, second)
        return float(fitted.periphery_rows / fitted.row_overhead)

    process = HC1.parameters["process.sram_periphery_rows"]
    assert process.value == pytest.approx(periphery("sram", 2048, 8192), abs=0.5)
    assert process.range is not None
    assert process.range[1] == pytest.approx(periphery("sram", 1024, 8192), abs=0.5)
    assert HC1.process.rom_periphery_rows == pytest.approx(periphery("rom", 1024, 8192), abs=0.5)
