"""A chip of one's own on the cards of a server: options, files, studies, Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from shell import Shell

import hardwire as hw
from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.save import study_configuration
from hardwire.models import Chip, InputError

LOAD = ("azure-conv", "--requests", 40, "--adapters", 2)
RATE = "output_tokens_per_s"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/mine.yaml").write_text("extends: hc1\ndatapath: {clock_ghz: 0.7}\n")
    (tmp_path / "sub/pod.yaml").write_text("extends: hc1x10\nchip: mine.yaml\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers(summary: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in summary.items() if k not in ("wall_s", "server")}


def test_only_a_study_could_put_my_chip_on_a_server(hardwire: Shell, folder: Path) -> None:
    by_server = hardwire.answer("replay", *LOAD, "--server", "sub/pod.yaml")
    by_chip = hardwire.answer("replay", *LOAD, "--chip", "sub/mine.yaml")
    by_setting = hardwire.answer("replay", *LOAD, "--set", "datapath.clock_ghz=700MHz")
    plain = hardwire.answer("replay", *LOAD)
    assert numbers(by_server) == numbers(by_chip) == numbers(by_setting) != numbers(plain)
    assert by_chip["tpot_s"]["p50"] > 1.5 * plain["tpot_s"]["p50"]
    python = hw.replay("azure-conv", requests=40, adapters=2, chip=folder / "sub/mine.yaml")
    assert numbers(json.loads(json.dumps(python.to_dict()))) == numbers(by_chip)
    status, out, _ = hardwire(
        "replay", *LOAD, "--chip", "sub/mine.yaml", "--set", "lora.order=SEQUENTIAL"
    )
    assert status == 0 and "chip mine" in out and "lora.order=SEQUENTIAL" in out


def test_compare_puts_it_on_all_hardwired_servers(hardwire: Shell, folder: Path) -> None:
    servers = ("--servers", "hc1x10,hc1x10-pipelined,vllm-h100", "--no-intervals")
    mine = hardwire.answer("compare", *LOAD, *servers, "--chip", "sub/mine.yaml")["servers"]
    plain = hardwire.answer("compare", *LOAD, *servers)["servers"]
    assert [a["tpot_s"] != b["tpot_s"] for a, b in zip(mine, plain, strict=True)] == [
        True, True, False,
    ]  # fmt: skip
    both = hw.compare(
        "azure-conv",
        servers[1].split(","),
        requests=40,
        adapters=2,
        chip=Chip.open("sub/mine.yaml"),
        intervals=False,
    )
    assert [one.summary["tpot_s"] for one in both.done] == [one["tpot_s"] for one in mine]


def test_a_saved_configuration_pins_chip_and_settings(hardwire: Shell, folder: Path) -> None:
    options = (
        "--server",
        "sub/pod.yaml",
        "--chip",
        "sub/mine.yaml",
        "--set",
        "lora.order=sequential",
    )
    assert hardwire("replay", *LOAD, *options, "--save", "out")[0] == 0
    config = folder / "out/config.yaml"
    saved = yaml.safe_load(config.read_text())
    assert saved["chip"] == str(folder / "sub/mine.yaml")
    assert saved["settings"] == {"lora.order": "sequential"}
    assert set(saved["files"]) == {"server", "chip"}
    configured = json.loads((folder / "out/configuration.json").read_text())
    clock = next(
        p for p in configured["chips"][0]["parameters"] if p["name"] == "datapath.clock_ghz"
    )
    assert (clock["value"], clock["kind"], clock["source"]) == (0.7, "set", "set in mine.yaml")
    assert configured["servers"][0]["chip"] == "mine"
    assert configured["chips"][0]["calibration"]["kept"] is False
    first = json.loads((folder / "out/summary.json").read_text())
    again = hardwire.answer("replay", "--config", config)
    assert numbers(again) == numbers(first)
    more = hardwire.answer("replay", "--config", config, "--set", "datapath.clock_ghz=1.2")
    assert more["tpot_s"]["p50"] < first["tpot_s"]["p50"]
    (folder / "sub/mine.yaml").write_text("extends: hc1\n")
    assert "mine.yaml has changed since" in hardwire.refused("replay", "--config", config)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--chip", "hc3"), "'hc3' is no chip in the catalogue; did you mean hc2 or hc1?"),
        (("--chip", "no.yaml"), "no.yaml: does not exist"),
        (("--set", "datapath.lanes"), "--set datapath.lanes: must be written NAME=VALUE"),
        (("--set", "sram.capacity_mib=1GB"), "--set sram.capacity_mib: '1GB' is in the wrong unit"),
        (("--server", "vllm-h100", "--chip", "hc1"), "--chip: is of hardwired servers; vllm-h100"),
        (("--server", "vllm-h100", "--set", "rom.bits_per_weight=3"), "--set: is of hardwired"),
    ],
)
def test_what_cannot_be_on_the_cards_is_refused(
    hardwire: Shell, options: tuple[str, ...], words: str
) -> None:
    assert words in hardwire.refused("replay", *LOAD, *options)


def test_python_refuses_in_its_own_words(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^sram\.capacity_mib: one value is expected"):
        hw.replay("azure-conv", settings={"sram.capacity_mib": [448, 512]})
    with pytest.raises(InputError, match=r"^settings: a mapping"):
        hw.replay("azure-conv", settings="sram.capacity_mib=512")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^sram\.capacity: no such parameter; did you mean"):
        hw.replay("azure-conv", settings={"sram.capacity": 512})
    changed = Chip.open("hc1").with_values({"datapath.lanes": 12})
    done = hw.replay("azure-conv", requests=5, chip=changed)
    with pytest.raises(InputError, match="chip: hc1 was changed in Python"):
        done.save(folder / "out")
    assert not (folder / "out").exists()


STUDY: dict[str, Any] = {
    "fidelity": "replay",
    "replay": {"source": "trace.csv", "requests": 20, "adapters": "cat.yaml"},
    "base": {"chip": "mine.yaml"},
    "axes": {"sram.capacity_mib": [448, "0.5GiB"]},
}
TRACE = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i / 10},64,32\n" for i in range(20))


def test_paths_of_a_study_were_relative_to_the_working_folder(folder: Path) -> None:
    """Never silently another file: one of the same name in the working folder is not read."""
    sub = folder / "sub"
    (sub / "trace.csv").write_text(TRACE)
    (sub / "cat.yaml").write_text("adapters:\n- {name: a, rank: 8}\n")
    (sub / "s.yaml").write_text(yaml.safe_dump(STUDY))
    (folder / "mine.yaml").write_text("extends: hc1\n")
    study = Study.open("sub/s.yaml")
    assert study.base.chip.datapath.clock_ghz == 0.7
    assert study.axes[0].values == (448, 512)
    assert study.replay["source"] == "sub/trace.csv" and study.replay["adapters"] == "sub/cat.yaml"
    with pytest.raises(InputError, match=r"sub/no\.yaml: does not exist"):
        (sub / "s.yaml").write_text(yaml.safe_dump({**STUDY, "base": {"chip": "no.yaml"}}))
        Study.open(str(sub / "s.yaml"))


@pytest.mark.slow
def test_a_replay_study_takes_my_chip(folder: Path) -> None:
    study: dict[str, Any] = {
        "fidelity": "replay",
        "replay": {"source": "azure-conv", "requests": 20},
        "axes": {"replay.server": ["hc1x10", "sub/pod.yaml"], "datapath.lanes": [16]},
        "metrics": ["tpot_s.p50"],
    }
    found = hw.sweep(study, folder / "a").to_frame()
    plain, mine = found["tpot_s.p50"]
    assert mine > 1.5 * plain
    base = {**study, "base": {"chip": "sub/mine.yaml"}}
    assert set(hw.sweep(base, folder / "b").to_frame()["tpot_s.p50"]) == {mine}
    axis = {**study, "axes": {"replay.chip": ["hc1", "sub/mine.yaml"]}}
    assert hw.sweep(axis, folder / "c").to_frame()["tpot_s.p50"].tolist() == [plain, mine]


def test_a_sweep_says_no_more_of_my_chip_than_its_file(folder: Path) -> None:
    base = {"chip": "mine.yaml", "sram.capacity_mib": 500}
    data = {"base": base, "axes": {"datapath.lanes": [16]}}
    (folder / "sub/s.YAML").write_text(yaml.safe_dump(data))
    chip = study_configuration(Study.open("sub/s.YAML"), {})["chips"][0]
    found = {one["name"]: one for one in chip["parameters"]}
    clock, sram = found["datapath.clock_ghz"], found["sram.capacity_mib"]
    assert (clock["value"], clock["kind"], clock["filed"]) == (0.7, "set", 1.379764)
    assert (sram["value"], sram["filed"], sram["set"]) == (500, 448, True)
    assert (chip["calibration"]["chip"], chip["calibration"]["kept"]) == ("hc1", False)
    assert "filed" not in found["datapath.lanes"]


def test_a_server_whose_chip_cannot_be_made_says_so_first(hardwire: Shell, tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text("extends: hc1\nsram: {capacity_mib: 600}\n")
    (tmp_path / "big10.yaml").write_text("extends: hc1x10\nchip: big.yaml\n")
    server = str(tmp_path / "big10.yaml")
    status, out, _ = hardwire("replay", *LOAD, "--server", server)
    assert status == 0
    assert out.index("does not fit") < out.index("On paper") < out.index("Load")
    found = hardwire.answer("replay", *LOAD, "--server", server)
    assert found["fits_die"] is False and "mm² too large" in found["obstacles"][0]
    status, _, err = hardwire("replay", *LOAD, "--server", server, "--strict")
    assert status == 1 and err.startswith("hardwire: --strict: The blocks take")
    sound = hardwire.answer("replay", *LOAD)
    assert (sound["fits_die"], sound["power_capped"], sound["obstacles"]) == (True, False, [])
    table = hardwire("compare", *LOAD, "--servers", f"{server},hc1x10,vllm-h100", "--no-intervals")[
        1
    ]
    assert "big10, on paper" in table and "big10: The blocks take" in table
    both = hardwire.answer("compare", *LOAD, "--servers", f"{server},vllm-h100", "--no-intervals")[
        "servers"
    ]
    assert [one["fits_die"] for one in both] == [False, True]


def test_a_limit_that_slows_the_cards_of_a_server_is_said(hardwire: Shell) -> None:
    held = hardwire.answer("replay", *LOAD, "--power-limit", 1700)
    assert held["power_capped"] is True and held["fits_die"] is True
    assert "The server's power limit leaves a card 110 W" in held["obstacles"][0]
    assert "limit_w of the server of at least" in held["obstacles"][0]
