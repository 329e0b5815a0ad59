"""The figure of a sweep: fronts in steps, lines that break with their design, words at the axes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.plot import front_steps, sweep_figure

LANES = [10, 11, 12, 13, 14, 15, 16, 17]
CLOCKS = [1.0, 1.2]
RATE, AREA = "decode_tokens_per_s_user", "area_mm2.total"


@pytest.fixture(scope="module")
def panels() -> tuple[Axes, Axes]:
    """Rate along the lanes, and rate against area, of a table made by hand.

    Up to 13 lanes the larger SRAM is better; above it is infeasible.
    """
    study = Study.from_dict(
        "by-hand",
        {
            "title": "By hand",
            "base": {"chip": "hc1"},
            "axes": {
                "datapath.lanes": LANES,
                "datapath.clock_ghz": CLOCKS,
                "sram.capacity_mib": [256, 448],
            },
            "metrics": [RATE, AREA],
        },
    )
    rows = [
        {
            "datapath.lanes": lanes, "datapath.clock_ghz": clock, "sram.capacity_mib": mib,
            RATE: 1000.0 * lanes * clock + mib, AREA: 20.0 * lanes + 0.5 * mib,
            "feasible": mib == 256 or lanes < 14,
        }
        for lanes in LANES
        for clock in CLOCKS
        for mib in (256, 448)
    ]  # fmt: skip
    sides: dict[str, Better] = {RATE: "max", AREA: "min"}
    figure = sweep_figure(study, sides, pd.DataFrame(rows))
    return figure.axes[0], figure.axes[1]


def drawn(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if len(np.asarray(line.get_xdata()))]


def test_a_line_breaks_where_its_designs_are_not_joined(panels: tuple[Axes, Axes]) -> None:
    lines = drawn(panels[0])
    assert len(lines) == 2 * len(CLOCKS)
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert list(np.asarray(first.get_xdata())) == LANES[:4]
        assert list(np.asarray(second.get_xdata())) == LANES[4:]
        assert first.get_color() == second.get_color()
    said = {text.get_text() for text in panels[0].texts}
    assert said == {"capacity 448 MiB", "capacity 256 MiB"}


def test_the_front_goes_in_steps_that_only_designs_reach(panels: tuple[Axes, Axes]) -> None:
    (front,) = drawn(panels[1])
    assert front.get_drawstyle() == front_steps("min") == "steps-post"
    assert front_steps("max") == "steps-pre"
    x, y = (np.asarray(part, dtype=float) for part in front.get_data())
    assert len(x) > 2 and (np.diff(x) > 0).all() and (np.diff(y) > 0).all()


def test_axes_and_keys_are_words_with_units(panels: tuple[Axes, Axes]) -> None:
    for axes in panels:
        legend = axes.get_legend()
        assert legend is not None
        labels = [axes.get_xlabel(), axes.get_ylabel(), legend.get_title().get_text()]
        labels += [text.get_text() for text in legend.get_texts()]
        assert all(labels[:2])
        assert not [label for label in labels if re.search(r"_|[a-z]\.[a-z]|mm2", label)]
    assert panels[1].get_xlabel() == "area of all blocks, mm²"
