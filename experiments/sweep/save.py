"""A sweep on disk: all files or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
)
from hardwire.experiments.shared.folder import json_file
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure
from hardwire.experiments.sweep.design import NUMERIC
from hardwire.experiments.sweep.metrics import Better, Metric
from hardwire.experiments.sweep.results import results
from hardwire.experiments.sweep.study import Study
from hardwire.experiments.sweep.summary import Summary, aims
from hardwire.models.parameters import Quantity


def save(found: Summary, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write all points as Parquet, summary and configuration as JSON, and a figure.

    Parameters
    ----------
    figures : their format, one of ``FORMATS``.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from hardwire.experiments.sweep.plot import sweep_figure  # noqa: PLC0415

    points = results(found.swept.store, f'SELECT * FROM "{found.name}" ORDER BY number')
    figure = sweep_figure(found.swept.study, aims(found.swept), points)
    return write_run(
        folder,
        {
            "points.parquet": points.to_parquet,
            "sweep.json": json_file(found.to_dict()),
            f"sweep.{figures}": lambda path: save_figure(figure, path),
            CONFIGURATION: json_file(study_configuration(found.swept.study, aims(found.swept))),
        },
    )


def study_configuration(
    study: Study, aims: Mapping[str, Better], command: str = "sweep"
) -> dict[str, Any]:
    """The resolved configuration of a study: the base design, what varies, and what is asked.

    Parameters
    ----------
    aims : metrics that decide what is best, with their better side.
    """
    base = study.base
    values = base.resolved()
    filed = {name: parameter.value for name, parameter in base.chip.parameters.items()}
    changed = {name: values[name] for name, value in filed.items() if values[name] != value}
    own = {name: parameter for name, parameter in base.chip.own.items() if name not in changed}
    chip = dataclasses.replace(
        base.chip,
        overrides={name: values[name] for name in (*base.chip.own, *changed)},
        as_filed=base.chip.as_filed if base.chip.own else base.chip._replaced(filed),
        own=own,
    )
    others = {k: v for k, v in values.items() if k.startswith(("workload.", "adapter."))}
    options = {
        "study": study.name,
        "chip": base.chip.name,
        "fidelity": study.fidelity,
        "sampling": study.sampling,
        "axes": [axis.name for axis in study.axes],
        "constraints": [constraint.text for constraint in study.constraints],
        "objectives": dict(study.objectives),
        **others,
        **study.replay,
    }
    axes = [
        {"name": axis.name, "log": axis.log, **_meant(NUMERIC.get(axis.name))}
        for axis in study.axes
    ]
    wanted = [
        {"name": name, "better": side, **_meant(study.known_metrics[name])}
        for name, side in aims.items()
    ]
    metrics = [{"name": name, **_meant(study.known_metrics[name])} for name in study.columns]
    return configuration(
        command, options, base.model,
        axes=axes, aims=wanted, metrics=metrics, chips=[chip_configuration(chip)],
    )  # fmt: skip


def _meant(what: Quantity | Metric | None) -> dict[str, str]:
    """Meaning and unit; of an axis that is no number, none."""
    return {} if what is None else {"meaning": what.meaning, "unit": what.unit}
