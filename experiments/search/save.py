"""The files of a search."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.experiments.search.search import Search
from hardwire.experiments.shared.configuration import CONFIGURATION
from hardwire.experiments.shared.folder import json_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure
from hardwire.experiments.sweep.save import study_configuration


def save(found: Search, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write the front and all trials as CSV, summary and configuration as JSON, and a figure.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    # Here, because matplotlib takes longer to import than most of what is printed.
    from hardwire.experiments.search.plot import front_figure  # noqa: PLC0415

    writers: dict[str, Callable[[Path], Any]] = {
        "front.csv": lambda path: _write_csv(found, found.front, path),
        "trials.csv": lambda path: _write_csv(found, np.arange(found.trials), path),
        "search.json": json_file(found.to_dict()),
        CONFIGURATION: json_file(
            study_configuration(found.study, found.study.objectives, "search")
        ),
        f"search.{figures}": lambda path: save_figure(front_figure(found), path),
    }
    return write_run(folder, writers)


def _write_csv(found: Search, trials: np.ndarray, path: Path) -> None:
    names = [*found.columns, *found.study.columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", *names, "infeasible"])
        for trial in trials.tolist():
            row = found.row(trial)
            reason = found.reasons[found.code[trial]]
            writer.writerow([trial, *(row[name] for name in names), reason])
