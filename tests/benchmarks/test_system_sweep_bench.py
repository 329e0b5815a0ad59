"""Speed of a study of 100,800 systems of several dies, with its store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hardwire.experiments.sweep import Study, sweep


def test_a_hundred_thousand_systems(benchmark: Any, tmp_path: Path) -> None:
    study, store = Study.open("systems"), tmp_path / "store"

    def anew() -> None:
        shutil.rmtree(store, ignore_errors=True)

    swept = benchmark.pedantic(sweep, (study, store), setup=anew, rounds=3)
    assert swept.counts.computed == study.points
    if benchmark.stats is not None:
        benchmark.extra_info["points_per_s"] = round(study.points / benchmark.stats.stats.min)
