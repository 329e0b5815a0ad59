"""Continuous batching: laws over random loads, and both engines on every timestamp."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import Experts
from hardwire.simulator.serving.gpu.server import SAMPLES, simulate_batch
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import ServingLog, Status

VLLM = BatchServer.open("vllm-h100")
ADAPTER = Adapter.from_shape("r16:all-linear", VLLM.model)
RANKS = (ADAPTER, Adapter.from_shape("r8:all-linear", VLLM.model))

SPARSE = dataclasses.replace(VLLM.model, experts=Experts(count=8, active=2, intermediate=512))
"""Its steps also read the experts that its tokens meet."""


def small_server(**changes: Any) -> BatchServer:
    """A server with few blocks, seats and tokens, so that every limit is met."""
    return dataclasses.replace(VLLM, batching=dataclasses.replace(VLLM.batching, **changes))


def load(
    arrival: Any, prompt: Any, output: Any, adapter: Any | None = None, adapters: int = 0
) -> Workload:
    count = len(arrival)
    wanted = np.full(count, BASE, np.int32) if adapter is None else np.array(adapter, np.int32)
    return Workload(
        "test",
        np.array(arrival, float),
        np.array(prompt, np.int64),
        np.array(output, np.int64),
        wanted,
        tuple(f"a{i}" for i in range(adapters)),
        float(max(arrival, default=0)),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[BatchServer, Workload, dict[str, Any]]:
    adapters = draw(st.integers(0, 7))
    slots = draw(st.integers(1, 4)) if adapters else 0
    blocks = draw(st.integers(3, 40))
    slot_gb = slots * VLLM.slot_bytes(16) / 1e9
    block_gb = 16 * VLLM.kv_bytes_per_token / 1e9
    server = small_server(
        memory_share=1.0,
        gpu_memory_gb=VLLM.batching.weights_gb + slot_gb + (blocks + 0.5) * block_gb,
        overhead_gb=0.0,
        context_tokens=draw(st.integers(16, blocks * 16)),
        max_seqs=draw(st.integers(1, 6)),
        max_batched_tokens=draw(st.integers(6, 64)),
        host_adapters=draw(st.integers(max(slots, 1), 8)),
        slots=1,
        admission=draw(st.sampled_from(["prompt", "whole"])),
        weights_us=draw(st.sampled_from([0.0, 300.0])),
        experts_us=900.5,
        token_us=draw(st.sampled_from([0.0, 7.123457])),
        head_us=draw(st.sampled_from([0.0, 1.5])),
        pair_ns=draw(st.sampled_from([0.0, 0.333, 5e3])),
    )
    if not adapters:  # which are of the other model
        server = dataclasses.replace(server, model=draw(st.sampled_from([VLLM.model, SPARSE])))
    count = draw(st.integers(0, 25))
    gaps = draw(st.lists(st.sampled_from([0.0, 0.001, 0.05, 3.0]), min_size=count, max_size=count))
    lengths = st.lists(st.integers(1, 120), min_size=count, max_size=count)
    wanted = st.lists(st.integers(BASE, adapters - 1), min_size=count, max_size=count)
    workload = load(np.cumsum(gaps), draw(lengths), draw(lengths), draw(wanted), adapters)
    until = draw(st.sampled_from([None, None, 0.5, 4.0]))
    connections = draw(st.sampled_from([None, None, 1, 3, 8]))
    return server, workload, {
        "slots": slots, "rank": 16, "until_s": until, "connections": connections,
    }  # fmt: skip


def mixed(workload: Workload) -> list[Adapter]:
    """Adapters of ranks up to that of the slots, in turn."""
    return [RANKS[number % 2] for number in range(len(workload.adapters))]


def columns(log: ServingLog) -> list[np.ndarray]:
    spans = log.spans[0]
    o = log.occupancy
    return [
        *log.to_arrays().values(), spans.adapter, spans.begin_s, spans.end_s, o.time_s, o.kv_bytes,
        log.busy_s["compute"], np.array([log.end_s, log.energy_j, log.swaps]),
    ]  # fmt: skip


@examples(50)
@given(cases())
def test_engines_agree_on_every_timestamp(
    case: tuple[BatchServer, Workload, dict[str, Any]],
) -> None:
    server, workload, options = case
    adapters = mixed(workload)
    one = simulate_batch(server, workload, adapters, **options)
    two = simulate_batch(server, workload, adapters, engine="reference", **options)
    for a, b in zip(columns(one), columns(two), strict=True):
        np.testing.assert_array_equal(a, b)


@examples(30)
@given(cases())
def test_laws(case: tuple[BatchServer, Workload, dict[str, Any]]) -> None:
    """Every request ends once; no token before its request; memory never over capacity."""
    server, workload, options = case
    log = simulate_batch(server, workload, [ADAPTER] * len(workload.adapters), **options)
    done = log.status == Status.COMPLETED
    if options["until_s"] is None and options["connections"] is None:
        assert (done | (log.status == Status.TOO_LONG)).all()
    assert (log.generated[done] == workload.output[done]).all()
    assert (log.generated[log.status == Status.UNFINISHED] < workload.output[
        log.status == Status.UNFINISHED
    ]).all()  # fmt: skip
    assert (log.start_s[done] >= workload.arrival_s[done]).all()
    assert (log.first_token_s[done] > log.start_s[done]).all()
    assert (log.finish_s[done] >= log.first_token_s[done]).all()
    used = log.occupancy.kv_bytes + log.occupancy.adapter_bytes
    assert (used <= log.capacity_bytes).all()
    assert (np.diff(log.occupancy.time_s) > 0).all()
    assert log.busy_s["compute"][0] <= log.end_s + 1e-9
    if server.batching.admission == "whole":
        assert not log.preemptions.any()


def test_a_lone_request_by_hand() -> None:
    b = VLLM.batching
    log = simulate_batch(VLLM, load([1.0], [100], [3]), [])
    start = 1.0 + b.frontend_us * 1e-6
    first = start + (b.step_us + 100 * b.prefill_token_us + b.request_us) * 1e-6
    steps = 2 * (b.step_us + b.sequence_us) + (101 + 102) * b.kv_token_ns * 1e-3
    assert log.start_s[0] == pytest.approx(start, abs=1e-9)
    assert log.first_token_s[0] == pytest.approx(first, abs=1e-8)
    assert log.finish_s[0] == pytest.approx(first + steps * 1e-6, abs=1e-8)


def test_a_long_prompt_is_cut_by_the_token_budget() -> None:
    log = simulate_batch(VLLM, load([0.0], [3 * 8192], [1]), [])
    b = VLLM.batching
    steps = 3 * b.step_us + 3 * 8192 * b.prefill_token_us + b.request_us
    assert log.finish_s[0] == pytest.approx((steps + b.frontend_us) * 1e-6, abs=1e-8)


@pytest.mark.parametrize("budget", [8192, 2048, 700])
def test_attention_of_a_prompt_grows_with_its_square_however_it_is_cut(budget: int) -> None:
    server = small_server(pair_ns=1.25, max_batched_tokens=budget, max_seqs=64)
    work = load([0.0], [6001], [1])
    took = simulate_batch(server, work, []).finish_s[0]
    plain = small_server(max_batched_tokens=budget, max_seqs=64)
    pairs = 6001 * 6002 / 2
    assert took - simulate_batch(plain, work, []).finish_s[0] == pytest.approx(
        pairs * 1.25e-9, abs=5e-9
    )


def test_weights_are_read_while_their_products_are_computed() -> None:
    """A step takes the longer of both: the weights with 3 decoding, the products of 1000 tokens."""
    changes = {"weights_us": 900.0, "token_us": 4.0, "head_us": 10.0}
    server = small_server(**changes)
    work = load([0.0] * 3, [1000] * 3, [2] * 3)
    log, bare = simulate_batch(server, work, []), simulate_batch(VLLM, work, [])
    first = log.first_token_s[0] - bare.first_token_s[0]
    assert first == pytest.approx(3000 * 4e-6, abs=2e-9)
    rest = (log.finish_s - log.first_token_s) - (bare.finish_s - bare.first_token_s)
    assert rest == pytest.approx([900e-6] * 3, abs=2e-9)
    faster = small_server(**changes | {"weights_us": 30.0})
    log = simulate_batch(faster, work, [])
    rest = (log.finish_s - log.first_token_s) - (bare.finish_s - bare.first_token_s)
    assert rest == pytest.approx([3 * (4e-6 + 10e-6)] * 3, abs=2e-9)


def test_a_request_whose_adapter_finds_no_slot_is_passed_over() -> None:
    """One slot: the second request waits for the first, the third, of the base model, does not."""
    work = load([0.0, 0.0, 0.0], [10] * 3, [50, 50, 10], [0, 1, BASE], 2)
    log = simulate_batch(VLLM, work, [ADAPTER] * 2, slots=1)
    assert log.start_s[2] == log.start_s[0]
    assert log.start_s[1] == pytest.approx(log.finish_s[0], abs=1e-9)
    assert log.adapter_hit.tolist() == [0, 0, -1] and log.swaps == 2


def test_the_least_recently_used_adapter_leaves_its_slot() -> None:
    at = np.arange(5) * 10.0
    log = simulate_batch(
        VLLM, load(at, [10] * 5, [2] * 5, [0, 1, 0, 2, 0], 3), [ADAPTER] * 3, slots=2
    )
    assert log.adapter_hit.tolist() == [0, 0, 1, 0, 1]
    assert log.spans[0].adapter.tolist() == [0, 1, 2]
    np.testing.assert_allclose(
        log.spans[0].end_s - log.spans[0].begin_s, VLLM.batching.load_us * 1e-6, atol=2e-9
    )


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_missing_adapter_may_push_out_one_whose_turn_comes_later(engine: Any) -> None:
    """Three slots; of four adapters the turns are 0, 2, 1 and 3.

    When 3 has ended, 2 comes. Of the step before, 1 had its turn before 3, so 2 takes its slot;
    then it is the turn of 1, which takes that of 3.
    """
    work = load([0.0] * 4, [10] * 4, [40, 40, 2, 40], [0, 1, 3, 2], 4)
    log = simulate_batch(VLLM, work, [ADAPTER] * 4, slots=3, engine=engine)
    assert log.spans[0].adapter.tolist() == [0, 1, 3, 2, 1]
    took = log.spans[0].end_s - log.spans[0].begin_s
    np.testing.assert_allclose(took, VLLM.batching.load_us * 1e-6, atol=2e-9)
    assert log.swap_wait_s[3] == pytest.approx(VLLM.batching.load_us * 1e-6, abs=2e-9)


def test_an_adapter_of_a_lower_rank_than_its_slot_takes_longer_to_copy() -> None:
    log = simulate_batch(VLLM, load([0.0], [10], [2], [0], 1), [RANKS[1]], slots=1, rank=16)
    took = log.spans[0].end_s - log.spans[0].begin_s
    b = VLLM.batching
    assert took == pytest.approx([(b.load_us + b.padded_load_us) * 1e-6], abs=2e-9)


def test_each_request_that_is_passed_over_takes_its_time_in_every_step() -> None:
    """Two requests of another adapter wait for the one slot in all 50 steps."""
    work = load([0.0] * 3, [10] * 3, [50, 1, 1], [0, 1, 1], 2)
    slow = simulate_batch(VLLM, work, [ADAPTER] * 2, slots=1)
    free = simulate_batch(small_server(passed_ns=0.0), work, [ADAPTER] * 2, slots=1)
    more = 50 * 2 * VLLM.batching.passed_ns * 1e-9
    assert slow.finish_s[0] - free.finish_s[0] == pytest.approx(more, abs=1e-7)


def test_a_request_that_finds_no_connection_is_never_sent() -> None:
    at = [0.0, 0.0, 0.001, 9.0]
    log = simulate_batch(VLLM, load(at, [10] * 4, [50] * 4), [], connections=2)
    completed = Status.COMPLETED
    assert log.status.tolist() == [completed, completed, Status.UNFINISHED, completed]


def test_adapters_beyond_host_memory_come_from_disk() -> None:
    server = small_server(host_adapters=2, slots=1)
    log = simulate_batch(
        server, load([0.0, 9.0], [10] * 2, [2] * 2, [0, 2], 3), [ADAPTER] * 3, slots=1
    )
    # Of three adapters loaded in order, the last two are in host memory.
    took = log.spans[0].end_s - log.spans[0].begin_s
    b = server.batching
    assert took == pytest.approx([(b.load_us + b.disk_load_us) * 1e-6, b.load_us * 1e-6], abs=2e-9)


def test_zero_adapters_is_adapters_off() -> None:
    bare = load([0.0, 0.1], [100, 50], [20, 30])
    named = dataclasses.replace(bare, adapters=("a0", "a1"))
    one, two = simulate_batch(VLLM, bare, []), simulate_batch(VLLM, named, [ADAPTER] * 2)
    np.testing.assert_array_equal(one.finish_s, two.finish_s)


def test_refusals_are_counted() -> None:
    wide = Adapter.from_shape("r64:qv", VLLM.model)
    work = load([0.0] * 3, [140_000, 10, 10], [1, 1, 1], [BASE, 0, 1], 2)
    log = simulate_batch(VLLM, work, [wide, ADAPTER], slots=1, rank=16)
    assert log.status.tolist() == [Status.TOO_LONG, Status.ADAPTER_TOO_BIG, Status.COMPLETED]


def test_servers_without_adapters_refuse_them() -> None:
    with pytest.raises(InputError, match="serves the base model only"):
        simulate_batch(BatchServer.open("trtllm-h100"), load([0], [1], [1], [0], 1), [ADAPTER])


def test_a_server_that_cannot_start_says_so() -> None:
    with pytest.raises(InputError, match="out of memory with 256 adapter slots of rank 16"):
        simulate_batch(VLLM, load([0], [1], [1], [0], 1), [ADAPTER], slots=256)


def test_samples_are_bounded_and_hold_the_peak() -> None:
    work = load(np.arange(300) * 0.5, [200] * 300, [100] * 300)
    log = simulate_batch(VLLM, work, [])
    assert len(log.occupancy.time_s) <= SAMPLES + 1
    at_most = small_server(max_seqs=1)
    lone = simulate_batch(at_most, work, [])
    # 200 + 99 tokens whose KV is kept fill 19 blocks of 16.
    assert lone.occupancy.kv_bytes.max() == 19 * 16 * VLLM.kv_bytes_per_token


@pytest.mark.parametrize(
    ("name", "prompt", "output", "published"),
    [
        ("trtllm-h100", 1000, 1000, 15_220),
        ("trtllm-h100", 5000, 500, 3_459),
        ("trtllm-h200", 1000, 1000, 17_744),
        ("trtllm-h200", 5000, 500, 3_902),
    ],
)
def test_held_out_rows_of_trtllm(name: str, prompt: int, output: int, published: int) -> None:
    """Rows of NVIDIA's table that no coefficient was solved from; long prompts within 5 %."""
    count = 4096
    work = load(np.zeros(count), [prompt] * count, [output] * count)
    log = simulate_batch(BatchServer.open(name), work, [])
    assert count * output / log.end_s == pytest.approx(
        published, rel=0.05 if prompt == 5000 else 0.055
    )
