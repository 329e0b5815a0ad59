"""Macros: laws of the area, and the fit gives back what made its points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.macro import Macro, fit_macro

MACROS = st.builds(
    Macro,
    cell_um2=st.floats(0.005, 0.2),
    row_overhead=st.floats(1, 3),
    periphery_rows=st.floats(1, 5000),
)
ROWS = st.integers(64, 65536)


@given(MACROS, ROWS)
def test_a_deeper_macro_is_denser_and_never_denser_than_its_cells(macro: Macro, rows: int) -> None:
    assert macro.density_mbit_per_mm2(2 * rows) > macro.density_mbit_per_mm2(rows)
    assert macro.efficiency(rows) < 1
    assert macro.density_mbit_per_mm2(rows) < 1 / macro.cell_um2


@given(MACROS, ROWS)
def test_area_is_columns_of_cells_and_periphery(macro: Macro, rows: int) -> None:
    """The hand calculation, for a macro of 64 columns."""
    um2 = 64 * macro.cell_um2 * (rows * macro.row_overhead + macro.periphery_rows)
    assert macro.area_mm2(64 * rows, rows) * 1e6 == pytest.approx(um2)


@given(MACROS, st.tuples(ROWS, ROWS).filter(lambda pair: max(pair) > 1.5 * min(pair)))
def test_the_fit_gives_back_the_macros_that_made_its_points(
    macro: Macro, depths: tuple[int, int]
) -> None:
    first, second = ((rows, macro.density_mbit_per_mm2(rows)) for rows in depths)
    fitted = fit_macro(macro.cell_um2, first, second)
    assert fitted.row_overhead == pytest.approx(macro.row_overhead, rel=1e-6)
    assert fitted.periphery_rows == pytest.approx(macro.periphery_rows, rel=1e-6)


def test_one_depth_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two depths"):
        fit_macro(0.027, (1024, 13.1), (1024, 13.2))


@given(MACROS, ROWS, ROWS)
def test_a_density_at_one_depth_gives_the_density_at_another(
    macro: Macro, filed: int, rows: int
) -> None:
    in_array = macro.periphery_rows / macro.row_overhead
    found = Macro.of_density(macro.density_mbit_per_mm2(filed), filed, in_array)
    expected = macro.density_mbit_per_mm2(rows)
    assert found.density_mbit_per_mm2(rows) == pytest.approx(expected)


@given(MACROS, ROWS, st.floats(1, 16), st.floats(0, 1))
def test_wider_words_are_never_less_dense(
    macro: Macro, rows: int, width: float, shared: float
) -> None:
    wide = macro.widened(width, shared)
    assert wide.density_mbit_per_mm2(rows) >= macro.density_mbit_per_mm2(rows) * (1 - 1e-12)
    assert macro.widened(1, shared).periphery_rows == pytest.approx(macro.periphery_rows)
