"""``hardwire diff``: what differs in parameters and results, side by side, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import Shell, blank, printed

import hardwire as hw
from hardwire.experiments.report.diff import diff
from hardwire.experiments.report.diff_lines import Diff, Side, Value, compare
from hardwire.experiments.report.diff_view import render
from hardwire.experiments.shared.run_folder import SUMMARIES
from hardwire.models import Chip, LanguageModel
from hardwire.models.adapter.shape import open_adapter
from hardwire.simulator.belief.spread import Load, changes, drawn
from hardwire.simulator.single import run

MINE = """\
extends: hc1
datapath:
  clock_ghz: {value: 1.5, range: [1.4, 1.6], kind: assumed, source: what if}
sram:
  capacity_mib: 456
"""
STUDY = """\
title: Lanes
base: {sram.capacity_mib: 456}
axes: {datapath.lanes: [12, 16, 20]}
metrics: [decode_tokens_per_s_user]
constraints: ["area_mm2.total <= die_area_mm2"]
objectives: {decode_tokens_per_s_user: max}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_pictures: None) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(MINE)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "server.yaml").write_text("extends: hc1x10\nchip: mine.yaml\nusers_per_card: 4\n")
    return tmp_path


def lines(found: Diff, what: str = "parameters") -> dict[str, tuple[Any, Any]]:
    """Values of A and B by name, of all headings."""
    return {
        line.name: (line.a and line.a.value, line.b and line.b.value)
        for part in getattr(found, what)
        for line in part.lines
    }


@pytest.mark.parametrize("name", ["hc1", "vllm-h100", "hc1x10", "node-die"])
def test_equal_ones_say_that_nothing_differs(hardwire: Shell, name: str) -> None:
    status, out, err = hardwire("diff", name, name)
    assert (status, err) == (0, "") and "Nothing differs" in out and out.count("\n") == 3
    assert hardwire.answer("diff", name, name)["same"] is True


def test_two_chips_differ_in_what_the_file_states_and_in_what_runs_say(
    hardwire: Shell, folder: Path
) -> None:
    found = hardwire.answer("diff", "hc1", "mine.yaml", "--prompt", 512, "--output", 128)
    assert (found["kind"], found["a"], found["b"], found["same"]) == ("chip", "hc1", "mine", False)
    (part,) = found["parameters"]
    clock, sram = part["lines"]
    assert clock["a"] == {"value": 1.379764, "kind": "calibrated", "range": [0.6, 1.8]}
    assert clock["b"] == {"value": 1.5, "kind": "assumed", "range": [1.4, 1.6]}
    assert clock["change"] == pytest.approx(1.5 / 1.379764 - 1)
    assert (sram["name"], sram["b"]["kind"], sram["b"]["range"]) == (
        "sram.capacity_mib", "set", None,
    )  # fmt: skip
    # The results are those of two runs, interval and all.
    figures = {line["name"]: line for line in found["results"][0]["lines"]}
    for side, chip in (("a", "hc1"), ("b", "mine.yaml")):
        alone = hardwire.json("--chip", chip, "--prompt", 512, "--output", 128)
        for name in ("decode_tokens_per_s_user", "ttft_s", "power_w", "energy_j_per_decode_token"):
            assert figures[name][side]["value"] == alone[name]
            assert figures[name][side]["interval"] == alone["interval"][name]
        assert figures["area_mm2.total"][side]["value"] == alone["area_mm2"]["total"]
        assert figures["sram.free_bytes"][side]["value"] == alone["sram"]["free_bytes"]
        free = alone["adapter_detail"]["free_rank"]
        assert figures["adapter_detail.free_rank"][side]["value"] == free


def test_what_is_not_known_cancels_in_the_interval_of_a_change() -> None:
    """Of two chips that differ in their SRAM the rate is the same in every draw, whatever it is."""
    chip = Chip.open("hc1").with_values({"sram.capacity_mib": 400})
    other = Chip.open("hc1").with_values({"sram.capacity_mib": 500})
    model, load = LanguageModel.open("llama-3.1-8b"), Load(512, 64, 1)
    moved = changes((chip, other), model, None, load)
    assert moved["decode_tokens_per_s_user"] == [0.0, 0.0]
    assert 0 < moved["area_mm2.total"][0] <= moved["area_mm2.total"][1]
    first, second = drawn(chip, model, None, load)[0], drawn(other, model, None, load)[0]
    ratio = np.asarray(second["area_mm2.total"]) / first["area_mm2.total"] - 1
    assert moved["area_mm2.total"] == pytest.approx(np.percentile(ratio, (5, 95)), rel=1e-2)
    # Each alone is uncertain by more than what lies between them.
    low, high = np.percentile(np.asarray(first["area_mm2.total"]), (5, 95))
    assert high / low - 1 > moved["area_mm2.total"][1] - moved["area_mm2.total"][0]


def test_draws_of_different_measured_chips_are_not_paired() -> None:
    model = LanguageModel.open("llama-3.2-3b")
    chips = (Chip.open("hc1"), Chip.open("roma"))
    assert changes(chips, model, None, Load(512, 64, 1)) == {}
    found = diff("hc1", "roma", {"model": "llama-3.2-3b", "prompt": 512, "output": 64})
    assert all(line.interval is None for part in found.results for line in part.lines)


def test_both_chips_run_the_same_model(hardwire: Shell) -> None:
    found = hardwire.answer("diff", "hc1", "roma", "--prompt", 512, "--output", 64)
    assert found["question"]["model"] == "llama-3.1-8b"  # the first one's own
    assert lines(diff("hc1", "roma", {"prompt": 512}))["model"] == ("llama-3.1-8b", "llama-3.2-3b")
    rate = {line["name"]: line for line in found["results"][0]["lines"]}["decode_tokens_per_s_user"]
    alone = hardwire.json(
        "--chip", "roma", "--model", "llama-3.1-8b", "--prompt", 512, "--output", 64
    )
    assert rate["b"]["value"] == alone["decode_tokens_per_s_user"]
    assert found["obstacles"] == {"a": [], "b": alone["obstacles"]}


def test_a_chip_that_cannot_run_the_load_has_its_reason_and_no_results(hardwire: Shell) -> None:
    status, out, _ = hardwire("diff", "hc1", "roma", "--prompt", 4096)
    assert status == 0 and "roma: Cannot run: sram.capacity_mib: 1 × 5,120" in " ".join(out.split())
    found = diff("hc1", "roma", {"prompt": 4096})
    assert all(line.b is None for part in found.results for line in part.lines)


def test_a_chip_with_settings_says_set(folder: Path) -> None:
    chip = hw.Chip.open("mine.yaml")
    found = hw.diff(chip, chip.with_values({"datapath.clock_ghz": 1.2}), adapter=None)
    assert found.question["adapter"] == "none"
    frame = found.to_frame("parameters")
    assert frame[["name", "a", "b", "a.kind", "b.kind"]].to_numpy().tolist() == [
        ["datapath.clock_ghz", 1.5, 1.2, "assumed", "set"]
    ]
    assert "decode_tokens_per_s_user" in found.to_frame()["name"].tolist()
    assert "adapter_detail.free_rank" not in found.to_frame()["name"].tolist()
    assert found.names == ("A mine", "B mine")


def test_servers_differ_in_their_files_their_chips_and_what_they_take_at_rest(folder: Path) -> None:
    found = diff("hc1x10", "server.yaml")
    assert lines(found) == {
        "chip": ("hc1", "mine"),
        "users_per_card": (1, 4),
        "datapath.clock_ghz": (1.379764, 1.5),
        "sram.capacity_mib": (448, 456),
    }
    known = lines(found, "results")
    assert known["units"] == (10, 10) and known["price_usd"] == (35_000, 35_000)
    assert known["memory_bytes"] == (10 * 448 * 2**20, 10 * 456 * 2**20)
    assert known["rest_w"][0] < known["rest_w"][1]  # a faster clock


def test_the_power_at_rest_is_what_a_replay_takes_between_its_requests() -> None:
    _, rest_w = lines(diff("vllm-h100", "hc1x10"), "results")["rest_w"]
    done = hw.replay("azure-conv", "hc1x10", requests=20)
    energy, end_s = done.summary["server_energy_by_part_j"], done.summary["duration_s"]
    at_rest = energy["cards_at_rest"] + energy["host"]
    assert at_rest == pytest.approx(rest_w * end_s, rel=0.02)  # from the first arrival, or from 0


def test_a_gpu_server_and_one_of_cards_are_compared_by_what_both_have() -> None:
    found = diff("hc1x10", "vllm-h100")
    assert set(lines(found)) == {"price_usd"}
    assert lines(found, "results")["units"] == (10, 1)
    assert "both kinds have" in printed(render(found), 100)


def test_studies_differ_in_axes_constraints_and_base(folder: Path) -> None:
    found = lines(diff("lanes-area-rate", "study.yaml"))
    assert found["datapath.lanes"] == ("4 … 48 by 1", "12, 16, 20")
    assert found["datapath.clock_ghz"] == ("0.6 … 2 by 0.025", None)
    assert found["decode_tokens_per_s_user >= 17000"] == (True, None)
    assert found["power_w"] == ("min", None)
    assert found["points"] == (2565, 3)
    assert found["sram.capacity_mib"] == (448, 456)
    assert not diff("lanes-area-rate", "study.yaml").results  # nothing was run


def test_axes_of_other_values_between_the_same_ends_differ(folder: Path) -> None:
    for name, values in (
        ("a", "[1, 2, 3, 4, 5, 6, 7, 8, 10]"),
        ("b", "{from: 1, to: 10, step: 1}"),
    ):
        text = STUDY.replace("[12, 16, 20]", values)
        (folder / f"{name}.yaml").write_text(text)
    assert lines(diff("a.yaml", "b.yaml"))["datapath.lanes"] == (
        "1, 2, 3, 4, 5, 6, 7, 8, 10", "1 … 10 by 1",
    )  # fmt: skip


LOAD = ("azure-conv", "--requests", 60)
SAVED: dict[str, tuple[tuple[object, ...], tuple[object, ...], str]] = {
    "run": (("run", "--prompt", 64, "--output", 16),
            ("run", "--prompt", 64, "--output", 16, "--set", "datapath.lanes=12"),
            "datapath.lanes"),
    "replay": (("replay", *LOAD), ("replay", *LOAD, "--adapters", 4), "adapters"),
    "compare": (("compare", *LOAD), ("compare", *LOAD, "--slo", "ttft=0.2"), "slo.ttft"),
    "sweep": (("sweep", "lanes-area-rate"), ("sweep", "study.yaml"), "sram.capacity_mib"),
    "search": (("search", "lanes-area-rate", "--trials", 50),
               ("search", "study.yaml", "--trials", 50), "study"),
    "sensitivity": (("sensitivity", "hc1", "--samples", 64),
                    ("sensitivity", "hc1", "--samples", 128), "samples"),
}  # fmt: skip


@pytest.mark.parametrize("command", SAVED)
def test_saved_runs_of_one_command_differ_as_they_were_asked(
    hardwire: Shell, folder: Path, command: str
) -> None:
    first, second, name = SAVED[command]
    for where, arguments in (("a", first), ("b", second)):
        assert hardwire(*arguments, "--save", where)[0] == 0
    found = diff("a", "b")
    assert found.kind == f"saved {command}" and not found.same
    assert name in lines(found)
    assert any(line.differs for part in found.results for line in part.lines) or any(
        part.only for part in found.results
    )
    shutil.copytree("a", "copy")
    again = diff("a", "copy")
    assert again.same and again.names == ("a", "copy")
    for width in (80, 120):
        assert max(map(len, printed(render(found), width).splitlines())) <= width


def test_a_saved_run_has_the_results_that_were_saved(hardwire: Shell, folder: Path) -> None:
    """Also where the catalogue has changed since: nothing is run again."""
    hardwire("run", "--prompt", 64, "--output", 16, "--save", "a")
    shutil.copytree("a", "b")
    verdict = json.loads(Path("b/verdict.json").read_text())
    verdict["power_w"] = 2 * verdict["power_w"]
    Path("b/verdict.json").write_text(json.dumps(verdict))
    (line,) = [x for x in diff("a", "b").results[0].lines if x.differs]
    assert (line.name, line.change) == ("power_w", 1.0)


def test_every_command_that_saves_can_be_compared() -> None:
    from hardwire.experiments.report.diff_saved import _READERS

    assert set(_READERS) == set(SUMMARIES.values())


def test_what_saved_calibrations_and_formats_hold(folder: Path) -> None:
    posterior = {"posterior": [1.0, 2.0, 3.0], "unit": "W", "name": "Card power", "key": "power"}
    for where, median in (("a", 2.0), ("b", 2.5)):
        Path(where).mkdir()
        prediction = {**posterior, "posterior": [1.0, median, 3.0]}
        data = {"chip": "hc1", "seed": 1, "parameters": [posterior], "predictions": [prediction]}
        Path(where, "calibration.json").write_text(json.dumps(data))
    found = diff("a", "b")
    moved = [line for part in found.results for line in part.lines if line.differs]
    assert [(line.name, line.change, line.of.range) for line in moved] == [
        ("power", 0.25, (1.0, 3.0))
    ]
    for where, error in (("c", "49.0"), ("d", "50.0")):
        Path(where).mkdir()
        text = f"weights,kv_bits,adapter_format,rank,logits_sqnr_db\nfloat32,8,,,{error}\n"
        Path(where, "formats.csv").write_text(text)
    assert lines(diff("c", "d"), "results") == {"float32 8 logits_sqnr_db": (49.0, 50.0)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved replay ``a`` and a saved run ``r``."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        blank(patch)
        hw.replay(LOAD[0], requests=LOAD[2]).save(folder / "a")
        hw.run(prompt=64, output=16).save(folder / "r")
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hc1", "hc1x10"), "hc1 and hc1x10: are a chip and a server"),
        (("hc1", "n6"), "n6: is a process; what can be compared are chips, servers, studies"),
        (("hc1", "hc2"), "'hc2' is no chip"),
        (("hc1x10", "vllm-h100", "--prompt", 9), "--prompt: is for two chips"),
        (("empty", "hc1"), "empty: is no folder of a saved run"),
        (("hc1", "roma", "--json", "--csv"), "one form at a time"),
        (("a", "r"), "a saved replay and a saved run"),
        (("a", "broken"), "broken/summary.json: not valid JSON"),
        (("a", "other"), "other/summary.json: is not what hardwire replay --save writes today"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    hardwire: Shell, folder: Path, saved: Path, arguments: tuple[object, ...], words: str
) -> None:
    for name in ("empty", "broken", "other"):
        (folder / name).mkdir()
    for name in ("a", "r"):
        (folder / name).symlink_to(saved / name)
    (folder / "broken/summary.json").write_text("{")
    (folder / "other/summary.json").write_text('{"goodput": 1}')
    assert words in hardwire.refused("diff", *arguments)


def test_a_range_or_a_kind_alone_is_a_difference_of_parameters_not_of_results() -> None:
    def side(name: str, ends: tuple[float, float]) -> Side:
        return Side("chip", name, {"P": {"x": Value(1.0, range=ends, kind="assumed")}},
                    {"R": {"y": Value(2.0, range=ends, headline=True)}})  # fmt: skip

    found = compare(side("a", (0, 2)), side("b", (0, 3)))
    assert not found.same and found.summary == "1 parameter differs"
    assert found.results[0].lines[0].differs is False


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [(2, 3, 0.5), (0, 3, None), (1, True, None), ("a", "b", None), (None, 1, None), (4, 4.0, 0.0)],
)
def test_a_change_is_of_two_numbers(before: object, after: object, change: float | None) -> None:
    found = compare(Side("c", "a", {}, {"R": {"x": Value(before, headline=True)}}),
                    Side("c", "b", {}, {"R": {"x": Value(after, headline=True)}}))  # fmt: skip
    assert found.results[0].lines[0].change == change


def test_tables_of_a_difference_are_written_in_every_form(hardwire: Shell, folder: Path) -> None:
    for form, begin in (("--csv", "table,name"), ("--markdown", "**Parameters**"),
                        ("--latex", "% Parameters")):  # fmt: skip
        status, out, _ = hardwire("diff", "hc1", "mine.yaml", form)
        assert status == 0 and out.startswith(begin) and "datapath.clock" in out


def test_an_adapter_may_be_an_object(small_adapter: Path) -> None:
    model = LanguageModel.open("tinyllama-1.1b")
    adapter = open_adapter("r8:all-linear", model)
    found = hw.diff("hc1", "hc1-demo", model=model, adapter=adapter, prompt=64, output=16)
    rate = run(Chip.open("hc1"), model, adapter, prompt=64, output=16)
    assert adapter is not None
    assert found.question["adapter"] == adapter.name
    figures = dict(zip(found.to_frame()["name"], found.to_frame()["a"], strict=True))
    assert figures["decode_tokens_per_s_user"] == rate.base.decode_tokens_per_s_user
    assert hw.diff("hc1", "hc1-demo", model=model, adapter=small_adapter, prompt=64, output=16)
