"""The report of ``hardwire sweep``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.shared.tables import count, number
from hardwire.models.files import file_size, read_bytes

Data = Mapping[str, Any]

NO_INTERVAL = (
    "Every point is one design with one value of each parameter. What is not an axis is as filed; "
    "the ranges below say how well it is known. hardwire sensitivity says which of them matter, "
    "hardwire run gives the interval of one design."
)


def sweep_page(data: Data, folder: Path, configuration: Data | None) -> Page:
    """The page of a sweep.

    Parameters
    ----------
    data : ``sweep.json``.
    folder : holds ``sweep.png``.
    configuration : ``configuration.json``, or None.
    """
    feasible, points = data["feasible"], data["points"]
    verdict = f"{count(feasible)} of {count(points)} points are feasible"
    lines = [
        f"{data['title']}, fidelity {data['fidelity']}",
        f"{count(data['computed'])} computed, {count(data['reused'])} reused, "
        f"{count(data['failed'])} failed",
    ]
    sections = [Section("Figures", [_figure(folder)])]
    if data["best"]:
        columns = list(data["best"][0])
        rows = [[number(row[column]) for column in columns] for row in data["best"]]
        sections.append(Section("Best feasible points", [Block(table=Table(columns, rows))]))
    if data["infeasible"]:
        reasons = [[why, count(n), f"{n / points:.1%}"] for why, n in data["infeasible"].items()]
        table = Table(("First reason", "Points", "Share"), reasons)
        sections.append(Section("Why points are infeasible", [Block(table=table)]))
    sections += [
        Section("Uncertainty", [Block(text=NO_INTERVAL)]),
        configuration_section(configuration),
        provenance_section(configuration),
    ]
    warnings = []
    if data["interrupted"]:
        warnings.append("The sweep was interrupted: these are the points that were done by then.")
    if data["failed"]:
        warnings.append(f"{count(data['failed'])} points could not be computed.")
    return Page(data["title"], verdict, feasible > 0, lines, sections, warnings)


def _figure(folder: Path) -> Block:
    path = folder / "sweep.png"
    if not path.is_file():
        return Block(text="The folder holds no sweep.png: save the sweep again to have it here.")
    encoded = base64.b64encode(read_bytes(path, count=file_size(path))).decode()
    words = escape("Best feasible value along an axis, and all points by two metrics")
    # Two panels abreast are too small to read on a phone: there the figure scrolls by itself.
    look = "width:100%;min-width:640px"
    image = f'<img alt="{words}" style="{look}" src="data:image/png;base64,{encoded}">'
    return Block(chart=f'<div style="overflow-x:auto">{image}</div>')
