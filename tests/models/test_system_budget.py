"""What dies need: the same as a chip alone, and more dies never hold less."""

from __future__ import annotations

import dataclasses

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.area import BYTES_PER_MIB, area
from hardwire.models.chip import Chip
from hardwire.models.cost import die_cost_usd
from hardwire.models.energy import idle_power
from hardwire.models.language_model import LanguageModel
from hardwire.models.sram import sram_budget
from hardwire.models.system.budget import budgets
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import Stage, evenly
from hardwire.models.system.system import System

HC1 = Chip.open("hc1")
BOARD = LinkKind.open("board")
LLAMA = LanguageModel.open("llama-3.1-8b")


def pipeline(model: LanguageModel, dies: int) -> System:
    """Layers dealt evenly to dies, with the embedding on the first of them."""
    stages = [
        Stage(layers, (f"d{die}",)) for die, layers in enumerate(evenly([1] * model.layers, dies))
    ]
    return System.pipeline("even", HC1, model, BOARD, stages, embedding="d0")


@pytest.mark.parametrize(
    "name", ["llama-3.1-8b", "llama-3.2-1b", "gpt-oss-20b", "deepseek-v3", "gemma-3-1b"]
)
def test_one_die_needs_what_its_chip_does(name: str) -> None:
    model = LanguageModel.open(name)
    (one,) = budgets(System.of_one(HC1, model), users=2, context_tokens=512).values()
    assert one.area_mm2 == pytest.approx(area(HC1, model), rel=1e-12)
    assert one.idle_w == pytest.approx(idle_power(HC1, model), rel=1e-12)
    assert one.die_usd == pytest.approx(die_cost_usd(HC1, area(HC1, model)["total"]))
    sram = sram_budget(HC1, model, users=2, context_tokens=512)
    assert one.over_bytes == pytest.approx(-float(sram.free_bytes))


@given(st.integers(1, 15), st.integers(1, 4), st.integers(64, 4096))
@examples(15)
def test_more_dies_never_hold_less(dies: int, users: int, context: int) -> None:
    """The fullest die is no fuller, in mm² and in KV cache, where there is one more."""
    fewer, more = (
        budgets(pipeline(LLAMA, number), users=users, context_tokens=context).values()
        for number in (dies, 2 * dies)
    )
    assert max(one.over_mm2 for one in more) <= max(one.over_mm2 for one in fewer)
    assert max(one.kv_bytes for one in more) <= max(one.kv_bytes for one in fewer)
    assert sum(one.held.held for one in more) == sum(one.held.held for one in fewer)


def test_an_overflowing_die_says_by_how_much() -> None:
    (one,) = budgets(
        System.of_one(HC1, LanguageModel.open("qwen3-14b")), context_tokens=8192
    ).values()
    assert one.obstacle is not None
    assert one.obstacle.startswith(f"die die overflows by {one.over_mm2:,.1f} mm² (its blocks")
    assert f"by {one.over_bytes / BYTES_PER_MIB:,.1f} MiB of SRAM" in one.obstacle


def test_a_tensor_split_needs_as_much_rom_and_more_of_the_rest() -> None:
    group = Stage(range(LLAMA.layers), ("a", "b", "c", "d"))
    split = System.pipeline("split", HC1, LLAMA, BOARD, [group], shape="all", embedding="a")
    found = budgets(split)
    (alone,) = budgets(System.of_one(HC1, LLAMA)).values()
    assert sum(one.area_mm2["rom"] for one in found.values()) == pytest.approx(
        alone.area_mm2["rom"], rel=1e-3
    )
    assert sum(one.area_mm2["attention"] for one in found.values()) > alone.area_mm2["attention"]
    assert sum(one.kv_bytes for one in found.values()) == pytest.approx(alone.kv_bytes)


def test_a_chip_that_shares_one_array_is_refused() -> None:
    roma = Chip.open("roma")
    system = System.of_one(roma, dataclasses.replace(LLAMA, layers=2))
    with pytest.raises(Exception, match=r"roma: datapath.layers: must be distinct"):
        budgets(system)
