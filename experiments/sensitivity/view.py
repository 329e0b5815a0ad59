"""Sensitivities as tables for the terminal."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.text import Text

from hardwire.experiments.sensitivity.sobol import MATTERS, MEASUREMENT, Input, Report, Sensitivity
from hardwire.experiments.shared.tables import QUIET, count, number, plain_table, si, span
from hardwire.experiments.sweep.metrics import CLOSED_FORM
from hardwire.models.chip import DECLARED


def render(report: Report) -> RenderableType:
    """A table for each metric."""
    chip = report.design.chip
    head = Text(chip.title, style="bold")
    question = (
        "as measured: the calibrated parameter is fitted again for every sample"
        if report.calibrated
        else "as a design: every range is free"
    )
    head.append(f"\n{question}", style="default")
    head.append(
        f"\n{count(len(report.metrics[0].effects))} uncertain inputs, "
        f"{count(report.samples)} base samples, {count(report.evaluations)} designs",
        style=QUIET,
    )
    return Group(
        head, *(part for one in report.metrics for part in _metric(one, report.calibrated))
    )


def _metric(one: Sensitivity, calibrated: bool) -> list[RenderableType]:
    metric = CLOSED_FORM[one.metric]
    unit = f" {metric.unit}" if metric.unit else ""
    # Above the table and not its title, which would be folded at the table's width.
    title = Text(
        f"{one.metric}: {number(one.filed)}{unit} as filed, {number(one.mean)} ± "
        f"{number(one.deviation)} over the ranges",
        style="bold",
    )
    table = plain_table("", "", "range", "first order", "total", "at low", "at high")
    for effect in one.that_matter:
        table.add_row(
            effect.input.name,
            _range(effect.input),
            _index(effect.first, effect.first_error),
            _index(effect.total, effect.total_error),
            _at(effect.at_low),
            _at(effect.at_high),
        )
    hidden = len(one.effects) - len(one.that_matter)
    together = sum(effect.first for effect in one.effects)
    notes = [
        f"{count(hidden)} inputs that take part in less than {MATTERS:.0%} of the variance "
        f"are not shown. First orders add up to {together:.2f}."
    ]
    if one.left_out:
        notes.append(
            f"{count(one.left_out)} base samples left out: no value, or no fit reproduces the "
            "measurement."
        )
    if one.of_a_few:
        notes.append("A few samples have most of the variance: these indices tell nothing.")
    if calibrated:
        notes.append("No power limit: indices are of independent inputs. Intervals keep to it.")
    if one.cannot_run > 0.0005:
        notes.append(f"{one.cannot_run:.1%} of the designs cannot run this load.")
    return ["", title, table, Text("\n".join(notes), style=QUIET)]


def input_value(one: Input, value: float) -> str:
    """A value of an input, without its unit where the name says it."""
    return si(value, "s", 4) if one.name == MEASUREMENT else number(value)


def _range(one: Input) -> str:
    if one.name == MEASUREMENT:
        return span((one.low, one.high), lambda value: si(value, "s", 4))
    unit = DECLARED[one.name].unit
    return f"{number(one.low)} … {number(one.high)}{f' {unit}' if unit else ''}"


def _index(value: float, error: float) -> str:
    # Estimates of an index near zero may fall below it.
    return f"{max(value, 0.0):.3f} ± {error:.3f}"


def _at(value: float) -> str:
    return "no fit" if math.isnan(value) else number(value)
