"""Tokens that queue on shared units, followed for some steps: the engine's cycles, to the last."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.program import build_program
from hardwire.simulator.queueing import STEPS, queued_step, queues
from hardwire.simulator.requests import Requests
from hardwire.simulator.timing import Timing

HC1 = Chip.open("hc1").with_values({"datapath.layers": "shared", "datapath.issue": "pipelined"})
SMALL = LanguageModel.by_name("llama-3.2-1b")

designs = st.fixed_dictionaries(
    {
        "datapath.lanes": st.integers(4, 256),
        "datapath.fill_cycles": st.integers(1, 12),
        "datapath.vector_lanes": st.integers(16, 1024),
        "attention.kv_memories": st.sampled_from(["shared", "separate"]),
        "lora.order": st.sampled_from(["parallel", "sequential"]),
        "lora.macs_per_cycle": st.integers(512, 16384),
        "sampling.topk_logits_per_cycle": st.integers(32, 4096),
    }
)


def adapter_of_unlike_layers() -> Adapter:
    """Rank 16 in the first layers only, so that layers are of two kinds."""
    whole = Adapter.from_shape("r16:all-linear", SMALL)
    modules = tuple(module for module in whole.modules if module.layer < 5)
    return dataclasses.replace(whole, modules=modules)


def of_load(
    chip: Chip, adapter: Adapter | None, prompt: int, output: int, users: int
) -> tuple[float, float]:
    """Mean cycles of a decode step: as followed, and by the engine."""
    loaded = [] if adapter is None else [adapter]
    timing = Timing.of(chip, SMALL, loaded)
    load = {"prompt": prompt, "output": output, "users": users}
    (found,) = queued_step(timing.tokens[-1], **load, where=np.ones(1, bool))
    requests = Requests.uniform(users, prompt, output, len(loaded))
    times = simulate(build_program(chip, SMALL, loaded, timing=timing), requests)
    outputs = np.stack([times.output_times(requests, user) for user in range(users)])
    return float(found), float(np.mean(outputs[:, -1] - outputs[:, 0]) / (output - 1))


@examples(60)
@given(
    values=designs,
    adapter=st.sampled_from([None, "r2:qv", "r16:all-linear", "unlike"]),
    output=st.integers(2, STEPS + 1),
    users=st.integers(1, 7),
)
def test_all_steps_of_a_short_request_are_the_engines(
    values: dict[str, Any], adapter: str | None, output: int, users: int
) -> None:
    """Prompts of one token make users begin together, and the step that is not counted is theirs.

    Attention takes the same for contexts of one and two tokens, so that nothing else differs: also
    the layers that are skipped because they repeat change no cycle.
    """
    loaded = None
    if adapter is not None:
        loaded = (
            adapter_of_unlike_layers()
            if adapter == "unlike"
            else Adapter.from_shape(adapter, SMALL)
        )
    found, expected = of_load(HC1.with_values(values), loaded, 1, output, users)
    assert found == pytest.approx(expected, rel=1e-12)


@examples(20)
@given(
    values=designs,
    prompt=st.integers(20, 100),
    output=st.integers(40, 120),
    users=st.integers(2, 4),
)
def test_some_steps_stand_for_all(
    values: dict[str, Any], prompt: int, output: int, users: int
) -> None:
    found, expected = of_load(HC1.with_values(values), None, prompt, output, users)
    assert found == pytest.approx(expected, rel=5e-2)


def test_designs_are_followed_one_by_one() -> None:
    """Those that are asked for, each with its own numbers and load."""
    lanes, users = np.array([8, 16, 32]), np.array([2, 3, 4])
    many = Timing.of(HC1._replaced({"datapath.lanes": lanes}), SMALL).tokens[0]
    where = np.array([True, False, True])
    found = queued_step(many, prompt=50, output=60, users=users, where=where)
    assert found.shape == (2,)
    for step, point in zip(found, (0, 2), strict=True):
        chip = HC1.with_values({"datapath.lanes": int(lanes[point])})
        (one,) = queued_step(
            Timing.of(chip, SMALL).tokens[0],
            prompt=50,
            output=60,
            users=int(users[point]),
            where=np.ones(1, bool),
        )
        assert step == one


def test_who_queues() -> None:
    """Several users on shared units, but not so many that the busiest unit never idles."""
    token = Timing.of(HC1, SMALL).tokens[0]
    assert queues(token, 100, np.array([1, 2, 3, 100])).tolist() == [False, True, True, False]
    own = HC1.with_values({"datapath.layers": "distinct"})
    assert not np.any(queues(Timing.of(own, SMALL).tokens[0], 100, np.array([1, 2, 100])))
