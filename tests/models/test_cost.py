"""Die cost and cost per token, against published figures and arithmetic done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.area import area
from hardwire.models.chip import Chip
from hardwire.models.cost import die_cost_usd, gross_dies, murphy_yield, usd_per_million_tokens
from hardwire.models.language_model import LanguageModel

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.open("llama-3.1-8b")
BLOCKS = 810.5


def test_hnlpu_die_cost() -> None:
    """Published (HNLPU, appendix B): 43 % yield, 27 good of 62 dies, 629 USD per good die."""
    area_mm2 = 827.08
    share = murphy_yield(area_mm2, 0.11)
    dies = gross_dies(area_mm2, 300)
    assert share == pytest.approx(0.43, rel=0.05)
    assert dies == pytest.approx(62, rel=0.05)
    assert share * dies == pytest.approx(27, rel=0.05)
    chip = HC1.with_values(
        {"die.area_mm2": area_mm2, "process.defects_per_cm2": 0.11, "process.wafer_usd": 16_988}
    )
    assert die_cost_usd(chip, area_mm2) == pytest.approx(629, rel=0.05)


def test_hc1_die_cost() -> None:
    """Derived in the hardware facts: 300 to 320 USD per good die, half of the dies good."""
    assert 300 <= die_cost_usd(HC1, BLOCKS) <= 320
    assert murphy_yield(815, 0.09) == pytest.approx(0.50, rel=0.02)


def test_murphy_by_hand() -> None:
    """1 cm2 at 1 defect per cm2: ((1 - 1/e) / 1)^2."""
    assert murphy_yield(100.0, 1.0) == pytest.approx((1 - 1 / math.e) ** 2)
    assert murphy_yield(1e-6, 0.1) == pytest.approx(1.0)


def test_cost_per_million_tokens_by_hand() -> None:
    """Card of 764.17 USD over 3 years, half of them busy, and electricity at the data centre."""
    tokens_per_s, joule = 10_000.0, 0.01
    die = die_cost_usd(HC1, BLOCKS)
    card = die + 150 + 300
    busy_s = 3 * 365.25 * 24 * 3600 * 0.5
    electricity = 1e6 * joule * 1.4 / 3.6e6 * 0.095
    expected = 1e6 * card / (busy_s * tokens_per_s) + electricity
    assert usd_per_million_tokens(HC1, die, tokens_per_s, joule) == pytest.approx(expected)


def test_a_die_larger_than_the_wafer_costs_infinitely_much() -> None:
    chip = HC1.with_values({"die.area_mm2": np.array([815.0, 40_000.0])})
    cost = die_cost_usd(chip, BLOCKS)
    assert np.isfinite(cost[0]) and np.isinf(cost[1])


@examples(100)
@given(area=st.floats(1, 5000), defects=st.floats(0.001, 10), factor=st.floats(1.01, 3))
def test_yield_is_a_share_and_falls(area: float, defects: float, factor: float) -> None:
    share = murphy_yield(area, defects)
    assert 0 < share <= 1
    assert murphy_yield(area * factor, defects) < share
    assert murphy_yield(area, defects * factor) < share
    assert murphy_yield(area * factor, defects / factor) == pytest.approx(share)


@examples(100)
@given(area=st.floats(1, 2_000), factor=st.floats(1.001, 2), blocks=st.floats(0, 2_000))
def test_a_larger_die_costs_more(area: float, factor: float, blocks: float) -> None:
    chip = HC1._replaced({"die.area_mm2": np.array([area, area * factor])})
    cost = die_cost_usd(chip, blocks)
    assert cost[1] > cost[0] > 0 or np.isinf(cost[1]) or blocks >= area * factor


@examples(50)
@given(values=design_arrays(), seed=st.integers(0, 2**32 - 1))
def test_a3_a_design_costs_more_the_larger_its_blocks(
    values: dict[str, np.ndarray], seed: int
) -> None:
    """Whatever a parameter does to the blocks: once they fill the die, more of them cost more."""
    random = np.random.default_rng(seed)
    lanes, mib = random.integers(1, 64, 40), random.integers(64, 1024, 40)
    same = {k: v[0].item() for k, v in values.items()}
    chip = HC1.with_values(
        {**same, "die.area_mm2": 1, "process.reticle_mm2": 1e5,
         "datapath.lanes": lanes, "sram.capacity_mib": mib}
    )  # fmt: skip
    blocks = area(chip, LLAMA)["total"]
    order = np.argsort(blocks)
    cost = die_cost_usd(chip, blocks)[order]
    rises = np.diff(cost) > 0
    assert np.all(rises | (np.diff(blocks[order]) == 0) | np.isinf(cost[1:]))


def test_a3_a_die_beyond_the_reticle_cannot_be_made() -> None:
    """Stated so, or needed by the blocks: 26 mm by 33 mm are the largest that is printed."""
    cost = die_cost_usd(HC1, np.array([10.0, 815.0, 858.0, 858.1]))
    assert cost[0] == cost[1] < cost[2] < cost[3] == np.inf
    assert die_cost_usd(HC1.with_values({"die.area_mm2": 859}), BLOCKS) == np.inf
    assert usd_per_million_tokens(HC1, np.inf, 10_000.0, 0.01) == np.inf


def test_a_share_that_is_repaired_raises_the_yield_of_the_rest() -> None:
    """All of it repaired leaves the wafer's price over its dies."""
    repaired = HC1.with_values({"floorplan.defect_tolerant_share": np.array([0, 0.2, 1 - 1e-9])})
    cost = die_cost_usd(repaired, BLOCKS)
    assert cost[1] == pytest.approx(10_000 / (gross_dies(815, 300) * murphy_yield(652, 0.09)))
    assert cost[0] > cost[1] > cost[2] == pytest.approx(10_000 / gross_dies(815, 300))


@examples(50)
@given(values=design_arrays(), rate=st.floats(1, 1e6), joule=st.floats(1e-6, 1))
def test_arrays_equal_scalars(values: dict[str, np.ndarray], rate: float, joule: float) -> None:
    many = HC1.with_values(values)
    die = np.broadcast_to(die_cost_usd(many, BLOCKS), 3)
    token = np.broadcast_to(usd_per_million_tokens(many, die, rate, joule), 3)
    for index in range(3):
        one = HC1.with_values(one_of(values, index))
        assert die[index] == pytest.approx(die_cost_usd(one, BLOCKS))
        alone = usd_per_million_tokens(one, die[index], rate, joule)
        assert token[index] == pytest.approx(alone)


@pytest.mark.parametrize(
    ("parameter", "less", "more"),
    [
        ("process.wafer_usd", 9000, 10_000),
        ("process.defects_per_cm2", 0.09, 0.1),
        ("cost.package_test_usd", 100, 200),
        ("cost.board_usd", 100, 200),
        ("cost.lifetime_years", 3, 2),
        ("cost.utilization", 0.5, 0.4),
        ("cost.pue", 1.1, 1.2),
        ("cost.electricity_usd_per_kwh", 0.1, 0.2),
    ],
)
def test_what_makes_tokens_dearer(parameter: str, less: float, more: float) -> None:
    chip = HC1.with_values({parameter: np.array([less, more])})
    die = die_cost_usd(chip, BLOCKS)
    first, second = usd_per_million_tokens(chip, die, 16_960.0, 0.005)
    assert second > first > 0
