"""One style of refusal: one sentence, the option or file, and what was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Shell

import hardwire as hw
from hardwire.experiments.sweep import Study
from hardwire.models import InputError, LanguageModel
from hardwire.models.language_model import _of_the_catalogue

ISSUE = "'pipeline' is not allowed (one of serial, pipelined); did you mean pipelined?"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("run --issue pipeline", f"--issue: {ISSUE}"),
        ("run --set datapath.issue=pipeline", f"--set datapath.issue: {ISSUE}"),
        ("run --engine refrence", "--engine: 'refrence' is not allowed (one of compiled, "
         "reference); did you mean reference?"),
        ("adapter make x --dtype float-16", "--dtype: 'float-16' is not allowed (one of float32, "
         "float16, bfloat16); did you mean float16 or bfloat16?"),
        ("replay azure-conv --residency beladi", "--residency: 'beladi' is not allowed (one of "
         "lru, lfu, cost, belady); did you mean belady?"),
        ("run --prompt 1k", "--prompt: must be a whole number, not '1k'"),
        ("run --users 0", "--users: must be at least 1, not 0"),
        ("run --prmpt 3", "No such option: --prmpt (Possible options: --experts, --prompt)"),
        ("sweep", "Missing argument 'STUDY'"),
        ("frobnicate", "No such command 'frobnicate'"),
        ("run --set sram.capacity_mib=0.5GB", "--set sram.capacity_mib: '0.5GB' is in the wrong "
         "unit: the unit is MiB (0.5 GB is 476.8 MiB)"),
        ("run --set clock=1.5",
         "--set clock: no such parameter; did you mean datapath.clock_ghz?"),
        ("run --adapter r16",
         "r16: is no file, and a shape names targets too: r16:all-linear"),
        ("run --chip trace.csv",
         "trace.csv: is a trace by its name, not a chip, whose file ends in .yaml"),
        ("run --model Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B: does not exist; did you mean "
         "qwen2.5-7b? (hardwire list shows the catalogue; other models are a config.json)"),
    ],
)  # fmt: skip
def test_options_were_refused_in_three_styles(hardwire: Shell, command: str, sentence: str) -> None:
    assert hardwire.refused(*command.split()) == f"hardwire: {sentence}\n"


def test_case_mattered_in_words(hardwire: Shell) -> None:
    load = ("--adapter", "none", "--prompt", 64, "--output", 32)
    assert hardwire.json("--issue", "Pipelined", "--engine", "COMPILED", *load)["issue"] == (
        "pipelined"
    )
    short = ("replay", "azure-conv", "--requests", 5, "--adapters", 1)
    assert hardwire("replay", "azure-conv", "--requests", 5, "--residency", "LFU")[0] == 0
    upper = hardwire.answer(*short, "--swap", "Blocking", "--schedule", "FCFS")
    lower = hardwire.answer(*short, "--swap", "blocking", "--schedule", "fcfs")
    assert {**upper, "wall_s": 0} == {**lower, "wall_s": 0}


def test_the_help_of_a_group_is_no_error_sentence(hardwire: Shell) -> None:
    for command in ((), ("adapter",), ("chip",)):
        status, out, err = hardwire(*command)
        assert status == 2 and "Usage:" in out + err and "hardwire: " not in err
    status, out, err = hardwire("run", "--help")
    assert (status, err) == (0, "") and "--issue" in out


def test_exact_units_are_taken(hardwire: Shell) -> None:
    load = ("--adapter", "none", "--prompt", 64, "--output", 32)
    sram, clock = "sram.capacity_mib=", "datapath.clock_ghz="
    units = hardwire.json("--set", f"{sram}0.5GiB", "--set", f"{clock}1500MHz", *load)
    assert units == hardwire.json("--set", f"{sram}512", "--set", f"{clock}1.5", *load)


def test_seconds_for_milliseconds_gave_the_best_possible_answer(hardwire: Shell) -> None:
    short = ("replay", "azure-conv", "--requests", 5)
    words = "200 would be seconds: write 200ms for milliseconds, or 200s"
    assert words in hardwire.refused(*short, "--slo", "ttft=200")
    assert "the unit is s" in hardwire.refused(*short, "--slo", "ttft=2GHz")
    found = hardwire.answer(*short, "--slo", "ttft=200ms,tpot=20 ms")
    assert found["slo"] == hardwire.answer(*short, "--slo", "ttft=0.2,tpot=0.02")["slo"]
    long = hardwire.answer(*short, "--slo", "ttft=200s")
    assert long["slo"]["ttft_s"] == 200
    with pytest.raises(InputError, match=words):
        hw.replay("azure-conv", requests=5, slo={"ttft": 200})
    python = hw.replay("azure-conv", requests=5, slo={"ttft": "200ms", "tpot": 0.02})
    assert python.summary["slo"] == found["slo"]
    study = {"fidelity": "replay", "axes": {"replay.rate": [5]}}
    with pytest.raises(InputError, match=words):
        Study.from_dict("s", {**study, "replay": {"source": "sharegpt", "slo": "ttft=200"}})


def test_a_file_of_another_kind_says_what_it_is(
    hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("extends: hc1\nsram: {capacity_mib: 512}\n")
    Path("s.yaml").write_text("extends: hc1x10\nchip: c.yaml\n")
    Path("st.yaml").write_text("axes: {datapath.lanes: [12]}\n")
    assert hardwire.refused("sweep", "c.yaml") == (
        "hardwire: c.yaml: is a chip, not a study (hardwire run --chip c.yaml)\n"
    )
    assert "s.yaml: is a server, not a study" in hardwire.refused("sweep", "s.yaml")
    assert "s.yaml: is a server, not a chip" in hardwire.refused("run", "--chip", "s.yaml")
    assert "st.yaml: is a study, not a chip" in hardwire.refused("run", "--chip", "st.yaml")
    refused = hardwire.refused("replay", "azure-conv", "--server", "c.yaml")
    assert "c.yaml: is a chip, not a server" in refused


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen2.5-7B", "qwen2.5-7b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Llama-3.2-3B", "llama-3.2-3b"),
        ("mistralai/Mistral-7B-v0.3", "mistral-7b-v0.3"),
    ],
)
def test_a_name_on_hugging_face_finds_the_catalogues(name: str, expected: str) -> None:
    assert _of_the_catalogue(name) == expected
    with pytest.raises(InputError, match=f"did you mean {expected}\\?"):
        LanguageModel.open(name)


def test_a_model_with_a_sliding_window_runs_below_and_beyond_it(
    hardwire: Shell, tmp_path: Path
) -> None:
    """Up to the window it is full attention: the same answer as without one."""
    config = {
        "model_type": "mistral", "num_hidden_layers": 2, "hidden_size": 64,
        "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 256, "max_position_embeddings": 4096,
    }  # fmt: skip
    rates = []
    for window in (96, None):
        path = tmp_path / f"window-{window}.json"
        path.write_text(json.dumps({**config, "sliding_window": window}))
        short = ("--model", path, "--adapter", "none", "--output", 32)
        rates.append(hardwire.json(*short, "--prompt", 64)["decode_tokens_per_s_user"])
    assert rates[0] == rates[1]
    path = tmp_path / "window-96.json"
    assert hardwire.json("--model", path, "--adapter", "none", "--prompt", 65, "--output", 32)
    assert "2 layers attend to 96" in " ".join(hardwire("show", path)[1].split())
