"""The report of ``hardwire sweep``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from hardwire.experiments.sweep.curves import Curves, best_along, front, parts

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
        heads = headings(columns, configuration)
        if any(marks):
            heads.append("on paper")
            rows = [[*row, mark] for row, mark in zip(rows, marks, strict=True)]
        sections.append(Section("Best feasible points", [Block(table=Table(heads, rows))]))
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
    title = f"{data['title']} · sweep of {count(points)} points"
    return Page(title, verdict, None if feasible else False, lines, sections, warnings=warnings)


def _figures(folder: Path, configuration: Data | None) -> list[Block]:
    path = folder / "points.parquet"
    if configuration is None or "aims" not in configuration or not path.is_file():
        return [Block(text="The folder lacks what figures are drawn from: save the sweep again.")]
    import pandas as pd  # noqa: PLC0415 - half a second that only these reports need

    axes = {axis["name"]: axis for axis in configuration["axes"]}
    aims = {aim["name"]: aim for aim in configuration["aims"]}
    points = pd.read_parquet(path, columns=list({*axes, *aims, "feasible", "reason"}))
    blocks = [_along(axes, aims, points)]
    if len(aims) > 1:
        blocks.append(against(axes, aims, points, *list(aims)[:2]))
    return [block for block in blocks if block.chart is not None]


def _along(axes: Data, aims: Data, points: pd.DataFrame) -> Block:
    """What is won along an axis."""
    aim = next(iter(aims))
    side: Better = aims[aim]["better"]
    curves = best_along(list(axes), aim, side, points)
    every = {at: None for best in curves.lines.values() for at in best.index}
    if not every:
        return Block()
    across = axes[curves.across]
    words = any(isinstance(at, str) for at in every)
    positions = list(every) if words else sorted(every)
    lines = [
        Line(
            "" if value is None else number(value),
            best.reindex(positions),
            color,
            part=parts(curves.designs[value]).reindex(positions) if len(best) else None,
        )
        for (value, best), color in zip(
            curves.lines.items(), ordered(len(curves.lines)), strict=True
        )
    ]
    what = f"best {label(aims[aim])}"
    by = "" if curves.by is None else f", by {label(axes[curves.by])}"
    chart = plot(
        positions, lines, x_label=label(across), y_label=label(aims[aim]),
        log_x=across["log"] and not words, dots=True, zoom=() if words else ("x", "y"),
        alt=f"{what.capitalize()} among feasible points, against {label(across)}{by}",
    )  # fmt: skip
    return Block(
        caption=f"{what.capitalize()} among feasible points{by}",
        text=f"{_best(curves, side, aims[aim], across, axes)}{_broken(curves, axes)}",
        chart=chart,
    )


def _broken(curves: Curves, axes: Data) -> str:
    """Of what the lines break, if any does."""
    found: dict[str, None] = {}
    for designs in curves.designs.values():
        if len(designs) and parts(designs).any():
            found |= dict.fromkeys(designs.columns[designs.nunique() > 1])
    names = " or ".join(label(axes[str(name)], unit=False) for name in found)
    return f" A line breaks where the best design has another {names}." if names else ""


def _best(curves: Curves, side: Better, aim: Data, across: Data, axes: Data) -> str:
    """Where the best value is, and the worst of the best ones along the axis."""
    found = [
        (float(value), at, by)
        for by, best in curves.lines.items()
        for at, value in best.items()
        if np.isfinite(value)
    ]
    top, last = (pick(found, key=lambda one: one[0]) for pick in (max, min))
    if side == "min":
        top, last = last, top
    unit = f" {aim['unit'].replace('mm2', 'mm²')}" if aim.get("unit") else ""

    def place(one: tuple[float, Any, Any]) -> str:
        beside = "" if curves.by is None else f" and {label(axes[curves.by])} {number(one[2])}"
        return f"{number(one[0])}{unit} at {label(across)} {number(one[1])}{beside}"

    return f"Best: {place(top)}. Least along the lines: {place(last)}."


def against(
    axes: Data, aims: Data, points: pd.DataFrame, first: str, second: str, chosen: Any = None
) -> Block:
    """All points by two metrics; the pointer tells the design.

    Parameters
    ----------
    axes, aims : of ``configuration.json``, by name.
    points : columns of both, ``feasible`` and ``reason``.
    first, second : the metrics up and across.
    chosen : (points,) bool, those that stand out; by default the front of the two metrics, which
        steps join.
    """
    pair = [second, first]
    sides: dict[str, Better] = {name: aims[name]["better"] for name in (first, second)}
    kept = np.isfinite(points[pair].to_numpy(float)).all(axis=1)
    finite = points[kept]
    if not len(finite):
        return Block()
    line = front(finite, sides)
    if chosen is None:
        on_front = {tuple(place) for place in line.tolist()}
        places = finite[pair].to_numpy(float).tolist()
        stands = np.array([tuple(place) in on_front for place in places]) & finite["feasible"]
    else:
        stands = np.asarray(chosen)[kept]
    shown = np.ones(len(finite), dtype=bool)
    if len(finite) > MOST_DOTS:
        some = finite.sample(MOST_DOTS, random_state=0).index
        shown = np.asarray(stands | finite.index.isin(some))
    groups = []
    for name, group in (
        ("infeasible", ~finite["feasible"]),
        ("feasible", finite["feasible"] & ~stands),
        ("front", stands),
    ):
        rows = finite[np.asarray(group) & shown]
        notes = {key: [number(value) for value in rows[key]] for key in (*axes, *aims)}
        notes["infeasible by"] = list(rows["reason"].fillna("–").replace("", "–"))
        groups.append(Group(name, DESIGN_COLORS[name], rows[pair].to_numpy(float), notes))
    chart = scatter(
        groups, x_label=label(aims[second]), y_label=label(aims[first]),
        front=line if chosen is None else (),
        steps="after" if sides[second] == "min" else "before",
    )  # fmt: skip
    better = {"max": "high", "min": "low"}
    text = (
        f"{count(int(stands.sum()))} of {count(int(finite['feasible'].sum()))} feasible designs "
        f"are on the front; better is {better[sides[first]]} and "
        f"{'right' if sides[second] == 'max' else 'left'}."
    )
    if shown.sum() < len(finite):
        text += f" {count(int(shown.sum()))} of {count(len(finite))} points are drawn."
    caption = f"{label(aims[first], unit=False)} against {label(aims[second], unit=False)}"
    return Block(caption=caption[:1].upper() + caption[1:], text=text, chart=chart)


def headings(columns: Sequence[str], configuration: Data | None) -> list[str]:
    """Names of axes and metrics in words with their units, where the configuration has them."""
    known = {
        one["name"]: one
        for part in ("axes", "aims", "metrics")
        for one in (configuration or {}).get(part, ())
    }
    return [label(known[name]) if name in known else name for name in columns]


def label(what: Data, *, unit: bool = True) -> str:
    """What an axis or a metric means, with its unit."""
    if "meaning" not in what:
        return str(what["name"]).replace(".", " ").replace("_", " ")
    shown = what["unit"].replace("mm2", "mm²") if unit else ""
    return f"{what['meaning']}{f', {shown}' if shown else ''}"
