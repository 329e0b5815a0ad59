"""How soon each command of docs/first-evening.md answers, once compiled code is cached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardwire.experiments.guard import evening

PAGE = Path(__file__).resolve().parents[2] / "docs" / evening.PAGE
WANTED_S = 3.0
"""Within which every command but the sweep, whose points are the user's, is to answer."""


@pytest.mark.slow
def test_the_first_evening(benchmark: Any, tmp_path: Path) -> None:
    """Whole processes, as a user starts them; the walk before the timed one fills the caches."""
    if benchmark.disabled:
        pytest.skip("a benchmark of whole processes; the page itself is walked by its own test")
    text = PAGE.read_text(encoding="utf-8")
    seconds: dict[str, float] = {}

    def walk() -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        seconds.update({one.step.command: one.seconds for one in evening.walk(text, folder)})

    benchmark.pedantic(walk, rounds=1, warmup_rounds=1 if benchmark.enabled else 0)
    benchmark.extra_info["seconds"] = {name: round(taken, 2) for name, taken in seconds.items()}
    benchmark.extra_info["above_3_s"] = [
        name
        for name, taken in seconds.items()
        if taken > WANTED_S and not name.startswith("hardwire sweep")
    ]
    assert len(seconds) == sum(bool(step.command) for step in evening.steps(text))
