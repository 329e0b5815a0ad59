"""``hardwire adapter``, and adapters that no command takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shell import Shell


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
    status, text, _ = hardwire("adapter", "inspect", "r8:qv+lm_head")
    assert status == 1 and "beside which hc1 has no side path (lora.head: absent)" in text
    assert "32 of 32 layers" in text and "v_proj, lm_head" in text
    assert "already exists" in hardwire.refused("adapter", "make", *model, out)


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


def test_inspect_as_json_says_what_is_in_the_way(hardwire: Shell) -> None:
    found = hardwire.answer("adapter", "inspect", "r16:all-linear")
    assert (found["fits"], found["obstacle"]) == (True, None)
    assert (found["bytes"], found["file_bytes"]["float32"]) == (44_564_480, 167_832_240)
    status, out, _ = hardwire("adapter", "inspect", "r128:all-linear", "--json")
    assert status == 1 and "rank 128 exceeds" in json.loads(out)["obstacle"]
