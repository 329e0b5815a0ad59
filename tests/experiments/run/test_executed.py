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
