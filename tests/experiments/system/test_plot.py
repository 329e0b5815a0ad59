"""The figure of a system: every die is there, and what bounds the rate is in colour."""

from __future__ import annotations

import itertools

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from hardwire.experiments.shared.style import HELD_COLORS
from hardwire.experiments.shared.words_plot import finding_of
from hardwire.experiments.system.answer import ask
from hardwire.experiments.system.plot import HIGH, WIDE, _layout, dies_figure, held_shares
from hardwire.models.system.system import System


@pytest.mark.parametrize("name", ["hnlpu", "llama-70b-hc1", "r1x30"])
def test_boxes_do_not_overlap(name: str) -> None:
    places = _layout(ask(System.open(name))).dies
    for (x, y), (u, v) in itertools.combinations(places.values(), 2):
        assert abs(x - u) >= WIDE or abs(y - v) >= HIGH


def test_each_die_is_named_and_the_critical_one_coloured() -> None:
    answer = ask(System.open("llama-70b-hc1"), users=8)
    figure = dies_figure(answer)
    (axes,) = figure.axes
    words = " ".join(text.get_text() for text in axes.texts)
    for die in answer.system.dies:
        assert die.name in words
    red = [
        patch
        for patch in axes.patches
        if isinstance(patch, Rectangle)
        and to_hex(patch.get_edgecolor()) == HELD_COLORS["critical"]
        and patch.get_linewidth() > 2
    ]
    assert red
    assert "16.4 kB" in words and "tokens/s" in finding_of(figure)


def test_shares_are_of_the_rom() -> None:
    answer = ask(System.open("llama-70b-hc1"))
    for one in answer.found.values():
        rom = one.area_mm2["rom"] / one.die_mm2
        assert sum(held_shares(one).values()) == pytest.approx(rom)
