"""Density of memory macros against their depth: cells plus the periphery beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Macro:
    """A memory compiler's macros of one width, of any depth.

    A macro of ``rows`` words takes ``cells · (rows · row_overhead + periphery_rows)`` per column:
    word-line drivers, straps and edge cells grow with the rows; sense amplifiers, input and output
    and control are as large as ``periphery_rows`` rows of cells whatever the depth.

    Attributes
    ----------
    cell_um2 : area of a bit cell.
    row_overhead : area of a row with its share of drivers, in rows of bare cells; at least 1.
    periphery_rows : area beside the array, in rows of bare cells.
    """

    cell_um2: Any
    row_overhead: Any
    periphery_rows: Any

    @classmethod
    def of_density(cls, density: Any, rows: Any, periphery_rows: Any) -> Macro:
        """The macros of which one of ``rows`` rows has a density, in Mb/mm².

        ``periphery_rows`` counts rows with their share of drivers, so that no more needs to be
        known of the cell.
        """
        return cls(1 / (density * (1 + periphery_rows / rows)), 1, periphery_rows)

    def widened(self, width: Any, shared: Any) -> Macro:
        """The macros of words that are ``width`` times as wide.

        A word line's decoder, timing and control are there once, whatever the width, and sense
        amplifiers, input and output once for each bit of it.

        Parameters
        ----------
        shared : share of the periphery that is there once.
        """
        per_column = 1 - shared + shared / width
        return Macro(self.cell_um2, self.row_overhead, self.periphery_rows * per_column)

    def efficiency(self, rows: Any) -> Any:
        """Share of the macro's area that is bit cells."""
        return 1 / (self.row_overhead + self.periphery_rows / rows)

    def density_mbit_per_mm2(self, rows: Any) -> Any:
        """Mb per mm² (10⁶ bits) of a macro with so many rows."""
        return self.efficiency(rows) / self.cell_um2

    def area_mm2(self, bits: Any, rows: Any) -> Any:
        """mm² of so many bits in macros of so many rows."""
        um2 = self.cell_um2 * bits * (self.row_overhead + self.periphery_rows / rows)
        return um2 / 1e6


def fit_macro(cell_um2: float, first: tuple[float, Any], second: tuple[float, Any]) -> Macro:
    """The macros through two points of ``(rows, density in Mb/mm²)``.

    Raises
    ------
    ValueError
        If both points have the same depth.
    """
    (rows_1, density_1), (rows_2, density_2) = first, second
    if rows_1 == rows_2:
        raise ValueError("two depths are needed")
    inverse_1, inverse_2 = 1 / (density_1 * cell_um2), 1 / (density_2 * cell_um2)
    periphery_rows = (inverse_1 - inverse_2) / (1 / rows_1 - 1 / rows_2)
    return Macro(cell_um2, inverse_1 - periphery_rows / rows_1, periphery_rows)
