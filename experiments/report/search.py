"""The report of ``hardwire search``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.report.sweep import NO_INTERVAL, against, headings, label
from hardwire.experiments.shared.tables import count, number

Data = Mapping[str, Any]

MOST_PAIRS, MOST_ROWS = 3, 20


def _at(axis: Data, value: Any) -> str:
    """A place on an axis, in words and with its unit."""
    unit = str(axis.get("unit", "")).replace("mm2", "mm²")
    return f"{label(axis, unit=False)} {number(value)} {unit}".rstrip()


def search_page(data: Data, folder: Path, configuration: Data | None) -> Page:
    """The page of a search.

    Parameters
    ----------
    data : ``search.json``.
    folder : holds ``trials.csv``.
    configuration : ``configuration.json``, or None.
    """
    front, trials, feasible = data["front"], data["trials"], data["feasible"]
    designs = f"{count(len(front))} design{'s' * (len(front) != 1)} on the Pareto front"
    verdict = f"{designs} of {count(feasible)} feasible trials" if front else "No feasible design"
    aims = {one["name"]: one for one in (configuration or {}).get("aims", ())}
    known = {one["name"]: one for one in (configuration or {}).get("axes", ())}
    axes = list(known)
    sides = ", ".join(
        f"{side} {label(aims.get(name, {'name': name}), unit=False)}"
        for name, side in data["objectives"].items()
    )
    lines = [f"{data['study']}: {sides}", f"{count(trials)} trials in {data['optuna_study']}"]
    for name, side in data["objectives"].items():
        if front and name in aims:
            best = (max if side == "max" else min)(front, key=lambda row: row[name])
            where = ", ".join(_at(one, best[axis]) for axis, one in known.items())
            lines.append(f"Best {label(aims[name])}: {number(best[name])}, with {where}")
    sections = [Section("Figures", _figures(data, folder, configuration))]
    if front:
        columns = list(dict.fromkeys([*axes, *data["objectives"]])) or list(front[0])
        shown = np.unique(np.linspace(0, len(front) - 1, MOST_ROWS).round().astype(int))
        rows = [[number(front[at][name]) for name in columns] for at in shown.tolist()]
        table = Table(headings(columns, configuration), rows)
        text = "" if len(rows) == len(front) else (
            f"{len(rows)} of {count(len(front))}, evenly spread from the best of the first "
            "objective on; front.csv has all."
        )  # fmt: skip
        sections.append(Section("Pareto front", [Block(text=text, table=table)]))
    if data["infeasible"]:
        reasons = [[why, count(n), f"{n / trials:.1%}"] for why, n in data["infeasible"].items()]
        table = Table(("First reason", "Trials", "Share"), reasons)
        sections.append(Section("Why trials are infeasible", [Block(table=table)]))
    return Page(
        title=f"{data['study']} · search of {count(trials)} trials",
        verdict=verdict,
        good=None if front else False,
        lines=lines,
        sections=[
            *sections,
            Section("Uncertainty", [Block(text=NO_INTERVAL)]),
            configuration_section(configuration),
            provenance_section(configuration),
        ],
        warnings=["The search was interrupted."] if data["interrupted"] else [],
    )


def _figures(data: Data, folder: Path, configuration: Data | None) -> list[Block]:
    path = folder / "trials.csv"
    if configuration is None or not path.is_file():
        return [Block(text="The folder lacks what figures are drawn from: save the search again.")]
    import pandas as pd  # noqa: PLC0415 - half a second that only these reports need

    axes = {axis["name"]: axis for axis in configuration["axes"]}
    aims = {aim["name"]: aim for aim in configuration["aims"]}
    points = pd.read_csv(path, keep_default_na=False, na_values=["nan"])
    points["reason"] = points["infeasible"]
    points["feasible"] = points["infeasible"] == ""
    on_front = points["trial"].isin([row["trial"] for row in data["front"]]).to_numpy()
    pairs = list(combinations(aims, 2))[:MOST_PAIRS]
    # With more than two objectives a design of the front need not be on that of any two of them.
    chosen = None if len(aims) == 2 else on_front
    blocks = [against(axes, aims, points, first, second, chosen) for first, second in pairs]
    return [block for block in blocks if block.chart is not None]
