"""One parameter at a time: reading, checking and drawing it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardwire.models.errors import InputError
from hardwire.models.parameters import (
    Parameter,
    Quantity,
    check_value,
    draw,
    read_parameter,
    read_yaml,
)

CLOCK = Quantity("GHz", 0.01, 10, "clock")
LANES = Quantity("", 1, 4096, "lanes", integer=True)
ISSUE = Quantity("", 0, 0, "issue", choices=("serial", "pipelined"))
SOUND = {"value": 1.0, "kind": "published", "source": "a paper"}


def refusal(function: Any, *arguments: Any) -> str:
    """The one sentence with which a call is refused."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "spec", "expected"),
    [
        (1, CLOCK, 1.0),
        (1.2, CLOCK, 1.2),
        ("1.2", CLOCK, 1.2),
        ("1.2GHz", CLOCK, 1.2),
        (" 1.2 GHz ", CLOCK, 1.2),
        ("5e-1", CLOCK, 0.5),
        (16, LANES, 16),
        (16.0, LANES, 16),
        ("16", LANES, 16),
        ("serial", ISSUE, "serial"),
        ("Serial", ISSUE, "serial"),
        (" PIPELINED", ISSUE, "pipelined"),
    ],
)
def test_a_sound_value_is_taken(value: Any, spec: Quantity, expected: Any) -> None:
    found = check_value("x", value, spec)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", ["1200mV", "1 GHz/2", "1 s"])
def test_another_unit_is_refused_and_the_right_one_named(value: str) -> None:
    message = refusal(check_value, "--set datapath.clock_ghz", value, CLOCK)
    assert message == f"--set datapath.clock_ghz: '{value}' is in the wrong unit: the unit is GHz"


def test_a_word_nearly_right_got_no_suggestion() -> None:
    message = refusal(check_value, "--set datapath.issue", "pipeline", ISSUE)
    assert message == (
        "--set datapath.issue: 'pipeline' is not allowed (one of serial, pipelined); "
        "did you mean pipelined?"
    )


def test_a_unit_is_refused_where_there_is_none() -> None:
    assert "it has no unit" in refusal(check_value, "lanes", "16 GHz", LANES)


@pytest.mark.parametrize(
    "value", [0, 10.001, -1, math.nan, math.inf, -math.inf, "nan", "inf", "-inf", "1e999", 10**400]
)
def test_a_value_out_of_range_is_refused_and_the_range_named(value: Any) -> None:
    message = refusal(check_value, "clock", value, CLOCK)
    assert message.startswith("clock: ")
    assert message.endswith("is out of range (0.01 to 10 GHz)")


@pytest.mark.parametrize("value", [True, False, None, [1.0], {}, "", "fast", "1.2.3", "--1"])
def test_what_is_no_number_is_refused(value: Any) -> None:
    message = refusal(check_value, "clock", value, Quantity("", 0, 10, "clock"))
    assert message.startswith("clock: ")


def test_a_count_is_whole() -> None:
    assert refusal(check_value, "lanes", 16.5, LANES) == (
        "lanes: 16.5 must be a whole number (1 to 4,096)"
    )


@pytest.mark.parametrize("value", ["both", True, 0, None])
def test_a_choice_is_one_of_its_words(value: Any) -> None:
    assert "is not allowed (one of serial, pipelined)" in refusal(check_value, "x", value, ISSUE)


# --- entries of a file ----------------------------------------------------------------------------


def test_a_sound_entry_keeps_its_origin() -> None:
    entry = {"value": "1.2 GHz", "kind": "assumed", "range": [1, 2], "source": "so", "unit": "GHz"}
    assert read_parameter("x", entry, CLOCK) == Parameter(
        value=1.2, kind="assumed", source="so", range=(1, 2), unit="GHz"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "MHz"}, ["x: the unit is GHz, not MHz"]),
        ({"kind": "guessed"}, ["x.kind:", "assumed"]),
        ({"kind": "assumed"}, ["x: a parameter of kind 'assumed' needs a range"]),
        ({"kind": "calibrated"}, ["x: a parameter of kind 'calibrated' needs a range"]),
        ({"source": "  "}, ["x: the source is empty"]),
        ({"source": 3}, ["x.source:"]),
        ({"rnage": [1, 2]}, ["x.rnage:", "is no known field"]),
        ({3: 4}, ["x.3:"]),
        ({"value": True}, ["x.value:", "number"]),
        ({"value": None}, ["x.value:", "number"]),
        ({"value": [1, 2]}, ["x.value:", "number"]),
        ({"value": math.nan}, ["x: nan is out of range (0.01 to 10 GHz)"]),
        ({"value": math.inf}, ["x: inf is out of range (0.01 to 10 GHz)"]),
        ({"value": 11}, ["x: 11 is out of range (0.01 to 10 GHz)"]),
        ({"range": [2, 3]}, ["x: 1 is outside its own range [2, 3]"]),
        ({"range": [2, 1]}, ["x.range: [2, 1] must lie in 0.01 to 10 GHz"]),
        ({"range": [0, 2]}, ["x.range: [0, 2] must lie in 0.01 to 10 GHz"]),
        ({"range": [0.5, math.nan]}, ["x.range:"]),
        ({"range": [0.5, math.inf]}, ["x.range:"]),
        ({"range": [False, 2]}, ["x.range:", "number"]),
        ({"range": [1]}, ["x.range"]),
        ({"range": [1, 2, 3]}, ["x.range"]),
        ({"range": 3}, ["x.range"]),
    ],
)
def test_an_unsound_entry_is_refused(changes: dict[Any, Any], words: list[str]) -> None:
    message = refusal(read_parameter, "x", {**SOUND, **changes}, CLOCK)
    for word in words:
        assert word in message


@pytest.mark.parametrize("key", ["value", "kind", "source"])
def test_an_entry_that_lacks_a_key_is_refused(key: str) -> None:
    entry = {name: value for name, value in SOUND.items() if name != key}
    assert refusal(read_parameter, "x", entry, CLOCK).startswith(f"x.{key}: this field is missing")


@pytest.mark.parametrize("entry", [1.0, "1.0", None, [1.0]])
def test_a_bare_value_is_no_entry(entry: Any) -> None:
    assert "{value: …, kind: …, source: …}" in refusal(read_parameter, "x", entry, CLOCK)


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 1\na: 2\n", ["line 2", "key 'a' is given twice"]),
        (b"a:\n  b: 1\n  b: 2\n", ["line 3", "key 'b' is given twice"]),
        (b"a: 1\nb: 010\n", ["line 2", "010 could be several numbers"]),
        (b"a: 1:30\n", ["line 1", "1:30 could be several numbers", "in quotes"]),
        (b"a: 1_000\n", ["1_000 could be several numbers"]),
        (b"a: -1_0.5\n", ["-1_0.5 could be several numbers"]),
        (b"a: [1\n", ["not valid YAML"]),
        (b"a: \tb: c\n", ["not valid YAML"]),
        (b"a: 2001-99-99\n", ["not valid YAML", "month"]),
        (b"a: " + b"9" * 5000, ["not valid YAML"]),
        (b"a: " + b"[" * 5000, ["not valid YAML", "nested too deeply"]),
        (b"a: !!python/object/apply:os.getcwd []\n", ["not valid YAML"]),
        (b"a: \x00\n", ["not valid YAML"]),
        (b"a: \xff\xfe\n", ["cannot be read", "UTF-8"]),
        (b"", ["a mapping of sections is expected"]),
        (b"- 1\n- 2\n", ["a mapping of sections is expected"]),
        (b"text\n", ["a mapping of sections is expected"]),
    ],
)
def test_what_is_no_yaml_mapping_is_refused(
    tmp_path: Path, content: bytes, words: list[str]
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    message = refusal(read_yaml, path)
    assert message.startswith(f"{path}: ")
    for word in words:
        assert word in message


def test_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 6e-5\nb: -1E3\nc: 0x10\ng: 2.0e6\nd: 1.5\ne: 12\nf: e5\n")
    assert read_yaml(path) == {
        "a": 6e-5,
        "b": -1000.0,
        "c": 16,
        "d": 1.5,
        "e": 12,
        "f": "e5",
        "g": 2e6,
    }


def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(read_yaml, tmp_path / "none.yaml").endswith("none.yaml: does not exist")
    assert "is a folder" in refusal(read_yaml, tmp_path)
    assert "cannot be read" in refusal(read_yaml, Path("x\0.yaml"))
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "no regular file" in refusal(read_yaml, tmp_path / "pipe.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\n")
    path.chmod(0)
    assert "Permission denied" in refusal(read_yaml, path)


# --- draws ----------------------------------------------------------------------------------------


def drawn(low: float, high: float, spec: Quantity) -> np.ndarray:
    parameter = Parameter(value=low, kind="assumed", source="-", range=(low, high))
    return draw(parameter, spec, 20_000, np.random.default_rng(1))


def test_draws_stay_in_the_range_and_fill_it() -> None:
    values = drawn(1.0, 3.0, CLOCK)
    assert values.min() >= 1.0 and values.max() <= 3.0
    assert np.mean(values) == pytest.approx(2.0, abs=0.02)


def test_a_wide_range_is_drawn_by_its_logarithm() -> None:
    values = drawn(0.02, 2.0, CLOCK)
    assert values.min() >= 0.02 and values.max() <= 2.0
    assert np.median(values) == pytest.approx(0.2, rel=0.05)


def test_draws_of_a_count_are_whole() -> None:
    values = drawn(12, 24, LANES)
    assert set(np.unique(values)) == set(range(12, 25))
