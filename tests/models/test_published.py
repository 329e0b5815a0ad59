"""Published figures: each row says what it needs, and a broken file says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardwire.models import InputError
from hardwire.models.published import Factor, PublishedRow, published, read_published, systems

ROW = """
  - id: a
    metric: rate
    value: 10
    unit: tokens/s
    relative_error: 0.1
    error_source: two digits
    conditions: {chip: hc1}
    tolerance: {factor: 2}
    role: validation
    source: somewhere
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_row_of_every_system_has_an_id_of_its_own() -> None:
    rows = [row for system in systems() for row in published(system)]
    assert len({row.id for row in rows}) == len(rows)


def test_the_samples_of_the_demo_are_stated_with_their_date_and_lengths() -> None:
    rows = [row for row in published("hc1") if row.metric == "reported_tokens_per_s"]
    assert len(rows) == 10
    for row in rows:
        assert row.value is not None
        assert {"date", "prompt", "output"} <= set(row.conditions)
        # What facts.md derives: 61.9 us in March, 67.0 to 70.5 us since September.
        tokens = float(row.conditions["output"])
        step_us = 1e6 * tokens / ((tokens - 1) * row.value)
        low, high = (61.8, 62.0) if str(row.conditions["date"]) < "2026-09" else (66.9, 70.6)
        assert low < step_us < high


def test_a_row_as_it_is_read(tmp_path: Path) -> None:
    (row,) = read_published(written(tmp_path, f"system: one\ntitle: t\nrows:{ROW}"))
    assert row.tolerance == Factor(factor=2)
    assert row.sigma == pytest.approx(1.0)
    assert row.conditions == {"chip": "hc1"}


def test_an_absolute_error_is_the_sigma() -> None:
    row = PublishedRow(
        id="a", metric="m", value=-4.0, unit="", error=0.5, error_source="s", role="claim",
        source="s",
    )  # fmt: skip
    assert row.sigma == 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("role: validation", "role: guess", "one.yaml: row a: role"),
        ("value: 10", "value: ten", "one.yaml: row a: value"),
        ("value: 10", "valeu: 10", "one.yaml: row a: valeu"),
        ("factor: 2", "factor: 0.5", "one.yaml: row a: tolerance"),
        ("source: somewhere", "source: ''", "one.yaml: row a: source"),
        ("error_source: two digits\n", "\n", "error_source goes together"),
        ("role: validation", "role: in-sample", "reason goes together with a role of in-sample or"),
        ("role: validation", "role: validation\n    reason: r", "reason goes together"),
        ("role: validation", "role: validation\n    seen_in: 1f22724", "seen_in goes together"),
        ("relative_error: 0.1", "relative_error: 0.1\n    error: 1", "one or the other"),
        ("system: one", "system: two", "one.yaml: system"),
    ],
)
def test_a_broken_file_is_refused_with_row_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = f"system: one\ntitle: t\nrows:{ROW}".replace(old, new)
    with pytest.raises(InputError, match=message):
        read_published(written(tmp_path, text))


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row a: id: is given twice"):
        read_published(written(tmp_path, f"system: one\ntitle: t\nrows:{ROW}{ROW}"))


def test_an_unknown_system_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"nothing is published of 'hc11'.*hc1"):
        published("hc11")
