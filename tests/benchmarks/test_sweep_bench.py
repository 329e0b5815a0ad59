"""Speed of sweeps: points per second inside a chunk, of keys, and end to end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hardwire.experiments.sweep import Study, sweep
from hardwire.experiments.sweep.runner import CHUNK

CHUNK_POINTS = CHUNK["closed-form"]
END_TO_END = 2_000_000

AXES: dict[str, Any] = {
    "datapath.lanes": "range",
    "datapath.clock_ghz": "range",
    "datapath.fill_cycles": "range",
    "sram.capacity_mib": "range",
    "rom.density_mbit_per_mm2": "range",
}
ADAPTER: dict[str, Any] = {
    "adapter.rank": {"from": 1, "to": 64},
    "adapter.format": ["int8", "int4"],
    "lora.read_bytes_per_cycle": "range",
}


def make_study(points: int, axes: dict[str, Any]) -> Study:
    data = {
        "base": {"adapter": "r16:all-linear"} if "adapter.rank" in axes else {},
        "axes": axes,
        "sample": {"random": points, "seed": 1},
        "constraints": ["area_mm2.total <= die_area_mm2", "sram.free_bytes >= 0"],
    }
    return Study.from_dict("bench", data)


@pytest.mark.reference("arrays")
@pytest.mark.parametrize("axes", [AXES, {**AXES, **ADAPTER}], ids=["base", "adapter"])
def test_points_in_a_chunk(benchmark: Any, axes: dict[str, Any]) -> None:
    study = make_study(CHUNK_POINTS, axes)
    settings = study.settings(study.chunk(0, CHUNK_POINTS))
    benchmark(study.evaluate, settings)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["points_per_s"] = round(CHUNK_POINTS / seconds)


@pytest.mark.reference("arrays")
def test_keys_of_a_chunk(benchmark: Any) -> None:
    study = make_study(CHUNK_POINTS, AXES)
    settings = study.settings(study.chunk(0, CHUNK_POINTS))
    benchmark(study.keys, settings)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["points_per_s"] = round(CHUNK_POINTS / seconds)


@pytest.mark.slow
def test_end_to_end(benchmark: Any, tmp_path: Path) -> None:
    """Two workers, their start included; written, keyed, to be resumed."""
    study = make_study(END_TO_END if benchmark.enabled else 1000, AXES)
    store = tmp_path / "store"

    def run() -> None:
        shutil.rmtree(store, ignore_errors=True)
        sweep(study, store, workers=2)

    benchmark.pedantic(run, rounds=3 if benchmark.enabled else 1)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["points_per_s"] = round(study.points / seconds)
