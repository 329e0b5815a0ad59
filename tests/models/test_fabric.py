"""Registers by block, against arithmetic done here by hand on the numbers of the chip files."""

from __future__ import annotations

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.area import area, transistors
from hardwire.models.chip import Chip
from hardwire.models.fabric import line_bits, registers, units
from hardwire.models.language_model import LanguageModel

HC1, ROMA = Chip.open("hc1"), Chip.open("roma")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-3b")

# Outputs of the matrices of a layer of Llama 3.1 8B (q+k+v, o, gate+up, down), and of its LM head.
OUTPUTS = 32 * (6144 + 4096 + 28_672 + 4096) + 128_256


def test_registers_of_hc1_by_hand() -> None:
    """24 bits behind each output; 16 for each multiplier of 8 bits; 64 for each vector lane."""
    found = registers(HC1, LLAMA)
    assert OUTPUTS == 1_504_512
    assert found["matrix_adders"] == OUTPUTS * 24
    assert found["attention"] == 32 * 32_768 * 16
    assert found["lora"] == 32 * 4 * 4096 * 16
    assert found["vector_units"] == (32 * 4 + 1) * 256 * 64
    # 16 activations of 8 bits and their products of 12 bits with 2^3.5 weights.
    assert found["broadcast"] == pytest.approx(129 * 16 * (8 + 2**3.5 * 12))
    assert found["sampling"] == 128 * 32


def test_one_array_for_all_layers_is_counted_once() -> None:
    """ROMA: 16 units of 24 bits for each of 1,024 outputs; its cells do not select."""
    found = registers(ROMA, SMALL)
    assert found["matrix_adders"] == 1024 * 384
    assert found["attention"] == 2 * 16_384 * 16
    assert line_bits(ROMA, SMALL) == 256 * 8
    assert units(ROMA, SMALL)["broadcast"] == 1


def test_registers_take_transistors_and_area() -> None:
    """63.7e6 flip-flops of 26 transistors are 18 mm² at 91.2e6 transistors per mm²."""
    number = sum(registers(HC1, LLAMA).values())
    assert number == pytest.approx(63.7e6, rel=1e-3)
    assert transistors(HC1, LLAMA)["registers"] == pytest.approx(26 * number)
    assert area(HC1, LLAMA)["registers"] == pytest.approx(26 * number / 91.2e6)


@examples(50)
@given(values=design_arrays(), shared=st.booleans())
def test_arrays_equal_scalars_and_no_block_is_negative(
    values: dict[str, np.ndarray], shared: bool
) -> None:
    base = HC1.with_values({"datapath.layers": "shared" if shared else "distinct"})
    together = registers(base.with_values(values), LLAMA)
    for index in range(3):
        for block, value in registers(base.with_values(one_of(values, index)), LLAMA).items():
            assert value >= 0
            assert np.broadcast_to(together[block], 3)[index] == pytest.approx(value), block


@pytest.mark.parametrize(
    "parameter",
    [
        "rom.registers_per_output",
        "process.mac_int8_registers",
        "process.fp16_registers",
        "process.compare_registers",
        "process.flop_transistors",
    ],
)
def test_more_registers_take_more_area(parameter: str) -> None:
    value = HC1.value(parameter)
    first, second = area(HC1.with_values({parameter: np.array([value, value + 1])}), LLAMA)["total"]
    assert second > first
