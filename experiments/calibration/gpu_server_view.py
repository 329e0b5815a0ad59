"""The tables of ``hardwire server fit``: coefficients, and every row with its error."""

from __future__ import annotations

import numpy as np
from rich.console import Group, RenderableType

from hardwire.experiments.calibration.gpu_server import ServerFit
from hardwire.experiments.shared.tables import plain_table
from hardwire.models.gpu_server import Batching
from hardwire.models.parameters import quantities


def render(fit: ServerFit) -> RenderableType:
    """Both tables."""
    title = f"{fit.model.name}, fitted to {len(fit.points)} measured times of {fit.profile}"
    found = plain_table(title, "coefficient", "value", "± 1 deviation", "unit", "guess", "rows", "")
    for one in fit.coefficients:
        found.add_row(
            one.name,
            f"{one.value:,.4g}",
            f"{one.deviation:,.2g}",
            quantities(Batching)[one.name].unit,
            f"{one.guess:,.4g}",
            str(one.rows),
            f"mostly {fit.base.name}" if one.open else "",
        )
    errors = np.abs([point.error for point in fit.points])
    rows = plain_table(
        f"Rows: {errors.mean():.1%} off on average, {errors.max():.1%} at most",
        "run", "", "measured, ms", "fitted, ms", "error",
    )  # fmt: skip
    for point in fit.points:
        rows.add_row(
            point.label,
            point.quantity,
            f"{point.measured:,.2f}",
            f"{point.fitted:,.2f}",
            f"{point.error:+.1%}",
        )
    return Group(found, rows)
