"""The rules by which benchmarks are compared with the record; no time is measured here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import references
import regression
from regression import Run, Timing, compare, make_record

from hardwire.models.errors import InputError

FAST = Timing("loop", 1.0, 0.1, 0.1)


def runs(*times: float) -> list[Run]:
    return [Run("this", {"a": replace(FAST, shortest_s=shortest)}) for shortest in times]


def test_a_ratio_does_not_depend_on_how_fast_the_machine_is() -> None:
    slow = Timing("loop", 3.0, 0.3, 0.3)
    assert slow.ratio == pytest.approx(FAST.ratio)
    assert not slow.busy
    assert Timing("loop", 1.0, 0.1, 0.2).busy


def test_bounds_come_from_the_spread() -> None:
    steady = make_record(runs(1, 1.01, 0.99), "2026-01-01")["benchmarks"]["a"]
    assert steady["ratio"] == pytest.approx(10)
    assert (steady["lowest"], steady["highest"]) == (9.9, 10.1)
    assert steady["bound"] == regression.LEAST_BOUND
    noisy = make_record(runs(1, 1.3, 0.8), "2026-01-01")["benchmarks"]["a"]
    assert noisy["bound"] == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("factor", "verdict", "fails"),
    [(1.0, "ok", False), (1.24, "ok", False), (1.26, "slower", True), (0.7, "faster", False)],
)
def test_verdicts(factor: float, verdict: str, fails: bool) -> None:
    record = make_record(runs(1, 1, 1), "2026-01-01")
    (row,) = compare(record, runs(factor)[0])
    assert (row.verdict, row.fails) == (verdict, fails)
    assert row.change == pytest.approx(factor)


def test_new_ones_pass_and_gone_ones_fail() -> None:
    record = make_record(runs(1), "2026-01-01")
    now = Run("this", {"b": FAST})
    found = {row.name: (row.verdict, row.fails) for row in compare(record, now)}
    assert found == {"a": ("gone", True), "b": ("new", False)}
    text = regression.render(record, now, compare(record, now))
    assert text.startswith("1 of 2 benchmarks fail\n")
    assert "**gone**" in text


def test_another_reference_loop_is_no_comparison() -> None:
    record = make_record(runs(1), "2026-01-01")
    (row,) = compare(record, Run("this", {"a": replace(FAST, reference="stream")}))
    assert row.fails and row.verdict == "other reference"


def test_bounds_are_wider_on_another_processor() -> None:
    record = make_record(runs(1), "2026-01-01")
    here, there = (compare(record, Run(cpu, {"a": FAST}))[0].bound for cpu in ("this", "that"))
    assert there == pytest.approx(regression.OTHER_MACHINE * here)
    now = Run("that", {"a": FAST})
    assert "wider" in regression.render(record, now, compare(record, now))


def test_the_slower_are_measured_again_and_the_least_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = make_record(runs(1), "2026-01-01")
    times = iter((2.0, 3.0, 1.1))
    asked = []

    def measure(names: tuple[str, ...] = ()) -> Run:
        asked.append(list(names))
        return runs(next(times))[0]

    monkeypatch.setattr(regression, "measure", measure)
    run = regression.measure_and_retry(record)
    assert asked == [[], ["a"], ["a"]]
    assert run.timings["a"].shortest_s == 1.1


def test_the_record_is_of_benchmarks_that_are_there() -> None:
    record = regression.read()
    names = {one for path in regression.FOLDER.glob("test_*_bench.py") for one in [path.name]}
    for name, one in record["benchmarks"].items():
        assert name.partition("::")[0] in names
        assert one["bound"] >= regression.LEAST_BOUND
        assert one["lowest"] <= one["ratio"] <= one["highest"]
    assert {one["reference"] for one in record["benchmarks"].values()} <= set(references.make())


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read"), ("{}", "must be an object")])
def test_a_bad_record_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    record = tmp_path / "record.json"
    record.write_text(text)
    with pytest.raises(InputError, match=words):
        regression.read(record)
    assert regression.main([], record) == 2
