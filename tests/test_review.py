"""Every finding of the review has a test that is named after it, and what no other file tests."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import hardwire.simulator
from hardwire.models import Chip, InputError, LanguageModel
from hardwire.models.energy import OPS_PER_ELEMENT, token_energy
from hardwire.simulator import predict, run
from hardwire.simulator.timing import Timing

ROOT = Path(__file__).resolve().parents[1]
FINDINGS = (
    *(f"A{n}" for n in range(1, 6)),
    *(f"B{n}" for n in range(1, 11)),
    *(f"C{n}" for n in range(1, 11)),
    *(f"D{n}" for n in range(1, 6)),
)
HC1, LLAMA = Chip.open("hc1"), LanguageModel.open("llama-3.1-8b")


def table() -> dict[str, list[str]]:
    """Tests by finding, from the page."""
    found = {}
    for line in (ROOT / "docs" / "review.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and re.fullmatch(r"[A-D]\d+", cells[0]):
            found[cells[0]] = re.findall(r"`(tests/[^`]+)`", cells[3])
    return found


def defined(place: str) -> bool:
    """Whether a test, ``file::name``, is there."""
    file, _, name = place.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_laws_on_the_page_exist() -> None:
    laws = (ROOT / "docs" / "review.md").read_text(encoding="utf-8").partition("## Laws")[2]
    named = re.findall(r"`(tests/[^`]+)`", laws)
    assert len(named) > 8
    assert [place for place in named if not defined(place)] == []


def test_every_finding_is_on_the_page_once() -> None:
    assert tuple(table()) == FINDINGS


@pytest.mark.parametrize("finding", FINDINGS)
def test_tests_on_the_page_exist_and_one_is_named_after_the_finding(finding: str) -> None:
    named = table()[finding]
    assert [place for place in named if not defined(place)] == []
    assert any(f"::test_{finding.lower()}_" in place for place in named)


def test_b6_nine_gigahertz_is_refused() -> None:
    """It was "inside the interval" at 69,581 tokens/s."""
    with pytest.raises(InputError, match="9 GHz is above the 2 GHz that the pipeline reaches"):
        run(HC1.with_values({"datapath.clock_ghz": 9}), LLAMA)


def test_c5_exponentials_and_top_k_have_energy_and_little_silicon() -> None:
    """Every part of a token takes something; exponentials, which no block has, by hand.

    A layer reads 8,192 of the 2,176 B of a token a cycle: 3.8 tokens with 32 heads each.
    """
    activity = Timing.of(HC1, LLAMA).tokens[0].activity(1536, sampled=True)
    energy = token_energy(HC1, LLAMA, activity)
    assert min(energy[name] for name in ("softmax", "topk", "vector", "working_registers")) > 0
    units = 32 * (8192 / 2176) * 32 * OPS_PER_ELEMENT
    mm2 = units * HC1.process.fp16_transistors / (HC1.process.logic_mtransistors_per_mm2 * 1e6)
    assert mm2 < 0.005 * HC1.die.area_mm2


def test_c10_a_model_larger_than_a_die_has_no_cost() -> None:
    model = LanguageModel.open("qwen2.5-32b")
    found = predict(HC1, model, prompt=64, output=32)
    assert found.area_mm2["total"] > 2 * HC1.die.area_mm2
    assert not found.fits_die and found.die_cost_usd == float("inf")


def test_d3_no_function_hides_its_module() -> None:
    """What the package exports and the modules in it have different names, all the way down."""
    for module in pkgutil.iter_modules(hardwire.simulator.__path__):
        if not inspect.isfunction(getattr(hardwire.simulator, module.name, None)):
            continue
        raise AssertionError(f"simulator.{module.name} is a function")
    assert inspect.ismodule(importlib.import_module("hardwire.simulator.single"))


def test_d4_what_was_dead_is_gone() -> None:
    gone = ("head_weights", "visits_per_token")
    for package in ("models", "simulator", "kernels", "experiments"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert not [name for name in gone if f"def {name}" in text], file
