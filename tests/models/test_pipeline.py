"""The largest clock and the fill of a pipeline: laws over random chips, and arithmetic by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.pipeline import (
    clock_reached,
    fill_cycles,
    largest_clock_ghz,
    lowest_supply_v,
    matrix_fill_cycles,
)
from hardwire.models.rom import RomMatrix, head_matrix, layer_matrices

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.open("llama-3.1-8b")
MATRICES = (*layer_matrices(LLAMA), head_matrix(LLAMA))


def fill(chip: Chip, matrix: RomMatrix) -> Any:
    (cycles,) = matrix_fill_cycles(chip, LLAMA, [matrix])
    return cycles


@pytest.mark.parametrize("name", ["hc1", "hc1-demo", "roma"])
def test_a_filed_chip_fills_as_stated_and_reaches_its_clock(name: str) -> None:
    chip = Chip.open(name)
    model = LanguageModel.open(chip.model)
    stated = chip.datapath.fill_cycles
    assert fill_cycles(chip) == stated and clock_reached(chip)
    assert set(matrix_fill_cycles(chip, model, layer_matrices(model))) == {stated}


def test_the_largest_clock_by_hand() -> None:
    """At 0.85 V: 2 GHz x (0.55 / 0.45)^1.3 x 0.75 / 0.85; none at or below the threshold."""
    volts = np.array([0.75, 0.85, 0.4])
    chip = HC1.with_values({"datapath.supply_v": volts, "process.threshold_v": 0.3})
    clock = largest_clock_ghz(chip)
    assert clock[0] == pytest.approx(2.0)
    assert clock[1] == pytest.approx(2 * (0.55 / 0.45) ** 1.3 * 0.75 / 0.85)
    assert largest_clock_ghz(HC1._replaced({"datapath.supply_v": 0.3})) == 0


@examples(100)
@given(values=design_arrays(size=1))
def test_more_voltage_never_makes_a_pipeline_slower(values: dict[str, np.ndarray]) -> None:
    volts = np.linspace(0.4, 1.1, 71)
    chip = HC1.with_values({**one_of(values, 0), "datapath.supply_v": volts})
    clock = largest_clock_ghz(chip)
    assert np.all(np.diff(clock) >= 0) and np.all(clock >= 0)


@examples(50)
@given(clock=st.floats(0.5, 4))
def test_the_lowest_voltage_is_the_lowest(clock: float) -> None:
    chip = HC1.with_values({"datapath.clock_ghz": clock})
    volts = lowest_supply_v(chip)
    if volts is None:
        assert not clock_reached(chip.with_values({"datapath.supply_v": 1.1}))
    else:
        assert clock_reached(chip._replaced({"datapath.supply_v": volts}))
        assert not clock_reached(chip._replaced({"datapath.supply_v": volts - 0.001}))


@examples(50)
@given(values=design_arrays(size=1), matrix=st.sampled_from(MATRICES))
def test_b6_more_lanes_and_a_faster_pipeline_never_fill_sooner(
    values: dict[str, np.ndarray], matrix: RomMatrix
) -> None:
    design = HC1.with_values(one_of(values, 0))
    lanes = np.array([1, 8, 16, 17, 64, 1024, 4096])
    wider = fill(design.with_values({"datapath.lanes": lanes}), matrix)
    assert np.all(np.diff(wider) >= 0) and wider[-1] > wider[0] >= 1
    clocks = np.linspace(0.5, 9, 40)
    faster = design.with_values({"datapath.pipeline_ghz": clocks})
    assert np.all(np.diff(fill_cycles(faster)) >= 0)


def test_the_fill_of_64_lanes_by_hand() -> None:
    """Two more levels of 150 ps, and two sides of a larger matrix at 150 ps/mm, in 440 ps."""
    qkv = MATRICES[0]
    chip = HC1.with_values({"datapath.lanes": 64})
    rom = qkv.weights * 3.5 / 57.8e6
    adders = qkv.out_features * 14 * 28 / 91.2e6
    longer = np.sqrt(rom + 64 * adders) - np.sqrt(rom + 16 * adders)
    expected = 24 + (2 * 150 + 2 * longer * 150) / (500 - 60)
    assert fill(chip, qkv) == np.ceil(expected)


@examples(50)
@given(values=design_arrays(), matrix=st.sampled_from(MATRICES))
def test_arrays_equal_scalars(values: dict[str, np.ndarray], matrix: RomMatrix) -> None:
    many = HC1.with_values(values)
    found = [np.broadcast_to(each, 3) for each in (largest_clock_ghz(many), fill(many, matrix))]
    for index in range(3):
        one = HC1.with_values(one_of(values, index))
        assert found[0][index] == pytest.approx(largest_clock_ghz(one))
        assert found[1][index] == fill(one, matrix)
