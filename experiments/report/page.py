"""What a report page consists of, and the sections that all reports share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardwire.experiments.report.charts import Chart

KINDS = {
    "published": "quoted from the source",
    "derived": "arithmetic on published numbers",
    "assumed": "not published; the source gives the reason",
    "calibrated": "fitted to one measurement",
    "set": "chosen in the chip's file",
}
SET = "set by the user"
_ABSOLUTE = re.compile(r"(?:/|~|[A-Za-z]:[/\\])[^\n]*\Z")
"""A path from the root or from a home, on any system."""


@dataclass(frozen=True)
class Table:
    """A table: the first column to the left and the others, numbers, to the right.

    Attributes
    ----------
    rows : cells as text, as many as columns.
    marked : numbers of the rows that stand out.
    wide : words rather than numbers: on a narrow page each row becomes a card.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()
    wide: bool = False


@dataclass(frozen=True)
class Block:
    """One part of a section: a caption over a chart, a table or a paragraph.

    Attributes
    ----------
    text : a paragraph; beside a chart what it shows, in a sentence.
    """

    caption: str = ""
    chart: Chart | None = None
    table: Table | None = None
    text: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    Attributes
    ----------
    folded : whether it is shown, and printed, only where a reader opens it.
    """

    title: str
    blocks: Sequence[Block]
    folded: bool = False

    @property
    def anchor(self) -> str:
        """The fragment of links to it."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes
    ----------
    title : what was run, so that no two tabs of a browser are named alike.
    verdict : the answer in one line.
    good : True where it is what was hoped for; False, in red, only of what cannot be or did not
        run; else None.
    lines : what was run.
    obstacles : what makes that the answer cannot be; in red.
    warnings : what a reader should know before the numbers.
    """

    title: str
    verdict: str
    good: bool | None
    lines: Sequence[str]
    sections: Sequence[Section]
    obstacles: Sequence[str] = ()
    warnings: Sequence[str] = ()


def configuration_section(configuration: Mapping[str, Any] | None) -> Section:
    """The options as resolved, and the model."""
    if configuration is None:
        return Section("Configuration", [_not_there()])
    rows = [("hardwire", f"{configuration['hardwire']}, command {configuration['command']}")]
    for name, value in configuration["options"].items():
        rows.append((name.replace("_", " "), _words(value)))
    model = configuration["model"]
    sizes = ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in model.items() if k != "name")
    rows.append(("dimensions of the model", f"{model['name']}: {sizes}"))
    table = Table(("Option", "Value as resolved"), rows, wide=True)
    return Section("Configuration", [Block(table=table)])


def provenance_section(configuration: Mapping[str, Any] | None) -> Section:
    """Every parameter with value, kind, range and source; those that a user set stand out."""
    if configuration is None:
        return Section("Provenance of every parameter", [_not_there()])
    blocks = [Block(text=_kinds(configuration))]
    for owner in (*configuration["chips"], *configuration.get("servers", ())):
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for entry in owner["parameters"]:
            group, dot, _ = entry["name"].partition(".")
            groups.setdefault(group if dot else "", []).append(entry)
        for group, entries in groups.items():
            caption = f"{owner['name']}: {group}" if group else f"{owner['name']}: {owner['title']}"
            if group == "process" and owner.get("process"):
                caption += f" {owner['process']}"
            blocks.append(Block(caption=caption, table=_parameters(entries)))
    return Section("Provenance of every parameter", blocks, folded=True)


def calibration_text(configuration: Mapping[str, Any]) -> str:
    """What was fitted to what, in a sentence for each chip; empty where nothing was."""
    said = []
    for chip in configuration["chips"]:
        fitted = chip["calibration"]
        if fitted is None:
            continue
        measured = fitted.get("chip", chip["name"])
        if not fitted.get("kept", True):
            said.append(f"{chip['name']}: {fitted['parameter']} was set, not fitted.")
            continue
        said.append(
            f"{measured}: {fitted['parameter']} was fitted to a decode step of "
            f"{fitted['value'] * 1e6:.2f} µs ± {fitted['relative_error']:.1%} at "
            f"{fitted['prompt']:,} + {fitted['output']:,} tokens ({fitted['source']}). "
            "That rate is therefore no validation."
        )
    return " ".join(said)


def _kinds(configuration: Mapping[str, Any]) -> str:
    entries = [
        entry
        for owner in (*configuration["chips"], *configuration.get("servers", ()))
        for entry in owner["parameters"]
    ]
    counts = {kind: sum(e.get("kind") == kind for e in entries) for kind in KINDS}
    parts = [f"{counts[kind]} {kind} ({words})" for kind, words in KINDS.items() if counts[kind]]
    changed = sum("filed" in entry for entry in entries)
    own = f" {changed} of them {SET}." if changed else ""
    return f"{len(entries)} parameters: {', '.join(parts)}.{own}"


def _parameters(entries: Sequence[Mapping[str, Any]]) -> Table:
    rows, marked = [], set()
    for number, entry in enumerate(entries):
        value = with_unit(entry["value"], entry["unit"])
        kind = entry.get("kind", "")
        if "filed" in entry:
            marked.add(number)
            value = f"{value} ({SET}; filed: {with_unit(entry['filed'], entry['unit'])})"
        low_high = entry.get("range")
        span = f"{amount(low_high[0])} … {amount(low_high[1])}" if low_high else "–"
        rows.append((entry["meaning"], entry["name"], value, kind, span, entry.get("source", "")))
    columns = ("Parameter", "Name", "Value", "Kind", "Range", "Source")
    return Table(columns, rows, frozenset(marked), wide=True)


def with_unit(value: Any, unit: str) -> str:
    """A parameter's value with its unit."""
    shown = unit.replace("mm2", "mm²").replace("us", "µs")
    return f"{amount(value)} {shown}".rstrip() if value is not None else "no limit"


def amount(value: Any) -> str:
    """A parameter's value as people write it."""
    if isinstance(value, str):
        return value
    if abs(value) >= 1e9:
        return f"{value / 1e9:.6g}e9"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.6g}"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return without_folder(str(value))


def without_folder(text: str) -> str:
    """A path from the root or a home as the name of its file: a page may be sent to others."""
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if _ABSOLUTE.match(text) else text


def _not_there() -> Block:
    return Block(text="The folder holds no configuration.json: save the run again to have it here.")
