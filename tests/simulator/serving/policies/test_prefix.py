"""KV pages of prompt prefixes that stay for later requests."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.serving.cards.hardware import Card
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.load.workload import BASE, PREFIX_BLOCK_TOKENS, Prefixes, Workload
from hardwire.simulator.serving.log import Status
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.policies.prefix import PrefixCache
from hardwire.simulator.serving.replay import replay

MODEL = LanguageModel.open("llama-3.1-8b")
ADAPTER = Adapter.from_shape("r1:qv:int8", MODEL)
BLOCK_BYTES = PREFIX_BLOCK_TOKENS * 68 * 1024


def one_card(users: int, issue: str = "pipelined") -> Server:
    server = Server.open("hc1x10")
    machine = dataclasses.replace(server.machine, cards=1, users_per_card=users)
    return dataclasses.replace(server, issue=issue, machine=machine)


def conversation(rows, adapters=("a", "b")) -> Workload:
    """Requests (arrival, prompt, output, adapter, hashes)."""
    arrival, prompt, output, adapter, hashes = zip(*rows, strict=True)
    first = np.cumsum([0, *(len(h) for h in hashes)])
    return Workload(
        "conversation",
        np.array(arrival, dtype=float),
        np.array(prompt),
        np.array(output),
        np.array(adapter, dtype=np.int32),
        adapters,
        float(arrival[-1]),
        Prefixes(first, np.array([x for h in hashes for x in h], dtype=np.int64)),
    )


def serve(workload, policy, *, users=1, chip=None, issue="serial"):
    shapes = [ADAPTER] * len(workload.adapters)
    return replay(one_card(users, issue), workload, shapes, policy, chip=chip)


def test_a_second_turn_computes_only_what_is_new() -> None:
    rows = [(0.0, 1100, 10, BASE, [1, 2, 3]), (1.0, 1600, 10, BASE, [1, 2, 4, 5])]
    workload = conversation(rows)
    off = serve(workload, Policy(prefix_reuse=False))
    on = serve(workload, Policy(prefix_reuse=True))
    assert on.reused_tokens.tolist() == [0, 2 * PREFIX_BLOCK_TOKENS]
    assert off.reused_tokens.tolist() == [0, 0]
    ttft_on, ttft_off = on.first_token_s - workload.arrival_s, off.first_token_s - [0, 1]
    assert ttft_on[0] == ttft_off[0]
    # 576 of 1,600 tokens are left, the later and slightly dearer ones.
    assert ttft_on[1] / ttft_off[1] == pytest.approx(576 / 1600, rel=0.07)
    assert on.energy_by_j["prefill"] < off.energy_by_j["prefill"]


@pytest.mark.parametrize("second", [1, BASE])
def test_another_adapters_pages_are_never_read(second: int) -> None:
    rows = [(0.0, 1100, 10, 0, [1, 2]), (1.0, 1100, 10, second, [1, 2])]
    assert serve(conversation(rows), Policy(prefix_reuse=True)).reused_tokens.tolist() == [0, 0]


def test_a_prompt_that_is_all_there_still_computes_a_token() -> None:
    rows = [(0.0, 1024, 1, BASE, [1, 2]), (1.0, 1024, 1, BASE, [1, 2])]
    log = serve(conversation(rows), Policy(prefix_reuse=True))
    assert log.reused_tokens.tolist() == [0, 512]
    assert log.first_token_s[1] > 1.0


@examples(20)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3]),
    st.sampled_from(["serial", "pipelined"]),
    st.sampled_from(["recompute", "offload"]),
    st.sampled_from([None, 1]),
)
def test_shared_blocks_keep_all_laws(seed, users, issue, preemption, slots) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for arrival in np.sort(rng.uniform(0, 0.5, 25)):
        prompt, story = int(rng.integers(400, 1700)), int(rng.integers(0, 3))
        blocks = -(-prompt // PREFIX_BLOCK_TOKENS)
        shared = int(rng.integers(0, blocks + 1))
        # A chain: what follows a block of one's own is one's own.
        hashes = [story * 100 + k for k in range(shared)]
        hashes += [int(rng.integers(10**6, 10**9)) for _ in range(blocks - shared)]
        rows.append((arrival, prompt, int(rng.integers(1, 200)), int(rng.integers(-1, 2)), hashes))
    workload = conversation(rows)
    policy = Policy(prefix_reuse=True, preemption=preemption, slots=slots)
    small = Chip.open("hc1").with_values({"sram.capacity_mib": 160})
    log = serve(workload, policy, users=users, chip=small, issue=issue)
    assert set(log.status.tolist()) <= {Status.COMPLETED, Status.TOO_LONG}
    used = log.occupancy.kv_bytes + log.occupancy.adapter_bytes
    assert (used <= log.capacity_bytes).all() and (log.occupancy.kv_bytes >= 0).all()
    assert (log.reused_tokens[log.preemptions == 0] < workload.prompt[log.preemptions == 0]).all()
    # What is left are kept blocks and nothing else.
    assert log.occupancy.kv_bytes[-1] % BLOCK_BYTES == 0


def test_the_cache_forgets_the_block_that_was_idle_longest() -> None:
    cache = PrefixCache()
    assert cache.insert([(0, 1), (0, 2)]) == 2 and cache.insert([(0, 2), (0, 3)]) == 1
    cache.hold([(0, 1)])
    cache.drop()
    assert cache.match([(0, 1), (0, 2)]) == 1 and cache.idle == 1 and len(cache) == 2
    cache.release([(0, 1)])
    assert cache.idle == 2


@pytest.mark.slow
@examples(20)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3]),
    st.sampled_from(["recompute", "offload"]),
    st.booleans(),
)
def test_c2_what_is_charged_is_what_was_computed(seed, users, preemption, reuse) -> None:
    """Of tables whose joules are cycles, the energy is the time that serial cards compute."""
    rng = np.random.default_rng(seed)
    rows = []
    for arrival in np.sort(rng.uniform(0, 0.3, 12)):
        prompt, story = int(rng.integers(200, 900)), int(rng.integers(0, 3))
        blocks = -(-prompt // PREFIX_BLOCK_TOKENS)
        hashes = [story * 100 + block for block in range(blocks)]
        output, adapter = int(rng.integers(1, 700)), int(rng.integers(-1, 2))
        rows.append((arrival, prompt, output, adapter, hashes))
    workload = conversation(rows)
    policy = Policy(prefix_reuse=reuse, preemption=preemption)
    small = Chip.open("hc1").with_values({"sram.capacity_mib": 160})
    shapes = [ADAPTER, Adapter.from_shape("r16:all-linear:int8", MODEL)]
    server = one_card(users, "serial")
    cards = CardServer(server, Card(server, small, shapes), workload, shapes, policy, 0, "compiled")
    costs = cards.costs
    cards.costs = dataclasses.replace(
        costs,
        body_j=costs.body.astype(float),
        whole_j=costs.whole.astype(float),
        regulator_efficiency=1.0,
    )
    log = cards.serve(None, None)
    assert (log.status == Status.COMPLETED).all()
    charged = sum(log.energy_by_j[part] for part in ("prefill", "decode", "recomputation"))
    assert charged == pytest.approx(log.busy_s["compute"][0] * costs.clock_hz, rel=1e-9)
    dropped = preemption == "recompute" and log.preemptions.any()
    assert (log.energy_by_j["recomputation"] > 0) == dropped
