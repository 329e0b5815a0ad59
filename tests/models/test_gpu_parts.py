"""GPU servers from parts: sheets, the terms of a step by hand, laws, files and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import hardwire as hw
from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.gpu import PRECISIONS, Gpu
from hardwire.models.gpu_make import make_server, parts_server
from hardwire.models.gpu_parts import Parts, check_measured, experts_met, weights_gb
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import quantities

GPUS = catalogue.names("gpu")
LLAMA_NAME = "llama-3.1-8b"
LLAMA = LanguageModel.by_name(LLAMA_NAME)


def test_the_catalogue_has_what_buyers_ask_for() -> None:
    assert {
        "a100", "h100", "h100-pcie", "h200", "b200", "l40s", "rtx-4090", "rtx-pro-6000", "mi300x",
    } <= set(GPUS)  # fmt: skip


@pytest.mark.parametrize("name", GPUS)
def test_a_sheet_hangs_together(name: str) -> None:
    sheet = Gpu.open(name).sheet
    for narrower in (sheet.fp8_tflops, sheet.int8_tops):
        assert (
            narrower == 0
            or narrower == pytest.approx(2 * sheet.bf16_tflops, rel=0.02)
            or (
                name == "rtx-4090"  # its int8 sums are 32 bits wide, of floats only the slow ones
            )
        )
    assert sheet.idle_w < sheet.limit_w
    for share in ("memory_reached", "compute_reached", "attention_reached"):
        low, high = Gpu.open(name).parameters[share].range or (0, 0)
        assert 0 < low <= getattr(sheet, share) <= high < 1


def test_a_step_by_hand() -> None:
    """Llama 3.1 8B in FP8 on an H100: 6,979,321,856 weights in layers, 525,336,576 in the head."""
    server = parts_server("h100", LLAMA_NAME, "fp8", 1, "trtllm")
    assert server.origin is not None
    sheet, parts, b = server.origin.gpu.sheet, server.origin.parts, server.batching
    memory = 3.35e12 * sheet.memory_reached
    read = 6_979_321_856 * parts.weight_bits / 8 + 525_336_576 * 2
    assert b.weights_us == pytest.approx(read / memory * 1e6)
    assert b.token_us == pytest.approx(2 * 6_979_321_856 / (1979e12 * sheet.compute_reached) * 1e6)
    assert b.kv_token_ns == pytest.approx(65_536 * 1 / memory * 1e9)
    # Scores and weighted sum, 2 operations each, over 32 layers of 4,096 wide heads.
    assert b.pair_ns == pytest.approx(4 * 32 * 4096 / (989e12 * sheet.attention_reached) * 1e9)
    kernels = 32 * parts.layer_kernels * parts.kernel_us
    assert b.step_us == pytest.approx(kernels + parts.host_step_us)
    # Weights and overhead first, then 90 % of what is left.
    room = (80 - b.weights_gb - parts.overhead_gb) * 0.9e9
    assert server.kv_room(0, 0) == pytest.approx(room / 65_536, abs=32)


def test_vllm_takes_its_share_of_all_memory() -> None:
    server = parts_server("h100", LLAMA_NAME)
    b = server.batching
    room = (80 * 0.9 - 16.06 - b.overhead_gb) * 1e9
    assert b.weights_gb == pytest.approx(16.06, abs=0.01)
    assert server.kv_room(0, 0) == pytest.approx(room / 131_072, rel=0.001)


@examples(25)
@given(
    st.sampled_from(["a100", "h100", "h200", "b200"]),
    st.sampled_from(["bf16", "int8", "int4"]),
    st.sampled_from(["vllm", "trtllm"]),
    st.sampled_from(["llama-3.1-8b", "qwen3-8b", "qwen2.5-7b"]),
)
def test_laws_of_parts(gpu: str, precision: str, engine: str, model: str) -> None:
    """More bandwidth, rate, or GPUs, fewer bits: no term of reading or computing gets longer."""
    server = parts_server(gpu, model, precision, 1, engine)
    two = parts_server(gpu, model, precision, 2, engine).batching
    b = server.batching
    for name in ("weights_us", "token_us", "head_us", "kv_token_ns", "pair_ns"):
        assert getattr(two, name) == pytest.approx(getattr(b, name) / 2), name
    assert two.step_us > b.step_us and two.price_usd == 2 * b.price_usd
    faster = server.changed({"gpu.memory_tb_per_s": 2 * server.value("gpu.memory_tb_per_s")})
    assert faster.batching.weights_us == pytest.approx(b.weights_us / 2)
    assert faster.batching.token_us == b.token_us
    lighter = server.changed({"weight_bits": server.value("weight_bits") / 2}).batching
    assert lighter.weights_us < b.weights_us and lighter.weights_gb < b.weights_gb
    assert server.changed({}).batching == b
    assert set(server.parameters) <= set(server.declared)


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_gpu_in_every_precision_serves_or_says_why(
    gpu: str, precision: str, tmp_path: Path
) -> None:
    out = tmp_path / "one.yaml"
    try:
        made = make_server(gpu, "llama-3.2-3b", out, precision=precision)
    except InputError as error:
        assert str(error).startswith(f"precision: {gpu} computes in bf16")
        assert f"not in {precision}" in str(error) and not out.exists()
        return
    again = parts_server(gpu, "llama-3.2-3b", precision)
    assert made.batching == again.batching == BatchServer.open(out).batching
    assert made.step_time(0, 0) == again.step_time(0, 0)


def test_a_made_file_says_where_each_number_is_from(tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    hw.make_server("l40s", "qwen2.5-7b", out, precision="int4", tp=2)
    text = yaml.safe_load(out.read_text(encoding="utf-8"))
    assert text["kind"] == "parts" and text["gpu"] == "l40s" and text["model"] == "qwen2.5-7b"
    for name in quantities(Parts):
        assert text[name]["source"] and text[name]["kind"], name
    assert text["weight_bits"]["value"] == 4.16
    assert text["max_batched_tokens"]["value"] == 2048  # a GPU of less than 70 GiB


def test_values_of_ones_own_profile_take_the_place_of_any(tmp_path: Path) -> None:
    out, gpu = tmp_path / "mine.yaml", tmp_path / "mygpu.yaml"
    gpu.write_text(
        catalogue.resolve("gpu", "h100")
        .read_text(encoding="utf-8")
        .replace(
            "memory_reached: {value: 0.85, kind: assumed, range: [0.75, 0.92]",
            "memory_reached: {value: 0.91, kind: measured",
        ),
        encoding="utf-8",
    )
    before = hw.make_server(gpu, "llama-3.1-8b", out)
    assert before.origin is not None and before.origin.gpu.sheet.memory_reached == 0.91
    own = tmp_path / "own.yaml"
    own.write_text(
        "extends: mine.yaml\nkernel_us: {value: 1.7, kind: measured, source: nsys}\n",
        encoding="utf-8",
    )
    after = BatchServer.open(own)
    assert after.parameters["kernel_us"].kind == "measured"
    assert before.batching.step_us - after.batching.step_us == pytest.approx(32 * 10 * 0.8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpu": "h10"}, "'h10' is no gpu in the catalogue; did you mean h100?"),
        ({"model": "llama-9"}, "'llama-9' is no model in the catalogue"),
        ({"precision": "fp6"}, "precision: 'fp6' is not allowed (one of bf16, fp8, int8, int4,"),
        ({"gpu": "a100", "precision": "fp8"}, "precision: a100 computes in bf16, int8, int4, not"),
        ({"engine": "sglang"}, "engine: 'sglang' is not allowed (one of trtllm, vllm)"),
        ({"gpu": "mi300x", "engine": "trtllm"}, "engine: trtllm does not run on mi300x; vllm does"),
        ({"tp": 3}, "gpus: 3 do not share the 8 heads for keys and values of llama-3.1-8b evenly"),
        ({"tp": 0}, "tp: 0 is out of range (1 to 64)"),
        ({"model": "llama-3.1-70b"}, "h100: 80 GB cannot hold llama-3.1-70b in bf16: weights are "),
        ({"out": "mine.txt"}, "out: mine.txt: a server's file ends in .yaml"),
        ({"out": "none/mine.yaml"}, "none/mine.yaml: cannot be written"),
        ({"out": 7}, "out: a name or a path is expected, not int"),
    ],
)
def test_bad_input_is_one_sentence(
    options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = {"gpu": "h100", "model": "llama-3.1-8b", "out": "mine.yaml"} | options
    with pytest.raises(InputError) as caught:
        hw.make_server(asked.pop("gpu"), asked.pop("model"), asked.pop("out"), **asked)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        make_server("h100", "llama-3.1-8b", out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("gpu: h100", "gpu: h1000", "mine.yaml: gpu: 'h1000' is no gpu"),
        ("precision: {value: bf16", "precision: {value: fp4", "mine.yaml: precision: h100 comp"),
        ("gpus: {value: 1", "gpus: {value: 5", "mine.yaml: gpus: 5 do not share the 8 heads"),
        ("kernel_us:", "kernel_ms:", "kernel_ms is no known parameter; did you mean kernel_us"),
        ("max_seqs: {value: 1024", "max_seqs: {value: 9000", "max_batched_tokens: must be at"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    out = tmp_path / "mine.yaml"
    make_server("h100", "llama-3.1-8b", out)
    text = out.read_text(encoding="utf-8")
    assert old in text
    out.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        BatchServer.open(out)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_weights_by_hand() -> None:
    parts = parts_server("b200", LLAMA_NAME, "fp4").origin
    assert parts is not None
    expected = (6_979_321_856 * 4.5 + 2 * 525_336_576 * 16 + 266_240 * 16) / 8e9
    assert weights_gb(LLAMA, parts.parts) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt-oss-20b", "has layers that read no more than 128 tokens"),
        ("deepseek-v3", "has latent attention"),
        ("gemma-2-2b", "has layers that read no more than 4,096 tokens"),
    ],
)
def test_a_model_that_a_step_has_no_terms_for_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^model: {name} {message}"):
        parts_server("h200", name)


def test_measured_times_are_not_of_a_mixture_of_experts() -> None:
    with pytest.raises(InputError, match=r"a step of B tokens reads 8 \(1 - \(1 - 2/8\)\^B\)"):
        check_measured(LanguageModel.by_name("mixtral-8x7b"))


def test_a_step_reads_the_experts_that_its_tokens_meet() -> None:
    """By hand, Mixtral on two H100 in FP8: of 45.1e9 weights of experts a quarter for one token,
    all but 1e-12 of them for a hundred; the rest and the head once, each GPU half of all."""
    server = parts_server("h100", "mixtral-8x7b", "fp8", 2)
    model, sheet = server.model, server.origin.gpu.sheet
    assert model.expert_weights == 32 * 8 * 3 * 4096 * 14336
    bytes_per_us = sheet.memory_tb_per_s * 1e6 * sheet.memory_reached * 2
    time = server.step_time(0, 0)
    assert len(time.experts) == server.batching.max_batched_tokens + 1
    assert time.experts[0] == 0
    assert time.experts[1] == pytest.approx(model.expert_weights / 4 / bytes_per_us * 1e6, rel=1e-6)
    assert time.experts[2] == pytest.approx((1 - 0.75**2) * time.experts[100], rel=1e-6)
    assert time.experts[100] == time.experts[-1]
    rest = model.linear_weights - model.expert_weights
    head = model.embedding_weights * 2  # in bfloat16
    assert time.weights == pytest.approx((rest + head) / bytes_per_us * 1e6, rel=1e-6)
    # Arithmetic is that of two experts.
    linear = server.origin.gpu.flops("fp8") * sheet.compute_reached * 2
    assert server.batching.token_us == pytest.approx(
        2 * model.active_linear_weights / linear * 1e6, rel=1e-6
    )
    assert server.batching.weights_gb == pytest.approx(46.96, abs=0.05)  # head and embedding twice


@examples(20)
@given(st.integers(0, 4000))
def test_law_more_tokens_never_read_fewer_experts(tokens: int) -> None:
    for name in ("mixtral-8x7b", "qwen3-30b-a3b", "llama-3.1-8b"):
        model = LanguageModel.by_name(name)
        met = experts_met(model, tokens)
        assert 0 <= met <= experts_met(model, tokens + 1) <= 1


def test_dense_models_have_no_experts_to_read() -> None:
    server = parts_server("h100", "llama-3.1-8b", "fp8")
    assert server.step_time(0, 0).experts == () and server.batching.experts_us == 0
