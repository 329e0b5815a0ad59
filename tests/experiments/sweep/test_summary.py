"""What is said of a sweep besides its best points."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from hardwire.experiments.sweep import Study, sweep
from hardwire.experiments.sweep.summary import summarize
from hardwire.experiments.sweep.view import render


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
