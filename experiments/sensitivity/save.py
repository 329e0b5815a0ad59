"""Sensitivities on disk: all files or none."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardwire.experiments.sensitivity.sobol import Report, Sensitivity
from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
)
from hardwire.experiments.shared.folder import json_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure
from hardwire.experiments.sweep.metrics import CLOSED_FORM

COLUMNS = (
    "metric", "input", "value", "low", "high", "first", "first_error", "total", "total_error",
    "at_low", "at_high",
)  # fmt: skip


def save(report: Report, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write all inputs as JSON and CSV, the configuration, and a figure for each metric.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    # Here, because matplotlib takes longer to import than most of what is printed.
    from hardwire.experiments.sensitivity.plot import sensitivity_figure  # noqa: PLC0415

    def picture(one: Sensitivity) -> Callable[[Path], Any]:
        return lambda path: save_figure(sensitivity_figure(report, one), path)

    writers: dict[str, Callable[[Path], Any]] = {
        "sensitivity.json": json_file(report.to_dict()),
        CONFIGURATION: json_file(sensitivity_configuration(report)),
        "sensitivity.csv": lambda path: _write_csv(report, path),
        **{f"sensitivity-{one.metric}.{figures}": picture(one) for one in report.metrics},
    }
    return write_run(folder, writers)


def sensitivity_configuration(report: Report) -> dict[str, Any]:
    """The resolved configuration of ``hardwire sensitivity``."""
    design = report.design
    load = {k: v for k, v in design.resolved().items() if k.startswith(("workload.", "adapter."))}
    options = {
        "chip": design.chip.name,
        "metrics": [one.metric for one in report.metrics],
        "calibrated": report.calibrated,
        "samples": report.samples,
        "seed": report.seed,
        **load,
    }
    metrics = [
        {"name": one.metric, "meaning": metric.meaning, "unit": metric.unit}
        for one in report.metrics
        for metric in [CLOSED_FORM[one.metric]]
    ]
    chips = [chip_configuration(design.chip)]
    return configuration("sensitivity", options, design.model, metrics=metrics, chips=chips)


def _write_csv(report: Report, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in report.metrics:
            for effect in one.effects:
                each = effect.input
                writer.writerow(
                    [
                        one.metric, each.name, each.value, each.low, each.high,
                        effect.first, effect.first_error, effect.total, effect.total_error,
                        effect.at_low, effect.at_high,
                    ]
                )  # fmt: skip
