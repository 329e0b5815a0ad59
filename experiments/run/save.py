"""Results on disk: all files of a run or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.folder import json_file, write_all
from hardwire.simulator.single import Result, tokens_frame

FILES = (
    "verdict.json",
    "configuration.json",
    "breakdown.png",
    "rank.png",
    "rank.json",
    "tokens.parquet",
    "trace.json.gz",
)


def save(result: Result, data: dict[str, Any], folder: Path) -> list[Path]:
    """Write verdict, configuration, plots, token times and trace to ``folder``.

    The folder is made if need be. Everything is first written beside it and then renamed file by
    file, so that a full disk or an interrupt leaves an earlier result as it was.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    # Here, because matplotlib and pandas take longer to import than most runs take.
    from hardwire.experiments.report.data import rank_curve, run_configuration  # noqa: PLC0415
    from hardwire.experiments.run.plot import breakdown_figure, rank_figure, save_figure  # noqa: PLC0415
    from hardwire.experiments.run.trace import write_trace  # noqa: PLC0415

    writers: dict[str, Callable[[Path], Any]] = {
        "verdict.json": json_file(data),
        "configuration.json": json_file(run_configuration(result)),
        "breakdown.png": lambda path: save_figure(breakdown_figure(result), path),
        "rank.png": lambda path: save_figure(rank_figure(result), path),
        "rank.json": json_file(rank_curve(result)),
        "tokens.parquet": lambda path: tokens_frame(result).to_parquet(path, index=False),
        "trace.json.gz": lambda path: write_trace(result, path),
    }
    return write_all(folder, {name: writers[name] for name in FILES})
