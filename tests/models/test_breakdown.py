"""A chip by its blocks: hand arithmetic on HNLPU's file, and what more of anything does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.breakdown import (
    SECTIONS,
    Breakdown,
    block_power,
    neurons_mm2,
    vector_unit_mm2,
)
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.parameters import quantities
from hardwire.simulator.belief.draws import draw_breakdown

HNLPU = Breakdown.open("hnlpu")
DRAWN = draw_breakdown(HNLPU, size=50)


def changed(chip: Breakdown, group: str, field: str, factor: float) -> Breakdown:
    section = getattr(chip, group)
    more = dataclasses.replace(section, **{field: getattr(section, field) * factor})
    return dataclasses.replace(chip, **{group: more})


def total(chip: Breakdown) -> Any:
    return sum(watts for block in block_power(chip).values() for watts in block.values())


def test_neurons_by_hand() -> None:
    found = block_power(HNLPU)["neurons"]
    assert found["leakage"] == pytest.approx(573.16 * 0.1)
    assert found["clock_spine"] == pytest.approx(573.16 * 4.9e-12 * 1e9)
    # Eight bits of 80 trillion uses pass a wire of 7.8 fF and an adder that switches 1.9 times.
    assert found["wires"] == pytest.approx(8 * 8e13 * 7.8e-15 * 0.75**2 / 4)
    assert found["adders"] == pytest.approx(8 * 8e13 * 0.63e-15 * 1.9)
    # A weight is at work in 8 x 8e13 / 7.3e9 of a billion cycles; the rest of the time it waits.
    duty = 8 * 8e13 / 7.3e9 / 1e9
    each = 1.4 * (duty + (1 - duty) * 0.045) + 0.7 * duty
    assert found["registers"] == pytest.approx(7.3e9 / 2880 * 60 * each * 1e-15 * 1e9)
    assert neurons_mm2(HNLPU) == pytest.approx(7.3e9 * 13.3 / 138.2e6)


def test_vector_unit_by_hand() -> None:
    macs = 2 * 32 * 64 * 8
    found = block_power(HNLPU)["vector_unit"]
    assert found["products"] == pytest.approx(macs * 1.36 * 0.175e-12 * 1e9)
    assert found["sums"] == pytest.approx(macs * 1.52 * 0.175e-12 * 1e9)
    assert found["exponentials"] == pytest.approx(32 * 8 * 4 * 0.175e-12 * 1e9)
    held = 2048 * 0.749e-12 * 1e9 + 21e6 / 2**20 * 1e-3
    assert found["held"] == pytest.approx(held)
    registers = (macs + 360) * 64 + macs * 16
    assert found["registers"] == pytest.approx(registers * 2.1e-15 * 1e9)
    units = macs * (0.547 + 1.395) + 360 + 32 * 8 * 4
    logic_mm2 = (units * 15_000 + registers * 26) / 138.2e6
    buffer_mm2 = 21e6 / (20_000 * 16_384 * 8) * 136.11
    assert vector_unit_mm2(HNLPU) == pytest.approx(logic_mm2 + buffer_mm2)


def test_buffer_links_and_memory_interface_by_hand() -> None:
    found = block_power(HNLPU)
    assert found["buffer"]["reads_and_writes"] == pytest.approx(80e12 * 0.749e-12)
    assert found["buffer"]["leakage"] == pytest.approx(2500e-3)  # 2,500 Mib
    assert found["links"]["signals"] == pytest.approx(6 * 128e9 * 8 * 6e-12)
    assert found["links"]["buffers"] == pytest.approx(6 * 128e9 * 2 * 0.749e-12)
    assert found["memory_interface"]["signals"] == pytest.approx(8 * 819e9 * 8 * 0.73e-12)


def test_sums_of_16_bits_cost_what_a_16_bit_operation_does() -> None:
    """The mean of a product and a sum is the process's own figure."""
    narrow = dataclasses.replace(HNLPU.vector_unit, sum_bits=16)
    found = block_power(dataclasses.replace(HNLPU, vector_unit=narrow))["vector_unit"]
    macs = 2 * 32 * 64 * 8
    assert found["products"] + found["sums"] == pytest.approx(2 * macs * 0.175e-12 * 1e9)


COUNTED = [
    (group, field)
    for group, section in SECTIONS.items()
    for field in quantities(section)
    # These are no amounts of hardware: inputs share a neuron, banks make the buffer's area denser,
    # and how the chip is run is below.
    if (group, field) not in {("neurons", "inputs"), ("buffer", "banks"), ("buffer", "bank_bytes")}
    and group != "operation"
]


@examples(30)
@given(st.sampled_from(COUNTED), st.floats(1.01, 2))
def test_more_of_anything_never_takes_less(place: tuple[str, str], factor: float) -> None:
    group, field = place
    if field == "sum_bits":
        factor = 1.0
    more = changed(DRAWN, group, field, factor)
    assert np.all(total(more) >= total(DRAWN) * (1 - 1e-12))
    assert np.all(neurons_mm2(more) >= neurons_mm2(DRAWN) * (1 - 1e-12))
    assert np.all(vector_unit_mm2(more) >= vector_unit_mm2(DRAWN) * (1 - 1e-12))


@examples(20)
@given(st.sampled_from(["clock_ghz", "supply_v", "junction_c", "idle_clock_share"]))
def test_faster_hotter_and_less_gated_takes_more(field: str) -> None:
    assert np.all(total(changed(DRAWN, "operation", field, 1.1)) > total(DRAWN))


def test_draws_keep_to_the_ranges_and_to_their_seed() -> None:
    """Whoever draws more of them has the first ones again, of the process, too."""
    for name, parameter in HNLPU.parameters.items():
        group, _, field = name.partition(".")
        drawn = getattr(getattr(DRAWN, group), field)
        if parameter.range is None:
            assert drawn == parameter.value
        else:
            low, high = parameter.range
            assert np.all((low * 0.999 <= drawn) & (drawn <= high * 1.001))
            again = getattr(getattr(draw_breakdown(HNLPU, size=60), group), field)
            assert np.array_equal(again[:50], drawn)


def test_a_breakdown_is_no_chip(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: hnlpu\nneurons: {weights: 1.0e+9}\noperation: {clock_ghz: 1.5}\n")
    assert Breakdown.open(file).neurons.weights == 1e9
    with pytest.raises(InputError, match="is a breakdown, not a chip"):
        Chip.open(file)
    file.write_text("extends: hnlpu\nneurons: {weights: 0}\n")
    with pytest.raises(InputError, match=r"neurons\.weights"):
        Breakdown.open(file)
