"""An adapter that loads over dies: who waits for what, and what is replicated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from systems import BOARD, DENSE, LATENT

from hardwire.models import Adapter, Chip
from hardwire.models.errors import InputError
from hardwire.models.system.placement import Stage
from hardwire.models.system.system import System
from hardwire.simulator.requests import AdapterLoad, Requests
from hardwire.simulator.system import compiled
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.swap import system_swap
from hardwire.simulator.system.walk import walk_of

HC1 = Chip.open("hc1")._replaced({"link.burst_bytes": 64, "link.latency_us": 0.0})
MODEL = replace(DENSE, layers=4)
ADAPTER = Adapter.from_shape("r2:all-linear", MODEL)


def pipeline(dies: int, host_links: str = "each") -> System:
    each = MODEL.layers // dies
    stages = [Stage(range(n * each, (n + 1) * each), (f"d{n}",)) for n in range(dies)]
    system = System.pipeline("p", HC1, MODEL, BOARD, stages)
    return replace(system, host_links=host_links)


def group(split: dict[str, str]) -> System:
    return System.pipeline(
        "t", HC1, MODEL, BOARD, [Stage(range(4), ("a", "b"), split=split)], shape="all"
    )


def test_a_layer_split_loads_all_dies_side_by_side() -> None:
    """Four dies with a host link each take a quarter of one; with one link they take turns."""
    one = system_swap(pipeline(1), ADAPTER)
    four, shared = (system_swap(pipeline(4, links), ADAPTER) for links in ("each", "shared"))
    assert four.bytes == shared.bytes == one.bytes
    assert max(four.stage_ready_s) < 0.3 * max(one.stage_ready_s)
    assert max(shared.stage_ready_s) == pytest.approx(max(one.stage_ready_s), rel=0.05)
    assert list(shared.stage_ready_s) == sorted(shared.stage_ready_s)
    assert four.latency.warm < shared.latency.warm
    assert four.latency.streamed <= four.latency.warm


def test_a_token_enters_a_stage_when_its_slices_are_there() -> None:
    system = pipeline(4, "shared")
    program = build_program(system, (ADAPTER,))
    requests = Requests.uniform(1, 1, 1, 1)
    loads = [AdapterLoad(1, 0, "streamed")]
    times = compiled.simulate(program, requests, loads, record=True)
    assert times.start is not None
    for layer in range(4):
        step = int(np.flatnonzero(program.opens == layer)[0])
        entered = times.start[0, program.slot[program.begin[step]]]
        assert entered >= times.slice_done[0, layer]
    assert times.start[0, program.slot[program.begin[1]]] < times.load_done[0]
    whole = compiled.simulate(program, requests, [AdapterLoad(1, 0, "double_buffered")])
    assert whole.issued[0] == whole.load_done[0]


def test_a_tensor_split_replicates_a_factor_and_loads_it_twice() -> None:
    one = system_swap(pipeline(1), ADAPTER).bytes
    by_outputs = system_swap(group({"qkv": "output", "o": "input"}), ADAPTER).bytes
    whole = system_swap(
        group(dict.fromkeys(("qkv", "o", "gate_up", "down"), "replicated")), ADAPTER
    ).bytes
    assert one < by_outputs < whole == 2 * one


def test_a_side_path_on_a_slice_takes_no_longer_than_on_the_whole() -> None:
    split, whole = (walk_of(system, (ADAPTER,)) for system in (group({}), pipeline(1)))
    sides = [
        {
            step.name: max(work.side[1] for _, work in step.works if work.side)
            for step in walk.parts[1].steps
            if any(work.side for _, work in step.works)
        }
        for walk in (split, whole)
    ]
    assert sides[0].keys() == sides[1].keys() == {"qkv", "o", "gate_up", "down"}
    assert all(sides[0][name] <= sides[1][name] for name in sides[0])


def test_adapters_of_latents_and_experts() -> None:
    """A die that has all of a layer has the side paths of its chip; experts and groups do not."""
    model = replace(LATENT, layers=2)
    on_latent = Adapter.from_shape("r2:kv_b_proj", model)
    one_each = [Stage(range(1), ("a",)), Stage(range(1, 2), ("b",))]
    walk = walk_of(System.pipeline("p", HC1, model, BOARD, one_each), (on_latent,))
    sides = {w.name: w.side for part in walk.parts for step in part.steps for _, w in step.works}
    assert sides["latent_keys"][1] > sides["latent_keys"][0]
    group = System.pipeline("t", HC1, model, BOARD, [Stage(range(2), ("a", "b"), kv="position")])
    with pytest.raises(InputError, match="is on kv_b_proj, beside which the dies of a system"):
        walk_of(group, (on_latent,))


def test_an_adapter_on_a_head_without_side_path_is_refused() -> None:
    on_head = Adapter.from_shape("r2:lm_head", MODEL)
    with pytest.raises(InputError, match="beside which hc1 has no side path"):
        walk_of(pipeline(2), (on_head,))
