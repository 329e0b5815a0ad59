"""Runs that are also computed: the adapter's products, and the tokens on the chip's clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import Shell
from small_models import write_adapter as write_small_adapter
from small_models import write_model

from hardwire.experiments.run.tokens import SEED
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.rom.rom import RomMatrix

SHORT = ["--prompt", "16", "--output", "8"]


def test_execute_counts_what_the_timing_model_charges(hardwire: Shell, small_adapter: Path) -> None:
    model = ["--model", "tinyllama-1.1b"]
    for fmt, floor in (("int8", 35), ("int4", 10), ("float32", 100)):
        settings = ["--execute", "--set", f"formats.adapter_format={fmt}"]
        data = hardwire.json(*model, "--adapter", small_adapter, *settings, *SHORT)
        execution = data["execution"]
        assert execution["agrees"] and execution["counted"] == execution["charged"]
        assert execution["counted"]["bytes"] == data["adapter_detail"]["bytes"]
        assert execution["counted"]["macs"] == data["adapter_detail"]["parameters"]
        assert execution["sqnr_db"]["all"] > floor
    out = hardwire("run", *model, "--adapter", small_adapter, "--execute", *SHORT)[1]
    assert "SQNR" in out and "equal" in out and "NOT" not in out
    assert "weights" in hardwire.refused("run", "--execute", *SHORT)
    assert "--execute" in hardwire.refused("run", "--execute", "--adapter", "none")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "adapter"),
    [("mixtral", "experts"), ("gpt_oss", "parameters"), ("deepseek_v3", "latent-parameters")],
)
def test_experts_windows_and_latents_are_computed_on_the_clock(
    hardwire: Shell, tmp_path: Path, name: str, adapter: str
) -> None:
    """Past the window, with adapters on experts, as each user decoded alone."""
    model = write_model(tmp_path / "model", name)
    path = write_small_adapter(tmp_path / "adapter", adapter, model)
    arguments = ["--model", tmp_path / "model", "--adapter", path, "--execute"]
    data = hardwire.json(*arguments, "--prompt", "30", "--output", "4")
    execution, computed = data["execution"], data["computed"]
    assert execution["counted"]["macs"] == execution["charged"]["macs"]
    # Heads of 16 and 12 elements begin groups of 32 weights of their own.
    assert execution["agrees"] == (name != "deepseek_v3")
    decoder = Decoder.load(tmp_path / "model", computed["weights"], kv_bits=computed["kv_bits"])
    decoder.add_adapter("mine", path, data["adapter_detail"]["adapter_format"])
    prompt = np.random.default_rng(SEED).integers(0, model.vocab, 30).tolist()
    assert computed["users"][0]["tokens"] == decoder.generate(prompt, 4, "mine")
    assert decoder.generate(prompt, 4, "mine") != decoder.generate(prompt, 4)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["all-linear", "lm-head"])
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_execute_computes_the_tokens_on_the_clock(
    hardwire: Shell, tmp_path: Path, issue: str, targets: str
) -> None:
    """The tokens of a timed run with a streamed swap are those of each user decoded alone."""
    model = write_model(tmp_path / "model", "llama")
    adapter = write_small_adapter(tmp_path / "adapter", targets, model)
    chip = ["--set", "lora.head=present"]
    arguments = ["--model", tmp_path / "model", "--execute", "--issue", issue, "--users", "2"]
    arguments += ["--prompt", "5", "--output", "6", *chip]
    data = hardwire.json(*arguments, "--adapter", adapter)
    assert data["execution"]["agrees"]
    computed = data["computed"]
    decoder = Decoder.load(tmp_path / "model", computed["weights"], kv_bits=computed["kv_bits"])
    decoder.add_adapter("mine", adapter, data["adapter_detail"]["adapter_format"])
    random = np.random.default_rng(SEED)
    for user in computed["users"]:
        prompt = random.integers(0, model.vocab, 5).tolist()
        assert user["tokens"] == decoder.generate(prompt, 6, "mine")
        assert user["adapter_version"] == 1
        assert 0 < user["first_token_s"] < user["last_token_s"]
    assert computed["weights"] == "rom3+6/row" and computed["load_s"] > 0
    assert "computed" not in hardwire.json(*arguments[:2], *chip, "--adapter", adapter, *SHORT)
    base = hardwire.json(*arguments, "--adapter", "none")["computed"]
    assert base["load_s"] is None and base["users"][0]["adapter_version"] == 0
    assert base["users"][0]["tokens"] != computed["users"][0]["tokens"]
    out = hardwire("run", *arguments, "--adapter", adapter)[1]
    assert "Tokens computed on the clock" in out and "adapter version 1" in out


@pytest.mark.slow
def test_execute_computes_a_ternary_model_with_fp8_and_an_adapter_of_2_bits(
    hardwire: Shell, tmp_path: Path
) -> None:
    """A BitNet on a chip in its formats: one scale for a tensor, 6 bits at the head."""
    model = write_model(tmp_path / "model", "bitnet")
    adapter = write_small_adapter(tmp_path / "adapter", "all-linear", model)
    values = {
        "rom.alphabet": "ternary", "rom.bits_per_weight": "2", "rom.head_bits": "6",
        "formats.kv_8bit": "e4m3", "formats.adapter_format": "int2",
    }  # fmt: skip
    settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    arguments = ["--model", tmp_path / "model", "--execute", "--prompt", "5", "--output", "6"]
    data = hardwire.json(*arguments, *settings, "--adapter", adapter)
    assert data["execution"]["agrees"]
    computed = data["computed"]
    assert computed["weights"] == "ternary/tensor:rom6/row" and computed["kv_format"] == "e4m3"
    decoder = Decoder.load(tmp_path / "model", computed["weights"], kv_bits="e4m3")
    decoder.add_adapter("mine", adapter, "int2")
    prompt = np.random.default_rng(SEED).integers(0, model.vocab, 5).tolist()
    assert computed["users"][0]["tokens"] == decoder.generate(prompt, 6, "mine")
    exact = Decoder.load(tmp_path / "model")
    for layer, plain in zip(decoder.base.layers, exact.base.layers, strict=True):
        for target, matrix in layer.matrices.items():
            assert isinstance(matrix, RomMatrix)
            dense = plain.matrices[target]
            weights = dense.apply(np.eye(matrix.in_features, dtype=np.float32)).T
            scale = np.float32(np.float16(np.abs(weights).mean(dtype=np.float64)))
            want = np.clip(np.rint(weights / scale), -1, 1) * scale
            np.testing.assert_array_equal(matrix.dequantized(), want)
    assert isinstance(decoder.base.head, RomMatrix)
    assert {section.bits for section in decoder.base.head.sections} == {6}
