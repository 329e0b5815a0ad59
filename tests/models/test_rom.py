"""The format of weights in ROM: what is stored, and how wide sums get."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.area import area
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import (
    RomFormat,
    RomMatrix,
    adder_bits,
    head_matrix,
    layer_matrices,
    rescale_units,
    rescales,
    rom_bits,
    rom_weights,
)

HC1, LLAMA = Chip.open("hc1"), LanguageModel.by_name("llama-3.1-8b")
GROUPED = HC1.with_values({"rom.scale_group": 32})


@given(
    bits=st.integers(1, 8),
    group=st.integers(1, 1 << 14),
    inputs=st.integers(1, 1 << 14),
)
def test_a5_no_sum_of_a_group_overflows(bits: int, group: int, inputs: int) -> None:
    """The largest magnitude is 127 · 2^(b - 1) for each input: it fits a signed number."""
    width = RomFormat(bits, group).sum_bits(inputs)
    assert min(group, inputs) * 127 * 2 ** (bits - 1) < 2 ** (width - 1)


def test_widths_by_hand() -> None:
    assert RomFormat(3, 32).sum_bits(4096) == 15
    assert RomFormat(6, 32).sum_bits(4096) == 18
    assert RomFormat(3, 65536).sum_bits(14336) == 24


@given(lanes=st.integers(0, 8), bits=st.integers(1, 6))
def test_a_tree_widens_by_a_bit_each_level(lanes: int, bits: int) -> None:
    width = 2**lanes
    tree = sum(width // 2**level * (bits + 7 + level) for level in range(1, lanes + 1))
    assert RomFormat(bits, 32).tree_bits(width) == pytest.approx(tree)


@given(lanes=st.integers(1, 4095), group=st.integers(1, 65535))
def test_more_lanes_and_longer_sums_take_more_adders(lanes: int, group: int) -> None:
    fmt = RomFormat(3.5, np.array([group, group + 1]))
    short, long = fmt.sum_bits(4096)
    assert short <= long and fmt.tree_bits(lanes) < fmt.tree_bits(lanes + 1)


def test_stored_bits_of_groups_and_of_rows() -> None:
    assert rom_bits(GROUPED, LLAMA) == rom_weights(GROUPED, LLAMA) * 4.0
    assert rom_bits(HC1, LLAMA) / rom_weights(HC1, LLAMA) == pytest.approx(3.503, abs=1e-3)


def test_a5_235_million_rescales_of_a_token_by_hand() -> None:
    """One per output and 32 inputs; with one scale per row, one per output."""
    matrices = [*layer_matrices(LLAMA) * 32, head_matrix(LLAMA)]
    active = 32 * 218_103_808 + 525_336_576
    assert sum(rescales(GROUPED, m) for m in matrices) == active / 32
    assert sum(rescales(HC1, m) for m in matrices) == sum(m.out_features for m in matrices)


def test_a5_groups_of_32_do_not_fit_hc1() -> None:
    """16 lanes complete a group in two cycles, so two outputs share a multiplier."""
    outputs = 32 * (6144 + 4096 + 28_672 + 4096) + 128_256
    assert rescale_units(GROUPED, LLAMA) == outputs / 2
    more = {
        name: area(GROUPED, LLAMA)[name] - area(HC1, LLAMA)[name] for name in ("rom", "rescale")
    }
    assert more["rom"] == pytest.approx(66.5, abs=1) and more["rescale"] == pytest.approx(
        118, abs=1
    )


@given(st.integers(1, 65535))
def test_longer_groups_never_take_more_units_or_bits(group: int) -> None:
    chip = HC1.with_values({"rom.scale_group": np.array([group, group + 1])})
    short, long = np.broadcast_to(rescale_units(chip, LLAMA), 2)
    assert long <= short
    matrix = RomMatrix("o", 4096, 4096, ())
    fmt = RomFormat.of(chip, matrix)
    assert fmt.stored_bits(matrix)[1] <= fmt.stored_bits(matrix)[0]
    assert adder_bits(chip, LLAMA)[1] >= adder_bits(chip, LLAMA)[0]
