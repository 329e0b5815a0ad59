"""The command line as a user meets it: answers, files, and one sentence for bad input."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import Shell
from small_models import write_adapter as write_small_adapter
from small_models import write_model

from hardwire.experiments.run.plot import rank_figure
from hardwire.experiments.run.save import FILES
from hardwire.experiments.run.tokens import SEED
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.adapter.adapter import write_adapter
from hardwire.simulator import run

KEYS = {
    "chip", "model", "adapter", "issue", "target_tokens_per_s", "target_met",
    "decode_tokens_per_s_user", "decode_tokens_per_s_chip", "token_s", "ttft_s",
    "prefill_tokens_per_s", "interval", "breakdown_s", "adapter_detail", "sram", "area_mm2",
    "die_mm2", "transistors", "power_w", "energy_j_per_token", "die_cost_usd",
    "usd_per_million_tokens",
}  # fmt: skip
SHORT = ["--prompt", "16", "--output", "8"]


@pytest.fixture
def hardwire(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def small_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "tiny"
    write_adapter(folder, LanguageModel.open("tinyllama-1.1b"), 4, "qv")
    return folder


def test_run_prints_the_verdict(hardwire: Shell) -> None:
    status, out, err = hardwire("run")
    assert (status, err) == (0, "")
    for words in (
        "short of 17,000", "Decode, one user", "Time to first token", "ROM matrices", "Attention",
        "LoRA", "LM head, sampling", "Critical unit", "Free rank", "Swap, cold",
        "Swap, warm", "Swap, streamed", "Swap, resident", "KV cache", "Fits 3 users", "of 815 mm²",
        "53e9", "Card power", "Energy a token", "Die cost", "USD per M tokens",
    ):  # fmt: skip
        assert words in out, words


def test_json_has_the_promised_keys_and_adds_up(hardwire: Shell) -> None:
    data = hardwire.json()
    assert data.keys() >= KEYS
    assert data["chip"] == "hc1" and data["model"] == "llama-3.1-8b"
    assert abs(data["decode_tokens_per_s_user"] / 16_960 - 1) < 0.02
    assert data["target_met"] is (data["decode_tokens_per_s_user"] >= 17_000)
    assert sum(data["breakdown_s"].values()) == pytest.approx(data["token_s"], rel=1e-9)
    detail = data["adapter_detail"]
    assert sum(detail["breakdown_s"].values()) == pytest.approx(detail["token_s"], rel=1e-9)
    assert detail["parameters"] == 41_943_040
    assert detail["bytes"] == 41_943_040 + 41_943_040 // 32 * 2
    swap = detail["swap_s"]
    assert swap["cold"] > swap["warm"] > swap["streamed"] > swap["resident"] > 0
    sram = data["sram"]
    assert sram["capacity_bytes"] == sram["kv_bytes"] + sram["adapter_bytes"] + sram["free_bytes"]
    assert sram["kv_bytes_per_token"] == 65_536
    blocks = {key: value for key, value in data["area_mm2"].items() if key != "total"}
    assert sum(blocks.values()) == pytest.approx(data["area_mm2"]["total"])
    for key in ("decode_tokens_per_s_user", "power_w", "ttft_s", "token_s"):
        low, high = data["interval"][key]
        assert low <= data[key] <= high


def test_without_an_adapter(hardwire: Shell) -> None:
    data = hardwire.json("--adapter", "none", *SHORT)
    assert data["adapter"] is None and data["adapter_detail"] is None
    assert "Swap" not in hardwire("run", "--adapter", "none", *SHORT)[1]


def test_engines_give_the_same_answer(hardwire: Shell) -> None:
    for issue in ("serial", "pipelined"):
        common = ["--users", "2", "--issue", issue, *SHORT]
        answers = [hardwire.json("--engine", e, *common) for e in ("compiled", "reference")]
        for answer in answers:
            del answer["engine"]
        assert answers[0] == answers[1]


def test_same_command_same_bytes(hardwire: Shell) -> None:
    assert hardwire("run", "--json", *SHORT)[1] == hardwire("run", "--json", *SHORT)[1]


def test_settings_reach_the_model(hardwire: Shell) -> None:
    base = hardwire.json(*SHORT)
    faster = hardwire.json("--set", "datapath.lanes=32", *SHORT)
    assert faster["decode_tokens_per_s_user"] > base["decode_tokens_per_s_user"]
    assert faster["area_mm2"]["total"] > base["area_mm2"]["total"]
    assert faster["settings"] == {"datapath.lanes": 32}
    roomy = hardwire.json("--set", "sram.capacity_mib=512", *SHORT)
    assert roomy["sram"]["capacity_bytes"] == 512 * 2**20
    cheap = hardwire.json("--set", "process.wafer_usd=5000 USD", *SHORT)
    assert cheap["die_cost_usd"] == pytest.approx(base["die_cost_usd"] / 2)
    tight = hardwire.json("--set", "power.limit_w=70", *SHORT)
    assert tight["power_w"] == pytest.approx(70)
    assert tight["decode_tokens_per_s_user"] < base["decode_tokens_per_s_user"]
    assert tight["breakdown_s"]["power_cap"] > 0


def test_draws_that_never_decode_are_shown_as_infinite(hardwire: Shell) -> None:
    """Idle power alone exceeds this limit in many draws, though not in the chip as filed."""
    arguments = ["--set", "power.limit_w=66", *SHORT]
    assert hardwire.json(*arguments)["interval"]["token_s"][1] is None
    status, out, _ = hardwire("run", *arguments)
    assert status == 0 and "∞" in out


def test_a_design_larger_than_the_die_says_by_how_much(hardwire: Shell) -> None:
    out = hardwire("run", "--set", "sram.capacity_mib=1024", *SHORT)[1]
    assert "does not fit" in out and "mm² too large" in out


def test_another_model_and_chip(hardwire: Shell, tmp_path: Path) -> None:
    roma = hardwire.json("--chip", "roma", "--prompt", "1024", "--output", "2")
    assert roma["model"] == "llama-3.2-3b" and roma["issue"] == "pipelined"
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "model_type": "qwen2", "num_hidden_layers": 2, "hidden_size": 64,
                "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
                "vocab_size": 100, "max_position_embeddings": 512, "hidden_act": "silu",
                "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
            }
        )
    )  # fmt: skip
    assert hardwire.json("--model", config, *SHORT)["token_s"] < 1e-4


def test_save_writes_all_files(hardwire: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    status, out, _ = hardwire("run", *SHORT, "--users", "2", "--save", folder)
    assert status == 0 and "Saved in" in out
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    data = json.loads((folder / "verdict.json").read_text())
    assert data.keys() >= KEYS
    for name in ("breakdown.png", "rank.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    tokens = pd.read_parquet(folder / "tokens.parquet")
    assert len(tokens) == 2 * (16 + 8 - 1)
    assert list(tokens.columns) == ["user", "token", "phase", "issued_s", "done_s"]
    first = tokens[(tokens.phase == "prefill")].groupby("user").done_s.max()
    assert first.mean() == pytest.approx(data["adapter_detail"]["ttft_s"])
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = {
        e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"
    }
    assert {"rom.qkv", "lora.qkv", "kv.attention", "topk.topk"} <= set(names.values())
    assert all(event["tid"] in names and event["dur"] > 0 for event in spans)
    # Two users, last prompt token and three decode tokens each; 2 branches beside each matrix.
    per_token = 1 + 32 * (9 + 4) + 4
    assert len(spans) == 2 * 4 * per_token
    before = {name: (folder / name).read_bytes() for name in FILES}
    assert hardwire("run", *SHORT, "--users", "2", "--save", folder)[0] == 0
    assert {name: (folder / name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize(
    ("adapter", "label"),
    [
        ("none", "rank, all linear layers, int8"),
        ("r4:all-linear:int4", "rank, all linear layers, int4"),
        ("r4:o_proj", "rank, o_proj, int8"),
        ("r4:qv", "rank, q_proj+v_proj, int8"),
    ],
)
def test_the_rank_plot_names_its_targets(adapter: str, label: str) -> None:
    chip, model = Chip.open("hc1"), LanguageModel.open("llama-3.1-8b")
    loaded = None if adapter == "none" else Adapter.from_shape(adapter, model)
    figure = rank_figure(run(chip, model, loaded, prompt=4, output=4))
    assert figure.axes[0].get_xlabel() == label


def test_save_leaves_an_earlier_result_when_it_fails(
    hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    assert hardwire("run", *SHORT, "--save", folder)[0] == 0
    before = {name: (folder / name).read_bytes() for name in FILES}

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hardwire.experiments.run.trace.write_trace", full_disk)
    message = hardwire.refused("run", "--output", "9", "--save", folder)
    assert "--save" in message and "No space left on device" in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    fresh = tmp_path / "fresh"
    hardwire.refused("run", *SHORT, "--save", fresh)
    assert not fresh.exists()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hardwire.experiments.run.trace.write_trace", interrupt)
    status, _, err = hardwire("run", *SHORT, "--save", folder)
    assert (status, err) == (130, "hardwire: interrupted\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_save_into_a_file_is_refused(hardwire: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "--save" in hardwire.refused("run", *SHORT, "--save", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_execute_counts_what_the_timing_model_charges(hardwire: Shell, small_adapter: Path) -> None:
    model = ["--model", "tinyllama-1.1b"]
    for fmt, floor in (("int8", 35), ("int4", 10), ("float32", 100)):
        data = hardwire.json(
            *model, "--adapter", small_adapter, "--execute", "--set", f"lora.format={fmt}", *SHORT
        )
        execution = data["execution"]
        assert execution["agrees"] and execution["counted"] == execution["charged"]
        assert execution["counted"]["bytes"] == data["adapter_detail"]["bytes"]
        assert execution["counted"]["macs"] == data["adapter_detail"]["parameters"]
        assert execution["sqnr_db"]["all"] > floor
    out = hardwire("run", *model, "--adapter", small_adapter, "--execute", *SHORT)[1]
    assert "SQNR" in out and "equal" in out and "NOT" not in out
    assert "weights" in hardwire.refused("run", "--execute", *SHORT)
    assert "--execute" in hardwire.refused("run", "--execute", "--adapter", "none")


@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_execute_computes_the_tokens_on_the_clock(
    hardwire: Shell, tmp_path: Path, issue: str
) -> None:
    """The tokens of a timed run with a streamed swap are those of each user decoded alone."""
    model = write_model(tmp_path / "model", "llama")
    adapter = write_small_adapter(tmp_path / "adapter", "all-linear", model)
    arguments = ["--model", tmp_path / "model", "--execute", "--issue", issue, "--users", "2"]
    arguments += ["--prompt", "5", "--output", "6"]
    data = hardwire.json(*arguments, "--adapter", adapter)
    computed = data["computed"]
    decoder = Decoder.load(tmp_path / "model", computed["weights"], kv_bits=computed["kv_bits"])
    decoder.add_adapter("mine", adapter, data["adapter_detail"]["sram_format"])
    random = np.random.default_rng(SEED)
    for user in computed["users"]:
        prompt = random.integers(0, model.vocab, 5).tolist()
        assert user["tokens"] == decoder.generate(prompt, 6, "mine")
        assert user["adapter_version"] == 1
        assert 0 < user["first_token_s"] < user["last_token_s"]
    assert computed["weights"] == "rom3+6" and computed["load_s"] > 0
    assert "computed" not in hardwire.json(*arguments[:2], "--adapter", adapter, *SHORT)
    base = hardwire.json(*arguments, "--adapter", "none")["computed"]
    assert base["load_s"] is None and base["users"][0]["adapter_version"] == 0
    assert base["users"][0]["tokens"] != computed["users"][0]["tokens"]
    out = hardwire("run", *arguments, "--adapter", adapter)[1]
    assert "Tokens computed on the clock" in out and "adapter version 1" in out


def test_list_and_show(hardwire: Shell) -> None:
    status, out, _ = hardwire("list")
    assert status == 0
    for name in ("hc1", "hc1-demo", "roma", "llama-3.1-8b", "qwen3-32b", "n6"):
        assert name in out
    status, out, _ = hardwire("show", "hc1")
    assert status == 0 and "datapath.clock_ghz" in out and "calibrated" in out


def test_adapter_make_and_inspect(hardwire: Shell, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    model = ["--model", "tinyllama-1.1b"]
    status, text, _ = hardwire("adapter", "make", "--rank", 2, "--targets", "qv", *model, out)
    assert status == 0 and "parameters" in text
    status, text, _ = hardwire("adapter", "inspect", *model, out)
    assert status == 0 and "q_proj, v_proj" in text and "yes" in text
    status, text, _ = hardwire("adapter", "inspect", "r128:all-linear")
    assert status == 1 and "no: rank 128 exceeds" in text and "1 to 64" in text
    status, text, _ = hardwire("adapter", "inspect", "r64:all-linear:float32", "--chip", "hc1")
    assert status == 1 and "lack" in text and "MiB" in text
    assert "already exists" in hardwire.refused("adapter", "make", *model, out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chip", "hc2"], ["'hc2' is no chip", "hc1"]),
        (["--chip", "no/such.yaml"], ["no/such.yaml", "does not exist"]),
        (["--model", "lama-3.1-8b"], ["lama-3.1-8b", "did you mean llama-3.1-8b"]),
        (["--model", "no/config.json"], ["no/config.json"]),
        (["--adapter", "no/folder"], ["no/folder", "does not exist"]),
        (["--adapter", "r0:all-linear"], ["r0:all-linear", "rank"]),
        (["--adapter", "r16:all-liner"], ["all-liner"]),
        (["--adapter", "r16:qv:int9"], ["int9", "int8"]),
        (["--adapter", "r65:qv"], ["rank 65", "lora.max_rank", "1 to 64"]),
        (["--set", "sram.capacity=512"], ["sram.capacity", "did you mean sram.capacity_mib"]),
        (["--set", "sram.capacity_mib"], ["NAME=VALUE"]),
        (["--set", "sram.capacity_mib=many"], ["sram.capacity_mib", "number"]),
        (["--set", "sram.capacity_mib=512 GB"], ["sram.capacity_mib", "wrong unit", "MiB"]),
        (["--set", "sram.capacity_mib=-1"], ["sram.capacity_mib", "out of range", "1 to"]),
        (["--set", "datapath.lanes=1.5"], ["datapath.lanes", "whole number"]),
        (["--set", "datapath.issue=both"], ["datapath.issue", "serial, pipelined"]),
        (["--set", "sram.kv_bits=5"], ["sram.kv_bits", "4, 8, 16"]),
        (["--set", "sram.capacity_mib=100"], ["sram.capacity_mib", "lack", "MiB", "fits"]),
        (["--prompt", "9000"], ["sram.capacity_mib", "lack"]),
        (["--prompt", "200000"], ["--prompt", "131072"]),
        (["--users", "4"], ["lack", "3 user(s)"]),
        (["--set", "power.limit_w=30"], ["power.limit_w", "30 W is below"]),
    ],
)
def test_bad_input_is_one_sentence(hardwire: Shell, arguments: list[str], words: list[str]) -> None:
    message = hardwire.refused("run", *arguments)
    for word in words:
        assert word in message, message


def _truncate(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _lie(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes((2**62).to_bytes(8, "little") + weights.read_bytes()[8:])


def _nan(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2] + b"\x00\x7e")  # a float16 NaN


def _pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _dora(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, ["adapter_model.safetensors", "end of the file"]),
        (_lie, ["adapter_model.safetensors", "header"]),
        (_nan, ["adapter_model.safetensors", "lora_B", "not finite"]),
        (_pickle, ["adapter_model.bin", "pickle"]),
        (_dora, ["adapter_config.json", "use_dora"]),
    ],
)
@pytest.mark.parametrize("command", [["run", "--adapter"], ["adapter", "inspect"]])
def test_bad_adapters_are_one_sentence(
    hardwire: Shell,
    small_adapter: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    words: list[str],
    command: list[str],
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(small_adapter, folder)
    damage(folder)
    message = hardwire.refused(*command, folder, "--model", "tinyllama-1.1b")
    for word in words:
        assert word in message, message


def test_an_adapter_for_another_base_is_refused(hardwire: Shell, small_adapter: Path) -> None:
    message = hardwire.refused("run", "--adapter", small_adapter)
    assert "adapter_model.safetensors" in message and "llama-3.1-8b" in message


def test_a_chip_file_with_an_unknown_key(hardwire: Shell, tmp_path: Path) -> None:
    chip = tmp_path / "mine.yaml"
    chip.write_text("extends: hc1\nsram:\n  capacity_mb: {value: 1, kind: published, source: x}\n")
    message = hardwire.refused("run", "--chip", chip)
    assert "mine.yaml: sram.capacity_mb" in message and "did you mean capacity_mib" in message


def test_wrong_options_exit_with_2(hardwire: Shell) -> None:
    for arguments in (["--output", "1"], ["--engine", "fast"], ["--no-such"], ["--prompt", "x"]):
        status, out, err = hardwire("run", *arguments)
        assert (status, out) == (2, "") and err


def test_from_a_shell(tmp_path: Path) -> None:
    """The installed entry point in a fresh process, output piped: one object, nothing else."""
    script = Path(sys.executable).with_name("hardwire")
    done = subprocess.run(
        [script, "run", "--json", *SHORT], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() >= KEYS
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
