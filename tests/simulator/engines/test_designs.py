"""The engine for many designs gives what ``hardwire.simulator.single`` gives for each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from strategies import HC1, chips, families, language_models, targets

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.simulator.closed_form import predict
from hardwire.simulator.engines.designs import batch_rates
from hardwire.simulator.engines.designs_jit import ceil_sum
from hardwire.simulator.program import build_program
from hardwire.simulator.single import Load, Rates, _rates, run

NUMBERS = (
    "decode_tokens_per_s_user", "decode_tokens_per_s_chip", "token_s", "ttft_s",
    "prefill_tokens_per_s",
)  # fmt: skip


@given(st.integers(0, 3000), st.integers(1, 10**6), st.integers(1, 10**6))
def test_sum_of_ceilings(count: int, numerator: int, denominator: int) -> None:
    c = np.arange(1, count + 1, dtype=np.int64)
    assert ceil_sum(count, numerator, denominator) == (-(-c * numerator // denominator)).sum()


def both(
    chip: Chip, model: LanguageModel, adapter: Adapter | None, load: Load
) -> tuple[Rates, Any]:
    """Rates of one design by the ordinary engine, and by the one for many."""
    prediction = load.predict(chip, model, adapter)
    program = build_program(chip, model, [] if adapter is None else [adapter])
    expected = _rates(program, 0 if adapter is None else 1, "compiled", prediction, load)
    shape = None if adapter is None else AdapterShape.of_adapter(adapter) or adapter
    found = batch_rates(
        chip,
        model,
        shape,
        prompt=load.prompt,
        output=load.output,
        users=load.users,
        power_throttle=prediction.power.throttle,
        prefill_throttle=prediction.prefill_power.throttle,
    )
    return expected, found


def assert_equal(expected: Rates, found: Any, users: int) -> None:
    """Bit for bit up to 7 users; NumPy adds more of them pairwise, where the last bits differ."""
    for name in NUMBERS:
        (value,) = getattr(found, name)
        if users < 8:
            assert value == getattr(expected, name), name
        else:
            assert value == pytest.approx(getattr(expected, name), rel=1e-14, abs=0), name
    for name, seconds in expected.breakdown_s.items():
        assert found.breakdown_s[name][0] == pytest.approx(
            seconds, rel=1e-12, abs=3e-12 * expected.token_s
        ), name


def widest(model: LanguageModel) -> int:
    """The highest rank that an adapter of a model may have."""
    return max(model.hidden, model.intermediate, model.heads * model.head_dim)


@st.composite
def adapters(draw: st.DrawFn, chip: Chip, model: LanguageModel) -> Adapter | None:
    """None, one rank everywhere, or ranks that differ from layer to layer."""
    kind = draw(st.sampled_from(["none", "regular", "mixed"]))
    if kind == "none":
        return None
    on = draw(targets(chip, model))
    fmt = draw(st.sampled_from(["int8", "int4", "float16"]))
    most = min(12, widest(model))
    slices = 1 if kind == "regular" else model.layers + 1  # the LM head's comes last
    ranks = [draw(st.integers(1, most)) for _ in range(slices)]
    whole = Adapter.from_shape(f"r{ranks[0]}:{on}:{fmt}", model)
    if kind == "regular":
        return whole
    modules = tuple(dataclasses.replace(m, rank=ranks[m.layer]) for m in whole.modules)
    return dataclasses.replace(whole, modules=modules)


@examples(90)
@given(st.data(), chips(), st.one_of(language_models(), families()))
def test_a_design_alone_has_the_rates_of_the_engine(
    data: st.DataObject, chip: Chip, model: LanguageModel
) -> None:
    issue = data.draw(st.sampled_from(["serial", "pipelined"]))
    limit = data.draw(st.sampled_from([1000.0, HC1.power.limit_w]))
    chip = chip._replaced({"datapath.issue": issue, "power.limit_w": limit})
    load = Load(
        data.draw(st.integers(1, 60)), data.draw(st.integers(2, 40)), data.draw(st.integers(1, 12))
    )
    expected, found = both(chip, model, data.draw(adapters(chip, model)), load)
    assert_equal(expected, found, load.users)


@examples(60)
@given(st.data(), language_models())
def test_many_designs_are_each_alone(data: st.DataObject, model: LanguageModel) -> None:
    """Arrays of chips, ranks and loads; words are the same for all, shared layers among them."""
    base = data.draw(chips())._replaced(
        {"datapath.issue": data.draw(st.sampled_from(["serial", "pipelined"]))}
    )

    def column(low: int, high: int) -> np.ndarray:
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=3, max_size=3)))

    free = {
        "datapath.lanes": column(1, 20),
        "datapath.fill_cycles": column(1, 6),
        "attention.macs_per_cycle": column(1, 20),
        "lora.macs_per_cycle": column(1, 60),
        "formats.kv_bits": np.array([4, 8, 16]),
        "datapath.clock_ghz": column(5, 20) / 10,
    }
    ranks, prompt = column(1, min(9, widest(model))), column(1, 30)
    output, users = column(2, 20), column(1, 7)
    chip = base._replaced(free)
    shape = AdapterShape.of(model, "all-linear", ranks)
    found = predict(chip, model, adapter=shape, prompt=prompt, output=output, users=users)
    rates = batch_rates(
        chip,
        model,
        shape,
        prompt=prompt,
        output=output,
        users=users,
        power_throttle=found.power.throttle,
        prefill_throttle=found.prefill_power.throttle,
    )
    for point in range(3):
        alone = base._replaced({name: v[point].item() for name, v in free.items()})
        adapter = Adapter.from_shape(f"r{ranks[point]}:all-linear", model)
        load = Load(int(prompt[point]), int(output[point]), int(users[point]))
        expected, _ = both(alone, model, adapter, load)
        for name in NUMBERS:
            # The power limit in closed form, over arrays, may round its last bit otherwise.
            assert getattr(rates, name)[point] == pytest.approx(
                getattr(expected, name), rel=1e-13, abs=0
            ), name


@examples(60)
@given(
    st.data(),
    chips(),
    language_models(),
    st.sampled_from(["distinct", "shared"]),
    st.integers(2, 9),
    st.booleans(),
)
def test_tokens_that_wait_for_each_other(
    data: st.DataObject, chip: Chip, model: LanguageModel, layers: str, count: int, sub_norm: bool
) -> None:
    """Pipelined, with layers enough to repeat, and norms within them, which go to one unit too."""
    chip = chip._replaced({"datapath.issue": "pipelined", "datapath.layers": layers})
    model = dataclasses.replace(model, layers=count, sub_norm=sub_norm)
    load = Load(*(data.draw(st.integers(*ends)) for ends in ((1, 40), (2, 25), (1, 7))))
    expected, found = both(chip, model, data.draw(adapters(chip, model)), load)
    assert_equal(expected, found, load.users)


@pytest.mark.parametrize("issue", ["serial", "pipelined"])
@pytest.mark.parametrize("users", [1, 2, 24])
def test_a_real_chip_and_model(issue: str, users: int) -> None:
    """HC1 with its own model: attention becomes the busiest unit along the prompt."""
    chip = HC1._replaced({"datapath.issue": issue, "sram.capacity_mib": 4096.0})
    model = LanguageModel.open("llama-3.1-8b")
    adapter = Adapter.from_shape("r32:all-linear", model)
    expected, found = both(chip, model, adapter, Load(1500, 20, users))
    assert_equal(expected, found, users)
    answer = run(chip, model, adapter, prompt=1500, output=20, users=users).adapter
    assert answer is not None and answer.rates == expected


@pytest.mark.parametrize("users", [1, 3])
def test_a_real_chip_whose_layers_share_their_units(users: int) -> None:
    """ROMA with its own model: prompt tokens wait for its ROM array nearly all the time."""
    chip = Chip.open("roma")._replaced({"datapath.issue": "pipelined", "sram.capacity_mib": 4096.0})
    model = LanguageModel.open(chip.model)
    expected, found = both(
        chip, model, Adapter.from_shape("r16:all-linear", model), Load(150, 9, users)
    )
    assert_equal(expected, found, users)


def test_a_load_must_be_possible() -> None:
    model = LanguageModel.open("tinyllama-1.1b")
    one = {"power_throttle": 1.0, "prefill_throttle": 1.0}
    with pytest.raises(ValueError, match="output >= 2"):
        batch_rates(HC1, model, prompt=4, output=1, users=1, **one)
