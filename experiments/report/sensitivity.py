"""The report of ``hardwire sensitivity``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hardwire.experiments.report.boxes import gantt
from hardwire.experiments.report.charts import Bar, bars, folded, row_px
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    configuration_section,
    provenance_section,
    with_unit,
)
from hardwire.experiments.report.sweep import label
from hardwire.experiments.shared.style import END_COLORS, INDEX_COLORS
from hardwire.experiments.shared.tables import count, number
from hardwire.experiments.shared.words import quantity_words

Data = Mapping[str, Any]

MATTERS = 0.01
"""Total index from which an input is shown, as on the terminal."""

INDICES = (
    "First order: the share of the variance that an input causes by itself. Total: with all its "
    "interactions. Inputs are varied over their whole ranges, all at once; low and high are the "
    "ends of one range with all others as filed. ± is half a 95% interval by bootstrap."
)


def sensitivity_page(data: Data, configuration: Data | None) -> Page:
    """The page of a sensitivity analysis.

    Parameters
    ----------
    data : ``sensitivity.json``.
    configuration : ``configuration.json``, or None.
    """
    known = {one["name"]: one for one in (configuration or {}).get("metrics", ())}
    metrics = {name: known.get(name, {"name": name}) for name in data["metrics"]}
    verdicts = [_finding(metrics[name], found) for name, found in data["metrics"].items()]
    how = (
        "as measured: the calibrated parameter is fitted again for every sample"
        if data["calibrated"]
        else "as a design: every range is free"
    )
    names = ", ".join(label(metric, unit=False) for metric in metrics.values())
    return Page(
        title=f"{data['chip']} · sensitivity of {names}",
        verdict=verdicts[0],
        good=None,
        lines=[
            *verdicts[1:],
            how,
            f"{count(data['samples'])} base samples, {count(data['evaluations'])} designs, seed "
            f"{data['seed']}",
        ],
        sections=[
            *(_metric(metrics[name], one, configuration) for name, one in data["metrics"].items()),
            Section("Definitions", [Block(text=INDICES)]),
            configuration_section(configuration),
            provenance_section(configuration),
        ],
    )


def _that_matter(found: Data) -> dict[str, Data]:
    shown = {k: one for k, one in found["inputs"].items() if (one["total"] or 0) >= MATTERS}
    return shown or dict(list(found["inputs"].items())[:1])


def _finding(metric: Data, found: Data) -> str:
    name, first = next(iter(_that_matter(found).items()))
    what = label(metric, unit=False)
    return (
        f"{what[:1].upper()}{what[1:]}: {quantity_words(name)} takes part in "
        f"{max(first['total'], 0):.0%} of the variance, {max(first['first'], 0):.0%} by itself"
    )


def _metric(metric: Data, found: Data, configuration: Data | None) -> Section:
    unit = found["unit"].replace("mm2", "mm²")
    shown = _that_matter(found)
    short = {name: folded(quantity_words(name)) for name in shown}
    blocks = []
    for order, title in (("total", "Share of the variance, with interactions"),
                         ("first", "Share of the variance, each input by itself")):  # fmt: skip
        rows = [
            Bar(
                short[name], max(one[order], 0.0),
                f"{max(one[order], 0.0):.1%} ± {one[f'{order}_error']:.1%}", INDEX_COLORS[order],
            )
            for name, one in shown.items()
        ]  # fmt: skip
        text = _finding(metric, found) + "." if order == "total" else ""
        blocks.append(Block(caption=title, text=text, chart=bars(rows, limit=1.0, alt=title)))
    blocks.append(_tornado(metric, found, shown, short))
    chips = configuration["chips"] if configuration is not None else ()
    known = {entry["name"]: entry for chip in chips for entry in chip["parameters"]}
    lines = []
    for name, one in shown.items():
        entry = known.get(name, {"meaning": name, "unit": ""})
        low, high = one["range"]
        lines.append(
            (
                entry["meaning"], name, with_unit(one["value"], entry["unit"]),
                f"{number(low)} … {number(high)}", _end(one["at_low"]), _end(one["at_high"]),
            )
        )  # fmt: skip
    columns = ("Input", "Name", "As filed", "Range", f"At low, {unit}", f"At high, {unit}")
    hidden = len(found["inputs"]) - len(shown)
    notes = [f"{count(hidden)} inputs below {MATTERS:.0%} are not shown."] if hidden else []
    if found["samples_left_out"]:
        notes.append(f"{count(found['samples_left_out'])} base samples have no value.")
    if found["share_that_cannot_run"] > 0.0005:
        notes.append(f"{found['share_that_cannot_run']:.1%} of the designs cannot run the load.")
    blocks.append(Block(text=" ".join(notes), table=Table(columns, lines, wide=True)))
    title = label(metric, unit=False)
    return Section(f"{title[:1].upper()}{title[1:]}", blocks)


def _end(value: float | None) -> str:
    return "no fit" if value is None else number(value)


def _tornado(
    metric: Data, found: Data, shown: Mapping[str, Data], short: Mapping[str, str]
) -> Block:
    """How far each input moves the metric from one end of its range to the other."""
    filed = found["filed"]
    swings = {
        name: [one[end] for end in ("at_low", "at_high")]
        for name, one in shown.items()
        if all(one[end] is not None and math.isfinite(one[end]) for end in ("at_low", "at_high"))
    }
    order = sorted(swings, key=lambda name: -abs(swings[name][1] - swings[name][0]))
    if filed is None or not order:
        return Block()
    boxes = []
    for name in order:
        # The wider first, so that two bars on one side do not hide each other.
        ends = sorted(
            zip(("low", "high"), swings[name], strict=True), key=lambda e: -abs(e[1] - filed)
        )
        boxes += [
            (short[name], min(filed, at), max(filed, at), f"input at its {end} end")
            for end, at in ends
        ]
    every = [at for pair in swings.values() for at in (*pair, filed)]
    room = 0.02 * (max(every) - min(every) or 1.0)
    low, high = swings[order[0]]
    text = (
        f"{number(filed)} as filed; {quantity_words(order[0])} alone moves it from "
        f"{number(low)} to {number(high)}."
    )
    groups = [(f"input at its {end} end", END_COLORS[end]) for end in ("low", "high")]
    chart = gantt(
        [short[name] for name in order], boxes, groups, x_label=label(metric),
        x_range=(min(every) - room, max(every) + room), alt=text,
        row_px=row_px(short.values()),
    )  # fmt: skip
    return Block(caption="From the chip as filed to the ends of each range", text=text, chart=chart)
