"""Charts of reports: fronts go in steps, and names of rows are whole."""

from __future__ import annotations

import itertools
import re
from typing import Literal

import pytest

from hardwire.experiments.report.charts import Bar, Group, Line, bars, folded, plot, scatter
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


def test_a_long_name_has_two_lines_and_both_are_whole() -> None:
    name = folded("routing, control, redundancy: share of the blocks that nobody counts")
    assert name == "routing, control,\nredundancy"
    picture = svg(bars([Bar(name, 1.0, "1"), Bar("width of an output's part", 2.0, "2")]))
    for line in (*name.splitlines(), "width of an output's part"):
        assert f">{line}<" in picture


def test_a_line_breaks_between_its_parts_only() -> None:
    """Designs that differ in more than the position are not joined."""
    line = Line("", [1.0, 2.0, 3.0, 4.0, 5.0], part=[0, 0, 0, 1, 1])
    picture = svg(plot([10, 11, 12, 13, 14], [line], x_label="lanes", y_label="rate"))
    paths = re.findall(r'aria-roledescription="line mark" d="M([^"]+)"', picture)
    assert sorted(len(path.split("L")) for path in paths) == [2, 3]
