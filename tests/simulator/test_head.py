"""The side path of the LM head: time, SRAM and energy by hand, and where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.simulator import predict, run
from hardwire.simulator.closed_form import free_rank
from hardwire.simulator.datapath import adapter_bytes, shape_bytes
from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.engines.designs import batch_rates
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import AdapterLoad, Requests
from hardwire.simulator.serving.cards.costs import token_costs
from hardwire.simulator.swap import swap_latency
from hardwire.simulator.timing import Timing, at

HC1 = Chip.open("hc1")
WITH_PATH = HC1.with_values({"lora.head": "present"})
LLAMA = LanguageModel.by_name("llama-3.1-8b")
R16 = Adapter.from_shape("r16:lm_head", LLAMA)
# A: 16 rows of 4,096 on 4,096 multipliers take 16 cycles, and as many for 4,352 B at 4,608 B each,
# but 4,096 activations of which 16 are heard in a cycle take 256.
# B: 16 rows of 128,256 take 501 cycles, and fewer for 136,272 B each. A fill of 24 behind each.
SIDE = 256 + 24 + 501 + 24
MAIN = 4096 // 16 + 24
BYTES = 16 * (4096 + 128_256) * 34 // 32


def added(chip: Chip, adapter: Adapter) -> int:
    alone, loaded = Timing.of(chip, LLAMA, [adapter]).tokens
    return sum(loaded.by_operation(at(9)).values()) - sum(alone.by_operation(at(9)).values())


def test_time_of_the_path_by_hand() -> None:
    assert added(WITH_PATH, R16) == SIDE - MAIN == 525
    assert added(WITH_PATH, Adapter.from_shape("r64:lm_head", LLAMA)) == 2308 - MAIN
    behind = WITH_PATH.with_values({"lora.order": "sequential"})
    assert added(behind, R16) == SIDE
    assert free_rank(WITH_PATH, LLAMA, ("lm_head",), "int8") == 0
    wide = WITH_PATH.with_values({"lora.activations_per_cycle": 256})
    assert free_rank(wide, LLAMA, ("lm_head",), "int8") == 6
    assert added(wide, Adapter.from_shape("r6:lm_head", LLAMA)) == 0
    assert added(wide, Adapter.from_shape("r7:lm_head", LLAMA)) > 0


def test_bytes_of_the_head_count_once_and_lie_in_a_slice_of_their_own() -> None:
    assert adapter_bytes(WITH_PATH, R16) == BYTES == 2_249_984
    shape = AdapterShape.of_adapter(R16)
    assert shape is not None and shape_bytes(WITH_PATH, LLAMA, shape) == BYTES
    both = Adapter.from_shape("r16:all-linear+lm_head", LLAMA)
    inner = Adapter.from_shape("r16:all-linear", LLAMA)
    assert adapter_bytes(WITH_PATH, both) == adapter_bytes(WITH_PATH, inner) + BYTES


def test_a_prompt_token_neither_waits_for_the_path_nor_pays_for_it() -> None:
    token = Timing.of(WITH_PATH, LLAMA, [R16]).tokens[1]
    assert token.work.macs == 0
    assert token.activity(9, sampled=True).adapter_macs == 16 * (4096 + 128_256)
    assert token.activity(9, sampled=False).adapter_macs == 0
    costs = token_costs(WITH_PATH, LLAMA, [R16], longest=8)
    np.testing.assert_array_equal(costs.body[0], costs.body[1])
    np.testing.assert_array_equal(costs.whole[1] - costs.whole[0], [0] + [525] * 8)
    assert costs.whole_j[1, 5] > costs.whole_j[0, 5] and costs.body_j[1, 5] == costs.body_j[0, 5]


@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_closed_form_engines_and_many_designs_agree(issue: str) -> None:
    chip = WITH_PATH.with_values({"datapath.issue": issue})
    adapter = Adapter.from_shape("r16:qv+lm_head", LLAMA)
    load = {"prompt": 30, "output": 40, "users": 2}
    compiled, reference = (
        run(chip, LLAMA, adapter, engine=engine, **load) for engine in ("compiled", "reference")
    )
    assert compiled.adapter is not None and reference.adapter is not None
    assert compiled.adapter.rates == reference.adapter.rates
    many = batch_rates(chip, LLAMA, adapter, power_throttle=1.0, prefill_throttle=1.0, **load)
    assert many.token_s[0] == pytest.approx(compiled.adapter.rates.token_s, rel=1e-12)
    closed = predict(chip, LLAMA, adapter=adapter, **load)
    assert closed.token_s == pytest.approx(compiled.adapter.rates.token_s, rel=1e-3)


@pytest.mark.parametrize("layers", ["distinct", "shared"])
def test_only_sampled_tokens_wait_for_a_streamed_head(layers: str) -> None:
    """The slice of the head comes last over the link; tokens inside a prompt do not need it."""
    slow = {"lora.head": "present", "link.bandwidth_gb_per_s": 1.0, "datapath.layers": layers}
    program = build_program(HC1.with_values(slow), LLAMA, [R16])
    requests = Requests.uniform(1, 3, 2, adapter=1)
    times = simulate(program, requests, [AdapterLoad(1, 0, "streamed")], record=True)
    assert times.start is not None
    (opening,) = np.flatnonzero(program.layer == LLAMA.layers)
    assert program.stage_names[opening] == "final_norm"
    (arrived,) = times.slice_done[0][times.slice_done[0] >= 0]
    entered = times.start[:, opening, 0]
    assert entered[:2].tolist() == [-1, -1] and times.done[1] < arrived
    assert entered[2] >= arrived
    assert entered[3] > entered[2]


def test_streaming_hides_the_layers_behind_the_head() -> None:
    swap = swap_latency(WITH_PATH, LLAMA, R16)
    assert swap.resident < swap.streamed < swap.warm < swap.cold


REFUSAL = (
    r"^r16:lm_head: has LoRA on lm_head, beside which hc1 has no side path \(lora.head: absent\)$"
)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: run(HC1, LLAMA, R16, prompt=8, output=8),
        lambda: predict(HC1, LLAMA, adapter=R16, prompt=8, output=8),
        lambda: build_program(HC1, LLAMA, [R16]),
        lambda: swap_latency(HC1, LLAMA, R16),
        lambda: token_costs(HC1, LLAMA, [R16], longest=8),
    ],
    ids=["run", "predict", "program", "swap", "serving"],
)
def test_a_chip_without_the_path_refuses_in_one_sentence(ask: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match=REFUSAL):
        ask()


def test_the_path_changes_nothing_for_other_adapters_but_the_die() -> None:
    adapter = Adapter.from_shape("r16:all-linear", LLAMA)
    with_path, without = (
        run(chip, LLAMA, adapter, prompt=16, output=16) for chip in (WITH_PATH, HC1)
    )
    assert with_path.adapter is not None and without.adapter is not None
    assert with_path.adapter.rates == without.adapter.rates
    assert with_path.prediction.area_mm2["lora"] > without.prediction.area_mm2["lora"]
