"""The validation table for the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hardwire.experiments.shared.style import BAD
from hardwire.experiments.shared.tables import LARGE, QUIET, large, plain_table, span
from hardwire.experiments.validation.bench import EXTRAPOLATED
from hardwire.experiments.validation.rows import LIMITS, Row, Validation, rows_of

TITLES = {
    "hc1": "HC1",
    "roma": "ROMA",
    "hnlpu": "HNLPU",
    "dies": "Systems of several dies",
    "gpu": "GPU servers, fitted",
    "parts": "GPU servers, from parts",
    "experts": "Experts of a layer",
    "technology": "Memory macros, units and dies",
    "claims": "Claims of the article “LoRA on Silicon”",
    "fidelities": "The simulator's fidelities against each other",
}
"""By system, in the order of the table."""


OF_WHAT = (
    "The intervals are of what would be published: the published figure's own error is in them, so "
    "that they are wider than those of `hardwire run`."
)

SCALES = (
    ("B", 1e9, 1e-9, "GB"),
    ("B", 1e6, 1e-6, "MB"),
    ("B/s", 1e12, 1e-12, "TB/s"),
    ("USD", 1e6, 1e-6, "M USD"),
)
"""Unit, from what size on, factor and the unit then."""

RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def scaled(row: Row) -> tuple[float, str]:
    """What to multiply a row's values by for the table, and the unit that they then have."""
    size = max(abs(row.published or 0), abs(row.predicted or 0))
    if row.unit == "s":
        for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
            if size * factor >= 1:
                return factor, unit
    for unit, limit, factor, text in SCALES:
        if row.unit == unit and size >= limit:
            return factor, text
    return 1.0, row.unit


def shown(value: float | None, factor: float = 1.0) -> str:
    """A value in four digits."""
    if value is None:
        return ""
    value *= factor
    if abs(value) >= LARGE:
        return large(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def error_text(row: Row) -> str:
    """The error in per cent; of a limit too, whether it is kept or not."""
    if row.error is None:
        return ""
    if row.tolerance in LIMITS and row.predicted is not None and row.published:
        return f"{row.predicted / row.published - 1:+.1%}"
    if not math.isfinite(row.error):
        return "∞"
    several = "worst" in row.id or "mean" in row.id or row.system == "fidelities"
    digits = 1 if abs(row.error) >= 5e-4 or row.error == 0 or row.system != "fidelities" else 3
    return f"{row.error:.{digits}%}" if several else f"{row.error:+.{digits}%}"


def allowed_text(row: Row) -> str:
    """The tolerance; of a limit also whether it is met."""
    return f"{row.tolerance}: {row.status}" if row.tolerance in LIMITS else row.tolerance


def used_for(row: Row) -> str:
    """What else than validation a row was used for, or why nothing is predicted."""
    if row.status not in ("", "met", "missed"):
        return row.status
    return "" if row.role == "validation" else row.role


def interval_text(row: Row) -> str:
    """The 90 % interval."""
    if row.low is None or row.high is None:
        return ""
    factor = scaled(row)[0]
    return span((row.low, row.high), lambda value: shown(value, factor))


def summary(validation: Validation) -> list[str]:
    """Sentences that sum the table up."""
    inside, judged = validation.covered
    lines = []
    if judged:
        lines.append(
            f"{inside} of {judged} validation rows ({inside / judged:.0%}) lie in the model's own "
            "90% interval; ! marks those outside. Rows of calibration, in-sample rows and "
            "identities are not counted."
        )
    toleranced = [row for row in validation.rows if row.status in ("met", "missed")]
    met = sum(row.status == "met" for row in toleranced)
    lines.append(f"{met} of {len(toleranced)} rows with a tolerance keep it.")
    waiting: dict[str, int] = {}
    for row in validation.rows:
        if row.status not in ("", "met", "missed"):
            waiting[row.status] = waiting.get(row.status, 0) + 1
    lines += [f"{count} rows: {why}." for why, count in waiting.items()]
    return lines


def render(validation: Validation) -> RenderableType:
    """All rows system by system, a source above the rows that share it, and the summary."""
    parts: list[RenderableType] = []
    for system, title in TITLES.items():
        rows = rows_of(validation.rows, system)
        if not rows:
            continue
        if system == "claims":
            parts += ["", _claims(title, rows)]
        elif system == "fidelities":
            parts += ["", _fidelities(title, rows)]
        else:
            parts += ["", *_system(title, rows)]
    parts += ["", *(Text(line, style="bold") for line in summary(validation))]
    parts.append(Text(OF_WHAT, style=QUIET))
    return Group(*parts)


def _system(title: str, rows: list[Row]) -> list[RenderableType]:
    """The rows and, under them, where the figures are from and why rows miss."""
    table = plain_table(
        title, "", "published", "predicted", "90% interval", "unit", "error", "allowed", "used for"
    )
    table.padding = (0, 1, 0, 0)
    for column in (4, 7):
        table.columns[column].justify = "left"
    numbers: dict[str, int] = {}
    for row in rows:
        number = str(numbers.setdefault(row.source, len(numbers) + 1)).translate(RAISED)
        factor, unit = scaled(row)
        table.add_row(
            Text.assemble(f"{row.id} ", (number, QUIET)),
            shown(row.published, factor),
            shown(row.predicted, factor),
            f"{interval_text(row)}{'' if row.inside is not False else ' !'}",
            unit,
            error_text(row),
            allowed_text(row),
            used_for(row),
            style=BAD if row.status == "missed" else "",
        )
    notes: list[RenderableType] = [table]
    for row in rows:
        if row.status == "missed" and row.note:
            notes.append(Text(f"{row.id}: {row.note}", style=BAD))
    for row in rows:
        if EXTRAPOLATED in row.words or row.role == "claim":
            notes.append(Text(f"{row.id}: {row.words}", style=QUIET))
    for source, mark in numbers.items():
        line = Text(f"{str(mark).translate(RAISED)} {source}", style=QUIET)
        notes.append(Padding(line, (0, 0, 0, 2)))
    return notes


def _claims(title: str, rows: list[Row]) -> Table:
    table = plain_table(title, "claim", "verdict and arithmetic")
    for column in table.columns:
        column.justify, column.no_wrap, column.overflow = "left", False, "fold"
    table.columns[0].ratio, table.columns[1].ratio = 1, 2
    for row in rows:
        table.add_row(row.source.partition(": ")[2], row.words)
    return table


def _fidelities(title: str, rows: list[Row]) -> Table:
    table = plain_table(title, "", "worst", "", "allowed")
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for row in rows:
        style = BAD if row.status == "missed" else ""
        table.add_row(row.metric, error_text(row), row.words, row.tolerance, style=style)
    return table
