"""Experts, windows, latents and caps in the chip's formats: laws that hold to the bit."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from small_models import DIMENSIONS, MODELS, TOKENS, WINDOW, write_adapter, write_model

from hardwire.experiments.run.tokens import rom_format
from hardwire.kernels.decoder.activation import clamped_swiglu_plain, silu_mul_plain
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.feed_forward import CLAMPED_ALPHA, feed_forward
from hardwire.kernels.decoder.kv_cache import PAGE_TOKENS, KVCache
from hardwire.kernels.decoder.kv_cache import Sequence as KVSequence
from hardwire.kernels.decoder.layer_weights import ROUTER
from hardwire.kernels.decoder.norm import sum_lanes
from hardwire.kernels.decoder.rope import LinearScaling, Rope
from hardwire.kernels.decoder.routing import route
from hardwire.kernels.decoder.side_path import LayerProducts
from hardwire.kernels.lowrank.lowrank import LowRankImage
from hardwire.kernels.rom.rom import RomMatrix, product_select
from hardwire.models import Adapter, Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import Experts, LanguageModel, module_path
from hardwire.models.rom import RomFormat, rom_matrices
from hardwire.models.sram import kv_bytes_per_token

pytestmark = pytest.mark.slow

WITH_EXPERTS = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3")
seeds = st.integers(0, 2**32 - 1)


def model_of(name: str) -> LanguageModel:
    return LanguageModel.from_config(DIMENSIONS | MODELS[name], name=name)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


# --- routing --------------------------------------------------------------------------------


def by_hand(logits: np.ndarray, rule: Experts, correction: np.ndarray) -> dict[int, float]:
    """Experts of one token with their weights, from float64 and sorted lists."""
    wide = logits.astype(float)
    if rule.scoring == "sigmoid":
        scores = 1 / (1 + np.exp(-wide))
    else:
        scores = np.exp(wide - wide.max())
        scores /= scores.sum()
    wanted = scores + correction
    size = rule.count // rule.groups
    best = sorted(
        range(rule.groups),
        key=lambda group: -sum(sorted(wanted[group * size : (group + 1) * size])[-2:]),
    )[: rule.active_groups]
    allowed = [expert for expert in range(rule.count) if expert // size in best]
    chosen = sorted(allowed, key=lambda expert: -wanted[expert])[: rule.active]
    total = sum(scores[expert] for expert in chosen) if rule.normalized else 1.0
    return {expert: scores[expert] / total * rule.scale for expert in chosen}


@examples(60)
@given(
    seed=seeds,
    groups=st.sampled_from([(1, 1), (4, 2), (8, 3)]),
    active=st.integers(1, 6),
    scoring=st.sampled_from(["softmax", "sigmoid"]),
    normalized=st.booleans(),
    scale=st.sampled_from([1.0, 2.5]),
)
def test_experts_are_chosen_and_weighted_as_by_hand(
    seed: int, groups: tuple[int, int], active: int, scoring: str, normalized: bool, scale: float
) -> None:
    every, kept = groups
    rule = Experts(
        24, active, 8, scoring=scoring, normalized=normalized, scale=scale,
        groups=every, active_groups=kept,
    )  # fmt: skip
    logits, correction = normal(seed, 5, 24), normal(seed + 1, 24) / np.float32(10)
    chosen, weights = route(logits, rule, correction)
    for token in range(5):
        expected = by_hand(logits[token], rule, correction.astype(float))
        assert chosen[token].tolist() == list(expected)
        np.testing.assert_allclose(weights[token], [*expected.values()], rtol=1e-5)
        alone = route(logits[token : token + 1], rule, correction)
        np.testing.assert_array_equal(alone[0][0], chosen[token])
        np.testing.assert_array_equal(alone[1][0], weights[token])
    if normalized:
        np.testing.assert_allclose(weights.sum(axis=1), scale, rtol=1e-5)


def test_of_equal_scores_the_first_experts_are_taken() -> None:
    chosen, weights = route(np.zeros((1, 6), np.float32), Experts(6, 2, 8))
    assert chosen.tolist() == [[0, 1]] and weights.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "deepseek_v3"])
def test_experts_equal_their_definition_bit_for_bit(name: str) -> None:
    """Token by token: the patents' product, router, chosen experts by number, shared ones last."""
    model = model_of(name)
    decoder = Decoder.random(model, 2, "rom3+6")
    layer, experts = decoder.base.layers[-1], model.experts
    assert experts is not None
    x = normal(3, 4, model.hidden)
    products = LayerProducts(model.layers - 1, layer, [None] * 4, 1)
    got = feed_forward(model, 1e-5, products, x)

    def linear(target: str, vector: np.ndarray) -> np.ndarray:
        matrix = layer.matrices[target]
        assert isinstance(matrix, RomMatrix)
        y = product_select(matrix, vector)
        return y + layer.biases[target] if target in layer.biases else y

    def gated(prefix: str, vector: np.ndarray) -> np.ndarray:
        gate, up = linear(f"{prefix}gate_proj", vector), linear(f"{prefix}up_proj", vector)
        if model.activation == "clamped_silu":
            assert model.activation_limit is not None
            inner = clamped_swiglu_plain(gate, up, CLAMPED_ALPHA, model.activation_limit)
        else:
            inner = silu_mul_plain(gate, up)
        return linear(f"{prefix}down_proj", inner)

    for token, vector in enumerate(x):
        chosen, weights = route(linear(ROUTER, vector)[None], experts, layer.correction)
        total = np.zeros(model.hidden, np.float32)
        for expert, weight in sorted(zip(chosen[0], weights[0], strict=True)):
            total = total + weight * gated(f"experts.{expert}.", vector)
        if experts.shared:
            total = total + gated("shared_experts.", vector)
        np.testing.assert_array_equal(got[token], total)
    assert sum_lanes(np.abs(got)).min() > 0


@pytest.mark.parametrize("chip", ["hc1", "roma"])
def test_a_router_is_judged_as_it_is_priced(chip: str) -> None:
    """The widest cells, whatever the layers have."""
    model, made = model_of("mixtral"), Chip.open(chip)
    for weights in (rom_format(made), "ternary/tensor"):
        router = Decoder.random(model, 0, weights).base.layers[0].matrices[ROUTER]
        assert isinstance(router, RomMatrix)
        assert {section.bits for section in router.sections} == {6}
    priced = next(matrix for _, matrix in rom_matrices(model) if matrix.name == "router")
    assert RomFormat.of(made, priced).code_bits == router.format.code_bits == 6


# --- prefill, decode, batches ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights", "kv_bits"),
    [
        ("mixtral", "rom3+6/row", 8),
        ("qwen3_moe", "rom4", "e4m3"),
        ("gpt_oss", "rom3", 4),
        ("deepseek_v3", "rom3+6", 8),
        ("deepseek_v3", "float32", 4),
        ("gemma2", "rom4/128", 8),
        ("gemma3_text", "rom6", 4),
        ("mistral-window", "ternary/tensor", 16),
    ],
)
def test_prefill_and_decode_give_the_same_bits(name: str, weights: str, kv_bits: int | str) -> None:
    model = model_of(name)
    one = Decoder.random(model, 1, weights, kv_bits=kv_bits)
    text = TOKENS[:80]
    whole = one.logits(text)
    sequence = KVSequence()
    rows = [one.step([token], [sequence], [None])[0] for token in text]
    np.testing.assert_array_equal(np.array(rows), whole)
    np.testing.assert_array_equal(one.logits(text[:47]), whole[:47])
    one.threads = 2
    np.testing.assert_array_equal(one.logits(text), whole)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Decoder]]:
    folder = tmp_path_factory.mktemp("families")
    found = {}
    for name, adapters in (
        ("gpt_oss", ("attention", "parameters")),
        ("deepseek_v3", ("latent", "latent-parameters")),
        ("mixtral", ("attention", "experts")),
    ):
        model = write_model(folder / name, name)
        found[name] = Decoder.load(folder / name, "rom4", kv_bits=8)
        for number, adapter in enumerate(adapters):
            path = write_adapter(folder / f"{name}-{adapter}", adapter, model)
            found[name].add_adapter(f"a{number}", path, ("int8", "float16")[number])
    yield found


@examples(12)
@given(data=st.data())
def test_each_token_in_a_batch_equals_running_it_alone(
    running: dict[str, Decoder], data: st.DataObject
) -> None:
    """Users with adapters on attention and experts, in batches that hold several tokens of one."""
    decoder = running[data.draw(st.sampled_from(sorted(running)))]
    users = [
        (data.draw(st.sampled_from([None, "a0", "a1"])), KVSequence(), [], []) for _ in range(3)
    ]
    for _ in range(data.draw(st.integers(1, 3))):
        order = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=45))
        tokens = data.draw(st.lists(st.integers(0, 127), min_size=len(order), max_size=len(order)))
        chosen = [users[number] for number in order]
        logits = decoder.step(tokens, [u[1] for u in chosen], [u[0] for u in chosen])
        for user, token, row in zip(chosen, tokens, logits, strict=True):
            user[2].append(token)
            user[3].append(row)
    for adapter, sequence, tokens, rows in users:
        if tokens:
            np.testing.assert_array_equal(decoder.logits(tokens, adapter), np.array(rows))
        decoder.cache.release(sequence)
    assert decoder.cache.pages_in_use == 0


def test_images_of_experts_and_heads_are_those_of_the_whole(running: dict[str, Decoder]) -> None:
    """Gate and up share A; a head's pair beside its keys is turned."""
    decoder = running["gpt_oss"]
    fused = decoder.adapters["a1"].images[1, "experts.2.gate_up_proj"]
    gate, up = fused.gate.dequantized(), fused.up.dequantized()
    np.testing.assert_array_equal(gate[0], up[0])
    assert fused.rank == 3 and gate[1].shape == (96, 3)
    latent = running["deepseek_v3"].adapters["a0"].images[1, "kv_b_proj"]
    for keys, values in zip(latent.keys, latent.values, strict=True):
        assert isinstance(keys, LowRankImage) and keys.out_features == values.in_features == 40
        assert (keys.in_features, values.out_features, latent.rank) == (16, 12, keys.rank)


def test_an_adapter_on_shared_experts_equals_weights_merged_with_it(tmp_path: Path) -> None:
    """PEFT on transformers 5 takes their names for those of experts, so it is no oracle here."""
    model = write_model(tmp_path / "plain", "deepseek_v3")
    path = write_adapter(tmp_path / "adapter", "shared", model)
    adapter = Adapter.open(path, model)
    plain = Decoder.load(tmp_path / "plain")
    found = plain.logits(TOKENS[:40], path)
    tensors = load_file(tmp_path / "plain" / "model.safetensors")
    for module in adapter.modules:
        a, b = adapter.weights(module.layer, module.target)
        tensors[f"{module_path(module.layer, module.target)}.weight"] += module.scale * b @ a
    save_file(tensors, tmp_path / "plain" / "model.safetensors")
    merged = Decoder.load(tmp_path / "plain").logits(TOKENS[:40])
    np.testing.assert_allclose(found, merged, rtol=0, atol=5e-5)
    assert len(adapter.modules) == 2 * 3 + 3 and np.abs(found - plain.logits(TOKENS[:40])).max() > 1


# --- the cache ------------------------------------------------------------------------------


def test_a_window_stops_growing() -> None:
    decoder = Decoder.random(model_of("mistral-window"), 0, kv_bits=8)
    decoder.generate(TOKENS[:5], 1)
    sequence = KVSequence()
    for begin in range(0, 200, 50):
        decoder.step(TOKENS[:50], [sequence] * 50, [None] * 50)
        assert decoder.cache.pages_in_use == min(-(-(begin + 50) // PAGE_TOKENS), 2)
    assert sequence.pages == [] and len(sequence.ring) == -(-WINDOW // PAGE_TOKENS) + 1


@pytest.mark.parametrize("name", ["deepseek-v3", "gpt-oss-20b", "gemma-3-1b", "mixtral-8x7b"])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_a_token_takes_the_bytes_that_the_model_counts(name: str, bits: int) -> None:
    """Of MLA one latent and one rotary key for all heads; windows and whole contexts alike."""
    model = LanguageModel.by_name(name)
    cache = KVCache.of(model, bits)
    cache.extend(KVSequence(), PAGE_TOKENS, 0)
    assert kv_bytes_per_token(model, bits) == cache.nbytes / 4 / PAGE_TOKENS


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gpt_oss", {"swiglu_alpha": 1.5}, r"config\.json: swiglu_alpha: must be 1\.702, not 1\.5"),
        ("deepseek_v3", {"rope_interleave": False}, "rope_interleave: must be True, not False"),
        ("deepseek_v3", {"topk_method": "greedy"}, "topk_method: must be 'noaux_tc', not 'greedy'"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention: must"),
        ("gemma3_text", {"rope_local_base_freq": 0}, "base_freq: must be a positive number"),
        ("gpt_oss", {"rope_scaling": None}, "rope_scaling: this field is missing"),
        ("mixtral", {"quantization_config": {"quant_method": "awq"}}, "quantized by 'awq' are not"),
    ],
)
def test_arithmetic_that_is_not_computed_is_refused(
    tmp_path: Path, name: str, change: dict[str, object], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DIMENSIONS | MODELS[name] | change))
    with pytest.raises(InputError, match=message) as caught:
        Decoder.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_gemma_3_turns_windows_by_a_rope_of_their_own() -> None:
    """In the layout of a published config, and in that of transformers 5."""
    old = DIMENSIONS | MODELS["gemma3_text"]
    new = {key: value for key, value in old.items() if not key.startswith("rope_")}
    new["rope_parameters"] = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    for config in (old, new):
        assert Rope.from_config(config, "c") == Rope(1e6, LinearScaling(8.0))
        assert Rope.of_windows(config, "c") == Rope(10_000.0)
    plain = DIMENSIONS | MODELS["gpt_oss"]
    assert Rope.of_windows(plain, "c") == Rope.from_config(plain, "c")
