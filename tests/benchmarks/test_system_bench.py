"""Speed of systems of several dies: the compiled engine, and closed forms over many systems.

Run with ``make bench``. Nothing is asserted, because a test machine's speed is not ours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hardwire.models import Chip, LanguageModel
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import Stage, evenly
from hardwire.models.system.system import System
from hardwire.simulator.requests import Requests
from hardwire.simulator.system import compiled
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.closed_form import rates
from hardwire.simulator.system.measured import chosen_experts
from hardwire.simulator.system.routing import Routing

USERS, TOKENS = 216, 64
POINTS = 5_000


@pytest.mark.benchmark(group="systems, HNLPU with 216 users x 64 tokens")
def test_hnlpu(benchmark: BenchmarkFixture) -> None:
    """The engine alone: the program is built and the experts are drawn before."""
    system = System.open("hnlpu")
    program = build_program(system)
    requests = Requests.uniform(USERS, 1, TOKENS)
    choices = chosen_experts(system, program, requests, Routing())
    compiled.simulate(program, Requests.uniform(1, 1, 2), choices=choices)  # compile
    benchmark(compiled.simulate, program, requests, choices=choices)
    if benchmark.stats is not None:
        steps = int(requests.tokens.sum()) * program.steps / benchmark.stats["median"]
        benchmark.extra_info["steps_per_s"] = steps


def sweep() -> int:
    """100,000 systems: Llama 70B on ten numbers and splits of dies, over two kinds of links, each
    with 5,000 bandwidths, latencies, loads and numbers of users."""
    chip, model, found = Chip.open("hc1"), LanguageModel.open("llama-3.1-70b"), 0
    rng = np.random.default_rng(0)
    for dies, split in ((8, 1), (8, 2), (8, 4), (8, 8), (16, 1), (16, 2), (16, 4), (20, 1),
                        (40, 1), (40, 8)):  # fmt: skip
        names = [f"d{number:02d}" for number in range(dies)]
        groups = [tuple(names[at : at + split]) for at in range(0, dies, split)]
        layers = evenly([1] * model.layers, len(groups))
        stages = [Stage(part, group) for part, group in zip(layers, groups, strict=True)]
        for name in ("board", "cable"):
            kind = LinkKind.open(name)
            sheet = replace(
                kind.sheet,
                lane_gb_per_s=rng.uniform(5, 50, POINTS),
                latency_ns=rng.uniform(50, 1000, POINTS),
            )
            system = System.pipeline(
                "s", chip, model, replace(kind, sheet=sheet), stages,
                shape="ring" if split == 1 else "all",
            )  # fmt: skip
            answer = rates(
                system,
                prompt=rng.integers(16, 8192, POINTS),
                output=rng.integers(2, 2048, POINTS),
                users=rng.integers(1, 64, POINTS),
            )
            found += len(answer.token_s)
    return found


@pytest.mark.benchmark(group="systems, closed form of 100,000")
def test_closed_form_of_systems(benchmark: BenchmarkFixture) -> None:
    assert benchmark(sweep) == 100_000
