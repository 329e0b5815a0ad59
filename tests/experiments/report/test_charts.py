"""Charts of reports: a front is drawn in steps."""

from __future__ import annotations

import itertools
import re
from typing import Literal

import pytest

from hardwire.experiments.report.charts import Group, scatter
from hardwire.experiments.report.draw import svg

POINTS = [(1.0, 10.0), (2.0, 30.0), (4.0, 35.0)]


@pytest.mark.parametrize(("steps", "order"), [("after", "hv"), ("before", "vh")])
def test_a_front_goes_in_steps_and_never_aslant(
    steps: Literal["after", "before"], order: str
) -> None:
    """Between two designs on it only what one of them reaches is known to be possible."""
    group = Group("feasible", "#22569e", POINTS, {"design": ["a", "b", "c"]})
    chart = scatter([group], x_label="area", y_label="rate", front=POINTS, steps=steps)
    (path,) = re.findall(r'aria-roledescription="line mark" d="M([^"]+)"', svg(chart))
    places = [tuple(map(float, place.split(","))) for place in path.split("L")]
    moves = [
        "h" if y == other_y else "v" if x == other_x else "slanted"
        for (x, y), (other_x, other_y) in itertools.pairwise(places)
        if (x, y) != (other_x, other_y)
    ]
    assert "".join(moves) == order * (len(POINTS) - 1)


def test_without_a_front_no_line_is_drawn() -> None:
    group = Group("feasible", "#22569e", POINTS, {"design": ["a", "b", "c"]})
    assert "line mark" not in svg(scatter([group], x_label="area", y_label="rate"))
