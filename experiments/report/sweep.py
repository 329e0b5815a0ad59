"""The report of ``hardwire sweep``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.experiments.report.charts import Group, Line, plot, scatter
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.shared.headline import sound_mark
from hardwire.experiments.shared.style import DESIGN_COLORS, ordered
from hardwire.experiments.shared.tables import count, number
from hardwire.experiments.sweep.curves import best_along, front

if TYPE_CHECKING:
    import pandas as pd

    from hardwire.experiments.sweep.metrics import Better

Data = Mapping[str, Any]

MOST_DOTS = 3_000
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
    folder : holds ``points.parquet``.
    configuration : ``configuration.json``, or None.
    """
    feasible, points = data["feasible"], data["points"]
    verdict = f"{count(feasible)} of {count(points)} points are feasible"
    lines = [
        f"{data['title']}, fidelity {data['fidelity']}",
        f"{count(data['computed'])} computed, {count(data['reused'])} reused, "
        f"{count(data['failed'])} failed",
    ]
    sections = [Section("Figures", _figures(folder, configuration))]
    if data["best"]:
        flags = ("fits_die", "power_capped")
        columns = [column for column in data["best"][0] if column not in flags]
        rows = [[number(row[column]) for column in columns] for row in data["best"]]
        marks = [
            sound_mark(row.get("fits_die", True), row.get("power_capped", False))
            for row in data["best"]
        ]
        if any(marks):
            columns.append("on paper")
            rows = [[*row, mark] for row, mark in zip(rows, marks, strict=True)]
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


def _figures(folder: Path, configuration: Data | None) -> list[Block]:
    path = folder / "points.parquet"
    if configuration is None or "aims" not in configuration or not path.is_file():
        return [Block(text="The folder lacks what figures are drawn from: save the sweep again.")]
    import pandas as pd  # noqa: PLC0415 - half a second that only these reports need

    axes = {axis["name"]: axis for axis in configuration["axes"]}
    aims = {aim["name"]: aim for aim in configuration["aims"]}
    sides: dict[str, Better] = {name: aim["better"] for name, aim in aims.items()}
    points = pd.read_parquet(path, columns=list({*axes, *aims, "feasible", "reason"}))
    blocks = [_along(axes, aims, sides, points)]
    if len(aims) > 1:
        blocks.append(_against(axes, aims, sides, points))
    return [block for block in blocks if block.chart is not None]


def _along(axes: Data, aims: Data, sides: Mapping[str, Better], points: pd.DataFrame) -> Block:
    """What is won along an axis."""
    aim = next(iter(aims))
    curves = best_along(list(axes), aim, sides[aim], points)
    every = {at: None for best in curves.lines.values() for at in best.index}
    if not every:
        return Block()
    across = axes[curves.across]
    words = any(isinstance(at, str) for at in every)
    positions = list(every) if words else sorted(every)
    lines = [
        Line("" if value is None else number(value), best.reindex(positions), color)
        for (value, best), color in zip(
            curves.lines.items(), ordered(len(curves.lines)), strict=True
        )
    ]
    what = f"best {_label(aims[aim])}"
    by = "" if curves.by is None else f", by {_label(axes[curves.by])}"
    chart = plot(
        positions, lines, x_label=_label(across), y_label=_label(aims[aim]),
        log_x=across["log"] and not words, dots=True, zoom=() if words else ("x", "y"),
        alt=f"{what.capitalize()} among feasible points, against {_label(across)}{by}",
    )  # fmt: skip
    return Block(caption=f"{what.capitalize()} among feasible points{by}", chart=chart)


def _against(axes: Data, aims: Data, sides: Mapping[str, Better], points: pd.DataFrame) -> Block:
    """All points by the first two metrics; the pointer tells the design."""
    first, second = list(aims)[:2]
    pair = [second, first]
    finite = points[np.isfinite(points[pair].to_numpy(float)).all(axis=1)]
    if not len(finite):
        return Block()
    line = front(finite, sides)
    shown = finite
    if len(finite) > MOST_DOTS:
        on_front = {tuple(place) for place in line.tolist()}
        kept = [tuple(place) in on_front for place in finite[pair].to_numpy(float).tolist()]
        some = finite.sample(MOST_DOTS, random_state=0).index
        shown = finite[np.array(kept) | finite.index.isin(some)]
    groups = []
    for name, color, chosen in (
        ("infeasible", DESIGN_COLORS["infeasible"], shown[~shown["feasible"]]),
        ("feasible", DESIGN_COLORS["feasible"], shown[shown["feasible"]]),
    ):
        notes = {key: [number(value) for value in chosen[key]] for key in (*axes, *aims)}
        notes["infeasible by"] = list(chosen["reason"].fillna("–").replace("", "–"))
        groups.append(Group(name, color, chosen[pair].to_numpy(float), notes))
    x_label, y_label = _label(aims[second]), _label(aims[first])
    chart = scatter(groups, x_label=x_label, y_label=y_label, front=line)
    caption = "All points by two metrics; the line joins the front of the feasible ones"
    if len(shown) < len(finite):
        caption += f"; {count(len(shown))} of {count(len(finite))} points drawn"
    return Block(caption=caption, chart=chart)


def _label(what: Data) -> str:
    """What an axis or a metric means, with its unit."""
    if "meaning" not in what:
        return str(what["name"])
    unit = what["unit"].replace("mm2", "mm²")
    return f"{what['meaning']}{f', {unit}' if unit else ''}"
