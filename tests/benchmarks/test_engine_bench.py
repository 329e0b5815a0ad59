"""Speed of the engines and of the closed forms.

Run with ``make bench``. Ratios are taken within one run and printed as extra information; nothing
is asserted, because a test machine's speed is not ours.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator import build_program
from hardwire.simulator.closed_form import decode_token_s
from hardwire.simulator.engines import compiled as engine
from hardwire.simulator.engines import reference
from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import Requests

USERS, TOKENS = 32, 200
MILLION = 1_000_000


@pytest.fixture(scope="module")
def program() -> TokenProgram:
    """Llama 3.1 8B with a rank-16 adapter on HC1, pipelined issue: 449 visits per token."""
    model = LanguageModel.open("llama-3.1-8b")
    adapter = Adapter.from_shape("r16:all-linear", model)
    return build_program(Chip.open("hc1"), model, [adapter], issue="pipelined")


def visits(program: TokenProgram, requests: Requests) -> int:
    """Unit visits of requests whose every token is sampled (prompts of one token)."""
    return int(requests.tokens.sum()) * (program.stages + int((program.side_unit >= 0).sum()))


@pytest.mark.benchmark(group="engines, 32 users x 200 tokens, pipelined")
@pytest.mark.parametrize("engine_pass", ["max_plus", "event_queue"])
def test_compiled(benchmark: BenchmarkFixture, program: TokenProgram, engine_pass: str) -> None:
    requests = Requests.uniform(USERS, 1, TOKENS, 1)
    engine.simulate(program, requests, engine_pass=engine_pass)  # compile
    benchmark(engine.simulate, program, requests, engine_pass=engine_pass)
    if benchmark.stats is None:  # benchmarks are disabled: the call itself was the test
        return
    rate = visits(program, requests) / benchmark.stats["median"]
    benchmark.extra_info["visits_per_s"] = rate
    # The reference on the same load takes minutes; its rate is measured on an eighth of the users
    # and a fortieth of the tokens, in this run. Its cost per visit grows with the load.
    small = Requests.uniform(USERS // 8, 1, TOKENS // 40, 1)
    begin = time.perf_counter()
    reference.simulate(program, small)
    reference_rate = visits(program, small) / (time.perf_counter() - begin)
    benchmark.extra_info["reference_visits_per_s"] = reference_rate
    benchmark.extra_info["times_reference"] = rate / reference_rate
    print(f"\n{engine_pass}: {rate:.3g} visits/s, {rate / reference_rate:,.0f} x reference")


@pytest.mark.slow
@pytest.mark.reference("python")
@pytest.mark.benchmark(group="engines, 32 users x 200 tokens, pipelined")
def test_reference(benchmark: BenchmarkFixture, program: TokenProgram) -> None:
    """The whole load on the reference, once: under half a minute where it is timed."""
    tokens = TOKENS if benchmark.enabled else 2
    requests = Requests.uniform(USERS, 1, tokens, 1)
    found = benchmark.pedantic(reference.simulate, (program, requests), rounds=1)
    expected = engine.simulate(program, requests)
    np.testing.assert_array_equal(found.done, expected.done)
    if benchmark.stats is not None:
        rate = visits(program, requests) / benchmark.stats["median"]
        benchmark.extra_info["visits_per_s"] = rate
        print(f"\nreference: {rate:.3g} visits/s")


@pytest.mark.benchmark(group="serial issue, one user, 1k/1k")
def test_serial(benchmark: BenchmarkFixture) -> None:
    model = LanguageModel.open("llama-3.1-8b")
    program = build_program(Chip.open("hc1"), model)
    requests = Requests.uniform(1, 1024, 1024)
    engine.simulate(program, requests)
    benchmark(engine.simulate, program, requests)


@pytest.mark.reference("arrays")
@pytest.mark.benchmark(group="closed form, a million HC1 variants")
@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "r16"])
def test_closed_form(benchmark: BenchmarkFixture, with_adapter: bool) -> None:
    rng = np.random.default_rng(0)
    model = LanguageModel.open("llama-3.1-8b")
    count = MILLION if benchmark.enabled else 1000
    chip = Chip.open("hc1").with_values(
        {
            "datapath.lanes": rng.integers(8, 33, count).astype(float),
            "datapath.fill_cycles": rng.integers(12, 41, count).astype(float),
            "datapath.vector_lanes": rng.integers(128, 513, count).astype(float),
            "datapath.clock_ghz": rng.uniform(0.6, 1.8, count),
            "attention.kv_read_bytes_per_cycle": rng.integers(4096, 16385, count).astype(float),
            "lora.macs_per_cycle": rng.integers(1024, 16385, count).astype(float),
            "sampling.loop_cycles": rng.integers(100, 4001, count).astype(float),
        }
    )
    adapter = Adapter.from_shape("r16:all-linear", model) if with_adapter else None
    rate = benchmark(lambda: 1 / decode_token_s(chip, model, 1024, 1024, adapter))
    assert rate.shape == (count,) and (rate > 0).all()
