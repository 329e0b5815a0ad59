"""The closed forms against the compiled engine, against themselves, and the free rank.

The engine adds up ``⌈context · rate⌉`` over every attention read of every token; the closed form
takes the mean context and half a cycle for the rounding. A mean of ``⌈x⌉ − x`` lies between 0 and
1, so the two can differ by at most half a cycle per attention stage and token, whatever the chip.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.chip import DECLARED
from hardwire.simulator.closed_form import (
    Prediction,
    decode_context,
    decode_token_s,
    free_rank,
    predict,
    token_cycles,
)
from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.single import run
from hardwire.simulator.timing import Timing, TokenTiming

CHIPS = ("hc1", "hc1-demo", "roma")
HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-1b")

TIMED = ("datapath", "attention", "lora", "formats.max_rank", "sampling")
"""Sections whose parameters decide how long a token takes."""

RANGES = {
    name: parameter.range
    for name, parameter in HC1.parameters.items()
    if name.startswith(TIMED) and parameter.range is not None
}

# A chip within the ranges that HC1's file leaves open.
within_ranges = st.fixed_dictionaries(
    {
        name: st.integers(int(low), int(high)) if DECLARED[name].integer else st.floats(low, high)
        for name, (low, high) in RANGES.items()
    }
)
choices = st.fixed_dictionaries(
    {
        "attention.kv_memories": st.sampled_from(["shared", "separate"]),
        "lora.order": st.sampled_from(["parallel", "sequential"]),
        "datapath.layers": st.sampled_from(["distinct", "shared"]),
        "formats.kv_bits": st.sampled_from([4, 8, 16]),
    }
)
adapters = st.sampled_from([None, "r8:qv:int4", "r16:all-linear:int8", "r64:all-linear:float16"])


def output_cycles(
    chip: Chip, model: LanguageModel, adapter: Adapter | None, load: dict[str, int]
) -> np.ndarray:
    """When the engine finishes each output token, (users, output), in cycles."""
    program = build_program(chip, model, [] if adapter is None else [adapter])
    requests = Requests.uniform(
        load["users"], load["prompt"], load["output"], 0 if adapter is None else 1
    )
    times = simulate(program, requests)
    return np.stack([times.output_times(requests, user) for user in range(load["users"])])


def engine_step(
    chip: Chip, model: LanguageModel, adapter: Adapter | None, load: dict[str, int]
) -> float:
    """Mean cycles of a decode step of one user, over all users."""
    times = output_cycles(chip, model, adapter, load)
    return float(np.mean((times[:, -1] - times[:, 0]) / (load["output"] - 1)))


def unthrottled_step(chip: Chip, found: Prediction) -> float:
    """The closed form's decode step in cycles, as if power had no limit."""
    return float(found.token_s * found.power.throttle * chip.datapath.clock_ghz * 1e9)


def shape(text: str | None, model: LanguageModel) -> Adapter | None:
    return None if text is None else Adapter.from_shape(text, model)


def token(chip: Chip, adapter: str | None) -> TokenTiming:
    adapters = [] if adapter is None else [Adapter.from_shape(adapter, LLAMA)]
    return Timing.of(chip, LLAMA, adapters).tokens[-1]


# --- against the engine ---------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [None, "r16:all-linear:int8", "r64:all-linear:int8"])
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
@pytest.mark.parametrize("name", CHIPS)
def test_one_user_at_1k_1k(name: str, issue: str, adapter: str | None) -> None:
    chip = Chip.open(name).with_values({"datapath.issue": issue})
    model = LanguageModel.by_name(chip.model)
    load = {"prompt": 1024, "output": 1024, "users": 1}
    found = predict(chip, model, adapter=shape(adapter, model), **load)
    expected = engine_step(chip, model, shape(adapter, model), load)
    assert unthrottled_step(chip, found) == pytest.approx(expected, rel=1e-3)
    assert decode_token_s(chip, model, 1024, 1024, shape(adapter, model)) == pytest.approx(
        float(found.token_s * found.power.throttle)
    )


@pytest.mark.parametrize("name", CHIPS)
def test_serial_users_share_the_chip(name: str) -> None:
    chip = Chip.open(name).with_values({"datapath.issue": "serial"})
    model = LanguageModel.by_name(chip.model)
    load = {"prompt": 100, "output": 50, "users": 7}
    found = predict(chip, model, **load)
    assert unthrottled_step(chip, found) == pytest.approx(
        engine_step(chip, model, None, load), rel=1e-3
    )
    first = output_cycles(chip, model, None, load)[:, 0] / (chip.datapath.clock_ghz * 1e9)
    assert found.ttft_s * found.prefill_power.throttle == pytest.approx(first.mean(), rel=1e-3)
    assert found.prefill_tokens_per_s / found.prefill_power.throttle == pytest.approx(
        700 / first.max(), rel=1e-3
    )


@examples(60)
@given(
    values=within_ranges,
    chosen=choices,
    adapter=adapters,
    prompt=st.integers(1, 2000),
    output=st.integers(2, 200),
)
def test_one_user_on_a_random_chip(
    values: dict[str, Any], chosen: dict[str, Any], adapter: str | None, prompt: int, output: int
) -> None:
    chip = HC1.with_values({**values, **chosen})
    load = {"prompt": prompt, "output": output, "users": 1}
    expected = engine_step(chip, LLAMA, shape(adapter, LLAMA), load)
    cycles = token_cycles(token(chip, adapter), decode_context(prompt, output))
    found = float(sum(cycles.values()))
    assert found == pytest.approx(expected, rel=1e-3)
    reads = LLAMA.layers * (2 if chosen["attention.kv_memories"] == "separate" else 1)
    assert abs(found - expected) <= 0.5 * reads + 1e-6


@examples(40)
@given(values=within_ranges, users=st.sampled_from([1, 2, 5, 17, 60, 150]), adapter=adapters)
def test_pipelined_users_on_distinct_layers(
    values: dict[str, Any], users: int, adapter: str | None
) -> None:
    """Layers of their own: users follow each other without ever waiting but for the busiest unit.

    Then a user's step is the larger of a token's own time and one interval per user. The closed
    form takes it at the mean context, the engine at each; that costs at most the half cycle per
    attention stage, and 0.1 % where the two change places while contexts grow.
    """
    chip = HC1.with_values({**values, "datapath.issue": "pipelined"})
    load = {"prompt": 3, "output": 24, "users": users}
    found = predict(chip, SMALL, adapter=shape(adapter, SMALL), **load)
    expected = engine_step(chip, SMALL, shape(adapter, SMALL), load)
    assert abs(unthrottled_step(chip, found) - expected) <= 0.5 * SMALL.layers + 1e-3 * expected


@pytest.mark.parametrize("users", [2, 3, 4, 8, 32])
def test_b4_pipelined_users_on_shared_layers(users: int) -> None:
    """Units that a token visits many times: users queue, two of them for 12 %."""
    chip = Chip.open("roma")
    model = LanguageModel.by_name(chip.model)
    load = {"prompt": 16, "output": 32, "users": users}
    found = unthrottled_step(chip, predict(chip, model, **load))
    assert found == pytest.approx(engine_step(chip, model, None, load), rel=1e-2)


@pytest.mark.parametrize("prompt", [128, 1500])
@pytest.mark.parametrize("users", [1, 2, 5])
@pytest.mark.parametrize("name", CHIPS)
def test_pipelined_prefill(name: str, users: int, prompt: int) -> None:
    """Prompt tokens follow at the interval of the busiest unit, the LM head's not among them.

    On ROMA, K and V come to take as long as the matrices within the longer prompt.
    """
    chip = Chip.open(name).with_values({"datapath.issue": "pipelined"})
    model = LanguageModel.by_name(chip.model)
    load = {"prompt": prompt, "output": 2, "users": users}
    found = predict(chip, model, **load)
    first = output_cycles(chip, model, None, load)[:, 0] / (chip.datapath.clock_ghz * 1e9)
    assert found.ttft_s * found.prefill_power.throttle == pytest.approx(first.mean(), rel=1e-3)
    assert found.prefill_tokens_per_s / found.prefill_power.throttle == pytest.approx(
        users * prompt / first.max(), rel=1e-3
    )


# --- arrays and breakdown -------------------------------------------------------------------------


@examples(40)
@given(
    designs=st.lists(within_ranges, min_size=3, max_size=3),
    issue=st.sampled_from(["serial", "pipelined"]),
    users=st.integers(1, 100),
    adapter=adapters,
)
def test_arrays_equal_scalars(
    designs: list[dict[str, Any]], issue: str, users: int, adapter: str | None
) -> None:
    base = HC1.with_values({"datapath.issue": issue})
    load = {"prompt": 200, "output": 100, "users": users}
    together = base.with_values({name: np.array([d[name] for d in designs]) for name in designs[0]})
    many = predict(together, LLAMA, adapter=shape(adapter, LLAMA), **load)
    ranks = free_rank(together, LLAMA, ("q_proj", "v_proj"), "int8")
    for index, values in enumerate(designs):
        chip = base.with_values(values)
        one = predict(chip, LLAMA, adapter=shape(adapter, LLAMA), **load)
        for field in (
            "token_s",
            "decode_tokens_per_s_user",
            "decode_tokens_per_s_chip",
            "ttft_s",
            "prefill_tokens_per_s",
            "power_w",
            "energy_j_per_decode_token",
            "usd_per_million_tokens",
        ):
            found = np.broadcast_to(getattr(many, field), 3)[index]
            assert found == pytest.approx(getattr(one, field)), field
        assert ranks[index] == free_rank(chip, LLAMA, ("q_proj", "v_proj"), "int8")


@examples(40)
@given(values=within_ranges, chosen=choices, adapter=adapters)
def test_operations_sum_to_the_token(
    values: dict[str, Any], chosen: dict[str, Any], adapter: str | None
) -> None:
    chip = HC1.with_values({**values, **chosen})
    cycles = token_cycles(token(chip, adapter), 1000.0)
    assert all(value >= 0 for value in cycles.values())
    if adapter is None:
        assert cycles["lora"] == 0
    # Three steps at contexts of 999, 1000 and 1001 tokens.
    assert decode_token_s(chip, LLAMA, 998, 4, shape(adapter, LLAMA)) == pytest.approx(
        sum(cycles.values()) / (chip.datapath.clock_ghz * 1e9)
    )


@pytest.mark.parametrize(
    ("name", "settings_", "users"),
    [
        ("hc1", {}, 1),
        ("hc1", {}, 3),
        ("hc1", {"datapath.issue": "pipelined"}, 3),
        ("hc1", {"power.limit_w": 110}, 1),
        ("hc1", {"lora.order": "sequential"}, 1),
        ("roma", {}, 2),
    ],
)
def test_the_breakdown_of_a_run_sums_to_its_token(
    name: str, settings_: dict[str, Any], users: int
) -> None:
    chip = Chip.open(name).with_values(settings_)
    model = LanguageModel.by_name(chip.model)
    adapter = Adapter.from_shape("r64:all-linear:int8", model)
    result = run(chip, model, adapter, prompt=64, output=32, users=users)
    assert result.adapter is not None
    for rates in (result.base, result.adapter.rates):
        assert min(rates.breakdown_s.values()) >= 0
        assert sum(rates.breakdown_s.values()) == pytest.approx(rates.token_s, rel=1e-9)
    assert result.base.breakdown_s["lora"] == 0 < result.adapter.rates.breakdown_s["lora"]


# --- the free rank --------------------------------------------------------------------------------


def slowdown(chip: Chip, model: LanguageModel, rank: int, targets: str, fmt: str) -> int:
    """Cycles that an adapter of this rank adds to the last of a few tokens, by the engine."""
    adapter = Adapter.from_shape(f"r{rank}:{targets}:{fmt}", model)
    program = build_program(chip, model, [adapter])
    plain, loaded = (simulate(program, Requests.uniform(1, 2, 2, row)).done[-1] for row in (0, 1))
    return int(loaded - plain)


def assert_free_rank(chip: Chip, model: LanguageModel, targets: str, fmt: str) -> int:
    """The rank said to be free adds nothing, and one more adds something."""
    names = Adapter.from_shape(f"r1:{targets}", model).targets
    free = int(free_rank(chip, model, names, fmt))
    assert 0 <= free <= chip.formats.max_rank
    if free > 0:
        assert slowdown(chip, model, free, targets, fmt) == 0
    if free < chip.formats.max_rank:
        assert slowdown(chip, model, free + 1, targets, fmt) > 0
    return free


@pytest.mark.parametrize("fmt", ["int4", "int8", "float16", "float32"])
@pytest.mark.parametrize("targets", ["all-linear", "qv", "mlp", "down_proj"])
@pytest.mark.parametrize("name", CHIPS)
def test_free_rank_is_the_highest_that_costs_nothing(name: str, targets: str, fmt: str) -> None:
    chip = Chip.open(name)
    assert_free_rank(chip, LanguageModel.by_name(chip.model), targets, fmt)


@examples(40)
@given(
    values=within_ranges,
    targets=st.sampled_from(["all-linear", "qv", "attention", "mlp"]),
    fmt=st.sampled_from(["int4", "int8", "float16"]),
)
def test_free_rank_on_a_random_chip(values: dict[str, Any], targets: str, fmt: str) -> None:
    assert_free_rank(HC1.with_values(values), SMALL, targets, fmt)


def test_no_rank_is_free_behind_the_base() -> None:
    chip = HC1.with_values({"lora.order": "sequential"})
    assert assert_free_rank(chip, LLAMA, "qv", "int8") == 0


def test_no_rank_is_free_that_is_heard_from_the_matrix_own_broadcast() -> None:
    assert assert_free_rank(HC1, LLAMA, "all-linear", "int8") == 0


def test_some_rank_is_free_behind_a_bus_of_its_own() -> None:
    """256 a cycle hide some twenty ranks of int8; a 16 times faster path, all 64."""
    wide = HC1.with_values({"lora.activations_per_cycle": 256})
    assert 16 <= assert_free_rank(wide, LLAMA, "all-linear", "int8") <= 32
    fast = {"lora.read_bytes_per_cycle": 16 * 4608, "lora.macs_per_cycle": 16 * 4096}
    assert assert_free_rank(wide.with_values(fast), LLAMA, "all-linear", "int8") == 64
