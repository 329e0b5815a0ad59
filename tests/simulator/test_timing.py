"""One ``Timing`` says what engines and closed forms charge, and a run makes few of them."""

from __future__ import annotations

import ast
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from strategies import chips, language_models, targets

import hardwire.simulator
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import area, transistors
from hardwire.models.server import Server
from hardwire.models.whole import ceil_div
from hardwire.simulator import predict, run
from hardwire.simulator.closed_form import ClosedForms
from hardwire.simulator.datapath import token_stages
from hardwire.simulator.engines.reference import visits
from hardwire.simulator.program import build_program
from hardwire.simulator.timing import Timing, at, grown, slower

whole = st.integers(1, 1 << 24)


# --- the rules ------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 22), whole, whole)
def test_ceilings_of_floats_are_those_of_integers(a: int, b: int, factor: int) -> None:
    """Also one below, at and one above a multiple, where a quotient could round across it."""
    for n in {a, b * factor - 1, b * factor, b * factor + 1}:
        assert ceil_div(n, b) == math.ceil(Fraction(n, b))
        assert ceil_div(n, np.array([float(b)]))[0] == math.ceil(Fraction(n, b))


@given(st.integers(0, 1 << 20), whole, whole, whole, whole)
def test_one_rate_decides_whatever_the_context(c: int, n1: int, d1: int, n2: int, d2: int) -> None:
    rates = ((n1, d1), (n2, d2))
    expected = math.ceil(c * max(Fraction(n1, d1), Fraction(n2, d2)))
    assert grown(rates, c) == expected
    numerator, denominator = slower(rates)
    assert ceil_div(c * int(numerator), int(denominator)) == expected


# --- what it holds --------------------------------------------------------------------------------


@st.composite
def adapters(draw: st.DrawFn, chip: Chip, model: LanguageModel) -> Adapter:
    """Ranks that may differ from layer to layer, and layers without any."""
    rank = st.integers(1, min(9, model.hidden, model.heads * model.head_dim))
    adapter = Adapter.from_shape(f"r{draw(rank)}:{draw(targets(chip))}", model)
    slices = model.layers + 1  # of the layers and of the LM head
    of_layer = draw(
        st.one_of(
            st.just(None),
            st.lists(rank | st.just(0), min_size=slices, max_size=slices),
        )
    )
    if of_layer is None or not any(of_layer[m.layer] for m in adapter.modules):
        return adapter
    modules = (dataclasses.replace(m, rank=of_layer[m.layer] or 1) for m in adapter.modules)
    return dataclasses.replace(adapter, modules=tuple(m for m in modules if of_layer[m.layer]))


@examples(50)
@given(st.data(), chips(), language_models())
def test_tables_are_the_visits_of_the_reference_added_up(
    data: st.DataObject, chip: Chip, model: LanguageModel
) -> None:
    """Whole tokens and their busiest unit, from the program that the reference engine walks."""
    loaded = [data.draw(adapters(chip, model)) for _ in range(data.draw(st.integers(0, 2)))]
    timing = Timing.of(chip, model, loaded)
    program = build_program(chip, model, loaded, timing=timing)
    longest = 9
    tables = timing.tables(longest)
    for sampled, stages in ((False, program.body_stages), (True, program.stages)):
        intervals = timing.intervals(longest, inside_prompt=not sampled)
        for row in range(len(loaded) + 1):
            for context in range(1, longest + 1):
                total, busy = 0, Counter[int]()
                for stage in range(stages):
                    branches = list(visits(program, row, stage, context))
                    total += max(cycles for _, cycles in branches)
                    busy.update(dict(branches))
                assert tables[sampled][row, context] == total
                assert intervals[row, context] == max(busy.values())


@examples(60)
@given(st.data(), chips(), language_models())
def test_arrays_hold_each_design(data: st.DataObject, chip: Chip, model: LanguageModel) -> None:
    def column(low: int, high: int) -> np.ndarray:
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=3, max_size=3)))

    free = {
        "datapath.lanes": column(1, 20).astype(float),
        "datapath.fill_cycles": column(1, 6),
        "attention.macs_per_cycle": column(1, 20),
        "lora.macs_per_cycle": column(1, 60).astype(float),
        "datapath.outputs_per_pass": data.draw(
            st.sampled_from([math.inf, np.array([math.inf, 7.0, 30.0])])
        ),
    }
    ranks = column(1, min(9, model.hidden, model.heads * model.head_dim))
    many = Timing.of(chip._replaced(free), model, [AdapterShape.of(model, "all-linear", ranks)])
    for point in range(3):
        values = {name: v[point].item() if np.ndim(v) else v for name, v in free.items()}
        adapter = Adapter.from_shape(f"r{ranks[point]}:all-linear", model)
        one = Timing.of(chip._replaced(values), model, [adapter])
        for together, alone in zip(many.tokens, one.tokens, strict=True):
            for name, cycles in alone.by_operation(at(7)).items():
                assert np.broadcast_to(together.by_operation(at(7))[name], 3)[point] == cycles
            for name, cycles in alone.by_unit(at(7)).items():
                assert np.broadcast_to(together.by_unit(at(7))[name], 3)[point] == cycles


def test_closed_forms_of_one_timing_are_those_of_each_adapter() -> None:
    chip, model = Chip.open("hc1"), LanguageModel.open("llama-3.1-8b")
    loaded = [Adapter.from_shape(text, model) for text in ("r16:all-linear", "r64:qv:float16")]
    closed = ClosedForms(Timing.of(chip, model, loaded))
    load = {"prompt": 300, "output": 70, "users": 2}
    for number, adapter in enumerate([None, *loaded]):
        assert closed.predict(number, **load) == predict(chip, model, adapter=adapter, **load)


# --- how often it is made -------------------------------------------------------------------------


def count_calls(monkeypatch: pytest.MonkeyPatch, *functions: Callable[..., Any]) -> Counter[str]:
    """Calls of some functions from now on, under whatever module's name they are called."""
    calls = Counter[str]()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[function.__name__] += 1
            return function(*args, **kwargs)

        return call

    for function in functions:
        for name, module in list(sys.modules.items()):
            if name.startswith("hardwire.") and vars(module).get(function.__name__) is function:
                monkeypatch.setattr(module, function.__name__, counted(function))
    return calls


@pytest.mark.parametrize("name", ["hc1", "hc1-demo", "roma"])
def test_d2_a_run_counts_stages_and_area_once_for_the_chip_and_once_for_its_draws(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Besides, once for the candidates among which the calibration picks the draws."""
    chip = Chip.open(name)
    model = LanguageModel.open(chip.model)
    adapter = Adapter.from_shape("r16:all-linear", model)
    calls = count_calls(monkeypatch, token_stages, area, transistors)
    run(chip, model, adapter, prompt=64, output=8)
    assert calls["area"] == calls["transistors"] == 3
    assert calls["token_stages"] == 3


def test_serving_counts_a_card_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from hardwire.simulator.serving.cards.costs import token_costs

    chip = Chip.open(Server.open("hc1x10").chip)
    model = LanguageModel.open(chip.model)
    loaded = [Adapter.from_shape(f"r{rank}:qv", model) for rank in (4, 8, 16)]
    calls = count_calls(monkeypatch, token_stages)
    token_costs(chip, model, [*loaded, *loaded], longest=100)
    assert calls["token_stages"] == 1


# --- what it stands on ----------------------------------------------------------------------------


def test_d1_simulation_uses_public_names_of_simpy_only() -> None:
    """Whatever begins with an underscore is the object's own."""
    seen = 0
    for path in Path(hardwire.simulator.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "import simpy" not in text:
            continue
        seen += 1
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                owner = node.value
                assert node.attr.startswith("__") or (
                    isinstance(owner, ast.Name) and owner.id in ("self", "cls")
                ), f"{path.name}:{node.lineno}: {node.attr}"
    assert seen >= 3
