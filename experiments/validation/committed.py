"""The committed table: what docs/validation.md shows and what no later run may fall behind.

``python -m hardwire.experiments.validation.committed --data DIR`` computes all rows, the slow ones
too, says what moved and writes ``committed.json``. Without ``--data`` the rows over measured
serving runs stay as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hardwire.experiments.validation.bench import Bench
from hardwire.experiments.validation.rows import Row, Validation, validate

TABLE = Path(__file__).resolve().parent / "committed.json"

SLACK = 1e-4
"""An error may grow by this much, and by a thousandth of itself: processors round differently."""


def read_table(path: Path = TABLE) -> Validation:
    """The committed rows, in order."""
    known = {field.name for field in fields(Row)}
    data: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return Validation(
        tuple(Row(**{key: value for key, value in row.items() if key in known}) for row in data)
    )


def worse(found: Iterable[Row], committed: Validation) -> list[str]:
    """Sentences on rows that err by more than they are committed to, or are not committed."""
    before = {row.id: row for row in committed.rows}
    sentences = []
    for row in found:
        if row.error is None:
            continue
        known = before.get(row.id)
        if known is None or known.error is None:
            sentences.append(f"{row.id}: is not committed")
            continue
        allowed = abs(known.error) * (1 + 1e-3) + SLACK
        if not abs(row.error) <= allowed:
            sentences.append(f"{row.id}: errs by {row.error:+.2%}, committed {known.error:+.2%}")
    return sentences


def moved(found: Iterable[Row], committed: Validation) -> list[tuple[Row, Row]]:
    """Rows whose prediction, interval or words are others than the committed ones."""
    before = {row.id: row for row in committed.rows}
    return [
        (before[row.id], row)
        for row in found
        if row.id in before and not _alike(before[row.id], row)
    ]


def _alike(before: Row, now: Row) -> bool:
    def near(a: float | None, b: float | None) -> bool:
        if a is None or b is None:
            return a is b
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)

    numbers = ("published", "predicted", "low", "high", "error")
    return all(near(getattr(before, key), getattr(now, key)) for key in numbers) and all(
        getattr(before, field.name) == getattr(now, field.name)
        for field in fields(Row)
        if field.name not in numbers
    )


def left_out(row: Row) -> bool:
    """Whether a row that the models can predict was not computed."""
    return row.predicted is None and row.error is None and row.role != "not modelled"


def _said_anew(kept: Row, now: Row) -> Row:
    """A row that was not computed again, with what the published file says of it now."""
    said = ("role", "reason", "seen_in", "source", "note")
    return replace(kept, **{name: getattr(now, name) for name in said})


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute, say what moved, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of the measured serving runs")
    options = parser.parse_args(arguments)
    before = read_table() if TABLE.exists() else Validation(())
    found = validate(Bench(data=options.data, slow=options.data is not None)).rows
    kept = {row.id: row for row in before.rows}
    rows = [_said_anew(kept.get(row.id, row), row) if left_out(row) else row for row in found]
    for sentence in worse(rows, before):
        print(sentence)
    for old, new in moved(rows, before):
        print(f"{new.id}: {old.predicted} -> {new.predicted}")
    if kept_on := [row.id for row in found if left_out(row)]:
        print(f"not computed, and kept as they were: {', '.join(kept_on)}")
    text = json.dumps([row.to_dict() for row in rows], indent=1, ensure_ascii=False)
    TABLE.write_text(f"{text}\n", encoding="utf-8")
    print(f"{TABLE.name}: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
