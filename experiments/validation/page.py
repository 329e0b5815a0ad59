"""docs/validation.md, written from the committed table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from hardwire.experiments.shared.words import caption
from hardwire.experiments.validation.finding import finding
from hardwire.experiments.validation.prompt_tokens import (
    LONG,
    LOOP,
    OVERLAP,
    Hypothesis,
    first_tokens,
    hypotheses,
)
from hardwire.experiments.validation.rows import Row, Validation, rows_of
from hardwire.experiments.validation.view import (
    TITLES,
    allowed_text,
    error_text,
    interval_text,
    scaled,
    shown,
    summary,
    used_for,
)

FIGURE = "validation.png"
TEMPLATE = Path(__file__).resolve().parent / "page.md"


def render(validation: Validation) -> str:
    """The page as Markdown: the words of ``page.md`` with the tables in their places."""
    places = {
        "summary": "\n".join(f"- {line}" for line in summary(validation)),
        "coverage": _coverage(validation),
        "finding": caption(finding(validation.rows)),
        "prompt_tokens": _prompt_tokens(hypotheses(first_tokens())),
    }
    for system in TITLES:
        rows = rows_of(validation.rows, system)
        if system == "claims":
            places[system] = _claims(rows)
        elif system == "fidelities":
            places[system] = _fidelities(rows)
        else:
            places[system] = f"{_table(rows)}\n\n{_notes(rows)}".rstrip()
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, part in places.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def _coverage(validation: Validation) -> str:
    """How many rows lie inside, by system."""
    lines = []
    for system, title in TITLES.items():
        part = Validation(tuple(rows_of(validation.rows, system)))
        inside, judged = part.covered
        if judged:
            lines.append([title, str(judged), str(inside), f"{inside / judged:.0%}"])
    inside, judged = validation.covered
    lines.append(["all", str(judged), str(inside), f"**{inside / judged:.0%}**"])
    return _markdown(("", "validation rows with an interval", "inside", "share"), lines)


def _prompt_tokens(found: Sequence[Hypothesis]) -> str:
    """What may explain the demo's prompt tokens, and how well."""
    lengths = list(found[0].ratios)
    lines = []
    for one in found:
        moved = ", ".join(
            f"{_moved(key, value)} ({_moved(key, low)} … {_moved(key, high)})"
            for key, value in one.best.items()
            for low, high in [one.supported[key]]
        )
        ratios = [f"{one.ratios[length]:.2f}" for length in lengths]
        evidence = "–" if one.evidence is None else f"e^{math.log(one.evidence):.0f}"
        lines.append(
            [one.name, moved or "–", f"{one.log_likelihood:+.1f}", evidence, *ratios,
             f"{one.long_ttft_s * 1e3:.0f} ms"]
        )  # fmt: skip
    heads = (
        "Explanation", "Best value (supported)", "Log-likelihood", "Evidence", *lengths,
        f"First token of {LONG:,}",
    )  # fmt: skip
    return _markdown(heads, lines)


def _moved(key: str, value: float) -> str:
    """A value of what a hypothesis moves."""
    if key == OVERLAP:
        return f"{value:.0%}"
    return f"{value:,.0f} cycles" if key == LOOP else f"{value:.3g} µs"


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        factor, unit = scaled(row)
        error = error_text(row)
        lines.append(
            [
                f"`{row.id}`",
                shown(row.published, factor),
                shown(row.predicted, factor),
                interval_text(row) + ("" if row.inside is not False else " !"),
                unit,
                f"**{error}**" if row.status == "missed" else error,
                allowed_text(row),
                used_for(row) + (f" ({row.seen_in})" if row.seen_in else ""),
                row.source,
            ]
        )
    heads = (
        "Row", "Published", "Predicted", "90% interval", "Unit", "Error", "Allowed", "Used for",
        "Source",
    )  # fmt: skip
    return _markdown(heads, lines)


def _notes(rows: Sequence[Row]) -> str:
    """What is known about rows, those outside their tolerance first."""
    said = sorted(
        (row for row in rows if row.note or row.words or row.reason),
        key=lambda r: r.status != "missed",
    )
    lines = []
    for row in said:
        start = f"**`{row.id}`**" if row.status == "missed" else f"`{row.id}`"
        why = f"{row.role}: {row.reason}" if row.reason else ""
        parts = [part.strip(". ") for part in (row.words, why, row.note) if part]
        lines.append(f"- {start}: {'. '.join(parts)}.")
    return "\n".join(lines)


def _claims(rows: Sequence[Row]) -> str:
    lines = [[row.source.partition(": ")[2], row.words, row.note] for row in rows]
    return _markdown(("Claim", "Verdict and arithmetic", "Remark"), lines)


def _fidelities(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        error = error_text(row)
        worst = f"**{error}**" if row.status == "missed" else error
        lines.append([row.metric, row.words, worst, row.tolerance, row.note])
    return _markdown(("Comparison", "Error", "Worst", "Allowed", "Remark"), lines)


def _markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    table = [heads, ["---"] * len(heads), *lines]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table
    )
