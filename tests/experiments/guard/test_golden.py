"""The predictions are those that were accepted, and what changed shows as a table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hardwire.experiments.guard import golden
from hardwire.models.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def predicted() -> golden.Metrics:
    return golden.predictions()


def test_predictions_are_those_recorded(predicted: golden.Metrics) -> None:
    found = golden.changes(golden.read(), predicted)
    assert not found, (
        f"{len(found)} predictions changed:\n\n{golden.render(found)}\n\n"
        f"If that is meant, accept them and say why in the commit: {golden.ACCEPT}"
    )


def test_laws_that_the_predictions_keep(predicted: golden.Metrics) -> None:
    """A recorded number cannot freeze a mistake that breaks one of these."""
    for case, found in predicted.items():
        if "area_mm2.total" in found:
            parts = [v for k, v in found.items() if k.startswith("area_mm2.")]
            assert sum(parts) == pytest.approx(2 * found["area_mm2.total"]), case
            parts = [v for k, v in found.items() if k.startswith("transistors.")]
            assert sum(parts) == pytest.approx(2 * found["transistors.total"]), case
        if "engine.token_s" in found:
            parts = [v for k, v in found.items() if k.startswith("engine.breakdown_s.")]
            assert sum(parts) == pytest.approx(found["engine.token_s"]), case
            users = golden.LOADS[case.split()[1]][2]
            for way in ("engine", "closed"):
                one = found[f"{way}.decode_tokens_per_s_user"]
                assert found[f"{way}.decode_tokens_per_s_chip"] == pytest.approx(users * one)
        if "swap_s.cold" in found:
            order = [found[f"swap_s.{way}"] for way in ("resident", "streamed", "warm", "cold")]
            assert order == sorted(order), case
            assert found["sram.free_bytes"] == (
                found["sram.capacity_bytes"] - found["sram.kv_bytes"] - found["adapter_bytes"]
            ), case
            base = predicted[case.rpartition(" ")[0]]
            # Of several tokens in flight that queue for shared units, a longer one may win a race.
            if case.split()[1] == "serial":
                assert found["engine.token_s"] >= base["engine.token_s"] * (1 - 1e-12), case
            assert found["closed.token_s"] >= base["closed.token_s"], case
            assert found["energy_j_per_decode_token"] > base["energy_j_per_decode_token"], case
        if case.startswith("replay"):
            assert found["completed"] + found["refused"] + found["unfinished"] == 500, case
            power = found["server_energy_j"] / found["duration_s"]
            assert found["server_power_w"] == pytest.approx(power), case


def test_what_is_compared() -> None:
    """Floats to a billionth, whole numbers and words exactly, missing ones as such."""
    before: golden.Metrics = {
        "a": {"same": 1.0, "less": 2.0, "whole": 100, "word": "rom", "old": 1.0, "zero": 0.0},
        "b": {"none": None},
    }
    after: golden.Metrics = {
        "a": {"same": 1 + 1e-12, "less": 1.0, "whole": 101, "word": "lora", "zero": 1e-30},
        "b": {"none": None, "new": 3},
    }
    found = {change.metric: change for change in golden.changes(before, after)}
    assert set(found) == {"less", "whole", "word", "old", "new", "zero"}
    assert found["less"].ratio == 0.5
    assert found["whole"].ratio == pytest.approx(1.01)
    assert all(found[name].ratio is None for name in ("word", "old", "new", "zero"))
    sizes = [change.size for change in golden.changes(before, after)]
    assert sizes == sorted(sizes, reverse=True)
    assert golden.changes(after, after) == []


def test_the_table() -> None:
    change = golden.Change("hc1 serial", "engine.token_s", 2.0e-5, 1.0e-5)
    small = golden.Change("hc1", "power_w", 1.0, 1.0 + 3e-8)
    assert golden.render([change, small]).splitlines() == [
        "| case       | prediction     | before | after |      ratio |",
        "| ---------- | -------------- | -----: | ----: | ---------: |",
        "| hc1 serial | engine.token_s |  2e-05 | 1e-05 |     0.5000 |",
        "| hc1        | power_w        |      1 |     1 | 1 +3.0e-08 |",
    ]
    text = golden.render([change] * (golden.MOST_ROWS + 7))
    assert text.endswith("and 7 smaller changes")


def test_accepting_says_what_changed_and_then_nothing_has(
    tmp_path: Path,
    predicted: golden.Metrics,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(golden, "predictions", lambda: predicted)
    record, page = tmp_path / "golden.json", tmp_path / "golden.md"
    older = json.loads(json.dumps(predicted))
    older["hc1 serial"]["engine.token_s"] *= 2
    golden.write(older, record)
    assert golden.main(["--markdown", str(page)], record) == 1
    assert golden.ACCEPT in capsys.readouterr().err
    (row,) = [line for line in page.read_text().splitlines() if "engine.token_s" in line]
    assert row.endswith("| 0.5000 |")
    assert golden.main(["--accept"], record) == 0
    assert "1 of " in capsys.readouterr().out
    assert golden.read(record) == predicted
    assert golden.main([], record) == 0
    older_file = tmp_path / "older.json"
    golden.write(older, older_file)
    assert golden.main(["--against", str(older_file)], record) == 0
    assert "0.5000" in capsys.readouterr().out


def test_every_prediction_is_json_and_finite_or_a_word(predicted: golden.Metrics) -> None:
    for case in predicted.values():
        for value in case.values():
            assert value is None or isinstance(value, str) or math.isfinite(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read"), ("{", "cannot be read"), ("[1]", "must be an object of cases")],
)
def test_a_bad_record_is_one_sentence(
    tmp_path: Path, text: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "golden.json"
    if text is not None:
        record.write_text(text)
    with pytest.raises(InputError, match=words):
        golden.read(record)
    assert golden.main([], record) == 2
    assert capsys.readouterr().err.count("\n") == 1
