"""The closed form of a full queue against the engines, and what it does over arrays."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.gpu_make import parts_server
from hardwire.models.gpu_server import BatchServer
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.gpu.steady import saturated_tokens_per_s
from hardwire.simulator.serving.load.workload import BASE, Workload

SERVERS = [parts_server("h100", "llama-3.1-8b", "fp8", 1, engine) for engine in ("vllm", "trtllm")]
SERVERS.append(parts_server("h100", "qwen3-30b-a3b", "fp8", 1, "vllm"))


@examples(8)
@given(
    st.sampled_from(SERVERS),
    st.sampled_from([128, 1000, 5000]),
    st.sampled_from([128, 500, 2000]),
    st.integers(64, 1024),
)
def test_the_closed_form_of_a_full_queue_is_near_the_engines(
    server: BatchServer, prompt: int, output: int, seats: int
) -> None:
    base = server.changed({"max_seqs": seats})
    count = 8 * seats
    work = Workload(
        "at once", np.zeros(count), np.full(count, prompt), np.full(count, output),
        np.full(count, BASE, np.int32), (), 0.0,
    )  # fmt: skip
    engine = count * output / simulate_batch(base, work, []).end_s
    # A queue that ends leaves the last wave half empty: an eighth of the run here.
    assert float(saturated_tokens_per_s(base, prompt, output)) == pytest.approx(engine, rel=0.12)


def test_draws_are_answered_as_one_by_one() -> None:
    server = SERVERS[1]
    shares = np.array([0.7, 0.8, 0.9])
    at_once = saturated_tokens_per_s(server.changed({"gpu.memory_reached": shares}), 1000, 1000)
    each = [
        float(saturated_tokens_per_s(server.changed({"gpu.memory_reached": s}), 1000, 1000))
        for s in shares
    ]
    assert at_once == pytest.approx(each) and (np.diff(at_once) > 0).all()
