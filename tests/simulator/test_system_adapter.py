"""Slices of adapters on dies."""

from __future__ import annotations

import dataclasses

import pytest

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import Stage
from hardwire.models.system.system import System
from hardwire.simulator.datapath import adapter_bytes, adapter_room
from hardwire.simulator.system.adapter_slices import adapter_rooms, adapter_slices

HC1, BOARD = Chip.open("hc1"), LinkKind.open("board")
LLAMA = dataclasses.replace(LanguageModel.open("llama-3.1-8b"), layers=4)
R16 = Adapter.from_shape("r16:all-linear", LLAMA)


def test_one_die_keeps_what_its_chip_does() -> None:
    one = System.of_one(HC1, LLAMA)
    (slices,) = adapter_slices(one, R16).values()
    assert sum(slices.values()) == adapter_bytes(HC1, R16)
    assert adapter_rooms(one, R16) == {"die": adapter_room(HC1, LLAMA, R16)}


def test_a_layer_split_adds_nothing() -> None:
    stages = [Stage(range(0, 1), ("a",)), Stage(range(1, 4), ("b",))]
    slices = adapter_slices(System.pipeline("p", HC1, LLAMA, BOARD, stages), R16)
    assert {layer for layer in slices["b"]} == {1, 2, 3}
    total = sum(sum(one.values()) for one in slices.values())
    assert total == adapter_bytes(HC1, R16)


@pytest.mark.parametrize(("split", "parts"), [("output", (1, 4)), ("input", (4, 1))])
def test_a_tensor_split_replicates_the_other_factor(split: str, parts: tuple[int, int]) -> None:
    """r16 on o: A is (16, 4096), B (4096, 16); int8 has 34 bytes for 32 weights."""
    only_o = Adapter.from_shape("r16:o_proj", LLAMA)
    group = Stage(range(4), ("a", "b", "c", "d"), split={"o": split})
    system = System.pipeline("t", HC1, LLAMA, BOARD, [group], shape="all")
    slices = adapter_slices(system, only_o)
    each = 16 * sum(4096 // part * 34 // 32 for part in parts)
    assert slices == {die: dict.fromkeys(range(4), each) for die in "abcd"}
