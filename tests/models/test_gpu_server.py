"""GPU server files: what is read and refused, memory beside the slots, time of a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer, slot_rank

NAMES = ("vllm-h100", "trtllm-h100", "trtllm-h200")


@pytest.fixture(scope="module")
def vllm() -> BatchServer:
    return BatchServer.open("vllm-h100")


@pytest.mark.parametrize("name", NAMES)
def test_every_gpu_server_opens(name: str) -> None:
    server = BatchServer.open(name)
    assert server.name == name
    assert server.serves_adapters == name.startswith("vllm")
    assert server.kv_tokens(0, 8) >= server.batching.context_tokens


def test_slot_bytes_of_llama_by_hand(vllm: BatchServer) -> None:
    linear = 2_621_440 * 16 * 2  # all seven linear layers, bfloat16
    vocabulary = 2 * (128_256 + 256) * 16 * 2 + 2 * 4096 * 16 * 2
    assert vllm.slot_bytes(16) == linear + vocabulary + 2 * 256 * 4096 * 2


def test_kv_memory_shrinks_by_the_bytes_of_the_slots(vllm: BatchServer) -> None:
    assert vllm.kv_bytes_per_token == 131_072
    lost = (vllm.kv_tokens(0, 16) - vllm.kv_tokens(100, 16)) * vllm.kv_bytes_per_token
    block = vllm.batching.block_tokens * vllm.kv_bytes_per_token
    assert abs(lost - 100 * vllm.slot_bytes(16)) <= block


@pytest.mark.parametrize(
    ("slots", "rank", "starts"),
    [(224, 16, True), (256, 16, False), (96, 32, True), (128, 32, False)],
)
def test_too_many_slots_leave_no_room_for_one_long_request(
    vllm: BatchServer, slots: int, rank: int, starts: bool
) -> None:
    if starts:
        assert vllm.kv_tokens(slots, rank) >= 131_072
    else:
        with pytest.raises(InputError, match=f"out of memory with {slots} adapter slots"):
            vllm.kv_tokens(slots, rank)


def test_no_slots_cost_no_time(vllm: BatchServer) -> None:
    off, on = vllm.step_time(0, 16), vllm.step_time(10, 16)
    assert off.step == round(vllm.batching.step_us * 1e6)
    assert on.step - off.step == pytest.approx(
        (vllm.batching.lora_step_us + 10 * vllm.batching.slot_us) * 1e6, abs=1
    )
    assert vllm.step_time(10, 8) == on and vllm.step_time(10, 32).step > on.step


def test_slot_ranks_are_those_of_vllm() -> None:
    assert [slot_rank(rank) for rank in (1, 8, 9, 16, 300)] == [8, 8, 16, 16, 320]
    with pytest.raises(InputError, match="600 is above 512"):
        slot_rank(600)


def test_prices_by_hand(vllm: BatchServer) -> None:
    b = vllm.batching
    years_s = b.lifetime_years * 365.25 * 86400
    assert b.capex_usd_per_s * years_s == pytest.approx(b.price_usd)
    assert b.energy_usd_per_j * 3.6e6 == pytest.approx(b.electricity_usd_per_kwh * b.pue)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: batch\n", "", "kind: must be batch"),
        ("model: llama-3.1-8b", "model: llama-9", "model: 'llama-9' is no model"),
        ("model: llama-3.1-8b", "model: mixtral-8x7b", "mixtral-8x7b is a mixture of experts"),
        ("model: llama-3.1-8b", "model: gemma-2-2b", "has layers that read no more than 4,096"),
        ("kind: batch\n", "kind: batch\nexperts_us: {value: 9, kind: measured, source: none}\n",
         "experts_us: llama-3.1-8b has no experts"),
        ("max_seqs: {value: 2048", "max_seqs: {value: 20480", "max_batched_tokens: must be at"),
        ("host_adapters: {value: 1000, kind: assumed, range: [100", "host_adapters: {value: 9, "
         "kind: assumed, range: [1", "host_adapters: must be at least slots"),
        ("admission: {value: prompt", "admission: {value: none", "'none' is not allowed"),
        ("step_us:", "step_ms:", "step_ms is no known parameter; did you mean step_us"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = catalogue.resolve("server", "vllm-h100").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.yaml: ") as caught:
        BatchServer.open(str(path))
    assert words in str(caught.value)
