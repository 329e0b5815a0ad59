"""Results on disk: all files of a run or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardwire.experiments.run.curve import rank_curve
from hardwire.experiments.run.floorplan import floorplan
from hardwire.experiments.run.timeline import TIMELINE, timeline
from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
)
from hardwire.experiments.shared.folder import json_file
from hardwire.experiments.shared.parquet import write_columns
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure
from hardwire.simulator.single import PHASES, Result, token_columns

RANKS = "rank.json"


def save(
    result: Result, data: dict[str, Any], folder: Path, figures: str = FORMATS[0]
) -> list[Path]:
    """Write verdict, configuration, plots, token times and trace to ``folder``.

    The folder appears whole or not at all, so that a full disk or an interrupt leaves an earlier
    result as it was.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    # Here, because matplotlib takes longer to import than most runs take.
    from hardwire.experiments.run.floorplan_plot import floorplan_figure  # noqa: PLC0415
    from hardwire.experiments.run.plot import (  # noqa: PLC0415
        breakdown_figure,
        figure_title,
        rank_figure,
    )
    from hardwire.experiments.run.timeline_plot import flight_figure, token_figure  # noqa: PLC0415
    from hardwire.experiments.run.trace import write_trace  # noqa: PLC0415

    plan, times, title = floorplan(data), timeline(result), figure_title(result)
    curve = rank_curve(result)
    writers: dict[str, Callable[[Path], Any]] = {
        "verdict.json": json_file(data),
        CONFIGURATION: json_file(run_configuration(result)),
        f"breakdown.{figures}": lambda path: save_figure(breakdown_figure(result), path),
        f"rank.{figures}": lambda path: save_figure(rank_figure(result, curve), path),
        f"floorplan.{figures}": lambda path: save_figure(floorplan_figure(plan, title), path),
        f"timeline.{figures}": lambda path: save_figure(token_figure(times, title), path),
        f"pipeline.{figures}": lambda path: save_figure(flight_figure(times, title), path),
        RANKS: json_file(curve),
        TIMELINE: json_file(times.to_dict()),
        "tokens.parquet": lambda path: write_columns(path, token_columns(result), phase=PHASES),
        "trace.json.gz": lambda path: write_trace(result, path),
    }
    return write_run(folder, writers)


def run_configuration(result: Result) -> dict[str, Any]:
    """The resolved configuration of ``hardwire run``."""
    adapter = result.adapter
    options = {
        "chip": result.chip.name,
        "model": result.model.name,
        "adapter": "none" if adapter is None else adapter.adapter.name,
        "prompt": result.prompt,
        "output": result.output,
        "users": result.users,
        "issue": result.chip.datapath.issue,
        "engine": result.engine,
    }
    return configuration("run", options, result.model, chips=[chip_configuration(result.chip)])
