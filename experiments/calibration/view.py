"""The tables of ``hardwire calibrate`` for the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hardwire.experiments.calibration.calibrate import Report, Sensitivity
from hardwire.experiments.shared.style import BAD, GOOD, WARNING
from hardwire.experiments.shared.tables import (
    LARGE,
    QUIET,
    count,
    large,
    plain_table,
    si,
    styled,
    text_table,
)
from hardwire.simulator.belief.chip import MIN_ESS, READINGS

STYLES = {"pinned": f"bold {GOOD}", "narrowed": GOOD, "open": QUIET}


def shown(value: float, unit: str) -> str:
    """A value in three or four digits, with an SI prefix where it is a time or an energy."""
    if unit in ("s", "J"):
        return si(value, unit, 4)
    if math.isinf(value):  # the cost of what cannot be made
        return "∞"
    if abs(value) >= LARGE:
        return large(value, 3)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def middle_span(values: list[float], unit: str) -> tuple[str, str]:
    """The median, and the interval around it."""
    low, middle, high = values
    return shown(middle, unit), f"{shown(low, unit)} … {shown(high, unit)}"


def unit_beside(unit: str) -> str:
    """A unit for its own column; none where ``shown`` says it with a prefix."""
    return "" if unit in ("s", "J") else unit.replace("mm2", "mm²")


def render(report: Report) -> RenderableType:
    """All tables, one under the other."""
    return Group(
        _headline(report),
        _parameters(report),
        _predictions(report),
        _left_out(report),
        _sensitivity(report),
        _discrepancies(report),
    )


def _headline(report: Report) -> RenderableType:
    chip = report.inference.chip
    text = Text()
    for verdict in ("pinned", "narrowed"):
        names = [row.name for row in report.parameters if row.verdict == verdict]
        text.append(f"{verdict.capitalize()}: ", style="bold")
        text.append(f"{'; '.join(names) or 'nothing'}\n")
    still = sum(row.verdict == "open" for row in report.parameters)
    text.append("Open: ", style="bold")
    text.append(f"{still} of {len(report.parameters)}\n")
    by_key = {row.key: row for row in report.predictions}
    for name, _ in report.shapes:
        middle, around = middle_span(by_key[f"loss.{name}"].posterior, "%")
        text.append(f"{name} costs {middle}% of the decode rate, {around}%\n")
    text.append(f"{chip.title}\n")
    ess = report.posterior.ess
    text.append(
        f"{len(report.inference.measurements)} measurements, "
        f"{count(report.inference.modelled.size)} candidates, effective sample size {count(ess)}",
        style=QUIET,
    )
    if ess < MIN_ESS:
        text.append(f"\nfewer than {MIN_ESS}: intervals are rough", style=f"bold {BAD}")
    return Panel(
        text, title=Text(f"hardwire calibrate · {chip.name}"), title_align="left", expand=False
    )


def _parameters(report: Report) -> RenderableType:
    table = plain_table(
        "What the measurements say of the parameters", "", "unit", "range", "after all", "width"
    )
    table.add_column("", justify="left", no_wrap=True)
    for row in report.parameters:
        if row.verdict == "open":
            continue
        words = row.verdict + (f", {row.bound} bound" if row.bound else "")
        table.add_row(
            row.name,
            row.unit,
            middle_span(row.prior, "")[1],
            middle_span(row.posterior, "")[1],
            f"{row.width:.0%}",
            styled(words, STYLES.get(row.verdict, WARNING)),
        )
    rest = sum(row.verdict == "open" for row in report.parameters)
    ties = [f"Tied, rank correlation {rho:+.2f}: {a} and {b}." for a, b, rho in report.ties]
    lines = [
        "5th to 95th percentile before and after; width is after over before; a bound is where the "
        f"draws crowd at an end of the range. The other {rest} get back their ranges (--json).",
        *ties,
    ]
    note = Text("\n".join(lines), style=QUIET)
    return Group("", table, note)


def _predictions(report: Report) -> RenderableType:
    table = plain_table(
        "What follows", "", "unit", "as filed", "from the rate alone", "median", "90% interval"
    )
    for row in report.predictions:
        middle, around = middle_span(row.posterior, row.unit)
        filed = shown(row.filed, row.unit)
        before = middle_span(row.rate_alone, row.unit)[1]
        table.add_row(
            row.name, unit_beside(row.unit), filed, before, styled(middle, "bold"), around
        )
    refused = [
        f"{1 - share:.0%} of the chips do not take the rank of {name}"
        for name, share in report.takes_rank.items()
        if share < 1
    ]
    names = {row.key: row.name for row in report.predictions}
    lines = [
        f"{names[key]} hangs on " + ", ".join(f"{name} ({rho:+.2f})" for name, rho in found) + "."
        for key, found in report.drivers.items()
    ]
    lines.append(
        "`hardwire run` too is of the rate alone, but by draws that are solved for it; these are "
        "weighed by it, so that the ends differ a little."
    )
    if refused:
        lines.append("; ".join(refused) + " (formats.max_rank); its rate is what it would be.")
    return Group("", table, Text("\n".join(lines), style=QUIET))


def _left_out(report: Report) -> RenderableType:
    table = plain_table(
        "Each measurement predicted from all the others", "", "unit", "90% interval", "measured",
        "below",
    )  # fmt: skip
    table.add_column("", justify="left", no_wrap=True)
    for row in report.left_out:
        table.add_row(
            row.id,
            unit_beside(row.unit),
            middle_span(row.interval, row.unit)[1],
            f"{'≤ ' if row.kind == 'at most' else '≥ ' if row.kind == 'at least' else ''}"
            f"{shown(row.measured, row.unit)}",
            f"{row.below:.1%}",
            styled("inside", GOOD) if row.inside else styled("outside", BAD),
        )
    single = report.left_out[: len(report.inference.measurements)]
    inside = sum(row.inside for row in single)
    note = Text(
        f"{inside} of {len(single)} inside. Below is the share of the predicted below the "
        "measured. A limit is inside where 5% keep it.",
        style=QUIET,
    )
    return Group("", table, note)


def _sensitivity(report: Report) -> RenderableType:
    columns = ["effective size", "card power, W", "clock, GHz"]
    if report.shapes:
        columns.append(f"lost to {report.shapes[-1][0]}, %")
    table = plain_table("What hangs on each judgement of the model's error", "", *columns)
    for row in report.sensitivity:
        _sensitivity_row(table, row, with_loss=bool(report.shapes))
    return Group("", table)


def _sensitivity_row(table: Table, row: Sensitivity, *, with_loss: bool) -> None:
    cells = [row.change, count(row.ess)]
    columns = [row.power_w, row.clock_ghz, *([row.loss_percent] if with_loss else [])]
    cells += [middle_span(values, "")[1] for values in columns]
    table.add_row(*cells)


def _discrepancies(report: Report) -> RenderableType:
    table = text_table("What a right set of parameters may still miss by", "", "", "why")
    seen = {m.metric for m in report.inference.measurements}
    for metric, reading in READINGS.items():
        if metric in seen and reading.discrepancy:
            table.add_row(metric, f"{reading.discrepancy:.0%}", reading.source)
    return Group("", table)
