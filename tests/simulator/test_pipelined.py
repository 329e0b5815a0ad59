"""Tokens that follow each other: means over contexts, and first tokens against the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.pipelined import (
    EXACT,
    FEW,
    FOLLOWED,
    busiest_cycles,
    error_bound,
    first_token_cycles,
    initiation_cycles,
    step_cycles,
)
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.timing import Timing, TokenTiming, mean

HC1 = Chip.open("hc1")
SMALL = LanguageModel.by_name("llama-3.2-1b")

designs = st.fixed_dictionaries(
    {
        "datapath.lanes": st.integers(4, 64),
        "datapath.fill_cycles": st.integers(2, 40),
        "attention.kv_read_bytes_per_cycle": st.integers(512, 16384),
        "attention.kv_memories": st.sampled_from(["shared", "separate"]),
        "lora.order": st.sampled_from(["parallel", "sequential"]),
        "datapath.layers": st.sampled_from(["distinct", "shared"]),
    }
)
adapters = st.sampled_from([None, "r4:qv", "r16:all-linear"])


def token(values: dict[str, Any], adapter: str | None = None) -> TokenTiming:
    chip = HC1.with_values({**values, "datapath.issue": "pipelined"})
    loaded = [] if adapter is None else [Adapter.from_shape(adapter, SMALL)]
    return Timing.of(chip, SMALL, loaded).tokens[-1]


def first_tokens(
    values: dict[str, Any], adapter: str | None, prompt: int, users: int
) -> np.ndarray:
    """When the engine finishes each user's first token, in cycles."""
    chip = HC1.with_values({**values, "datapath.issue": "pipelined"})
    loaded = [] if adapter is None else [Adapter.from_shape(adapter, SMALL)]
    requests = Requests.uniform(users, prompt, 1, len(loaded))
    return simulate(build_program(chip, SMALL, loaded), requests).done.reshape(users, -1)[:, -1]


@examples(40)
@given(values=designs, low=st.integers(0, 3000), contexts=st.integers(1, 5000))
def test_the_mean_of_the_busiest_is_that_of_each_context(
    values: dict[str, Any], low: int, contexts: int
) -> None:
    of_all = token(values)
    within = np.arange(low + 1, low + contexts + 1)
    each = np.mean(initiation_cycles(of_all, within)[0] + np.zeros(contexts))
    found = float(busiest_cycles(of_all, low + 0.5, low + contexts + 0.5))
    assert found == pytest.approx(each, rel=1e-4)
    assert found >= float(initiation_cycles(of_all, low + (contexts + 1) / 2)[0]) * (1 - 1e-12)


@examples(40)
@given(
    values=designs,
    adapter=adapters,
    prompt=st.integers(1, 300),
    users=st.sampled_from([1, 2, 3, 7]),
)
def test_first_tokens_are_the_engines(
    values: dict[str, Any], adapter: str | None, prompt: int, users: int
) -> None:
    """Layers of their own: to the mean rounding of attention. Shared ones: of some tokens."""
    last, apart = first_token_cycles(token(values, adapter), prompt, users)
    expected = first_tokens(values, adapter, prompt, users)
    if values["datapath.layers"] == "distinct":
        assert float(last) == pytest.approx(expected[-1], rel=2e-3)
        assert float(apart) == pytest.approx(np.diff(expected).max(initial=apart), rel=1e-9)
    elif users * prompt > 3 or users * prompt == 1:
        assert float(last) == pytest.approx(expected.max(), rel=5e-2)


@pytest.mark.parametrize("users", [1, 4])
@pytest.mark.parametrize("adapter", [None, "r16:all-linear"])
def test_first_tokens_are_exact_where_attention_is_never_the_busiest(
    adapter: str | None, users: int
) -> None:
    last, apart = first_token_cycles(token({}, adapter), 250, users)
    expected = first_tokens({}, adapter, 250, users)
    assert float(last) == pytest.approx(expected[-1], rel=1e-12)
    assert np.diff(expected).tolist() == [float(apart)] * (users - 1)


def test_the_bound_is_wider_where_tokens_meet_on_shared_units() -> None:
    own, shared = token({}), token({"datapath.layers": "shared"})
    assert error_bound(own, prompt=2, users=5) == EXACT
    users = np.array([1, 2, 2, 1])
    found = error_bound(shared, prompt=np.array([100, 100, 1, 8]), users=users)
    assert found.tolist() == [EXACT, FOLLOWED, FEW, FOLLOWED]


def test_a_single_token_takes_what_it_takes() -> None:
    for layers in ("distinct", "shared"):
        last, _ = first_token_cycles(token({"datapath.layers": layers}), 1, 1)
        assert last == first_tokens({"datapath.layers": layers}, None, 1, 1)[0]


def test_a_step_is_a_token_or_the_busiest_units_work_for_all() -> None:
    of_all = token({})
    whole = float(sum(of_all.by_operation(mean(150)).values()))
    busiest = float(busiest_cycles(of_all, 100.5, 199.5))
    load = {"prompt": 100, "output": 100}
    assert float(step_cycles(of_all, users=1, **load)) == pytest.approx(whole)
    assert float(step_cycles(of_all, users=500, **load)) == pytest.approx(500 * busiest)
    users = np.array([1, 2, 500])
    steps = step_cycles(of_all, users=users, **load)
    assert steps.shape == (3,) and np.all(np.diff(steps) >= 0)
