"""Where an adapter comes from: what lies on disk and in host memory, and who converts it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.adapter.write import write_adapter
from hardwire.models.server import Server
from hardwire.simulator import run, swap_latency
from hardwire.simulator.belief.predictions import swap_times
from hardwire.simulator.datapath import adapter_bytes
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import replay
from hardwire.simulator.supply import supply
from hardwire.simulator.timing import Timing

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-1b")
R16 = Adapter.from_shape("r16:all-linear", LLAMA)
FILES = HC1.with_values({"link.host_copy": "file"})


def requests(arrival_s: list[float], adapters: int) -> Workload:
    """Short requests, of each adapter in turn."""
    count = len(arrival_s)
    return Workload(
        "some",
        np.array(arrival_s),
        np.full(count, 4),
        np.full(count, 2),
        (np.arange(count) % adapters).astype(np.int32),
        tuple(f"a{number}" for number in range(adapters)),
        arrival_s[-1],
    )


@pytest.mark.parametrize(("disk_format", "cold_ms"), [("float32", 35.46), ("float16", 18.67)])
def test_b9_a_cold_swap_reads_the_file_that_peft_writes(disk_format: str, cold_ms: float) -> None:
    """41,943,040 weights of 4 or 2 bytes at 5 GB/s, 100 us before, 1.785 ms over the link."""
    chip = HC1.with_values({"link.disk_format": disk_format})
    weights = {"float32": 4, "float16": 2}[disk_format] * 41_943_040
    by_hand = 100e-6 + weights / 5e9 + 1.785e-3
    assert swap_latency(chip, LLAMA, R16).cold == pytest.approx(by_hand, rel=2e-3)
    assert by_hand == pytest.approx(cold_ms * 1e-3, rel=2e-3)
    way = supply(chip, LLAMA, R16)
    assert way.file_bytes == R16.checkpoint_bytes({"float32": "F32", "float16": "F16"}[disk_format])
    assert way.host_bytes == way.image_bytes == adapter_bytes(chip, R16) == 44_564_480


def test_an_adapter_with_a_file_is_as_large_as_its_file(tmp_path: Path) -> None:
    write_adapter(tmp_path / "mine", SMALL, 4, "qv")
    adapter = Adapter.open(tmp_path / "mine", SMALL)
    size = (tmp_path / "mine" / "adapter_model.safetensors").stat().st_size
    for disk_format in ("float32", "float16"):  # what shapes are taken to be says nothing of it
        chip = HC1.with_values({"link.disk_format": disk_format})
        assert supply(chip, SMALL, adapter).file_bytes == adapter.file_bytes == size
    shape = Adapter.from_shape("r4:qv", SMALL)
    assert shape.file_bytes is None
    result = run(HC1, SMALL, adapter, prompt=8, output=4)
    assert result.to_dict()["adapter_detail"]["file_bytes"] == size


def test_a_slow_host_holds_the_disk_up_and_a_fast_one_does_not() -> None:
    """Conversion streams behind the read: the slower of the two is the time."""
    file = R16.checkpoint_bytes()
    for rate, bound in ((2, 2), (5, 5), (40, 5)):
        chip = HC1.with_values({"link.convert_gb_per_s": rate})
        assert supply(chip, LLAMA, R16).disk_s == pytest.approx(100e-6 + file / (bound * 1e9))


def test_files_in_host_memory_are_converted_on_the_way_to_the_card() -> None:
    """8 GB/s of a float32 file are 2.1 GB/s of its image: 21 ms where the link alone takes 1.8."""
    way = supply(FILES, LLAMA, R16)
    file, image = R16.checkpoint_bytes(), 44_564_480
    assert (way.host_bytes, way.disk_s) == (file, pytest.approx(100e-6 + file / 5e9))
    assert way.bytes_per_s == pytest.approx(8e9 * image / file)
    swap = swap_latency(FILES, LLAMA, R16)
    assert swap.warm == pytest.approx(2e-6 + file / 8e9, rel=1e-3)
    fast = FILES.with_values({"link.convert_gb_per_s": 10_000})
    assert swap_latency(fast, LLAMA, R16).warm == swap_latency(HC1, LLAMA, R16).warm


chips = st.fixed_dictionaries(
    {
        "link.disk_format": st.sampled_from(["float32", "float16"]),
        "link.host_copy": st.sampled_from(["converted", "file"]),
        "link.convert_gb_per_s": st.floats(0.5, 40),
        "link.disk_gb_per_s": st.floats(0.5, 20),
        "link.bandwidth_gb_per_s": st.floats(1, 60),
    }
)
shapes = st.sampled_from(["r1:qv:int4", "r8:mlp:int8", "r16:all-linear:int8", "r64:qv:float16"])


@examples(100)
@given(values=chips, text=shapes)
def test_law_nothing_reaches_the_card_faster_than_its_slowest_part(
    values: dict[str, Any], text: str
) -> None:
    chip, adapter = HC1.with_values(values), Adapter.from_shape(text, SMALL)
    way, link = supply(chip, SMALL, adapter), chip.link
    assert way.host_bytes in (way.file_bytes, way.image_bytes)
    assert way.bytes_per_s <= link.bandwidth_gb_per_s * 1e9
    read_s = way.file_bytes / (link.disk_gb_per_s * 1e9)
    convert_s = way.file_bytes / (link.convert_gb_per_s * 1e9)
    whole_s = way.disk_s + way.image_bytes / way.bytes_per_s
    assert whole_s >= max(read_s, convert_s, way.image_bytes / (link.bandwidth_gb_per_s * 1e9))


@examples(30)
@given(values=chips, rank=st.integers(1, 64))
def test_shapes_with_arrays_of_ranks_have_the_file_of_each_without_its_header(
    values: dict[str, Any], rank: int
) -> None:
    chip = HC1.with_values(values)
    ranks = np.array([rank, 16])
    many = supply(chip, SMALL, AdapterShape.of(SMALL, "all-linear", ranks))
    one = supply(chip, SMALL, Adapter.from_shape(f"r{rank}:all-linear", SMALL))
    assert many.image_bytes[0] == one.image_bytes
    assert 0 < one.file_bytes - many.file_bytes[0] < 40_000
    header = one.file_bytes / many.file_bytes[0] - 1  # its share is large where the rank is 1
    rate = np.broadcast_to(many.bytes_per_s, 2)[0]
    assert rate == pytest.approx(one.bytes_per_s, rel=header + 1e-9)


@pytest.mark.parametrize("chip", [HC1, FILES], ids=["converted", "file"])
def test_the_closed_form_of_a_swap_is_the_simulated_one(chip: Chip) -> None:
    simulated = swap_latency(chip, LLAMA, R16)
    timing = Timing.of(chip, LLAMA, [AdapterShape.from_text("r16:all-linear", LLAMA)])
    for state, seconds in swap_times(timing, 1).items():
        assert seconds == pytest.approx(getattr(simulated, state), rel=2e-3), state


@pytest.mark.parametrize("chip", [HC1, FILES], ids=["converted", "file"])
def test_a_replay_and_a_run_bring_an_adapter_in_the_same_time(chip: Chip) -> None:
    """One request at time 0 whose adapter is on disk, or in host memory."""
    workload = requests([0.0], 1)
    swap = swap_latency(chip, LLAMA, R16)
    for warm, expected in ((False, swap.cold), (True, swap.warm)):
        log = replay(Server.open("hc1x10"), workload, [R16], Policy(host_warm=warm), chip=chip)
        loads = log.spans[0]
        assert loads.end_s[0] == pytest.approx(expected, rel=1e-4)


def test_host_memory_holds_fewer_files_than_converted_adapters() -> None:
    """Of a GiB, 24 images of 44.6 MB, or 6 files of 167.9."""
    server = Server.open("hc1x10")
    machine = dataclasses.replace(server.machine, cards=1, host_memory_gib=1)
    server = dataclasses.replace(server, machine=machine)
    # Each of 12 adapters once, then each again: those that host memory kept are not read again.
    workload = requests([5.0 * number for number in range(24)], 12)
    policy = Policy(host_warm=False, slots=1)

    def read_twice(chip: Chip) -> float:
        log = replay(server, workload, [R16] * 12, policy, chip=chip)
        return float(log.busy_s["disk"][0]) / float(supply(chip, LLAMA, R16).disk_s)

    assert read_twice(HC1) == pytest.approx(12, rel=1e-6)
    assert read_twice(FILES) == pytest.approx(24, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("link.disk_format", "F32", "one of float32, float16"),
        ("link.host_copy", "image", "one of converted, file"),
        ("link.convert_gb_per_s", 0, "out of range"),
    ],
)
def test_what_is_no_format_and_no_rate_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        HC1.with_values({name: value})
    assert name in str(refusal.value)
