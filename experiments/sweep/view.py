"""A sweep as tables for the terminal, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from hardwire.experiments.shared.folder import to_json, write_all
from hardwire.experiments.shared.tables import (
    QUIET,
    count,
    folded,
    number,
    plain_table,
    short_names,
)
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.results import results, study_view
from hardwire.experiments.sweep.runner import Swept

BEST = 8
MOST_ROWS = 40
"""Rows that ``hardwire results`` prints."""

MOST_METRICS = 5


@dataclass(frozen=True)
class View:
    """What is shown of a sweep.

    Attributes
    ----------
    name : of the study's view in ``hardwire results``.
    best : feasible points, best first by the first objective, or the first metric without one.
    reasons : points by why they fall out, most first.
    """

    swept: Swept
    name: str
    best: pd.DataFrame
    reasons: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``, SI units."""
        swept = self.swept
        return {
            "study": swept.study.name,
            "title": swept.study.title,
            "fidelity": swept.study.fidelity,
            "store": str(swept.store),
            "view": self.name,
            "points": swept.study.points,
            "computed": swept.counts.computed,
            "reused": swept.counts.reused,
            "failed": swept.counts.failed,
            "feasible": swept.counts.feasible,
            "interrupted": swept.interrupted,
            "wall_s": swept.seconds,
            "infeasible": self.reasons,
            "best": self.best.to_dict(orient="records"),
        }


def aims(swept: Swept) -> dict[str, Better]:
    """Metrics that decide what is best, and the better side: objectives, or else the metrics."""
    study = swept.study
    return dict(study.objectives) or {
        name: study.known_metrics[name].better for name in study.metrics
    }


def look(swept: Swept) -> View:
    """Ask the store for what is shown."""
    study = swept.study
    name = study_view(swept.folder)
    wanted = list(dict.fromkeys([a.name for a in study.axes] + [*aims(swept), *study.metrics]))
    columns = ", ".join(f'"{column}"' for column in wanted)
    order = ", ".join(
        f'"{metric}" {"DESC" if side == "max" else "ASC"} NULLS LAST'
        for metric, side in aims(swept).items()
    )
    if swept.counts.points == 0:
        return View(swept, name, pd.DataFrame(), {})
    best = results(
        swept.store,
        f'SELECT {columns} FROM "{name}" WHERE feasible ORDER BY {order}, number LIMIT {BEST}',
    )
    reasons = results(
        swept.store,
        f'SELECT reason, count(*) AS n FROM "{name}" WHERE NOT feasible '
        "GROUP BY ALL ORDER BY n DESC, reason",
    )
    return View(swept, name, best, dict(zip(reasons["reason"], reasons["n"].tolist(), strict=True)))


def render(view: View) -> RenderableType:
    """Headline, best feasible points, and why the others fall out."""
    parts: list[RenderableType] = [_headline(view)]
    if len(view.best):
        parts += ["", _best(view)]
    if view.reasons:
        points = view.swept.counts.points
        table = plain_table("Why points are infeasible, first reason", "", "points", "share")
        for reason, number_of in view.reasons.items():
            table.add_row(Text(reason), count(number_of), f"{number_of / points:.1%}")
        parts += ["", table]
    hint = f"hardwire results 'SELECT * FROM {view.name} LIMIT 5' --store {view.swept.store}"
    parts += ["", Text(hint, style=QUIET)]
    return Group(*parts)


def _headline(view: View) -> RenderableType:
    swept, counts = view.swept, view.swept.counts
    text = Text(swept.study.title, style="bold")
    text.append(f"\n{count(swept.study.points)} points, {swept.study.fidelity}: ", style="default")
    text.append(f"{count(counts.computed)} computed, {count(counts.reused)} reused, ")
    text.append(f"{count(counts.failed)} failed", style="red" if counts.failed else "default")
    if swept.interrupted:
        left = swept.study.points - counts.points
        text.append(f", interrupted: {count(left)} left", style="red")
    if counts.feasible:
        text.append(f"; {count(counts.feasible)} feasible")
    else:
        text.append("; no feasible point", style="red")
    rate = counts.computed / swept.seconds
    text.append(f"\n{swept.seconds:.1f} s")
    if counts.computed:
        text.append(f", {rate:,.0f} points/s" if rate >= 10 else f", {rate:.2g} points/s")
    return text


def _best(view: View) -> RenderableType:
    study = view.swept.study
    metrics = list(dict.fromkeys([*aims(view.swept), *study.metrics]))[:MOST_METRICS]
    names = [*(axis.name for axis in study.axes), *metrics]
    short = short_names(names)
    first, side = next(iter(aims(view.swept).items()))
    words = "highest" if side == "max" else "lowest"
    title = f"Feasible points with the {words} {first}"
    table = plain_table(title, *(folded(short[name], "") for name in names))
    for _, row in view.best.iterrows():
        table.add_row(*(Text(number(row[name])) for name in names))
    return table


def results_table(found: pd.DataFrame) -> RenderableType:
    """The answer to a query: its first rows, missing values empty."""
    table = plain_table("", *(str(name) for name in found.columns))
    shown = found.head(MOST_ROWS)
    empty = shown.isna().to_numpy()
    for row, blank in zip(shown.itertuples(index=False), empty, strict=True):
        table.add_row(*(Text("" if b else _cell(v)) for v, b in zip(row, blank, strict=True)))
    if len(found) <= MOST_ROWS:
        return table
    note = f"{MOST_ROWS} of {len(found):,} rows shown; --csv and --json give all."
    return Group(table, Text(note, style=QUIET))


def _cell(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else str(value)


def save_sweep(view: View, folder: Path) -> list[Path]:
    """Write all points as Parquet, summary and configuration as JSON, and a figure.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from hardwire.experiments.report.data import study_configuration  # noqa: PLC0415
    from hardwire.experiments.shared.style import save_figure  # noqa: PLC0415
    from hardwire.experiments.sweep.plot import sweep_figure  # noqa: PLC0415

    points = results(view.swept.store, f'SELECT * FROM "{view.name}" ORDER BY number')
    configuration = study_configuration(view.swept.study)
    figure = sweep_figure(view.swept.study, aims(view.swept), points)
    return write_all(
        folder,
        {
            "points.parquet": points.to_parquet,
            "sweep.json": lambda path: path.write_text(to_json(view.to_dict()) + "\n"),
            "sweep.png": lambda path: save_figure(figure, path),
            "configuration.json": lambda path: path.write_text(to_json(configuration) + "\n"),
        },
    )
