"""A report on number formats on disk: all files or none."""

from __future__ import annotations

import csv
from pathlib import Path

from hardwire.experiments.formats.measure import FormatReport
from hardwire.experiments.shared.folder import json_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure


def save(report: FormatReport, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write the measurements as JSON and CSV and a figure to ``folder``, all or none.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    from hardwire.experiments.formats.plot import formats_figure  # noqa: PLC0415 - matplotlib is slow

    return write_run(
        folder,
        {
            "formats.json": json_file(report.to_dict()),
            "formats.csv": lambda path: write_csv(report, path),
            f"formats.{figures}": lambda path: save_figure(formats_figure(report), path),
        },
    )


def write_csv(report: FormatReport, path: Path) -> None:
    """One line per measurement, six significant digits; a field that does not apply is empty."""
    rows = report.rows()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
