"""The fit behind ``vllm-h100`` as tables.

``python -m hardwire.experiments.calibration.gpu_server_view PATH`` fits again from the component
CSV and prints the coefficients beside those of the server file, and the residual of every row.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group

from hardwire.experiments.calibration.gpu_server import SERVER, fit, read_runs
from hardwire.experiments.shared.tables import plain_table
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the coefficients and the residual of every row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="CSV of the component runs")
    path = parser.parse_args(arguments).path
    try:
        server = BatchServer.open(SERVER)
        result = fit(read_runs(path), server)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    table = plain_table(f"Coefficients of {SERVER}", "parameter", "fitted", "in the file")
    for name, value in result.values.items():
        table.add_row(name, f"{value:.4g}", f"{getattr(server.batching, name):.4g}")
    residuals = plain_table("Rows", "run", "measured, ms", "fitted, ms", "error")
    for point in result.points:
        off = point.fitted / point.measured - 1
        residuals.add_row(
            point.label, f"{point.measured:.2f}", f"{point.fitted:.2f}", f"{off:+.1%}"
        )
    Console(width=120, markup=False, highlight=False).print(Group(table, residuals))


if __name__ == "__main__":
    main()
