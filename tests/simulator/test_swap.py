"""Swap latencies, against the closed form of a link, a staging buffer and a write port."""

from __future__ import annotations

import math
from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator.datapath import adapter_bytes, adapter_layer_bytes
from hardwire.simulator.swap import SwapLatency, swap_latency

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-1b")

SHAPES = ("r1:qv:int4", "r8:qv:int8", "r16:all-linear:int8", "r64:mlp:float16")

links = st.fixed_dictionaries(
    {
        "link.bandwidth_gb_per_s": st.floats(1, 60),
        "link.latency_us": st.floats(0, 50),
        "link.burst_bytes": st.sampled_from([4096, 16_384, 65_536]),
        "link.disk_gb_per_s": st.floats(0.5, 20),
        "link.disk_latency_us": st.floats(0, 500),
        "link.convert_gb_per_s": st.floats(0.5, 40),
        "sram.write_bytes_per_cycle": st.sampled_from([128, 256, 1024]),
        "lora.switch_cycles": st.integers(1, 1000),
        "datapath.clock_ghz": st.floats(0.5, 2),
        "datapath.issue": st.sampled_from(["serial", "pipelined"]),
    }
)


def warm_cycles(chip: Chip, model: LanguageModel, adapter: Adapter) -> int:
    """Set-up, all bytes over the link, the last slice through its port, and the pointer.

    A burst is written when it has arrived and the one before it is written: a short last burst
    arrives while the full one before it still holds the port.
    """
    hz = chip.datapath.clock_ghz * 1e9
    slices = [size for size in adapter_layer_bytes(chip, adapter, model.layers) if size]
    sent, written = sum(slices[:-1]), 0
    for offset in range(0, slices[-1], chip.link.burst_bytes):
        data = min(chip.link.burst_bytes, slices[-1] - offset)
        sent += data
        arrival = math.ceil(sent * hz / (chip.link.bandwidth_gb_per_s * 1e9))
        written = max(written, arrival) + math.ceil(data / chip.sram.write_bytes_per_cycle)
    return round(chip.link.latency_us * 1e-6 * hz) + written + chip.lora.switch_cycles


def latency(values: dict[str, Any], text: str) -> tuple[Chip, Adapter, SwapLatency]:
    chip = HC1.with_values(values)
    adapter = Adapter.from_shape(text, SMALL)
    return chip, adapter, swap_latency(chip, SMALL, adapter)


def test_hc1_by_hand() -> None:
    """44,564,480 bytes at 25 GB/s take 1.7826 ms, a file of 167.8 MB at 5 GB/s another 33.7."""
    adapter = Adapter.from_shape("r16:all-linear:int8", LLAMA)
    swap = swap_latency(HC1, LLAMA, adapter)
    assert adapter_bytes(HC1, adapter) == 44_564_480
    assert swap.warm == pytest.approx(2e-6 + 44_564_480 / 25e9, rel=1e-3)
    assert swap.cold - swap.warm == pytest.approx(100e-6 + adapter.checkpoint_bytes() / 5e9)
    assert adapter.checkpoint_bytes() == pytest.approx(4 * 41_943_040, rel=1e-3)
    assert swap.resident == pytest.approx(32 / 1.379764e9)
    # Streaming hides at most the token's own time (56 us) behind the transfer.
    assert swap.warm - 56e-6 < swap.streamed < swap.warm


@examples(50)
@given(values=links, text=st.sampled_from(SHAPES))
def test_swap_on_a_random_link(values: dict[str, Any], text: str) -> None:
    chip, adapter, swap = latency(values, text)
    hz = chip.datapath.clock_ghz * 1e9
    assert swap.warm * hz == pytest.approx(warm_cycles(chip, SMALL, adapter))
    assert swap.resident * hz == pytest.approx(chip.lora.switch_cycles)
    slowest = min(chip.link.disk_gb_per_s, chip.link.convert_gb_per_s) * 1e9
    disk = chip.link.disk_latency_us * 1e-6 + adapter.checkpoint_bytes() / slowest
    assert swap.cold - swap.warm == pytest.approx(disk)
    assert swap.resident <= swap.streamed <= swap.warm <= swap.cold


@examples(40)
@given(
    values=links,
    text=st.sampled_from(SHAPES),
    what=st.sampled_from(
        ["link.bandwidth_gb_per_s", "link.disk_gb_per_s", "link.convert_gb_per_s"]
    ),
    factor=st.floats(1, 4),
)
def test_a_faster_link_never_makes_a_swap_slower(
    values: dict[str, Any], text: str, what: str, factor: float
) -> None:
    slow = latency(values, text)[2]
    fast = latency({**values, what: values[what] * factor}, text)[2]
    assert fast.cold <= slow.cold
    assert fast.warm <= slow.warm
    assert fast.streamed <= slow.streamed
    assert fast.resident == slow.resident


@examples(20)
@given(values=links, rank=st.integers(1, 32), more=st.integers(1, 32))
def test_a_larger_adapter_never_loads_faster(values: dict[str, Any], rank: int, more: int) -> None:
    small = latency(values, f"r{rank}:all-linear:int8")[2]
    large = latency(values, f"r{rank + more}:all-linear:int8")[2]
    assert large.warm > small.warm and large.cold > small.cold
    assert large.resident == small.resident
