"""The floorplan: areas to scale, blocks beside each other, and what does not fit in red."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

import hardwire as hw
from hardwire.experiments.run.floorplan import Block, Floorplan, floorplan, squarified
from hardwire.experiments.run.floorplan_plot import floorplan_figure
from hardwire.experiments.shared.style import PAPER
from hardwire.experiments.shared.words_plot import finding_of


def plan_of(die_mm2: float, **blocks: float) -> Floorplan:
    total = sum(blocks.values())
    return floorplan(
        {
            "area_mm2": {**blocks, "total": total},
            "die_area_mm2": die_mm2,
            "interval": {"area_mm2.total": [0.9 * total, 1.2 * total]},
        }
    )


def overlap(one: Block, other: Block) -> float:
    wide = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    high = min(one.bottom + one.height, other.bottom + other.height) - max(one.bottom, other.bottom)
    return max(wide, 0.0) * max(high, 0.0)


@given(
    areas=st.lists(st.floats(0.06, 5000), min_size=1, max_size=14),
    die_mm2=st.floats(20, 2000),
)
def test_blocks_are_to_scale_and_lie_beside_each_other(areas: list[float], die_mm2: float) -> None:
    plan = plan_of(die_mm2, **{f"b{i}": area for i, area in enumerate(areas)})
    assert [block.mm2 for block in plan.blocks] == sorted(areas, reverse=True)
    for block in plan.blocks:
        assert block.width * block.height == pytest.approx(block.mm2, rel=1e-6)
        assert block.left >= -1e-9 and block.bottom >= -1e-9
        assert block.left + block.width <= plan.width_mm * (1 + 1e-9)
        assert block.bottom + block.height <= plan.side_mm * (1 + 1e-9)
    for one, other in itertools.combinations(plan.blocks, 2):
        assert overlap(one, other) <= 1e-6 * min(one.mm2, other.mm2)
    # What lies beyond the outline is what does not fit.
    assert (plan.width_mm - plan.side_mm) * plan.side_mm == pytest.approx(-plan.free_mm2, abs=1e-6)


def test_rows_are_laid_as_by_hand() -> None:
    """6 × 4 with 6, 6, 4, 3, 2, 2, 1: the example of Bruls, Huizing and van Wijk."""
    places = squarified([6, 6, 4, 3, 2, 2, 1], 6, 4)
    sizes = [(round(width, 3), round(height, 3)) for _, _, width, height in places]
    assert sizes[:4] == [(3, 2), (3, 2), (1.714, 2.333), (1.286, 2.333)]


def test_what_is_too_small_to_be_seen_moves_no_edge() -> None:
    plan = plan_of(100, rom=60.0, sampling=0.01)
    assert [block.name for block in plan.blocks] == ["rom"]
    assert plan.width_mm * plan.side_mm == pytest.approx(60.01)


def reds(plan: Floorplan) -> list[Rectangle]:
    axes = floorplan_figure(plan, "a run").axes[0]
    return [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]


def test_only_what_does_not_fit_is_red_and_as_large_as_that() -> None:
    assert reds(plan_of(100, rom=60.0, sram=40.0)) == []
    (red,) = reds(plan_of(100, rom=90.0, sram=40.0))
    assert red.get_x() == pytest.approx(10) and red.get_width() * red.get_height() == 30


def test_the_finding_says_by_how_much() -> None:
    fits = plan_of(100, rom=60.0, sram=30.0).finding
    assert fits == (
        "The blocks take 90.0 mm² (90% interval 81 … 108) of 100 mm², ROM 60% of the die; 10.0 "
        "mm² are free."
    )
    over = plan_of(100, rom=500.0, sram=30.0).finding
    assert "430.0 mm² more than the die of 100 mm², 5.3 dies in all" in over


def test_the_figure_of_a_run_has_every_block_with_its_area(small: dict[str, Any]) -> None:
    result = hw.run("hc1", **small)
    figure = result.plot("floorplan")
    assert finding_of(figure) == floorplan(result.to_dict()).finding
    said = [text.get_text() for text in figure.axes[1].texts]
    area = result.prediction.area_mm2
    for name, shown in (("rom", "ROM"), ("sram", "SRAM"), ("vector_units", "Vector units")):
        assert f"{area[name]:,.1f} mm²" in said and shown in said
    assert f"{area['total'] / result.chip.die.area_mm2:.1%}" in said


@pytest.fixture
def small() -> dict[str, Any]:
    return {"adapter": "r16:all-linear", "prompt": 16, "output": 4}


def test_names_beyond_the_die_stand_on_paper() -> None:
    """Hatched red, a name could not be read."""
    axes = floorplan_figure(plan_of(100, rom=900.0, sram=40.0), "a run").axes[0]
    (rom,) = (text for text in axes.texts if text.get_text().startswith("ROM"))
    ground = rom.get_bbox_patch()
    assert ground is not None and ground.get_facecolor()[:3] == (1, 1, 1) and PAPER == "#ffffff"
