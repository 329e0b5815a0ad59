"""GPU servers from parts on the command line: made, shown, replayed, compared, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Shell

MAKE = ("server", "make", "--gpu", "h100", "--model", "llama-3.1-8b")


@pytest.fixture
def mine(hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server of two H100, made in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    status, out, err = hardwire(*MAKE, "--precision", "fp8", "--tp", "2", "--out", "mine.yaml")
    assert (status, err) == (0, "")
    assert out.startswith("mine.yaml: 2 × NVIDIA H100 SXM, 80 GB, llama-3.1-8b in fp8 with vllm")
    assert "9.1 GB of weights" in out
    return "mine.yaml"


def test_a_made_server_is_shown_replayed_and_compared(hardwire: Shell, mine: str) -> None:
    status, out, _ = hardwire("show", mine)
    assert status == 0 and "kernel_us" in out and "gpu.memory_tb_per_s" in out
    load = ("azure-conv", "--requests", "30", "--seed", "1")
    alone = hardwire.answer("replay", *load, "--server", mine)
    assert alone["completed"] == 30
    both = hardwire("compare", *load, "--servers", f"{mine},vllm-h100")
    assert both[0] == 0 and "mine" in both[1]
    status, out, _ = hardwire("diff", mine, "vllm-h100")
    assert status == 0 and "price_usd" in out


def test_a_gpu_is_shown_by_name_and_file(hardwire: Shell, tmp_path: Path) -> None:
    status, out, _ = hardwire("show", "l40s")
    assert status == 0 and "memory_reached" in out and "0.864" in out
    file = tmp_path / "own.yaml"
    file.write_text("extends: l40s\nprice_usd: 5000\n")
    status, out, _ = hardwire("show", str(file))
    assert status == 0 and "5000" in out.replace(",", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gpu", "h10"], "'h10' is no gpu in the catalogue; did you mean h100?"),
        (["--gpu", "a100", "--precision", "fp8"], "precision: a100 computes in bf16, int8, int4"),
        (["--model", "llama-3.1-70b"], "h100: 80 GB cannot hold llama-3.1-70b in bf16"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    hardwire: Shell,
    options: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = hardwire(*MAKE, "--out", "mine.yaml", *options)
    assert (status, out) == (2, "") and words in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
