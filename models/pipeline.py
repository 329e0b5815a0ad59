"""How fast a pipeline can be clocked, and how many cycles it takes to fill: closed form.

A pipeline is cut into stages for one clock, ``datapath.pipeline_ghz``, at the nominal voltage of
the process. Its cycles are the same at whatever clock it then runs; what its supply voltage changes
is the largest clock that it reaches. Everything takes numbers or NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardwire.models.area import matrix_side_mm
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.process import Process
from hardwire.models.rom import RomMatrix

PS_PER_NS = 1000
ROUNDING = 1e-9
"""Of a cycle: what arithmetic on whole stages may be off by before it is rounded up."""


def _speed(process: Process, supply_v: Any) -> Any:
    """Speed of logic at a voltage, ``(V − Vt)^α / V``, up to a constant; 0 below the threshold.

    The alpha-power law: T. Sakurai, A. R. Newton, IEEE J. Solid-State Circuits 25 (1990).
    """
    return np.maximum(supply_v - process.threshold_v, 0) ** process.alpha / supply_v


def largest_clock_ghz(chip: Chip) -> Any:
    """The largest clock that the chip's pipeline reaches at its supply voltage, in GHz.

    The clock that it is cut for, or the fastest that the process has, times what the voltage makes
    of the speed of logic.
    """
    process = chip.process
    cut_for = np.minimum(chip.datapath.pipeline_ghz, process.max_clock_ghz)
    nominal = _speed(process, process.nominal_v)
    return (cut_for * (_speed(process, chip.datapath.supply_v) / nominal))[()]


def clock_reached(chip: Chip) -> Any:
    """Whether the pipeline reaches the chip's clock; bool, or an array of them."""
    return np.less_equal(chip.datapath.clock_ghz, largest_clock_ghz(chip) * (1 + ROUNDING))[()]


def lowest_supply_v(chip: Chip) -> float | None:
    """The lowest supply voltage at which one chip reaches its clock, up to a mV; None if none does.

    No higher one than a chip file may state.
    """
    highest = DECLARED["datapath.supply_v"].high
    tried = np.arange(1, round(1000 * highest) + 1) / 1000
    enough = clock_reached(chip._replaced({"datapath.supply_v": tried}))
    return float(tried[np.argmax(enough)]) if enough.any() else None


def _stage_ps(chip: Chip, clock_ghz: Any) -> Any:
    """Time for logic in a stage of a pipeline that is cut for a clock."""
    return PS_PER_NS / clock_ghz - chip.process.register_ps


def fill_cycles(chip: Chip) -> Any:
    """Cycles to fill the pipeline of an operation.

    As stated for a pipeline of ``datapath.fill_ghz``. One that is cut for another clock has as much
    logic in other stages; more of each cycle goes to registers as stages get shorter.
    """
    return _rounded_up(_stated(chip))


def matrix_fill_cycles(
    chip: Chip, model: LanguageModel, matrices: Sequence[RomMatrix]
) -> tuple[Any, ...]:
    """Cycles to fill the pipeline of each of some ROM matrices: ``fill_cycles``, and more by lanes.

    What is stated is for ``datapath.fill_lanes``. More lanes make the adder tree of an output
    deeper, a level for each doubling, and the matrix larger by their adders: products and sums run
    along one side of it each.
    """
    path, process = chip.datapath, chip.process
    if np.array_equal(path.lanes, path.fill_lanes):
        return (fill_cycles(chip),) * len(matrices)
    levels = np.ceil(np.log2(path.lanes)) - np.ceil(np.log2(path.fill_lanes))
    stage_ps = _stage_ps(chip, path.pipeline_ghz)
    same = _stated(chip) + levels * (process.adder_level_ps / stage_ps)
    per_mm = 2 * process.wire_ps_per_mm / stage_ps

    def fill(matrix: RomMatrix) -> Any:
        side_mm, stated_mm = (
            matrix_side_mm(chip, model, matrix, lanes) for lanes in (path.lanes, path.fill_lanes)
        )
        return _rounded_up(same + (side_mm - stated_mm) * per_mm)

    return tuple(fill(matrix) for matrix in matrices)


def _stated(chip: Chip) -> Any:
    path = chip.datapath
    # A quotient of equals is one: the chip as filed keeps its cycles to the last.
    return path.fill_cycles * (_stage_ps(chip, path.fill_ghz) / _stage_ps(chip, path.pipeline_ghz))


def _rounded_up(cycles: Any) -> Any:
    """Whole cycles, at least one; an integer for one design."""
    whole = np.maximum(np.ceil(cycles - ROUNDING), 1)
    return int(whole) if np.ndim(whole) == 0 else whole
