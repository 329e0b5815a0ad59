"""Layers of several kinds on a chip: engines and closed forms agree, and what experts, windows and
latent attention cost follows from hand calculations."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from strategies import HC1, chips, families, runs

from hardwire.models import Adapter, LanguageModel
from hardwire.models.adapter.modules import groups_of
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import area
from hardwire.models.chip import Chip
from hardwire.models.energy import token_energy, weight_uses
from hardwire.models.errors import InputError
from hardwire.models.fabric import units
from hardwire.models.llm.parts import LayerKind
from hardwire.models.rom import layer_matrices, rom_matrices, rom_weights, used_matrices
from hardwire.models.sram import kv_held, kv_layer_bits, sram_budget
from hardwire.simulator.closed_form import free_rank, predict
from hardwire.simulator.datapath import adapter_bytes, shape_bytes, token_stages
from hardwire.simulator.engines import compiled, reference
from hardwire.simulator.engines.designs import batch_rates
from hardwire.simulator.fit import adapter_obstacle
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.single import run
from hardwire.simulator.timing import Timing, at, mean

TIMES = ("first", "issued", "done", "slice_done", "load_done", "burst_start")
GPT_OSS = LanguageModel.by_name("gpt-oss-20b")
MIXTRAL = LanguageModel.by_name("mixtral-8x7b")
DEEPSEEK = LanguageModel.by_name("deepseek-v3")
NEW = ("mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3", "gemma-2-9b", "gemma-3-1b")
# A chip that could be given all the power that it asks for, so that a rate is not throttled.
FREE = HC1._replaced({"power.limit_w": 1e5})


# --- engines ------------------------------------------------------------------------------------


@pytest.mark.slow
@examples(80, HealthCheck.filter_too_much)
@given(runs(models=families()))
def test_law_engines_agree_on_families(drawn: tuple) -> None:
    program, requests, loads = drawn
    expected = reference.simulate(program, requests, loads)
    exact = compiled.PASSES[
        compiled.PASSES.index(compiled.cheapest_pass(program, loads, record=False)) :
    ]
    for name in exact:
        found = compiled.simulate(program, requests, loads, engine_pass=name)
        for part in TIMES:
            np.testing.assert_array_equal(getattr(expected, part), getattr(found, part), part)


@examples(20, HealthCheck.filter_too_much)
@given(runs(models=families(), users=3, prompt=30, output=20, loads=False))
def test_law_engines_agree_past_the_window(drawn: tuple) -> None:
    program, requests, _ = drawn
    expected = reference.simulate(program, requests).done
    np.testing.assert_array_equal(expected, compiled.simulate(program, requests).done)


@examples(40)
@given(chips(), families(), st.integers(1, 30), st.integers(2, 30))
def test_law_closed_form_is_the_engine_but_for_rounding(
    drawn: Chip, model: LanguageModel, prompt: int, output: int
) -> None:
    """One user: a cycle for each attention stage and token, whatever windows cut. Half is the mean
    of roundings; of few contexts and a read that takes whole cycles it is off by as much."""
    chip = drawn._replaced({"power.limit_w": 1e9, "datapath.issue": "serial"})
    found = predict(chip, model, prompt=prompt, output=output)
    program = build_program(chip, model)
    done = compiled.simulate(program, Requests.uniform(1, prompt, output)).done
    measured = (done[-1] - done[prompt - 1]) / (output - 1)
    reads = sum(layers for layers, _ in program.timing.tokens[0].attention())
    cycles = found.token_s * program.clock_hz
    assert abs(cycles - measured) <= reads + 1e-9 * measured


@pytest.mark.parametrize("layers", ["distinct", "shared"])
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_closed_form_error_across_a_window_is_small(layers: str, issue: str) -> None:
    """gpt-oss and Gemma at full size, where the window lies inside of the request."""
    chip = FREE._replaced({"datapath.issue": issue, "datapath.layers": layers})
    for name, prompt, output in (("gpt-oss-20b", 64, 256), ("gemma-3-1b", 400, 300)):
        model = LanguageModel.by_name(name)
        closed = predict(chip, model, prompt=prompt, output=output, users=2)
        program = build_program(chip, model)
        done = compiled.simulate(program, Requests.uniform(2, prompt, output)).done.reshape(2, -1)
        steps = (done[:, -1] - done[:, prompt - 1]) / (output - 1) / program.clock_hz
        assert closed.token_s == pytest.approx(steps.mean(), rel=closed.error_bound)
        first = done[:, prompt - 1].mean() / program.clock_hz
        assert closed.ttft_s == pytest.approx(first, rel=closed.error_bound)


@pytest.mark.parametrize("name", ["gpt-oss-20b", "gemma-3-1b", "mixtral-8x7b"])
def test_many_designs_at_once_are_each_the_engine(name: str) -> None:
    model, lanes = LanguageModel.by_name(name), np.array([8, 16])
    chip = FREE._replaced({"datapath.lanes": lanes})
    load = {"prompt": 100, "output": 40, "users": 2}
    many = batch_rates(chip, model, **load, power_throttle=1.0, prefill_throttle=1.0)
    for point, one in enumerate(lanes.tolist()):
        done = run(FREE._replaced({"datapath.lanes": one}), model, None, **load).base
        assert many.token_s[point] == pytest.approx(done.token_s, rel=1e-12)
        assert many.ttft_s[point] == pytest.approx(done.ttft_s, rel=1e-12)
        for operation, seconds in done.breakdown_s.items():
            assert many.breakdown_s[operation][point] == pytest.approx(seconds, abs=1e-12)


@examples(20)
@given(chips(), families(), st.integers(1, 40))
def test_law_recounted_attention_is_counted_anew(
    chip: Chip, model: LanguageModel, multipliers: int
) -> None:
    other = chip._replaced({"attention.macs_per_cycle": multipliers})
    adapter = Adapter.from_shape("r2:attention", model)
    anew = Timing.of(other, model, (adapter,))
    again = Timing.of(chip, model, (adapter,)).recounted(other, "attention.macs_per_cycle")
    for one, two in zip(anew.tables(20), again.tables(20), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(anew.intervals(20), again.intervals(20))
    np.testing.assert_array_equal(anew.ahead(20), again.ahead(20))


# --- windows ------------------------------------------------------------------------------------


@examples(40)
@given(families(), st.integers(0, 40))
def test_law_attention_stops_growing_at_the_window(model: LanguageModel, context: int) -> None:
    token = Timing.of(HC1, model).tokens[0]
    for _, stage in token.attention():
        now, later = at(context)(stage), at(context + 1)(stage)
        assert now <= later
        if stage.window is not None and context >= stage.window:
            assert now == later == at(stage.window)(stage)


@examples(60)
@given(families(), st.integers(1, 40), st.integers(0, 39))
def test_law_mean_over_contexts_is_the_mean(
    model: LanguageModel, shortest: int, spread: int
) -> None:
    """Within the rounding of each read, and an eighth of a token where a window begins."""
    contexts = np.arange(shortest, shortest + spread + 1)
    token = Timing.of(HC1, model).tokens[0]
    for _, stage in token.attention():
        (n, d), _ = stage.rates
        found = mean(contexts.mean(), spread)(stage)
        assert abs(found - at(contexts)(stage).mean()) <= 0.5 + n / d


@examples(40)
@given(families(), st.integers(1, 5000), st.integers(1, 9))
def test_law_the_longest_context_that_fits_fits(
    model: LanguageModel, context: int, users: int
) -> None:
    """``sram_budget`` inverts itself, and windows hold exactly what the model says."""
    held = float(kv_held(model, context)) * model.layers * model.kv_width
    assert held == pytest.approx(model.kv_elements(context))
    budget = sram_budget(HC1, model, users=users, context_tokens=context)
    most = float(budget.max_context_tokens)
    fits = sram_budget(HC1, model, users=users, context_tokens=most)
    assert fits.free_bytes >= -1e-6 * fits.capacity_bytes
    if most < model.max_position:
        assert sram_budget(HC1, model, users=users, context_tokens=most + 2).free_bytes < 0


def test_a_window_as_long_as_the_request_changes_nothing() -> None:
    """Mistral with a window that no context reaches: to the bit the model without one."""
    free = LanguageModel.by_name("mistral-7b-v0.3")
    windowed = dataclasses.replace(
        free, sliding_window=2048, sliding_layers=tuple(range(free.layers))
    )
    one, other = (run(HC1, m, None, prompt=1000, output=48) for m in (free, windowed))
    assert one.base == other.base
    beyond = [run(HC1, m, None, prompt=3000, output=48).base for m in (free, windowed)]
    assert beyond[1].decode_tokens_per_s_user > beyond[0].decode_tokens_per_s_user


# --- experts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEW)
def test_rom_holds_all_weights_and_a_token_uses_the_active_ones(name: str) -> None:
    """Norms, biases, sinks and corrections are not in ROM matrices."""
    model = LanguageModel.by_name(name)
    head = model.embedding_weights
    embedding = 0 if model.tied_embeddings else head
    assert rom_weights(HC1, model) == model.linear_weights + head + embedding
    assert weight_uses(model) == model.active_linear_weights + head
    assert weight_uses(model, sampled=False) == model.active_linear_weights
    assert model.parameter_count * 0.99 < rom_weights(HC1, model) <= model.parameter_count
    stored = sum(count * matrix.weights for count, matrix in rom_matrices(model))
    used = sum(count * matrix.weights for count, matrix in used_matrices(model))
    assert stored == model.linear_weights + head and used == model.active_linear_weights


def test_chosen_experts_work_at_once_where_they_are_arrays_of_their_own() -> None:
    """By hand, 16 lanes: gate and up ⌈4096 / 16⌉ passes, down ⌈14336 / 16⌉, whichever are chosen;
    one after the other where all layers share an array."""
    fill = token_stages(HC1, MIXTRAL).head[2].cycles - ceil(32000 / 128)
    for layers, times in (("distinct", 1), ("shared", 2)):
        (of_layer,) = token_stages(HC1._replaced({"datapath.layers": layers}), MIXTRAL).kinds
        cycles = {stage.name: stage.cycles for stage in of_layer.all}
        assert cycles["gate_up"] == times * 256 + fill
        assert cycles["down"] == times * 896 + fill
        assert cycles["router"] == 256 + fill
        assert cycles["route"] == 1 + fill
        assert cycles["silu"] == ceil(2 * 14336 / 256) + fill
        assert cycles["combine"] == ceil(2 * 4096 / 256) + fill
    names = [stage.name for stage in of_layer.behind]
    assert names[2:] == ["router", "route", "gate_up", "silu", "down", "combine"]


def test_more_experts_take_area_and_no_time_nor_dynamic_energy_of_matrices() -> None:
    assert MIXTRAL.experts is not None
    more = dataclasses.replace(MIXTRAL, experts=dataclasses.replace(MIXTRAL.experts, count=16))
    one, other = (predict(FREE, m, prompt=64, output=64) for m in (MIXTRAL, more))
    assert other.area_mm2["rom"] > 1.8 * one.area_mm2["rom"]
    assert other.breakdown_s["rom"] == one.breakdown_s["rom"]
    read = [p.power.blocks_j["rom_read"] for p in (one, other)]
    # Only the router is larger.
    assert read[0] < read[1] < 1.001 * read[0]


def test_a_shared_expert_stands_beside_the_chosen_ones() -> None:
    dense, sparse = token_stages(HC1, DEEPSEEK).kinds
    assert [stage.name for stage in dense.behind][-3:] == ["gate_up", "silu", "down"]
    stage = next(stage for stage in sparse.behind if stage.name == "gate_up")
    assert [matrix.name for matrix in stage.matrices] == ["gate_up", "shared_gate_up"]
    without = dataclasses.replace(DEEPSEEK, experts=dataclasses.replace(DEEPSEEK.experts, shared=0))
    alone = next(s for s in token_stages(HC1, without).kinds[1].behind if s.name == "gate_up")
    assert stage.cycles == alone.cycles


def test_units_of_a_mixture_follow_its_layers() -> None:
    """Side paths: beside qkv, o, and two matrices of each of two chosen experts, 32 times."""
    found = units(HC1, MIXTRAL)
    assert found["lora"] == 32 * (2 + 2 * 2)
    assert found["vector_units"] == 32 * (4 + 2) + 1
    assert found["matrix_adders"] == 32 * (6144 + 4096 + 8 + 8 * (2 * 14336 + 4096)) + 32000


# --- latent attention ---------------------------------------------------------------------------


def test_a_latent_is_read_once_and_multiplied_for_each_head() -> None:
    """By hand: 576 elements of 8 bits and 18 scales; 128 heads of 576 + 512 products."""
    assert kv_layer_bits(DEEPSEEK, 8) == 576 * 8 + 18 * 16
    for memories in ("shared", "separate"):
        chip = HC1._replaced({"attention.kv_memories": memories})
        (stage,) = token_stages(chip, DEEPSEEK).kinds[0].attention
        (bits, port), (products, multipliers) = stage.rates
        assert (bits, port) == (4896, 8 * 8192)
        assert (products, multipliers) == (128 * (576 + 512), 32768)
        assert units(chip, DEEPSEEK)["attention"] == 61


def test_absorbed_matrices_hold_the_weights_of_kv_b_proj() -> None:
    matrices = {matrix.name: matrix for matrix in layer_matrices(DEEPSEEK)}
    keys, values = matrices["latent_keys"], matrices["latent_values"]
    out_features, in_features = DEEPSEEK.linear_shape("kv_b_proj")
    weights = keys.copies * keys.weights + values.copies * values.weights
    assert weights == out_features * in_features
    assert (keys.in_features, keys.out_features) == (128, 512)
    assert (values.in_features, values.out_features) == (512, 128)


# --- caps, sinks, norms -------------------------------------------------------------------------


def test_caps_cost_a_fill_and_a_second_function() -> None:
    gemma = LanguageModel.by_name("gemma-2-2b")
    plain = dataclasses.replace(gemma, attention_softcap=None, logit_softcap=None)
    one, other = (predict(FREE, m, prompt=64, output=64) for m in (gemma, plain))
    fill = token_stages(FREE, plain).head[2].cycles - ceil(256000 / 128)
    more = (one.token_s - other.token_s) * FREE.datapath.clock_ghz * 1e9
    assert more == pytest.approx((26 + 1) * fill)
    softmax = [p.power.blocks_j["softmax"] for p in (one, other)]
    assert softmax[0] == pytest.approx(2 * softmax[1])


def test_a_sink_is_one_more_exponential_per_head() -> None:
    plain = dataclasses.replace(GPT_OSS, sinks=False)
    activity = Timing.of(HC1, GPT_OSS).tokens[0].activity(0, sampled=False)
    with_sinks = token_energy(HC1, GPT_OSS, activity)["softmax"]
    assert token_energy(HC1, plain, activity)["softmax"] == 0
    per_score = 4 * HC1.process.fp16_op_pj * 1e-12
    scaling = HC1.process.energy_factor(HC1.datapath.supply_v)
    assert with_sinks == pytest.approx(24 * 64 * per_score * scaling)


def test_gemma_has_six_units_of_vectors_in_a_layer() -> None:
    gemma = LanguageModel.by_name("gemma-2-2b")
    assert units(HC1, gemma)["vector_units"] == 26 * 6 + 1
    (of_layer, _) = token_stages(HC1, gemma).kinds
    names = [stage.name for stage in of_layer.behind]
    assert names == [
        "o", "post_norm_attention", "norm_mlp", "gate_up", "gelu_tanh", "down", "post_norm_mlp",
    ]  # fmt: skip


# --- adapters -----------------------------------------------------------------------------------


@examples(40)
@given(families(), st.sampled_from(["all-linear", "attention", "experts"]), st.integers(1, 4))
def test_law_shape_and_adapter_have_the_same_cycles_and_bytes(
    model: LanguageModel, on: str, rank: int
) -> None:
    if on not in groups_of(model):
        on = "attention"
    adapter = Adapter.from_shape(f"r{rank}:{on}:int8", model)
    shape = AdapterShape.of(model, on, rank, "int8")
    assert adapter_bytes(HC1, adapter) == shape_bytes(HC1, model, shape)
    one, other = (Timing.of(HC1, model, (a,)).tokens[1] for a in (adapter, shape))
    assert one.fixed == other.fixed
    assert one.work == other.work
    at_one, at_other = (sum(token.by_operation(at(7)).values()) for token in (one, other))
    assert at_one == at_other


def test_an_adapter_of_all_experts_is_refused_with_the_arithmetic() -> None:
    """gpt-oss-120b, rank 16: 1.27e9 weights beside experts, 11.9e6 beside attention."""
    model = LanguageModel.by_name("gpt-oss-120b")
    adapter = Adapter.from_shape("r16:attention+experts", model)
    obstacle = adapter_obstacle(HC1, model, adapter)
    assert obstacle is not None
    assert "36 layers × 128 experts × 276,480 weights are 1.27e9, and 11.9e6 beside" in obstacle
    alone = Adapter.from_shape("r16:attention", model)
    assert alone.parameters == 11_943_936
    assert adapter_obstacle(HC1, model, alone) is None


def test_beside_experts_only_the_chosen_ones_read() -> None:
    """Work per token is that of the chosen experts, size that of all."""
    on = Adapter.from_shape("r4:experts:int8", MIXTRAL)
    token = Timing.of(HC1, MIXTRAL, (on,)).tokens[1]
    assert token.work.macs == on.parameters * 2 // 8
    assert adapter_bytes(HC1, on) > 3.9 * token.work.bytes


def test_beside_absorbed_matrices_a_pair_runs_for_each_head() -> None:
    """``Aᵀ (Bᵀ q)`` and ``B (A c)`` of 128 heads; A is read once for each of both."""
    on = Adapter.from_shape("r8:kv_b_proj:float16", DEEPSEEK)
    work = Timing.of(HC1, DEEPSEEK, (on,)).tokens[1].work
    assert work.macs == 61 * 8 * 128 * (128 + 512 + 512 + 128)
    assert work.bytes == 61 * 8 * 2 * (128 * (128 + 128) + 2 * 512)


def test_free_rank_is_free_on_experts_too() -> None:
    targets = ("experts.gate_proj", "experts.up_proj", "experts.down_proj")
    wide = {"lora.macs_per_cycle": 65536, "lora.read_bytes_per_cycle": 65536}
    chip = HC1._replaced({**wide, "lora.activations_per_cycle": 64, "formats.max_rank": 4096})
    rank = int(free_rank(chip, MIXTRAL, targets, "int8"))
    assert 0 < rank < chip.formats.max_rank
    for tried, free in ((rank, True), (rank + 1, False)):
        adapter = Adapter.from_shape(f"r{tried}:experts:int8", MIXTRAL)
        lora = Timing.of(chip, MIXTRAL, (adapter,)).tokens[1].fixed["lora"]
        assert bool(lora == 0) is free


# --- one die ------------------------------------------------------------------------------------


def test_a_model_that_one_die_cannot_hold_says_how_many_it_is_worth() -> None:
    with pytest.raises(InputError, match=r"mixtral-8x7b does not fit one die: .*4.5 dies' worth"):
        run(HC1, MIXTRAL, None, prompt=64, output=64)
    paper = run(FREE, MIXTRAL, None, prompt=64, output=64)
    assert "(4.5 dies): does not fit" in str(paper.obstacles[0])


def test_area_counts_every_expert() -> None:
    dense = dataclasses.replace(
        MIXTRAL, experts=None, intermediate=8 * 14336, name="as wide as all experts"
    )
    one, other = area(HC1, MIXTRAL)["rom"], area(HC1, dense)["rom"]
    assert one == pytest.approx(other, rel=1e-3)


def test_layer_kinds_are_those_of_the_model() -> None:
    chip: Chip = HC1
    for name in NEW:
        model = LanguageModel.by_name(name)
        timing = Timing.of(chip, model).tokens[0]
        kinds: tuple[LayerKind, ...] = model.layer_kinds
        assert [kind.layers for kind in timing.kinds] == [len(kind.layers) for kind in kinds]
        for number, kind in enumerate(kinds):
            assert set(timing.kind_of[list(kind.layers)]) == {number}
    assert all(a <= b for a, b in pairwise(sorted(timing.kind_of)))
