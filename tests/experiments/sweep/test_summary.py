"""What is said of a sweep besides its best points."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from hardwire.experiments.sweep import Study, results, sweep
from hardwire.experiments.sweep.plot import sweep_figure
from hardwire.experiments.sweep.summary import aims, summarize
from hardwire.experiments.sweep.view import render
from hardwire.simulator.pipelined import EXACT


@pytest.mark.parametrize(("chip", "inexact"), [("roma", 2), ("hc1", 0)])
def test_points_that_the_closed_form_knows_less_well_are_counted(
    chip: str, inexact: int, tmp_path: Path
) -> None:
    """Users queue on ROMA's shared units; HC1's layers have their own."""
    data = {
        "base": {"chip": chip},
        "axes": {"workload.users": [1, 2, 3]},
        "metrics": ["token_s"],
    }
    found = summarize(sweep(Study.from_dict("users", data), tmp_path))
    assert (found.inexact, found.to_dict()["inexact"]) == (inexact, inexact)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render(found))
    assert ("tokens queue on shared units" in shown.get()) == bool(inexact)
    # Each of the best says so itself: of ROMA's, whom a third user does not fit, the second.
    loose = [bound > EXACT for bound in found.bounds()]
    assert loose == ([False, True] if inexact else [False] * len(found.best))
    assert ("times within" in shown.get()) == bool(inexact)
    points = results(tmp_path, f'SELECT * FROM "{found.name}"')
    figure = sweep_figure(found.swept.study, aims(found.swept), points)
    assert any("2 with times within 3%" in text.get_text() for text in figure.texts) == bool(
        inexact
    )


def test_the_figure_has_a_ring_around_points_that_the_closed_form_knows_less_well(
    tmp_path: Path,
) -> None:
    data = {
        "base": {"chip": "roma"},
        "axes": {"workload.users": [1, 2, 3]},
        "metrics": ["decode_tokens_per_s_chip", "power_w"],
    }
    found = summarize(sweep(Study.from_dict("users", data), tmp_path))
    points = results(tmp_path, f'SELECT * FROM "{found.name}"')
    figure = sweep_figure(found.swept.study, aims(found.swept), points)
    rings = [
        drawn for drawn in figure.axes[1].collections if drawn.get_label() == "times within 3%"
    ]
    assert [len(ring.get_offsets()) for ring in rings] == [1]
