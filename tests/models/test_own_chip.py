"""A chip file of one's own that extends another: what first users wrote, and what it means."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from hardwire.experiments.sensitivity.sobol import inputs_of
from hardwire.experiments.shared.configuration import chip_configuration
from hardwire.models import Chip, InputError, LanguageModel, catalogue
from hardwire.models.server import Server
from hardwire.simulator.belief.draws import draw_chips

CLOCK = "datapath.clock_ghz"
OWN = (
    "extends: hc1\n"
    "datapath:\n"
    "  clock_ghz: {value: 1.5, kind: assumed, range: [1.4, 1.6], source: what if}\n"
    "sram:\n"
    "  capacity_mib: 512\n"
)
SIZE = 200


@pytest.fixture
def own(tmp_path: Path) -> Chip:
    (tmp_path / "mine.yaml").write_text(OWN)
    return Chip.open(tmp_path / "mine.yaml")


def test_another_clock_over_a_measured_chip_was_refused(own: Chip) -> None:
    assert own.datapath.clock_ghz == 1.5
    assert own.overrides == {CLOCK: 1.5, "sram.capacity_mib": 512.0}
    assert own.as_filed is not None and own.as_filed.name == "hc1"
    assert own.title == "Taalas HC1, as the vendor states it, changed by mine.yaml"


def test_kind_range_and_source_of_a_file_were_dropped(own: Chip) -> None:
    parameter = own.own[CLOCK]
    assert (parameter.kind, parameter.range, parameter.source) == ("assumed", (1.4, 1.6), "what if")
    found = {entry["name"]: entry for entry in chip_configuration(own)["parameters"]}
    assert found[CLOCK] == {
        "name": CLOCK, "value": 1.5, "unit": "GHz", "meaning": "clock of the datapath",
        "kind": "assumed", "range": [1.4, 1.6], "source": "what if", "filed": 1.379764,
        "set": False,
    }  # fmt: skip
    assert found["sram.capacity_mib"]["kind"] == "set"
    assert found["sram.capacity_mib"]["source"] == "set in mine.yaml"
    assert found["sram.capacity_mib"]["range"] is None
    assert own.to_frame().loc[CLOCK, "kind"] == "assumed"


def test_my_clock_was_said_to_be_fitted(own: Chip) -> None:
    calibration = chip_configuration(own)["calibration"]
    assert (calibration["chip"], calibration["kept"]) == ("hc1", False)
    assert all(p.kind != "calibrated" for p in own.parameters.values())


def test_intervals_draw_from_the_range_of_the_file(own: Chip) -> None:
    drawn, measured = draw_chips(own, SIZE), draw_chips(Chip.open("hc1"), SIZE)
    clock = drawn.datapath.clock_ghz
    assert 1.4 <= clock.min() < 1.42 and 1.58 < clock.max() <= 1.6
    assert set(drawn.sram.capacity_mib) == {512.0}
    np.testing.assert_array_equal(drawn.datapath.lanes, measured.datapath.lanes)


def test_the_range_of_a_file_is_an_input_of_sensitivity(own: Chip) -> None:
    found = {one.name: one for one in inputs_of(own)}
    assert (found[CLOCK].value, found[CLOCK].low, found[CLOCK].high) == (1.5, 1.4, 1.6)
    assert "sram.capacity_mib" not in found
    assert set(found) == {one.name for one in inputs_of(Chip.open("hc1"))} - {"sram.capacity_mib"}


def test_a_setting_over_an_own_chip_has_no_range_any_more(own: Chip) -> None:
    changed = own.with_values({CLOCK: "1450 MHz"})
    assert CLOCK not in changed.own and set(draw_chips(changed, SIZE).datapath.clock_ghz) == {1.45}
    entry = {e["name"]: e for e in chip_configuration(changed)["parameters"]}[CLOCK]
    assert (entry["value"], entry["filed"], entry["set"]) == (1.45, 1.5, True)


def test_a_range_alone_is_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: hc1\ndatapath:\n  lanes: {value: 16, range: [16, 18]}\n")
    chip = Chip.open(path)
    assert chip.own["datapath.lanes"].kind == "set"
    assert set(draw_chips(chip, SIZE).datapath.lanes) == {16, 17, 18}
    path.write_text("extends: hc1\n")
    assert not Chip.open(path).own and not Chip.open(path).overrides


def test_a_chip_may_extend_a_path_relative_to_it(
    own: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "hot.yaml").write_text("extends: ../mine.yaml\nsram:\n  capacity_mib: 0.5GiB\n")
    (folder / "faster.YAML").write_text("extends: hot.yaml\ndatapath: {clock_ghz: 1600MHz}\n")
    monkeypatch.chdir("/")
    hot, faster = Chip.open(folder / "hot.yaml"), Chip.open(folder / "faster.YAML")
    assert hot.own.keys() == own.own.keys() and hot.own[CLOCK] == own.own[CLOCK]
    assert hot.own["sram.capacity_mib"].source == "set in hot.yaml"
    assert faster.as_filed == own.as_filed
    assert (faster.datapath.clock_ghz, faster.sram.capacity_mib) == (1.6, 512)
    assert faster.own[CLOCK].source == "set in faster.YAML"


def test_a_chip_may_extend_one_that_extends_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: hc1-demo\nsram: {capacity_mib: 512}\n")
    chip = Chip.open(path)
    demo = Chip.open("hc1-demo")
    assert dataclasses.replace(chip, as_filed=None).calibration == demo.calibration
    assert chip.as_filed == demo and list(chip.own) == ["sram.capacity_mib"]


def test_the_process_of_an_own_chip_keeps_its_ranges(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: hc1\nprocess: n5\n")
    chip, n5 = Chip.open(path), Chip.open("hc1").with_process("n5")
    assert all(name.startswith("process.") for name in chip.own)
    drawn, expected = draw_chips(chip, SIZE), draw_chips(n5, SIZE)
    np.testing.assert_allclose(
        np.sort(drawn.process.wire_fj_per_bit_mm)[[0, -1]],
        np.sort(expected.process.wire_fj_per_bit_mm)[[0, -1]],
        rtol=0.02,
    )


def test_my_chip_in_my_server_was_no_chip_in_the_catalogue(
    own: Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pod.yaml").write_text("extends: hc1x10\nchip: mine.yaml\nusers_per_card: 4\n")
    monkeypatch.chdir("/")
    server = Server.open(tmp_path / "pod.yaml")
    assert server.chip == str(tmp_path / "mine.yaml") and Chip.open(server.chip) == own
    assert server.parameters["users_per_card"].source == "set in pod.yaml"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/pod.yaml").write_text("extends: ../pod.yaml\n")
    assert Server.open(tmp_path / "sub/pod.yaml").chip == server.chip
    (tmp_path / "pod.yaml").write_text(f"extends: hc1x10\nchip: {tmp_path / 'mine.yaml'}\n")
    assert Server.open(tmp_path / "pod.yaml").chip == server.chip


def test_the_model_of_an_own_chip_may_be_a_file_of_mine(tmp_path: Path) -> None:
    """Relative to the chip's file; whoever extends that one has the same model."""
    config = {**json.loads(catalogue.resolve("model", "llama-3.2-1b").read_text()), "vocab_size": 9}
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    (tmp_path / "mine.yaml").write_text("extends: hc1\nmodel: tiny.json\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/other.yaml").write_text("extends: ../mine.yaml\n")
    for name in ("mine.yaml", "sub/other.yaml"):
        chip = Chip.open(tmp_path / name)
        model = LanguageModel.open(chip.model)
        assert (model.name, model.vocab) == ("tiny", 9)
        assert chip.target_for(model) is None
    with pytest.raises(InputError, match=r"lost.yaml: model: .*gone.json: does not exist"):
        (tmp_path / "lost.yaml").write_text("extends: hc1\nmodel: gone.json\n")
        Chip.open(tmp_path / "lost.yaml")
