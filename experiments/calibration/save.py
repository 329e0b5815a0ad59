"""A calibration on disk: all files or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.experiments.calibration.calibrate import Report
from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
)
from hardwire.experiments.shared.folder import json_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure
from hardwire.simulator.belief.chip import VENDOR
from hardwire.simulator.timing import CLOCK

if TYPE_CHECKING:
    import pandas as pd


def draws_frame(report: Report) -> pd.DataFrame:
    """The draws from the posterior, a row each: every uncertain parameter by its dotted name, and
    the clocks of the other operating points as ``datapath.clock_ghz, demo``."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    posterior = report.posterior
    columns = {
        name: np.asarray(posterior.chip.value(name), dtype=float)
        for name in (CLOCK, *report.inference.drawn)
    }
    clocks = {
        f"{CLOCK}, {point}": values
        for point, values in posterior.clocks_ghz.items()
        if point != VENDOR
    }
    return pd.DataFrame({**columns, **clocks})


def calibration_configuration(report: Report) -> dict[str, Any]:
    """The resolved configuration of ``hardwire calibrate``."""
    inference = report.inference
    options = {
        "chip": inference.chip.name,
        "adapters": [name for name, _ in report.shapes],
        "candidates": int(inference.modelled.size),
        "seed": inference.seed,
    }
    chips = [chip_configuration(inference.chip)]
    return configuration("calibrate", options, inference.model, chips=chips)


def save(report: Report, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write report, configuration, draws and figures to ``folder``, which is made if need be.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    from hardwire.experiments.calibration import plot  # noqa: PLC0415 - matplotlib is slow

    writers: dict[str, Callable[[Path], Any]] = {
        "calibration.json": json_file(report.to_dict()),
        CONFIGURATION: json_file(calibration_configuration(report)),
        "posterior.parquet": lambda path: draws_frame(report).to_parquet(path, index=False),
        f"parameters.{figures}": lambda path: save_figure(plot.parameter_figure(report), path),
        f"corner.{figures}": lambda path: save_figure(plot.corner_figure(report), path),
        f"predictions.{figures}": lambda path: save_figure(plot.prediction_figure(report), path),
        f"left-out.{figures}": lambda path: save_figure(plot.left_out_figure(report), path),
    }
    return write_run(folder, writers)
