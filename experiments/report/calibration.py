"""The report of ``hardwire calibrate``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hardwire.experiments.calibration.view import middle_span, shown, unit_beside
from hardwire.experiments.report.charts import Bar, bars, folded, spans
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.shared.style import BELIEF_COLORS, ROW_COLORS
from hardwire.experiments.shared.tables import count
from hardwire.experiments.shared.words import quantity_words, words_of
from hardwire.simulator.belief.chip import MIN_ESS

Data = Mapping[str, Any]

_LIMITS = {"at most": "≤ ", "at least": "≥ "}


def calibration_page(data: Data, configuration: Data | None) -> Page:
    """The page of a calibration.

    Parameters
    ----------
    data : ``calibration.json``.
    configuration : ``configuration.json``, or None.
    """
    by_verdict: dict[str, list[str]] = {}
    for row in data["parameters"]:
        by_verdict.setdefault(row["verdict"], []).append(row["name"])
    pinned, still = by_verdict.get("pinned", []), by_verdict.get("open", [])
    total = len(data["parameters"])
    verdict = (
        f"{len(data['measurements'])} measurements pin {len(pinned)} of {total} parameters and "
        f"leave {len(still)} open"
    )
    ess = data["effective_sample_size"]
    lines = [f"{name.capitalize()}: {'; '.join(map(quantity_words, by_verdict[name]))}"
             for name in ("pinned", "narrowed") if name in by_verdict]  # fmt: skip
    lines.append(
        f"{count(data['candidates'])} candidates, effective sample size {count(ess)}, seed "
        f"{data['seed']}"
    )
    refused = [
        f"{1 - share:.0%} of the chips do not take the rank of {name}; its rate is what it would be"
        for name, share in data["takes_rank"].items()
        if share < 1
    ]
    return Page(
        title=f"{data['chip']} · calibrated on {len(data['measurements'])} measurements",
        verdict=verdict,
        good=None,
        lines=lines,
        sections=[
            _predictions(data),
            _parameters(data),
            _left_out(data),
            _judgements(data["sensitivity"]),
            configuration_section(configuration),
            provenance_section(configuration),
        ],
        warnings=[
            *(
                [f"Fewer than {MIN_ESS} effective draws: intervals are rough."]
                if ess < MIN_ESS
                else []
            ),
            *refused,
        ],
    )


def _predictions(data: Data) -> Section:
    rows, found = [], []
    for row in data["predictions"]:
        unit = "" if row["unit"] in ("s", "J") else f", {row['unit']}"
        # JSON has null for what is not finite: the cost of a die that cannot be made.
        posterior, rate_alone = (
            [math.inf if end is None else end for end in row[key]]
            for key in ("posterior", "rate_alone")
        )
        middle, around = middle_span(posterior, row["unit"])
        alone = middle_span(rate_alone, row["unit"])[1]
        filed = shown(row["filed"], row["unit"])
        rows.append((f"{row['name']}{unit}", filed, alone, middle, around))
        low, centre, high = posterior
        if row["filed"] > 0 and centre > 0:
            ends = low / row["filed"], high / row["filed"]
            bar = Bar(folded(row["name"]), 1.0, around, BELIEF_COLORS["after"], ends)
            found.append((ends[1] / max(ends[0], 1e-9), row["name"], bar))
    names = {row["key"]: row["name"] for row in data["predictions"]}
    hangs = [
        f"{names[key]} hangs on "
        + ", ".join(
            f"{quantity_words(one['parameter'])} ({one['rank_correlation']:+.2f})" for one in ones
        )
        for key, ones in data["drivers"].items()
    ]
    columns = ("", "as filed", "from the rate alone", "median", "90% interval")
    blocks = [Block(table=Table(columns, rows))]
    if found:
        _, least, widest = max(found, key=lambda one: one[0])
        caption = "90% interval after all measurements, against the chip as filed"
        text = f"Known least: {least}, {widest.text}."
        chart = spans([bar for *_, bar in found], alt=caption)
        blocks.insert(0, Block(caption=caption, text=text, chart=chart))
    if hangs:
        blocks.append(Block(text="; ".join(hangs) + " (rank correlation)."))
    return Section("What follows", blocks)


def _parameters(data: Data) -> Section:
    changed = [row for row in data["parameters"] if row["verdict"] != "open"]
    widths = [
        Bar(
            folded(quantity_words(row["name"])), min(row["width"], 1.5),
            f"{row['width']:.0%}, {row['verdict']}", BELIEF_COLORS["after"],
        )
        for row in changed
    ]  # fmt: skip
    rows = [
        (
            quantity_words(row["name"]), row["name"], row["unit"].replace("mm2", "mm²"),
            middle_span(row["prior"], "")[1],
            *middle_span(row["posterior"], ""),
            row["verdict"] + (f", {row['bound']} bound" if row["bound"] else ""),
        )
        for row in changed
    ]  # fmt: skip
    caption = "Width of the 90% interval after the measurements, of that before"
    text = "Dashed: as wide as before."
    if changed:
        narrow = min(changed, key=lambda row: row["width"])
        most = quantity_words(narrow["name"])
        text = f"The most is learnt of {most}: {narrow['width']:.0%} is left. {text}"
    ties = [
        f"Tied, rank correlation {one['rank_correlation']:+.2f}: {quantity_words(one['one'])} and "
        f"{quantity_words(one['other'])}."
        for one in data["ties"]
    ]
    columns = ("Parameter", "Name", "Unit", "Before", "Median", "After", "Verdict")
    rest = len(data["parameters"]) - len(changed)
    notes = [f"The other {rest} get back their ranges.", *ties]
    return Section(
        "What the measurements say of the parameters",
        [
            Block(caption=caption, text=text, chart=bars(widths, limit=1.0, alt=caption)),
            Block(table=Table(columns, rows, wide=True)),
            Block(text=" ".join(notes)),
        ],
    )


def _left_out(data: Data) -> Section:
    rows, marked, drawn = [], set(), []
    for place, row in enumerate(data["left_out"]):
        low, middle, high = row["interval"]
        measured = f"{_LIMITS.get(row['kind'], '')}{shown(row['measured'], row['unit'])}"
        inside = "inside" if row["inside"] else "outside"
        rows.append(
            (words_of(row["id"]), unit_beside(row["unit"]),
             middle_span(row["interval"], row["unit"])[1], measured, f"{row['below']:.1%}", inside)
        )  # fmt: skip
        if not row["inside"]:
            marked.add(place)
        color = ROW_COLORS["predicted" if row["inside"] else "missed"]
        said = f"×{row['measured'] / middle:.2f}{'' if row['inside'] else ', outside'}"
        drawn.append(
            Bar(folded(words_of(row["id"])), 1.0, said, color, (low / middle, high / middle))
        )
    single = data["left_out"][: len(data["measurements"])]
    inside = sum(row["inside"] for row in single)
    caption = "What all other measurements predict, against its median"
    text = (
        f"{inside} of {len(single)} measurements lie inside the 90% interval that the others give "
        "them. A limit is inside where 5% keep it. Beside each: the measurement over the median."
    )
    columns = ("", "unit", "90% interval", "measured", "predicted below", "")
    return Section(
        "Each measurement predicted from all the others",
        [
            Block(caption=caption, text=text, chart=spans(drawn, alt=caption)),
            Block(table=Table(columns, rows, frozenset(marked))),
        ],
    )


def _judgements(changes: Sequence[Data]) -> Section:
    rows = [
        (
            row["change"], count(row["ess"]), middle_span(row["power_w"], "")[1],
            middle_span(row["clock_ghz"], "")[1],
            *([middle_span(row["loss_percent"], "")[1]] if row["loss_percent"] else []),
        )
        for row in changes
    ]  # fmt: skip
    columns = ["", "effective size", "card power, W", "clock, GHz", "lost to the last adapter, %"]
    width = max((len(row) for row in rows), default=4)
    table = Table(columns[:width], rows)
    return Section("What hangs on each judgement of the model's error", [Block(table=table)])
