"""Experts, windows, latent attention, Gemma: counts as published, and what each family stores."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel, module_path
from tests.examples import examples

# Total and active parameters in 1e9 as published, and the tolerance of their rounding. The token
# embedding is in the active ones of Mistral and Qwen and not in those of the others.
PUBLISHED = {
    # Mixtral of Experts, arXiv 2401.04088: "47B parameters, 13B active", 46.7 and 12.9 in the blog.
    "mixtral-8x7b": (46.7, 12.9, True, 0.05),
    # README of Qwen/Qwen3-30B-A3B: "30.5B in total and 3.3B activated".
    "qwen3-30b-a3b": (30.5, 3.3, True, 0.06),
    # gpt-oss model card, arXiv 2508.10925, table 1: "unembedding parameters are counted towards
    # active ones, but not embeddings".
    "gpt-oss-20b": (20.91, 3.61, False, 0.006),
    "gpt-oss-120b": (116.83, 5.13, False, 0.006),
    # DeepSeek-V3 technical report, arXiv 2412.19437: "671B total parameters with 37B activated".
    "deepseek-v3": (671, 37, False, 0.5),
    "deepseek-r1": (671, 37, False, 0.5),
}
# Gemma 2, arXiv 2408.00118, table 2: parameters outside of the embedding, exact.
GEMMA_2 = {"2b": 2_024_517_888, "9b": 8_324_201_984, "27b": 26_047_480_320}


@pytest.mark.parametrize("name", PUBLISHED)
def test_total_and_active_counts_are_the_published_ones(name: str) -> None:
    total, active, with_embedding, rounding = PUBLISHED[name]
    model = LanguageModel.by_name(name)
    found = model.active_parameter_count - (0 if with_embedding else model.embedding_weights)
    assert model.parameter_count / 1e9 == pytest.approx(total, abs=rounding)
    assert found / 1e9 == pytest.approx(active, abs=rounding)
    assert model.active_linear_weights < model.linear_weights < model.parameter_count


@pytest.mark.parametrize("size", GEMMA_2)
def test_gemma_2_has_its_published_count_outside_of_the_embedding(size: str) -> None:
    model = LanguageModel.by_name(f"gemma-2-{size}")
    assert model.parameter_count - model.embedding_weights == GEMMA_2[size]
    assert model.active_parameter_count == model.parameter_count


def test_deepseek_v3_stores_what_its_index_counts() -> None:
    """Hugging Face counts 684,531,386,000 numbers by type in the files of DeepSeek-V3, with the
    layer that predicts a second token, its own copy of embedding and head, and all scales."""
    model = LanguageModel.by_name("deepseek-v3")
    tensors = model.tensors() | model.extra_tensors()
    kinds = {"F8_E4M3": 0, "F32": 0, "BF16": 0}
    for name, shape in tensors.items():
        wide = name.endswith(("_scale_inv", "e_score_correction_bias"))
        kind = "F32" if wide else "F8_E4M3" if f"{name}_scale_inv" in tensors else "BF16"
        kinds[kind] += math.prod(shape)
    assert kinds == {"F8_E4M3": 680_571_043_840, "F32": 41_555_600, "BF16": 3_918_786_560}
    assert sum(kinds.values()) == 684_531_386_000
    # README_WEIGHTS.md: 11.5e9 parameters of its own, without embedding and head of 0.9e9 each.
    assert model.extra_parameter_count / 1e9 == pytest.approx(11.5, abs=0.15)


def test_gpt_oss_stores_blocks_and_scales_and_counts_weights() -> None:
    model = LanguageModel.by_name("gpt-oss-20b")
    tensors = model.tensors()
    up = "model.layers.3.mlp.experts.gate_up_proj"
    assert tensors[f"{up}_blocks"] == (32, 5760, 90, 16)
    assert tensors[f"{up}_scales"] == (32, 5760, 90)
    assert tensors[f"{up}_bias"] == (32, 5760)
    assert tensors["model.layers.3.mlp.experts.down_proj_blocks"] == (32, 2880, 90, 16)
    assert tensors["model.layers.0.mlp.router.bias"] == (32,)
    assert tensors["model.layers.0.self_attn.sinks"] == (64,)
    assert tensors["model.layers.0.self_attn.o_proj.bias"] == (2880,)
    logical = sum(
        math.prod(shape) * (2 if name.endswith("_blocks") else 1)  # two numbers in a byte
        for name, shape in tensors.items()
        if not name.endswith("_scales")
    )
    assert logical == model.parameter_count


def test_mixtral_keeps_the_names_of_its_checkpoint() -> None:
    tensors = LanguageModel.by_name("mixtral-8x7b").tensors()
    prefix = "model.layers.31.block_sparse_moe"
    assert tensors[f"{prefix}.gate.weight"] == (8, 4096)
    assert tensors[f"{prefix}.experts.7.w1.weight"] == (14336, 4096)
    assert tensors[f"{prefix}.experts.7.w2.weight"] == (4096, 14336)
    assert len(tensors) == 3 + 32 * (4 + 1 + 3 * 8 + 2)


def test_deepseek_has_latents_dense_layers_and_a_shared_expert() -> None:
    model = LanguageModel.by_name("deepseek-r1")
    dense, sparse = model.layer_kinds
    assert (dense.layers, dense.experts, sparse.experts) == ((0, 1, 2), False, True)
    assert model.linear_shape("q_a_proj") == (1536, 7168)
    assert model.linear_shape("q_b_proj") == (128 * 192, 1536)
    assert model.linear_shape("kv_a_proj_with_mqa") == (576, 7168)
    assert model.linear_shape("kv_b_proj") == (128 * 256, 512)
    assert model.linear_shape("o_proj") == (7168, 128 * 128)
    assert model.linear_shape("gate_proj") == (18432, 7168)
    assert model.linear_shape("shared_experts.down_proj") == (7168, 2048)
    assert model.linear_shape("experts.255.up_proj") == (2048, 7168)
    # 61 layers of a latent of 512 and a rotary part of 64.
    assert model.kv_elements_per_token == 35_136 and model.kv_elements(1000) == 35_136_000


def test_windows_keep_no_more_than_their_tokens() -> None:
    """gpt-oss: every other layer keeps 128 tokens. 36,864 elements a token, as a public table."""
    model = LanguageModel.by_name("gpt-oss-120b")
    slides, full = model.layer_kinds
    assert (slides.window, full.window) == (128, None)
    assert slides.layers == tuple(range(0, 36, 2)) and full.layers == tuple(range(1, 36, 2))
    assert model.kv_elements_per_token == 36_864
    assert model.kv_elements(128) == 128 * 36_864
    assert model.kv_elements(1128) == 128 * 36_864 + 1000 * 36_864 // 2
    gemma = LanguageModel.by_name("gemma-3-1b")
    assert [gemma.kind_of(layer).window for layer in (4, 5, 6)] == [512, None, 512]
    assert len(gemma.sliding_layers) == 22


@pytest.mark.parametrize("config", ["QWEN", "DEEPSEEK", "MIXTRAL", "GPT_OSS", "GEMMA"])
def test_counts_are_the_sums_of_the_tensors(config: str) -> None:
    """Of checkpoints that are not quantized, where each number is a parameter."""
    model = LanguageModel.from_config(globals()[config])
    assert sum(math.prod(shape) for shape in model.tensors().values()) == model.parameter_count


@pytest.mark.parametrize("name", ["mixtral-8x7b", "gemma-2-2b", "gpt-oss-20b"])
def test_every_layer_is_of_one_kind(name: str) -> None:
    model = LanguageModel.by_name(name)
    layers = sorted(layer for kind in model.layer_kinds for layer in kind.layers)
    assert layers == list(range(model.layers))


def test_places_go_through_kinds_in_a_tokens_order() -> None:
    model = LanguageModel.by_name("deepseek-v3")
    assert model.places(("gate_proj",)) == [(0, "gate_proj"), (1, "gate_proj"), (2, "gate_proj")]
    assert len(model.places(("shared_experts.up_proj",))) == 58
    experts = model.places(("experts.up_proj",))
    assert len(experts) == 58 * 256 and experts[1] == (3, "experts.1.up_proj")
    assert module_path(*experts[1]) == "model.layers.3.mlp.experts.1.up_proj"
    assert module_path(0, "kv_a_proj_with_mqa") == "model.layers.0.self_attn.kv_a_proj_with_mqa"
    assert not any(target.startswith("experts.") for _, target in model.places())


MOE = {
    "num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 128, "max_position_embeddings": 4096,
    "num_experts_per_tok": 2,
}  # fmt: skip
QWEN = MOE | {"model_type": "qwen3_moe", "num_experts": 8, "moe_intermediate_size": 32}
LATENT = {
    "q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}  # fmt: skip
DEEPSEEK = MOE | LATENT | {
    "model_type": "deepseek_v3", "n_routed_experts": 8, "moe_intermediate_size": 32,
    "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1,
}  # fmt: skip

MIXTRAL = MOE | {"model_type": "mixtral", "num_local_experts": 4}
GPT_OSS = MIXTRAL | {"model_type": "gpt_oss"}
GEMMA = MOE | {"model_type": "gemma3_text", "head_dim": 16}


def test_qwen_says_which_layers_are_dense() -> None:
    assert LanguageModel.from_config(QWEN).dense_layers == ()
    model = LanguageModel.from_config(QWEN | {"mlp_only_layers": [1]})
    assert model.dense_layers == (1,)
    assert model.linear_shape("gate_proj") == (96, 64)
    assert model.linear_shape("experts.gate_proj") == (32, 64)
    assert LanguageModel.from_config(QWEN | {"decoder_sparse_step": 2}).dense_layers == (0, 2)


def test_queries_may_come_from_one_matrix() -> None:
    model = LanguageModel.from_config(DEEPSEEK | {"q_lora_rank": None})
    assert model.attention_targets == ("q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
    assert model.linear_shape("q_proj") == (4 * 24, 64)
    assert "model.layers.0.self_attn.q_a_layernorm.weight" not in model.tensors()


def test_gemma_has_four_norms_caps_and_a_tied_head() -> None:
    gemma = MOE | {"model_type": "gemma2", "head_dim": 16}
    model = LanguageModel.from_config(gemma)
    assert (model.attention_softcap, model.logit_softcap, model.query_scale) == (50, 30, 256)
    assert model.post_norms and model.scaled_embedding and model.tied_embeddings
    assert "model.layers.0.pre_feedforward_layernorm.weight" in model.tensors()
    assert model.activation == "gelu_tanh" and not model.qk_norm
    assert LanguageModel.from_config(gemma | {"attn_logit_softcapping": None}).logit_softcap == 30
    third = LanguageModel.from_config(gemma | {"model_type": "gemma3_text"})
    assert third.qk_norm and third.attention_softcap is None
    # 8 times the context is in max_position_embeddings already.
    scaled = gemma | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    assert LanguageModel.from_config(scaled | {"model_type": "gemma3_text"}).max_position == 4096


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (QWEN, {"num_experts": None}, "num_experts: this field is missing"),
        (QWEN, {"num_experts_per_tok": None}, "num_experts_per_tok: this field is missing"),
        (QWEN, {"num_experts_per_tok": 9}, "num_experts_per_tok: 9 of 8 experts cannot be"),
        (QWEN, {"moe_intermediate_size": None}, "moe_intermediate_size: this field is missing"),
        (QWEN, {"kv_lora_rank": 8}, "kv_lora_rank: a model with this key uses multi-head latent"),
        (DEEPSEEK, {"n_group": 3}, "n_group: 3 groups of 8 experts are not alike"),
        (DEEPSEEK, {"topk_group": 5}, "topk_group: 5 of 4 groups"),
        (DEEPSEEK, {"topk_group": 1, "num_experts_per_tok": 3}, "topk_group: 1 of 4 groups"),
        (DEEPSEEK, {"v_head_dim": None}, "v_head_dim: this field is missing"),
        (DEEPSEEK, {"qk_rope_head_dim": 7}, "qk_rope_head_dim: must be even"),
        (DEEPSEEK, {"moe_layer_freq": 2}, "moe_layer_freq: must be at most 1"),
        (
            DEEPSEEK,
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}},
            r"quantization_config.weight_block_size: must be \[128, 128\]",
        ),
        (
            MOE | {"model_type": "gpt_oss", "num_local_experts": 4},
            {"layer_types": ["full_attention"] * 2},
            "layer_types: names 2 layers, and num_hidden_layers is 3",
        ),
        (
            MOE | {"model_type": "gemma2"},
            {"hidden_activation": "silu"},
            "hidden_activation: must be 'gelu_pytorch_tanh', not 'silu'",
        ),
        (MOE | {"model_type": "gemma3"}, {}, "model_type: 'gemma3' also sees"),
        (MOE | {"model_type": "gemma4_text"}, {}, "model_type: 'gemma4_text' is Gemma 4"),
    ],
)
def test_bad_fields_are_named(
    config: dict[str, object], change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=f"^config.json: {message}") as caught:
        LanguageModel.from_config(config | change)
    assert "\n" not in str(caught.value)


@examples(40)
@given(
    layers=st.integers(1, 6),
    window=st.integers(1, 300),
    context=st.integers(0, 600),
    pattern=st.integers(1, 4),
)
def test_law_what_is_kept_grows_by_a_token_and_never_beyond_windows(
    layers: int, window: int, context: int, pattern: int
) -> None:
    config = MOE | {"model_type": "gemma3_text", "num_hidden_layers": layers, "head_dim": 16}
    model = LanguageModel.from_config(
        config | {"sliding_window": window, "sliding_window_pattern": pattern}
    )
    held = model.kv_elements(context)
    full = (layers - len(model.sliding_layers)) * context * model.kv_width
    assert held == full + len(model.sliding_layers) * min(context, window) * model.kv_width
    assert held <= model.kv_elements(context + 1) <= held + model.kv_elements_per_token


def test_the_page_of_models_has_the_codes_numbers() -> None:
    """docs/models.md is written by hand."""
    page = Path(__file__).resolve().parents[2] / "docs" / "models.md"
    rows = [line.strip("| ").split(" | ") for line in page.read_text(encoding="utf-8").splitlines()]
    counts = [row for row in rows if len(row) == 6 and row[0] in catalogue.names("model")]
    kept = [row for row in rows if len(row) == 5 and row[0] in catalogue.names("model")]
    assert (len(counts), len(kept)) == (8, 5)
    for name, total, active, without, *_ in counts:
        model = LanguageModel.by_name(name)
        found = (
            model.parameter_count,
            model.active_parameter_count,
            model.active_parameter_count - model.embedding_weights,
        )
        assert [f"{value / 1e9:.2f}" for value in found] == [total, active, without], name
    for name, _, token, short, long in kept:
        model = LanguageModel.by_name(name)
        assert f"{model.kv_elements_per_token:,}" == token
        for context, cell in ((1024, short), (8192, long)):
            assert float(cell) == pytest.approx(model.kv_elements(context), rel=5e-3), name
