"""``hardwire list`` and ``hardwire show``, and what a shell completes."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest
from shell import Shell

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.list_view import LISTS
from hardwire.experiments.cli.options import ReplayOptions
from hardwire.experiments.replay.setup import field_choices


def test_list_and_show(hardwire: Shell) -> None:
    status, out, _ = hardwire("list")
    assert status == 0
    for name in (
        "hc1", "hc1-demo", "roma", "llama-3.1-8b", "qwen3-32b", "n6", "TSMC N6", "hc1x10",
        "Ten HC1 cards in one server", "lanes-area-rate", "azure-conv",
    ):  # fmt: skip
        assert name in out
    status, out, _ = hardwire("show", "hc1")
    assert status == 0 and "datapath.clock_ghz" in out and "calibrated" in out


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("chips", "roma", "ROMA"),
        ("models", "qwen3-8b", "8.19 B"),
        ("servers", "vllm-h100", "vLLM"),
        ("systems", "r1x30", "DeepSeek R1"),
        ("links", "cxl", "128 GB/s"),
        ("gpus", "h100-pcie", "2 TB/s"),
        ("processes", "n5", "TSMC N5"),
        ("breakdowns", "hnlpu", "five blocks"),
        ("metrics", "area_mm2.total", "area of all blocks"),
        ("parameters", "datapath.clock_ghz", "GHz"),
        ("studies", "node-die", "Process node and die size"),
        ("presets", "azure-code", "code completion"),
    ],
)
def test_each_list_has_a_line_for_each(hardwire: Shell, kind: str, name: str, words: str) -> None:
    status, out, err = hardwire("list", kind)
    assert (status, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    assert words in line


def test_every_list_has_its_test() -> None:
    (mark,) = test_each_list_has_a_line_for_each.pytestmark
    assert {row[0] for row in mark.args[1]} == LISTS.keys()


def test_a_list_that_there_is_not_is_refused_with_those_there_are(hardwire: Shell) -> None:
    assert "did you mean chips?" in hardwire.refused("list", "chip")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hc1x10", "price_usd"),
        ("vllm-h100", "serves llama-3.1-8b"),
        ("n6", "wafer_usd"),
        ("hnlpu", "neurons.uses_per_s"),
        ("hnlpu", "16 of hnlpu-die"),
        ("board", "lane_w"),
        ("qwen2.5-7b", "152,064 tokens"),
        ("lanes-area-rate", "Axis datapath.lanes"),
    ],
)
def test_show_knows_more_than_chips(hardwire: Shell, name: str, words: str) -> None:
    status, out, err = hardwire("show", name)
    assert (status, err) == (0, "") and words in out


def test_show_of_an_unknown_name_says_what_is_near(hardwire: Shell) -> None:
    assert "did you mean n6?" in hardwire.refused("show", "n66")


def test_show_of_a_server_named_its_chip_by_the_whole_path(hardwire: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: hc1\nsram: {capacity_mib: 400}\n")
    (tmp_path / "server.yaml").write_text("extends: hc1x10\nchip: mine.yaml\n")
    out = hardwire("show", tmp_path / "server.yaml")[1]
    assert "cards of mine" in out and str(tmp_path) not in out


def test_show_takes_files_of_each_kind(hardwire: Shell, tmp_path: Path) -> None:
    for name, text, words in (
        (
            "s.yaml",
            "extends: hc1x10\ncards: {value: 4, kind: published, source: mine}",
            "cards of hc1",
        ),
        ("b.yaml", "extends: vllm-h100", "serves llama"),
        ("p.yaml", "extends: n6", "wafer_usd"),
        ("c.yaml", "extends: hc1", "sram.capacity_mib"),
        ("d.yaml", "extends: hnlpu\nlinks: {links: 4}", "links.links"),
    ):
        (tmp_path / name).write_text(text)
        status, out, err = hardwire("show", tmp_path / name)
        assert (status, err) == (0, ""), (name, err)
        assert words in out


def test_a_shell_completes_names() -> None:
    assert complete.names_of("chip")("hc1-") == ["hc1-demo"]
    assert complete.server_lists("hc1x10,vllm-h100-") == ["hc1x10,vllm-h100-qwen2.5-7b"]
    assert complete.settings("sram.cap") == ["sram.capacity_mib="]
    assert "area_mm2.total" in complete.metric_names("area_")
    assert complete.preset_names("share") == ["sharegpt"]
    assert complete.study_names("node") == complete.shown_names("node") == ["node-die"]


def test_a_shell_completed_no_words_of_options() -> None:
    assert complete.issues("pipe") == ["pipelined"]
    assert complete.settings("datapath.issue=p") == ["datapath.issue=pipelined"]
    assert complete.settings("sram.capacity_mib=5") == []
    for field, words in field_choices().items():
        assert complete.words_of(field)("") == list(words)


def test_every_option_of_a_few_words_completes_them() -> None:
    hints = get_type_hints(ReplayOptions, include_extras=True)
    for field in field_choices().keys() & hints.keys():
        (option,) = hints[field].__metadata__
        assert option.autocompletion("") == list(field_choices()[field]), field


def test_completion_goes_through_the_shells_protocol(
    hardwire: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_HARDWIRE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "hardwire run --chip hc1-")
    monkeypatch.setenv("COMP_CWORD", "3")
    status, out, _ = hardwire("run")
    assert status == 0 and out.split() == ["hc1-demo"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hc1", "chip"),
        ("hc1x10", "server"),
        ("vllm-h100", "server"),
        ("n6", "process"),
        ("hnlpu", "breakdown"),
        ("board", "link"),
    ],
)
def test_show_gives_every_parameter_as_json(hardwire: Shell, name: str, kind: str) -> None:
    found = hardwire.answer("show", name)
    assert (found["kind"], found["name"]) == (kind, name)
    for parameter in found["parameters"].values():
        assert parameter.keys() == {"value", "unit", "kind", "range", "source"}
    if name == "hc1":
        clock = found["parameters"]["datapath.clock_ghz"]
        assert (clock["unit"], clock["kind"], clock["range"]) == ("GHz", "calibrated", [0.6, 1.8])


def test_show_gives_both_that_have_one_name(hardwire: Shell) -> None:
    (system,) = hardwire.answer("show", "hnlpu")["also"]
    assert system["kind"] == "system" and len(system["dies"]) == 16
    assert system["placement"]["stages"][0]["kv"] == "grid"


def test_show_gives_models_and_studies_as_json(hardwire: Shell) -> None:
    assert hardwire.answer("show", "llama-3.1-8b")["parameter_count"] == 8_030_261_248
    study = hardwire.answer("show", "lanes-area-rate")
    assert study["kind"] == "study" and 16 in study["axes"]["datapath.lanes"]["values"]
