"""Adapters of models with experts and latent attention, by PEFT's names: read, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hardwire.models import Adapter, LanguageModel
from hardwire.models.adapter.base import check_base
from hardwire.models.adapter.modules import parse_targets, targets_text
from hardwire.models.adapter.write import write_adapter
from hardwire.models.errors import InputError

QWEN = LanguageModel.from_config(
    {
        "model_type": "qwen3_moe", "num_hidden_layers": 3, "hidden_size": 32, "head_dim": 8,
        "intermediate_size": 48, "moe_intermediate_size": 16, "num_experts": 4,
        "num_experts_per_tok": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 64, "max_position_embeddings": 128, "mlp_only_layers": [0],
    },
    "small-qwen",
)  # fmt: skip
DEEPSEEK = LanguageModel.by_name("deepseek-v3")
GPT_OSS = LanguageModel.by_name("gpt-oss-20b")
LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def places(model: LanguageModel, **config: object) -> dict[tuple[int, str], int]:
    adapter = Adapter.from_config(LORA | config, model)
    return {(module.layer, module.target): module.rank for module in adapter.modules}


def test_groups_are_those_of_the_model() -> None:
    attention = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
    assert parse_targets("attention", "x", DEEPSEEK) == attention
    assert parse_targets("experts", "x", GPT_OSS) == (
        "experts.gate_proj", "experts.up_proj", "experts.down_proj",
    )  # fmt: skip
    linear = parse_targets("all-linear", "x", DEEPSEEK)
    assert linear[:5] == attention and "shared_experts.up_proj" in linear
    assert not any(target.startswith("experts.") for target in linear)
    for model in (QWEN, DEEPSEEK, GPT_OSS):
        for group in ("attention", "experts", "all-linear"):
            targets = parse_targets(group, "x", model)
            assert parse_targets(targets_text(targets), "x", model) == targets
    with pytest.raises(InputError, match="'q_proj' is no target of deepseek-v3; use all-linear"):
        parse_targets("q_proj", "x", DEEPSEEK)


def test_all_linear_has_no_experts_that_are_parameters() -> None:
    """transformers 5 keeps the experts of a layer in one parameter, which PEFT passes over."""
    found = places(QWEN, target_modules="all-linear")
    assert found.keys() == {
        *((layer, target) for layer in range(3) for target in QWEN.attention_targets),
        *((0, target) for target in ("gate_proj", "up_proj", "down_proj")),
    }


def test_a_pattern_of_paths_reaches_each_expert() -> None:
    found = places(QWEN, target_modules=r".*\.experts\.\d+\.down_proj")
    assert set(found) == {(layer, f"experts.{e}.down_proj") for layer in (1, 2) for e in range(4)}


def test_target_parameters_are_one_pair_for_each_expert() -> None:
    """Gate and up are one matrix there: A of 2880 inputs, B of 5760 outputs."""
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    adapter = Adapter.from_config(LORA | {"target_parameters": names}, GPT_OSS)
    assert len(adapter.modules) == 24 * 32 * 2
    assert adapter.targets == ("experts.down_proj", "experts.gate_up_proj")
    each = 4 * (2880 + 5760) + 4 * (2880 + 2880)
    assert adapter.parameters == 24 * 32 * each
    assert adapter.rank(3, "experts.gate_up_proj") == 4
    both = places(GPT_OSS, target_parameters=names[1:], target_modules=["q_proj"])
    assert (0, "q_proj") in both and (0, "experts.31.down_proj") in both
    only = places(GPT_OSS, target_parameters=["model.layers.7.mlp.experts.down_proj"])
    assert {layer for layer, _ in only} == {7}


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (
            GPT_OSS,
            {"target_parameters": ["mlp.experts.up_proj"]},
            "target_parameters: 'mlp.experts.up_proj' is no parameter of experts of gpt-oss-20b",
        ),
        (
            QWEN,
            {
                "target_parameters": ["experts.down_proj"],
                "target_modules": r".*\.experts\.0\.up_proj",
            },
            "target_parameters: experts are in target_modules, too",
        ),
        (GPT_OSS, {}, "target_modules: this field is missing, and PEFT has no default for the fam"),
        (DEEPSEEK, {"target_modules": ["k_proj"]}, "target_modules: 'k_proj' is no linear layer"),
        (GPT_OSS, {"target_modules": ["router"]}, "target_modules: 'router' is no linear layer"),
    ],
)
def test_what_no_model_has_is_refused(
    model: LanguageModel, config: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Adapter.from_config(LORA | config, model)


@pytest.mark.parametrize("targets", ["attention", "experts", "all-linear+experts.down_proj"])
def test_adapters_are_written_and_read(tmp_path: Path, targets: str) -> None:
    adapter = write_adapter(tmp_path / "lora", QWEN, 2, targets)
    assert adapter.targets == parse_targets(targets, "x", QWEN)
    for module in adapter.modules:
        a, b = adapter.weights(module.layer, module.target)
        assert a.shape == (2, module.in_features) and b.shape == (module.out_features, 2)
    if "experts" in targets:
        assert adapter.rank(0, "experts.down_proj") == 0
        assert adapter.rank(1, "experts.down_proj") == 2
        assert adapter.weights(2, "experts.3.down_proj")[0].dtype == np.float32


def test_names_are_of_experts_where_the_file_has_them_apart(tmp_path: Path) -> None:
    """As transformers before version 5 saved them: ``down_proj`` is of dense layers and experts."""
    adapter = write_adapter(tmp_path / "lora", QWEN, 2, "down_proj+experts.down_proj")
    path = tmp_path / "lora" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"target_modules": ["down_proj"]}))
    again = Adapter.open(tmp_path / "lora", QWEN)
    assert again.modules == adapter.modules


def test_weights_of_all_experts_in_one_are_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "lora", QWEN, 2, "attention")
    path = tmp_path / "lora" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"target_parameters": ["experts.down_proj"]}))
    with pytest.raises(InputError, match="target_parameters: weights of LoRA on parameters that"):
        Adapter.open(tmp_path / "lora", QWEN)


def test_gguf_adapters_of_new_families_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lora.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(InputError, match="of the family qwen3_moe are read from PEFT folders"):
        Adapter.open(path, QWEN)


def test_an_adapter_stays_with_models_of_like_experts() -> None:
    adapter = Adapter.from_shape("r4:attention", DEEPSEEK)
    check_base(adapter, LanguageModel.by_name("deepseek-r1"))
    other = LanguageModel.from_config(
        {
            "model_type": "qwen3_moe", "num_hidden_layers": 3, "hidden_size": 32, "head_dim": 8,
            "intermediate_size": 48, "moe_intermediate_size": 16, "num_experts": 8,
            "num_experts_per_tok": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 64, "max_position_embeddings": 128, "mlp_only_layers": [0],
        },
        "other",
    )  # fmt: skip
    with pytest.raises(InputError, match="was made for small-qwen; other differs from it in its"):
        check_base(Adapter.from_shape("r4:attention", QWEN), other)
