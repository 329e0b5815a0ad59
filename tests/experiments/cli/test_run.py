"""``hardwire run`` as a user meets it: answers, and one sentence for bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell

KEYS = {
    "chip", "model", "adapter", "issue", "target_tokens_per_s", "target_met",
    "decode_tokens_per_s_user", "decode_tokens_per_s_chip", "token_s", "ttft_s",
    "prefill_tokens_per_s", "interval", "breakdown_s", "adapter_detail", "sram", "area_mm2",
    "die_area_mm2", "transistors", "power_w", "energy_j_per_decode_token",
    "energy_j_per_request", "die_cost_usd",
    "usd_per_million_tokens", "fits_die", "power_capped", "obstacles", "interval_draws_share",
    "power_limit_w", "published_transistors",
}  # fmt: skip
SHORT = ["--prompt", "16", "--output", "8"]
DENSE = ["--set", "rom.density_mbit_per_mm2=70"]
"""A denser ROM, within its range: the blocks of HC1 as filed do not fit its die."""


def test_run_prints_the_verdict(hardwire: Shell) -> None:
    status, out, err = hardwire("run")
    assert (status, err) == (0, "")
    for words in (
        "short of 17,000", "Decode, one user", "Time to first token", "ROM matrices", "Attention",
        "LoRA", "LM head, sampling", "Free rank", "Swap, cold",
        "Pipelined issue would be limited by topk,",
        "Swap, warm", "Swap, streamed", "Swap, resident", "KV cache", "Fits 2 users", "of 815 mm²",
        "53e9", "Card power", "Card power, idle", "Energy a decode token",
        "Chip energy a weight", "Energy a whole request",
        "Die cost", "USD per M tokens",
    ):  # fmt: skip
        assert words in out, words


def test_json_has_the_promised_keys_and_adds_up(hardwire: Shell) -> None:
    data = hardwire.json()
    assert data.keys() >= KEYS
    assert data["chip"] == "hc1" and data["model"] == "llama-3.1-8b"
    assert abs(data["decode_tokens_per_s_user"] / 16_960 - 1) < 0.02
    assert data["target_met"] is False and data["target_tokens_per_s"] == 17_000
    assert sum(data["power_by_part_w"].values()) == pytest.approx(data["power_w"])
    assert data["idle_w"] < data["power_w"] < data["power_limit_w"] < data["full_activity_w"]
    assert sum(data["breakdown_s"].values()) == pytest.approx(data["token_s"], rel=1e-9)
    detail = data["adapter_detail"]
    assert sum(detail["breakdown_s"].values()) == pytest.approx(detail["token_s"], rel=1e-9)
    assert detail["parameters"] == 41_943_040
    assert detail["bytes"] == 41_943_040 + 41_943_040 // 32 * 2
    swap = detail["swap_s"]
    # 31 pJ a bit over the link, 1.07 a byte into SRAM, and what the regulators lose.
    assert detail["swap_j"] == pytest.approx(detail["bytes"] * (8 * 31 + 1.07) * 1e-12 / 0.88)
    assert swap["cold"] > swap["warm"] > swap["streamed"] > swap["resident"] > 0
    sram = data["sram"]
    assert sram["capacity_bytes"] == sram["kv_bytes"] + sram["adapter_bytes"] + sram["free_bytes"]
    assert sram["kv_bytes_per_token"] == 69_632
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
    dear = hardwire.json(*DENSE, *SHORT)
    cheap = hardwire.json(*DENSE, "--set", "process.wafer_usd=5000 USD", *SHORT)
    assert cheap["die_cost_usd"] == pytest.approx(dear["die_cost_usd"] / 2)
    tight = hardwire.json("--set", "power.limit_w=110", *SHORT)
    assert tight["power_w"] == pytest.approx(110)
    assert tight["decode_tokens_per_s_user"] < base["decode_tokens_per_s_user"]
    assert tight["breakdown_s"]["power_cap"] > 0


def test_transistors_of_roma_lay_outside_their_own_interval_without_a_word(
    hardwire: Shell,
) -> None:
    """Its file states four a weight, where the range ends."""
    out = hardwire("run", "--chip", "roma", *SHORT)[1]
    assert re.search(r"Transistors .* as filed at an end of its range\n", out)


def test_draws_that_never_decode_are_left_out_and_said(hardwire: Shell) -> None:
    """Idle power alone exceeds this limit in many draws, though not in the chip as filed."""
    arguments = ["--set", "power.limit_w=100", *SHORT]
    data = hardwire.json(*arguments)
    assert all(None not in ends for ends in data["interval"].values())
    assert 0 < data["interval_draws_share"] < 1
    status, out, _ = hardwire("run", *arguments)
    assert status == 0 and "∞" not in out
    assert "of the draws idle power alone is above the limit" in out


def test_a_design_larger_than_the_die_said_so_fifty_lines_below_its_green_headline(
    hardwire: Shell,
) -> None:
    """A die of 100 mm² was costed at 17 USD, with the target met."""
    arguments = ["--set", "die.area_mm2=100", *SHORT]
    status, out, err = hardwire("run", *arguments, "--strict")
    assert status == 1
    first = out.splitlines()[1]
    assert "Does not fit: the blocks take 713.9 mm² more than the die of 100 mm²" in first
    assert "On paper" in out.splitlines()[2] and "17,000" not in out
    assert out.count("on paper: of a die as large as the blocks") == 2 and "mm² too large" in out
    assert "--strict: The blocks take 813.9 mm²" in err and "die.area_mm2 of at least 814" in err
    data = hardwire.json(*arguments)
    assert (data["fits_die"], data["power_capped"], data["target_met"]) == (False, False, False)
    assert 300 < data["die_cost_usd"] < 340 and data["usd_per_million_tokens"] > 0
    (obstacle,) = data["obstacles"]
    assert "713.9 mm² too large" in obstacle
    sound = hardwire.json(*DENSE, *SHORT)
    assert (sound["fits_die"], sound["power_capped"], sound["obstacles"]) == (True, False, [])
    assert hardwire("run", *DENSE, *SHORT, "--strict")[0] == 0


def test_the_die_of_hc1_asks_for_a_rom_denser_than_any_published_macro(hardwire: Shell) -> None:
    """Registers, ports and rescaling paid, the blocks do not fit it at 57.8 Mb/mm2."""
    arguments = ["--adapter", "none", *SHORT]
    assert hardwire.json(*arguments)["fits_die"]
    assert hardwire.json(*arguments, "--issue", "pipelined")["fits_die"]
    for larger in ("datapath.lanes=17", "die.area_mm2=813", "rom.density_mbit_per_mm2=57.8"):
        data = hardwire.json(*arguments, "--set", larger)
        assert data["area_mm2"]["total"] > data["die_area_mm2"] and not data["fits_die"], larger


def test_lanes_beyond_the_reticle_had_the_price_of_the_die_as_stated(hardwire: Shell) -> None:
    """32 lanes take 916 mm² and cost 314 USD; 20 lanes take 836 mm² and cost as much."""
    arguments = ["--set", "datapath.lanes=32", *SHORT]
    out = hardwire("run", *arguments)[1]
    assert out.count("cannot be made") >= 2
    data = hardwire.json(*arguments)
    assert data["die_cost_usd"] is data["usd_per_million_tokens"] is None
    assert not any("usd" in key for key in data["interval"])
    larger = hardwire.json("--set", "datapath.lanes=20", *SHORT)
    assert larger["die_cost_usd"] > 320 and None not in larger["interval"]["die_cost_usd"]


def test_a_die_that_no_reticle_prints_is_said_to_be_none(hardwire: Shell) -> None:
    arguments = ["--set", "die.area_mm2=1200", *SHORT]
    out = hardwire("run", *arguments)[1]
    assert "Cannot be made: a die of 1,200 mm² exceeds the reticle" in out.splitlines()[1]
    data = hardwire.json(*arguments)
    assert not data["fits_die"] and data["die_cost_usd"] is None
    assert data["obstacles"][0].endswith("It could be with die.area_mm2 of at most 858.")


def test_a_70b_model_on_one_die_had_a_rate_and_a_price(hardwire: Shell) -> None:
    arguments = ["--model", "llama-3.1-70b", "--adapter", "none", "--prompt", "64"]
    arguments += ["--set", "power.limit_w=1000"]  # it would not even wait on less than 350 W
    data = hardwire.json(*arguments, "--output", "32")
    assert not data["fits_die"] and data["target_met"] is False
    assert data["target_tokens_per_s"] is data["die_cost_usd"] is None
    assert "6.2 dies" in data["obstacles"][0] and "a smaller model" in data["obstacles"][0]


ANY_CLOCK = ["--set", "datapath.pipeline_ghz=9.9", "--set", "datapath.fill_ghz=9.9",
             "--set", "process.max_clock_ghz=10"]  # fmt: skip
"""A pipeline that no process has, so that power alone stands in the way of a clock."""


def test_a_clock_of_9_ghz_ran(hardwire: Shell) -> None:
    """It gave 69,581 tokens/s, "inside the interval". Nothing but a lower clock would help."""
    status, out, err = hardwire("run", "--adapter", "none", "--set", "datapath.clock_ghz=9")
    assert (status, out) == (2, "")
    assert "hc1: datapath.clock_ghz: 9 GHz is above the 2 GHz that the pipeline reaches" in err
    assert err.endswith("It would run with datapath.clock_ghz of at most 2.\n")
    server = ["replay", "--server", "hc1x10", "--set", "datapath.clock_ghz=9"]
    assert hardwire(*server)[0] == 2


def test_what_is_said_to_help_a_clock_that_is_too_high_helps(hardwire: Shell) -> None:
    arguments = ["--adapter", "none", "--set", "datapath.clock_ghz=2.2"]
    err = hardwire("run", *arguments)[2]
    ways = dict(re.findall(r"([a-z_]+\.[a-z_]+) of at (?:least|most) (\d+\.?\d*)", err))
    assert [*ways] == ["datapath.clock_ghz", "datapath.supply_v", "datapath.pipeline_ghz"]
    for name, value in ways.items():
        mended = hardwire.json(*arguments, "--set", f"{name}={value}", *SHORT)
        assert mended["decode_tokens_per_s_user"] > 0, name
    lower = f"datapath.supply_v={float(ways['datapath.supply_v']) - 0.002:g}"
    assert hardwire("run", *arguments, "--set", lower)[0] == 2


def test_a_clock_that_the_power_limit_cuts_was_praised(hardwire: Shell) -> None:
    """A clock beyond the limit was praised for the rate that it would have without one."""
    arguments = [*DENSE, "--adapter", "none", "--set", "datapath.clock_ghz=4", *ANY_CLOCK]
    out = hardwire("run", *arguments)[1]
    assert "The power limit of 300 W holds decode to 42%" in out.splitlines()[1]
    assert "above 17,000" not in out and "limit 300 W (250 … 350 drawn)" in out
    data = hardwire.json(*arguments)
    assert data["power_capped"] and data["target_met"] is False
    assert data["interval"]["power_w"][1] <= 350
    (obstacle,) = data["obstacles"]
    ways = dict(re.findall(r"([a-z_]+\.[a-z_]+) of at (?:least|most) (\d+\.?\d*)", obstacle))
    assert ways.keys() == {"power.limit_w", "datapath.clock_ghz"}
    for name, value in ways.items():
        mended = hardwire.json(*arguments, "--set", f"{name}={value}")
        assert not mended["power_capped"], name
    lower = str(float(ways["power.limit_w"]) - 2)
    assert hardwire.json(*arguments, "--set", f"power.limit_w={lower}")["power_capped"]


def test_what_is_said_to_help_a_large_design_helps(hardwire: Shell) -> None:
    arguments = ["--set", "datapath.lanes=20", *SHORT]
    (obstacle,) = hardwire.json(*arguments)["obstacles"]
    ways = re.findall(r"([a-z_]+\.[a-z0-9_]+) of at (?:least|most) (\d+)", obstacle)
    assert [name for name, _ in ways] == ["die.area_mm2", "sram.capacity_mib", "datapath.lanes"]
    for name, value in ways:
        assert hardwire.json(*arguments, "--set", f"{name}={value}")["fits_die"], name


def test_the_headline_spoke_of_the_base_though_an_adapter_was_asked_for(hardwire: Shell) -> None:
    out = hardwire("run", "--adapter", "r64:all-linear")[1]
    assert "13,025 tokens/s for one user with r64:all-linear (-23.2%; base 16,960)" in out
    data = hardwire.json("--adapter", "r64:all-linear", "--target", "15000")
    assert data["decode_tokens_per_s_user"] > 15_000 and data["target_met"] is False
    assert hardwire.json("--adapter", "none", "--target", "15000")["target_met"] is True


@pytest.mark.parametrize("arguments", [["--model", "llama-3.2-1b"], ["--chip", "hc1-demo"]])
def test_other_chips_and_models_were_held_against_the_target_of_hc1(
    hardwire: Shell, arguments: list[str]
) -> None:
    status, out, _ = hardwire("run", *arguments, *SHORT)
    assert status == 0 and "17,000" not in out and "of target" not in out
    data = hardwire.json(*arguments, *SHORT)
    assert data["target_tokens_per_s"] is data["target_met"] is None
    if "--model" in arguments:
        assert "published 53e9" not in out and data["published_transistors"] is None
    assert "of target" in hardwire("run", *arguments, *SHORT, "--target", "9000")[1]


@pytest.mark.parametrize("target", ["0", "-1", "nan"])
def test_a_target_that_is_none(hardwire: Shell, target: str) -> None:
    status, out, err = hardwire("run", *SHORT, "--target", target)
    assert (status, out) == (2, "") and "target" in err


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chip", "hc3"], ["'hc3' is no chip", "hc1"]),
        (["--chip", "no/such.yaml"], ["no/such.yaml", "does not exist"]),
        (["--model", "lama-3.1-8b"], ["lama-3.1-8b", "did you mean llama-3.1-8b"]),
        (["--model", "no/config.json"], ["no/config.json"]),
        (["--adapter", "no/folder"], ["no/folder", "does not exist"]),
        (["--adapter", "r0:all-linear"], ["r0:all-linear", "rank"]),
        (["--adapter", "r16:all-liner"], ["all-liner"]),
        (["--adapter", "r16:qv:int9"], ["int9", "int8"]),
        (["--adapter", "r65:qv"], ["rank 65", "formats.max_rank", "1 to 64"]),
        (["--set", "sram.capacity=512"], ["sram.capacity", "did you mean sram.capacity_mib"]),
        (["--set", "sram.capacity_mib"], ["NAME=VALUE"]),
        (["--set", "sram.capacity_mib=many"], ["sram.capacity_mib", "number"]),
        (["--set", "sram.capacity_mib=512 GB"], ["sram.capacity_mib", "wrong unit", "MiB"]),
        (["--set", "sram.capacity_mib=-1"], ["sram.capacity_mib", "out of range", "1 to"]),
        (["--set", "datapath.lanes=1.5"], ["datapath.lanes", "whole number"]),
        (["--set", "datapath.issue=both"], ["datapath.issue", "serial, pipelined"]),
        (["--set", "sram.kv_bits=8"], ["sram.kv_bits", "did you mean formats.kv_bits"]),
        (["--set", "formats.kv_bits=5"], ["formats.kv_bits", "4, 8, 16"]),
        (["--set", "sram.capacity_mib=100"], ["sram.capacity_mib", "lack", "MiB", "fits"]),
        (["--prompt", "9000"], ["sram.capacity_mib", "lack"]),
        (["--prompt", "200000"], ["prompt and output", "131,072"]),
        (["--users", "4"], ["lack", "2 user(s)"]),
        (["--set", "power.limit_w=30"], ["power.limit_w", "30 W is below"]),
    ],
)
def test_bad_input_is_one_sentence(hardwire: Shell, arguments: list[str], words: list[str]) -> None:
    message = hardwire.refused("run", *arguments)
    for word in words:
        assert word in message, message


def test_a_chip_file_with_an_unknown_key(hardwire: Shell, tmp_path: Path) -> None:
    chip = tmp_path / "mine.yaml"
    chip.write_text("extends: hc1\nsram:\n  capacity_mb: {value: 1, kind: published, source: x}\n")
    message = hardwire.refused("run", "--chip", chip)
    assert "mine.yaml: sram.capacity_mb" in message and "did you mean sram.capacity_mib" in message


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
