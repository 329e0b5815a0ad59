"""A sweep on disk: all files or none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
)
from hardwire.experiments.shared.folder import json_file, write_all
from hardwire.experiments.shared.style import save_figure
from hardwire.experiments.sweep.results import results
from hardwire.experiments.sweep.study import Study
from hardwire.experiments.sweep.summary import Summary, aims


def save(found: Summary, folder: Path) -> list[Path]:
    """Write all points as Parquet, summary and configuration as JSON, and a figure.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from hardwire.experiments.sweep.plot import sweep_figure  # noqa: PLC0415

    points = results(found.swept.store, f'SELECT * FROM "{found.name}" ORDER BY number')
    figure = sweep_figure(found.swept.study, aims(found.swept), points)
    return write_all(
        folder,
        {
            "points.parquet": points.to_parquet,
            "sweep.json": json_file(found.to_dict()),
            "sweep.png": lambda path: save_figure(figure, path),
            CONFIGURATION: json_file(study_configuration(found.swept.study)),
        },
    )


def study_configuration(study: Study) -> dict[str, Any]:
    """The resolved configuration of ``hardwire sweep``: the base design, and what varies."""
    base = study.base
    values = base.resolved()
    filed = {name: parameter.value for name, parameter in base.chip.parameters.items()}
    changed = {name: values[name] for name, value in filed.items() if values[name] != value}
    chip = dataclasses.replace(base.chip, overrides=changed, as_filed=base.chip._replaced(filed))
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
    return configuration("sweep", options, base.model, chips=[chip_configuration(chip)])
