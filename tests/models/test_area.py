"""Area and transistors, against arithmetic on published numbers done here by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.area import area, logic_area, transistors
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel

HC1, ROMA = Chip.open("hc1"), Chip.open("roma")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-1b")

# Outputs of the matrices of a layer of Llama 3.1 8B (q+k+v, o, gate+up, down), and of its LM head.
LAYER_OUTPUTS = 6144 + 4096 + 28672 + 4096
HEAD_OUTPUTS = 128_256


def test_rom_of_hc1_is_469_mm2() -> None:
    """8.03e9 weights of 3.5 bits at 60 Mb/mm2; 486 at the 57.8 of a published macro."""
    assert area(HC1, LLAMA)["rom"] == pytest.approx(8.03e9 * 3.5 / 60e6, rel=1e-3)
    published = HC1.with_values({"rom.density_mbit_per_mm2": 57.8})
    assert area(published, LLAMA)["rom"] == pytest.approx(486, rel=0.01)


def test_hc1_fits_its_die_and_its_transistors_with_all_that_is_paid() -> None:
    """With a ROM as dense as that asks for: at the 57.8 Mb/mm2 of a macro it does not."""
    assert area(HC1, LLAMA)["total"] == pytest.approx(813.9, abs=0.05)
    for density, mm2 in ((57.8, 832.1), (59.8, 815.5), (59.9, 814.7)):
        chip = HC1.with_values({"rom.density_mbit_per_mm2": density})
        assert area(chip, LLAMA)["total"] == pytest.approx(mm2, abs=0.05)
    assert transistors(HC1, LLAMA)["total"] < 53e9


def test_matrix_adders_of_16_lanes_are_8_69e9_transistors() -> None:
    """Products of 10.5 bits: a tree of 8, 4, 2 and 1 adders, each level a bit wider, and a sum.

    The sum of 4,096 products has 12 bits more than one, that of 14,336 has 14.
    """
    tree = 8 * 11.5 + 4 * 12.5 + 2 * 13.5 + 14.5
    down = 4096
    short = 32 * (LAYER_OUTPUTS - down) + HEAD_OUTPUTS
    bits = short * (tree + 22.5) + 32 * down * (tree + 24.5)
    found = transistors(HC1, LLAMA)["matrix_adders"]
    assert found == pytest.approx(bits * 28)
    assert found == pytest.approx(8.69e9, rel=1e-3)
    assert area(HC1, LLAMA)["matrix_adders"] == pytest.approx(8.685e9 / 91.2e6, rel=1e-3)


def test_the_other_blocks_of_hc1() -> None:
    counted = transistors(HC1, LLAMA)
    weights = 8_030_261_248 - 65 * 4096  # norm gains are left out
    # One per weight and per bit of a float16 scale; the embedding has as many rows as the LM head.
    scales = 32 * LAYER_OUTPUTS + 2 * HEAD_OUTPUTS
    assert counted["rom"] == weights + 16 * scales
    assert counted["rescale"] == (32 * 4 * 256 + 128) * 15_000  # 128 of the head, as top-k scans
    assert counted["attention"] == 32 * 32_768 * 1920
    assert counted["lora"] == 32 * 4 * 4096 * 1920
    assert counted["vector_units"] == (32 * 4 + 1) * 256 * 15_000
    assert counted["sampling"] == 128 * 8 * 16 * 28
    blocks = area(HC1, LLAMA)
    assert blocks["io"] == 10
    assert blocks["overhead"] == pytest.approx(
        0.02 * sum(v for k, v in blocks.items() if k not in ("overhead", "io", "total"))
    )


@pytest.mark.parametrize(
    ("parameter", "block"),
    [
        ("attention.macs_per_cycle", "attention"),
        ("lora.macs_per_cycle", "lora"),
        ("sram.capacity_mib", "sram"),
    ],
)
def test_c8_a_block_is_proportional_to_its_own_size_and_no_other_moves(
    parameter: str, block: str
) -> None:
    double = HC1.with_values({parameter: 2 * HC1.parameters[parameter].value})
    before, after = transistors(HC1, LLAMA), transistors(double, LLAMA)
    assert after[block] == 2 * before[block]
    # A block has registers of its own, which are counted for all blocks together.
    held = after["registers"] - before["registers"]
    assert after["total"] - before["total"] == pytest.approx(before[block] + held)
    for name in set(before) - {block, "registers", "total"}:
        assert after[name] == before[name], name


@pytest.mark.parametrize(
    ("parameter", "block"),
    [
        ("datapath.vector_lanes", "vector_units"),
        ("sampling.topk_logits_per_cycle", "sampling"),
    ],
)
def test_who_reads_sums_out_twice_as_wide_rescales_twice_as_many(
    parameter: str, block: str
) -> None:
    double = HC1.with_values({parameter: 2 * HC1.parameters[parameter].value})
    before, after = transistors(HC1, LLAMA), transistors(double, LLAMA)
    assert after[block] == 2 * before[block] and after["rescale"] > before["rescale"]
    for name in set(before) - {block, "rescale", "registers", "total"}:
        assert after[name] == before[name], name


def test_one_array_for_all_layers_is_counted_once() -> None:
    """ROMA adds 256 lanes × 1,024 outputs, and has K and V memories with their multipliers."""
    counted = transistors(ROMA, LanguageModel.by_name("llama-3.2-3b"))
    # Products of 11 bits, sums of 128 of them; each cycle completes two groups.
    tree = sum(256 / 2**level * (11 + level) for level in range(1, 9))
    assert counted["matrix_adders"] == 1024 * (tree + 18) * 28
    assert counted["rescale"] == 1024 * 256 / 128 * 15_000
    assert counted["attention"] == 1 * 2 * 16_384 * 1920
    assert counted["lora"] == 4 * 4096 * 1920


def test_tied_embeddings_are_in_rom_once() -> None:
    """Llama 3.2 1B: 1,235,814,400 parameters, 33 norms of 2,048 among them."""
    chip = HC1.with_values({"rom.scale_bits": 0})
    assert transistors(chip, SMALL)["rom"] == 1_235_814_400 - 33 * 2048


def test_logic_is_what_is_neither_memory_nor_io() -> None:
    blocks = area(HC1, LLAMA)
    named = (
        "matrix_adders",
        "rescale",
        "attention",
        "lora",
        "vector_units",
        "sampling",
        "registers",
        "overhead",
    )
    assert logic_area(blocks) == pytest.approx(sum(blocks[name] for name in named))


@pytest.mark.parametrize("chip", [HC1, ROMA], ids=["hc1", "roma"])
@pytest.mark.parametrize("model", [LLAMA, SMALL], ids=lambda m: m.name)
@pytest.mark.parametrize("form", [area, transistors])
def test_blocks_sum_to_the_total(chip: Chip, model: LanguageModel, form: Any) -> None:
    blocks = form(chip, model)
    assert all(value >= 0 for value in blocks.values())
    assert sum(v for k, v in blocks.items() if k != "total") == pytest.approx(blocks["total"])


@examples(50)
@given(values=design_arrays(), shared=st.booleans())
def test_arrays_equal_scalars(values: dict[str, np.ndarray], shared: bool) -> None:
    base = HC1.with_values({"datapath.layers": "shared" if shared else "distinct"})
    for form in (area, transistors):
        together = form(base.with_values(values), LLAMA)
        for index in range(3):
            alone = form(base.with_values(one_of(values, index)), LLAMA)
            for block, value in alone.items():
                assert np.broadcast_to(together[block], 3)[index] == pytest.approx(value), block


@pytest.mark.parametrize(
    ("parameter", "low", "high"),
    [
        ("datapath.lanes", 16, 17),
        ("rom.bits_per_weight", 3.5, 3.6),
        ("rom.scale_bits", 16, 17),
        ("attention.kv_read_bytes_per_cycle", 8192, 8193),
        ("sram.capacity_mib", 448, 449),
        ("attention.macs_per_cycle", 32_768, 32_769),
        ("lora.macs_per_cycle", 4096, 4097),
        ("datapath.vector_lanes", 256, 257),
        ("sampling.topk_logits_per_cycle", 128, 129),
        ("floorplan.io_mm2", 10, 11),
        ("floorplan.overhead_share", 0.02, 0.03),
        ("rom.density_mbit_per_mm2", 57.8, 57.7),
        ("sram.density_mbit_per_mm2", 25.7, 25.6),
        ("process.logic_mtransistors_per_mm2", 91.2, 91.1),
    ],
)
def test_more_hardware_takes_more_area(parameter: str, low: float, high: float) -> None:
    chip = HC1.with_values({parameter: np.array([low, high])})
    first, second = area(chip, LLAMA)["total"]
    assert second > first
