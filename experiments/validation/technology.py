"""Memory macros of any depth from two of a compiler's, single units, what dies yield and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.validation import units
from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.cost import gross_dies, murphy_yield
from hardwire.models.macro import Macro, fit_macro
from hardwire.models.process import Process
from hardwire.models.published import PublishedRow, published
from hardwire.simulator.belief.draws import DRAWS

STRUCTURE = 0.07
"""Standard error of the macro model, assumed: two points leave no residual to take it from, and a
compiler changes its banks and column multiplexers at sizes that are not published."""

TWO_PORT_CELL = 1.3
TWO_PORT_CELL_RANGE = (1.2, 1.5)
"""Area of an 8T cell with a write and a read port over the 6T high-density cell; assumed, since no
figure at 5 or 7 nm is published."""


def compiler(memory: str, cell_um2: float | None = None) -> Macro:
    """The macros of TSMC's 7 nm compiler, through its calibration rows.

    ``cell_um2`` puts the same periphery beside another cell.
    """
    rows = [
        row
        for row in published("technology")
        if row.metric == "macro_density"
        and row.role == "calibration"
        and row.conditions["memory"] == memory
    ]
    return through(rows, cell_um2)


def through(rows: Sequence[PublishedRow], cell_um2: float | None = None) -> Macro:
    """The macros through two published densities."""
    first, second = rows
    points = [(float(row.conditions["rows"]), row.value) for row in (first, second)]
    fitted = fit_macro(float(first.conditions["cell_um2"]), *points)
    cell = fitted.cell_um2 if cell_um2 is None else cell_um2
    return Macro(cell, fitted.row_overhead, fitted.periphery_rows)


def spread(bench: Bench, name: str, value: float) -> NDArray[np.float64]:
    """Draws around a macro's figure, for what its two-parameter model leaves out."""
    return value * (1 + STRUCTURE * bench.stream(name).standard_normal(DRAWS))


def _macro_density(bench: Bench, row: PublishedRow) -> Predicted:
    value = float(compiler(str(row.conditions["memory"])).density_mbit_per_mm2(_rows(row)))
    return Predicted(value, spread(bench, row.id, value))


def _deep_macro_density(bench: Bench, row: PublishedRow) -> Predicted:
    """Of another node: the same periphery in cells, beside that node's cell."""
    macro = compiler(str(row.conditions["memory"]), float(row.conditions["cell_um2"]))
    value = float(macro.density_mbit_per_mm2(_rows(row)))
    return Predicted(value, spread(bench, row.id, value))


def _rows(row: PublishedRow) -> float:
    return float(row.conditions["rows"])


def of_die(take: Callable[[Process, float], Any]) -> Callable[[Bench, PublishedRow], Predicted]:
    """A predictor from the area of a die and its process.

    The publications state defect density and wafer price, and those are the values of the process
    files: nothing is drawn.
    """

    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        process = bench.process(str(row.conditions["process"]))
        return Predicted(float(take(process, float(row.conditions["area_mm2"]))))

    return predictor


def _good_dies(process: Process, mm2: float) -> Any:
    return gross_dies(mm2, process.wafer_diameter_mm) * murphy_yield(mm2, process.defects_per_cm2)


DIES: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "die_yield": of_die(lambda process, mm2: murphy_yield(mm2, process.defects_per_cm2)),
    "gross_dies": of_die(lambda process, mm2: gross_dies(mm2, process.wafer_diameter_mm)),
    "good_dies": of_die(_good_dies),
    "good_die_usd": of_die(lambda process, mm2: process.wafer_usd / _good_dies(process, mm2)),
}

PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    **DIES,
    **units.PREDICTORS,
    "macro_density": _macro_density,
    "deep_macro_density": _deep_macro_density,
}
