"""Chip files: the catalogue is sound, bad files end in one sentence, copies leave originals be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hardwire.models import catalogue
from hardwire.models.chip import DECLARED, SECTIONS, Chip
from hardwire.models.description import read_description
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import quantities
from hardwire.models.process import PROCESS, Process

CHIPS = catalogue.names("chip")
HC1_TEXT = catalogue.resolve("chip", "hc1").read_text(encoding="utf-8")
ChipFile = Callable[[str], Path]


@pytest.fixture
def chip_file(tmp_path: Path) -> ChipFile:
    """Write ``my.yaml`` and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "my.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        Chip.open(str(path))
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def replaced(old: str, new: str) -> str:
    """HC1's file with one piece of text changed."""
    assert HC1_TEXT.count(old) == 1
    return HC1_TEXT.replace(old, new)


# --- the catalogue --------------------------------------------------------------------------------


def test_the_catalogue_holds_the_chips_of_the_readme() -> None:
    assert {"hc1", "hc1-demo", "roma"} <= set(CHIPS)


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_opens_with_all_its_parameters(name: str) -> None:
    chip = Chip.open(name)
    assert chip.name == name
    assert LanguageModel.by_name(chip.model).layers > 0
    optional = {"die.transistors", "datapath.outputs_per_pass", "rom.head_bits"}
    assert set(DECLARED) - set(chip.parameters) <= optional
    for key, parameter in chip.parameters.items():
        section, _, field = key.partition(".")
        assert getattr(getattr(chip, section), field) == parameter.value


@pytest.mark.parametrize("name", CHIPS)
def test_every_parameter_of_a_chip_has_its_birth_certificate(name: str) -> None:
    chip = Chip.open(name)
    for key, parameter in chip.parameters.items():
        spec = DECLARED[key]
        assert parameter.kind in ("published", "derived", "assumed", "calibrated")
        assert len(parameter.source) > 3, key
        assert parameter.unit == spec.unit
        if parameter.kind in ("assumed", "calibrated") and not spec.choices:
            assert parameter.range is not None, key
        if parameter.range is not None:
            low, high = parameter.range
            assert spec.low <= low <= parameter.value <= high <= spec.high, key
    calibrated = [key for key, p in chip.parameters.items() if p.kind == "calibrated"]
    assert calibrated == ([chip.calibration.parameter] if chip.calibration else [])


@pytest.mark.parametrize("name", catalogue.names("process"))
def test_every_process_opens(name: str) -> None:
    found = read_description(catalogue.resolve("process", name), PROCESS)
    assert list(found.parameters) == list(quantities(Process))


def test_the_demo_is_hc1_but_for_the_clock() -> None:
    hc1, demo = Chip.open("hc1"), Chip.open("hc1-demo")
    differing = {key for key in hc1.parameters if hc1.parameters[key] != demo.parameters[key]}
    assert differing == {"datapath.clock_ghz"}


def test_names_are_found_in_either_case() -> None:
    assert Chip.open("HC1").name == "hc1"


def test_a_chip_opens_from_a_path(chip_file: ChipFile) -> None:
    chip = Chip.open(str(chip_file(HC1_TEXT)))
    assert (chip.name, chip.datapath) == ("my", Chip.open("hc1").datapath)


# --- bad files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lora:\n", "lroa:\n", ["my.yaml: lroa is no known section", "did you mean lora"]),
        ("  density_mbit_per_mm2: {value: 25.7", "  kv_bits: {value: 25.7",
         ["my.yaml: sram.kv_bits is no known parameter; did you mean formats.kv_bits"]),
        ("  order:", "  format:",
         ["my.yaml: lora.format is no known parameter; did you mean", "formats.adapter_format"]),
        ("  switch_cycles:", "  max_rank:",
         ["my.yaml: lora.max_rank is no known parameter; did you mean formats.max_rank"]),
        ("  lanes:", "  lane:", ["my.yaml: datapath.lane is no known parameter", "lanes"]),
        ("  area_mm2:", "  transistors:", ["given twice"]),
        ("  kv_bits:", "  # kv_bits:", ["my.yaml: formats.kv_bits is missing", "KV cache element"]),
        ("model: llama-3.1-8b", "", ["my.yaml: model is missing"]),
        ("process: n6", "process: 6", ["my.yaml: process is missing"]),
        ("process: n6", "process: n66", ["my.yaml: process: 'n66' is no", "did you mean n6"]),
        ("model: llama-3.1-8b", "model: lama-3.1-8b", ["my.yaml: model:", "llama-3.1-8b"]),
        ("{value: 16, kind: assumed, range: [12, 24]", "{value: 16, kind: assumed",
         ["my.yaml: datapath.lanes:", "needs a range"]),
        ("{value: 16, kind: assumed, range: [12, 24]",
         "{value: 32, kind: assumed, range: [12, 24]",
         ["my.yaml: datapath.lanes: 32 is outside its own range [12, 24]"]),
        ("{value: 16, kind: assumed, range: [12", "{value: 5000, kind: assumed, range: [12",
         ["my.yaml: datapath.lanes: 5000 is out of range (1 to 4,096)"]),
        ("{value: 1.379764, kind", "{value: 1365.653, unit: MHz, kind",
         ["my.yaml: datapath.clock_ghz: the unit is GHz, not MHz"]),
        ("{value: 1.379764, kind", "{value: 1365 us, kind",
         ["my.yaml: datapath.clock_ghz:", "the unit is GHz"]),
        ("{value: 1.379764, kind", "{value: .nan, kind", ["datapath.clock_ghz: nan"]),
        ("{value: 1.379764, kind", "{value: .inf, kind", ["datapath.clock_ghz: inf"]),
        ("{value: 1.379764, kind", "{value: yes, kind", ["datapath.clock_ghz.value:"]),
        ("{value: serial,", "{value: parallel,",
         ["my.yaml: datapath.issue: 'parallel' is not allowed (one of serial, pipelined)"]),
        ("{value: 8, kind: assumed, range: [8, 8]", "{value: 5, kind: assumed, range: [4, 8]",
         ["my.yaml: formats.kv_bits: 5 is not one of 4, 8, 16"]),
        ("  metric: token_s", "  metric: power_w", ["my.yaml: calibration.metric:", "token_s"]),
        ("  parameter: datapath.clock_ghz", "  parameter: datapath.lanes",
         ["my.yaml: calibration.parameter: 'datapath.lanes'", "datapath.clock_ghz"]),
        ("  value: 5.8962264150943e-5", "  value: -1.0", ["my.yaml: calibration.value:"]),
        ("  value: 5.8962264150943e-5", "  value: .nan", ["my.yaml: calibration.value:"]),
        ("  relative_error: 0.03", "  relative_eror: 0.03", ["my.yaml: calibration.relative_"]),
        ("  output: 1024", "  output: 1", ["my.yaml: calibration.output:"]),
    ],
)  # fmt: skip
def test_a_bad_chip_file_is_refused(
    chip_file: ChipFile, old: str, new: str, words: list[str]
) -> None:
    message = refusal(chip_file(replaced(old, new)))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: hc9\n", ["my.yaml: extends: 'hc9' is no chip", "did you mean hc2 or hc1"]),
        ("extends: 3\n", ["my.yaml: extends: '3' is no chip"]),
        ("extends: my.yaml\n", ["my.yaml: extends: my.yaml extends this file in turn"]),
        ("extends: other.yaml\n", ["my.yaml: extends:", "other.yaml: does not exist"]),
        ("extends: hc1\ncalibration: 3\n", ["my.yaml: calibration must be a mapping"]),
        ("extends: hc1\ncalibration: null\n", ["calibrated, but calibration is missing"]),
        ("extends: hc1\nsram: 512\n", ["my.yaml: sram must be a mapping"]),
        ("extends: hc1\nsram:\n", ["my.yaml: sram must be a mapping"]),
        ("extends: hc1\nsram: {capacity_mib: x}\n", ["my.yaml: sram.capacity_mib: a number"]),
        ("extends: hc1\nsram: {capacity_mib: [5]}\n", ["my.yaml: sram.capacity_mib.value: "]),
        (
            "extends: hc1\ndatapath:\n  clock_ghz: {value: 1.5, kind: calibrated, range: [1, 2]}\n",
            ["my.yaml: datapath.clock_ghz: is fitted to nothing"],
        ),
        ("extends: hc1\nprocess: {wafer_usd: 1}\n", ["my.yaml: process is missing"]),
        ("extends: hc1\n7: {}\n", ["my.yaml: 7 is no known section"]),
        ("- a\n", ["my.yaml: a mapping of sections is expected"]),
        ("title: x\ntitle: y\n", ["my.yaml", "line 2", "'title' is given twice"]),
        ("title: [\n", ["my.yaml: not valid YAML"]),
    ],
)
def test_a_chip_file_that_makes_no_sense_is_refused(
    chip_file: ChipFile, text: str, words: list[str]
) -> None:
    message = refusal(chip_file(text))
    for word in words:
        assert word in message


def test_calibrated_without_a_calibration_is_refused(chip_file: ChipFile) -> None:
    start, end = HC1_TEXT.index("calibration:"), HC1_TEXT.index("die:")
    message = refusal(chip_file(HC1_TEXT[:start] + HC1_TEXT[end:]))
    assert message == ("my.yaml: datapath.clock_ghz is calibrated, but calibration is missing")


def test_a_chip_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "none.yaml: does not exist" in refusal(tmp_path / "none.yaml")
    (tmp_path / "folder.yml").mkdir()
    assert "folder.yml: is a folder" in refusal(tmp_path / "folder.yml")
    (tmp_path / "latin.yaml").write_bytes("title: à".encode("latin-1"))
    assert "latin.yaml: cannot be read (it is not UTF-8 text)" in refusal(tmp_path / "latin.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_chip_file_without_permission_is_refused(chip_file: ChipFile) -> None:
    path = chip_file(HC1_TEXT)
    path.chmod(0)
    assert "my.yaml: cannot be read (Permission denied)" in refusal(path)


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    assert "did you mean hc2 or hc1" in refusal("hc3")


# --- copies ---------------------------------------------------------------------------------------


def test_values_change_a_copy_and_keep_the_chip_as_filed() -> None:
    chip = Chip.open("hc1")
    first = chip.with_values({"sram.capacity_mib": "512 MiB"})
    second = first.with_values({"datapath.lanes": 20})
    assert (chip.sram.capacity_mib, chip.datapath.lanes) == (448, 16)
    assert (second.sram.capacity_mib, second.datapath.lanes) == (512, 20)
    assert second.overrides == {"sram.capacity_mib": 512, "datapath.lanes": 20}
    assert first.overrides == {"sram.capacity_mib": 512}
    assert not chip.overrides and chip.as_filed is None
    assert first.as_filed is chip and second.as_filed is chip
    assert second.parameters == chip.parameters


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("datapath.clock_ghz", "1200 us", ["the unit is GHz"]),
        ("datapath.clock_ghz", "20", ["20 is out of range (0.01 to 10 GHz)"]),
        ("datapath.clock_ghz", "nan", ["nan is out of range"]),
        ("datapath.clock_ghz", np.nan, ["nan is out of range"]),
        ("datapath.clock_ghz", np.float32(20), ["20 is out of range"]),
        ("datapath.clock_ghz", True, ["a number is expected"]),
        ("datapath.clock_ghz", None, ["a number is expected"]),
        ("datapath.clock_ghz", [1.0, 1.2], ["a number is expected"]),
        ("sram.capacity_mib", -5, ["-5 is out of range (1 to 1,048,576 MiB)"]),
        ("datapath.lanes", -3, ["-3 is out of range (1 to 4,096)"]),
        ("datapath.lanes", 2.5, ["2.5 must be a whole number (1 to 4,096)"]),
        ("datapath.lanes", "16.5", ["must be a whole number (1 to 4,096)"]),
        ("datapath.clok_ghz", "1", ["no such parameter", "datapath.clock_ghz"]),
        ("clock_ghz", "1", ["no such parameter", "datapath.clock_ghz"]),
        ("datapath", "1", ["no such parameter"]),
        ("sram.kv_bits", 8, ["no such parameter; did you mean formats.kv_bits"]),
        ("lora.format", "int4", ["no such parameter; did you mean", "formats.adapter_format"]),
        ("lora.max_rank", 32, ["no such parameter; did you mean formats.max_rank"]),
        ("datapath.issue", "both", ["'both' is not allowed (one of serial, pipelined)"]),
        ("datapath.issue", "sreial", ["'sreial' is not allowed (one of serial, pipelined)"]),
        ("datapath.issue", 1, ["'1' is not allowed"]),
        ("datapath.issue", np.array(["serial"]), ["one word for all designs is expected"]),
        ("formats.kv_bits", "5", ["5 is not one of 4, 8, 16"]),
        ("formats.kv_bits", 7, ["7 is not one of 4, 8, 16"]),
        ("formats.kv_bits", np.array([4, 7, 8]), ["7 is not one of 4, 8, 16"]),
        ("process.wafer_usd", "9000 EUR", ["the unit is USD"]),
        ("datapath.lanes", np.array([8, 0, -3]), ["0 is out of range (1 to 4,096)"]),
        ("datapath.lanes", np.array([8.0, 2.5]), ["2.5 must be a whole number"]),
        ("datapath.lanes", np.array([8.0, np.nan]), ["nan is out of range"]),
        ("datapath.lanes", np.array([8.0, np.inf]), ["inf is out of range"]),
        ("datapath.lanes", np.array(["8"]), ["an array of numbers is expected"]),
        ("datapath.lanes", np.array([True]), ["an array of numbers is expected"]),
        ("datapath.lanes", np.array([]), ["an array of numbers is expected"]),
    ],
)
def test_a4_a_bad_value_is_refused(name: str, value: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        Chip.open("hc1").with_values({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}: ") and "\n" not in message
    for word in words:
        assert word in message


def test_arrays_of_different_designs_are_refused() -> None:
    chip = Chip.open("hc1").with_values({"datapath.lanes": np.array([8, 16, 32])})
    with pytest.raises(InputError) as caught:
        chip.with_values({"sram.capacity_mib": np.array([400, 500])})
    assert str(caught.value) == (
        "one number for each design is needed, but shapes are datapath.lanes (3,), "
        "sram.capacity_mib (2,)"
    )


def test_numbers_of_numpy_and_pandas_are_taken() -> None:
    values = {"datapath.lanes": np.int64(8), "datapath.clock_ghz": np.array(1.5)}
    chip = Chip.open("hc1").with_values(values)
    assert chip.overrides == {"datapath.lanes": 8, "datapath.clock_ghz": 1.5}
    assert type(chip.datapath.lanes) is int and type(chip.datapath.clock_ghz) is float
    column = pd.Series([8, 16], index=[3, 4])
    assert chip.with_values({"datapath.lanes": column}).datapath.lanes.tolist() == [8, 16]


def test_another_process_forgets_what_was_set_of_the_old_one() -> None:
    chip = Chip.open("hc1").with_values({"process.wafer_usd": 5000, "datapath.lanes": 20})
    moved = chip.with_process("n7")
    assert moved.overrides == {"datapath.lanes": 20}
    assert moved.process == Chip.open("hc1").with_process("n7").process
    assert moved.as_filed is not None and moved.as_filed.process == moved.process


def test_values_may_be_arrays_and_leave_the_original_be() -> None:
    chip = Chip.open("hc1")
    lanes = np.array([8, 16, 32])
    many = chip.with_values({"datapath.lanes": lanes, "process.wafer_usd": lanes * 100.0})
    assert many.datapath.lanes is lanes
    assert many.process.wafer_usd.tolist() == [800, 1600, 3200]
    assert (chip.datapath.lanes, chip.process.wafer_usd) == (16, 10000)
    assert many.datapath.clock_ghz == chip.datapath.clock_ghz


def test_declared_parameters_are_the_fields_of_the_sections() -> None:
    for key, spec in DECLARED.items():
        section, _, field = key.partition(".")
        assert field in quantities(SECTIONS[section])
        assert spec.meaning and (spec.choices or spec.low < spec.high)
