"""Speed of studies of fidelity engine and replay, points per second.

The closed forms of power, area and cost of every point are part of the time, as in a study.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.fidelity import evaluate

CHUNKS, CHUNK = 6, 4
"""Replays: so many at a time are given to a worker that has nothing to do."""


def engine_study(issue: str, users: int) -> Study:
    """HC1 with Llama 3.1 8B and a rank-16 adapter, 1,024 + 1,024 tokens per user."""
    return Study.from_dict(
        "engine",
        {
            "fidelity": "engine",
            "base": {
                "adapter": "r16:all-linear",
                "datapath.issue": issue,
                "workload.users": users,
                "sram.capacity_mib": 4096,
            },
            "axes": {
                "datapath.lanes": {"from": 9, "to": 40, "step": 1},
                "datapath.clock_ghz": {"from": 0.6, "to": 2, "points": 32},
            },
        },
    )


def shared_study(users: int) -> Study:
    """ROMA, whose layers share their units, pipelined; otherwise as ``engine_study``."""
    return Study.from_dict(
        "engine-shared",
        {
            "fidelity": "engine",
            "base": {
                "chip": "roma",
                "adapter": "r16:all-linear",
                "datapath.issue": "pipelined",
                "workload.users": users,
                "sram.capacity_mib": 4096,
            },
            "axes": {"datapath.vector_lanes": {"from": 241, "to": 256, "step": 1}},
        },
    )


def replay_study(points: int) -> Study:
    """ShareGPT requests on ten cards, whose SRAM varies."""
    return Study.from_dict(
        "replay",
        {
            "fidelity": "replay",
            "replay": {"source": "sharegpt", "requests": 2000, "rate": 200, "adapters": 64},
            "axes": {"sram.capacity_mib": {"from": 300, "to": 448, "points": points}},
        },
    )


def settings_of(study: Study, start: int = 0, stop: int | None = None) -> dict[str, np.ndarray]:
    return study.settings(study.chunk(start, study.points if stop is None else stop))


@pytest.mark.reference("arrays")
@pytest.mark.benchmark(group="engine fidelity, 1024 + 1024 tokens, one core")
@pytest.mark.parametrize("users", [1, 4, 16])
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_engine_points(benchmark: BenchmarkFixture, issue: str, users: int) -> None:
    study = engine_study(issue, users)
    settings = settings_of(study)
    evaluate(study, {name: values[:2] for name, values in settings.items()})  # compiles
    found = benchmark.pedantic(evaluate, args=(study, settings), rounds=3)
    assert np.isfinite(found["token_s"]).all()
    if benchmark.stats is not None:
        benchmark.extra_info["points/s"] = round(study.points / benchmark.stats["min"])


@pytest.mark.reference("arrays")
@pytest.mark.benchmark(group="engine fidelity, layers shared, 1024 + 1024 tokens, one core")
@pytest.mark.parametrize("users", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_engine_points_of_shared_layers(benchmark: BenchmarkFixture, users: int) -> None:
    study = shared_study(users)
    settings = settings_of(study)
    evaluate(study, {name: values[:2] for name, values in settings.items()})  # compiles
    found = benchmark.pedantic(evaluate, args=(study, settings), rounds=3)
    assert np.isfinite(found["token_s"]).all()
    if benchmark.stats is not None:
        benchmark.extra_info["points/s"] = round(study.points / benchmark.stats["min"])


def _replay(start: int) -> float:
    """Replay a chunk; its CPU seconds."""
    study = replay_study(CHUNKS * CHUNK)
    begin = time.process_time()
    evaluate(study, settings_of(study, start, start + CHUNK))
    return time.process_time() - begin


def _timed(pool: ProcessPoolExecutor) -> tuple[float, float]:
    """Wall and CPU seconds of all chunks."""
    begin = time.perf_counter()
    cpu_s = sum(pool.map(_replay, range(0, CHUNKS * CHUNK, CHUNK)))
    return time.perf_counter() - begin, cpu_s


@pytest.mark.slow
@pytest.mark.benchmark(group="replay fidelity, 2,000 requests on ten cards")
def test_replay_on_two_workers(benchmark: BenchmarkFixture) -> None:
    """Parallel efficiency: the time of one worker over twice that of two, for the same points.

    Other load on the machine takes from two workers more than from one; what their CPU time grows
    by, they take from each other.
    """
    if benchmark.disabled:
        pytest.skip("a benchmark of whole processes")
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as one, ProcessPoolExecutor(2, spawn) as two:
        for pool in (one, two):  # import, and load what is compiled
            _timed(pool)
        alone = [_timed(one) for _ in range(3)]
        together = []
        benchmark.pedantic(lambda: together.append(_timed(two)), rounds=3)
    wall_s, cpu_s = (min(times) for times in zip(*alone, strict=True))
    wall_2_s, cpu_2_s = (min(times) for times in zip(*together, strict=True))
    benchmark.extra_info["points/s of one worker"] = round(CHUNKS * CHUNK / wall_s, 2)
    benchmark.extra_info["parallel efficiency"] = round(wall_s / (2 * wall_2_s), 3)
    benchmark.extra_info["CPU time, one worker over two"] = round(cpu_s / cpu_2_s, 3)
