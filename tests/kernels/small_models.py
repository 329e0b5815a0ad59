"""Small models and adapters in Hugging Face's file layout, the same bytes on every machine.

NumPy promises the stream of `RandomState` for ever, so a fixture needs to hold only what the
reference computes from these files, not the files.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.models.adapter.files import encode, safetensors_header
from hardwire.models.language_model import TARGETS, LanguageModel, module_path

DIMENSIONS: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
# The original context is short, so that every band of the scaling is met within a short text.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "rope_theta": 500000.0,
    "rope_scaling": LLAMA3_ROPE,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama-tied": LLAMA | {"tie_word_embeddings": True},
    "llama-biases": LLAMA | {"attention_bias": True, "mlp_bias": True},
    "llama-deep": LLAMA
    | {
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "hidden_size": 72,
        "head_dim": 40,
        "num_key_value_heads": 3,
    },
    "mistral": {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "rope_theta": 1e6,
        "sliding_window": None,
    },
    "qwen2": {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "rope_theta": 1e6,
        "use_sliding_window": False,
    },
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "rope_theta": 1e6},
    "bitnet": {
        "model_type": "bitnet",
        "architectures": ["BitNetForCausalLM"],
        "rope_theta": 500000.0,
        "hidden_act": "relu2",
        "tie_word_embeddings": True,
    },
}
YARN = {
    "rope_type": "yarn",
    "factor": 8.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 128,
}
WINDOW = 24
"""Short enough that a ring of pages is written anew within the text."""
MODELS |= {
    "llama-yarn": LLAMA | {"rope_scaling": YARN},
    "mistral-window": MODELS["mistral"] | {"sliding_window": WINDOW},
    "qwen2-window": MODELS["qwen2"]
    | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "mixtral": {
        "model_type": "mixtral",
        "architectures": ["MixtralForCausalLM"],
        "rope_theta": 1e6,
        "sliding_window": None,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_hidden_layers": 3,
        "rope_theta": 1e6,
        "moe_intermediate_size": 48,
        "num_experts": 8,
        "num_experts_per_tok": 3,
        "norm_topk_prob": True,
        "mlp_only_layers": [1],
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "num_hidden_layers": 3,
        "intermediate_size": 96,
        "rope_theta": 150000.0,
        "rope_scaling": YARN | {"truncate": False},
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "attention_bias": True,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "swiglu_limit": 1.5,
    },
    "deepseek_v3": {
        "model_type": "deepseek_v3",
        "architectures": ["DeepseekV3ForCausalLM"],
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "head_dim": 8,  # of the rotary part, as transformers sets it
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "yarn", "mscale": 1.0, "mscale_all_dim": 0.7}
        | {key: value for key, value in YARN.items() if key != "rope_type"},
        "q_lora_rank": 24,
        "kv_lora_rank": 40,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 48,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "num_experts_per_tok": 3,
        "n_group": 4,
        "topk_group": 2,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "num_nextn_predict_layers": 1,
    },
    "gemma2": {
        "model_type": "gemma2",
        "architectures": ["Gemma2ForCausalLM"],
        "num_hidden_layers": 3,
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": 10000.0,
        "sliding_window": WINDOW,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 8.0,
        "query_pre_attn_scalar": 24,
        "tie_word_embeddings": True,
    },
    "gemma3_text": {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "num_hidden_layers": 3,
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": 1e6,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window": WINDOW,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": 20,
        "tie_word_embeddings": True,
    },
}
MODELS["deepseek_v3-wide"] = MODELS["deepseek_v3"] | {"q_lora_rank": None, "norm_topk_prob": False}
MODELS["qwen3_moe-plain"] = MODELS["qwen3_moe"] | {"norm_topk_prob": False, "mlp_only_layers": []}
ADAPTERS: dict[str, dict[str, Any]] = {
    "all-linear": {"r": 4, "lora_alpha": 8, "target_modules": list(TARGETS)},
    "qv": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
    "rslora": {"r": 9, "lora_alpha": 6, "target_modules": list(TARGETS), "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": list(TARGETS),
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 7},
        "alpha_pattern": {"down_proj": 3, "layers.0.self_attn.v_proj": 1},
    },
    "attention": {"r": 4, "lora_alpha": 6, "target_modules": list(TARGETS[:4])},
    "latent": {
        "r": 5,
        "lora_alpha": 7,
        "target_modules": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"],
    },
    # As transformers before version 5 saved them: each expert's linear layers are modules.
    "experts": {"r": 3, "lora_alpha": 4, "target_modules": list(TARGETS[4:])},
    # And since: all experts of a layer are one parameter, gate and up one, too.
    "parameters": {
        "r": 3,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    },
    "down-parameter": {
        "r": 2,
        "lora_alpha": 5,
        "target_modules": [],
        "target_parameters": ["mlp.experts.down_proj"],
    },
    "latent-parameters": {
        "r": 4,
        "lora_alpha": 4,
        "target_modules": ["kv_b_proj", "o_proj"],
        "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    },
    # A name that also ends paths of experts, which are one parameter, is of the others.
    "shared": {"r": 4, "lora_alpha": 6, "target_modules": list(TARGETS[4:])},
    "lm-head": {"r": 6, "lora_alpha": 9, "target_modules": ["q_proj", "v_proj", "lm_head"]},
}
_OF_DENSE = ("all-linear", "qv", "rslora", "patterns", "lm-head")
ADAPTERS_OF = {
    "llama": [*_OF_DENSE],
    "qwen3": [*_OF_DENSE],
    "llama-tied": ["lm-head"],
    "bitnet": ["all-linear"],
    "mixtral": ["attention", "experts", "parameters"],
    "qwen3_moe": ["attention", "down-parameter"],
    "qwen3_moe-plain": ["experts"],
    "gpt_oss": ["attention", "parameters"],
    "deepseek_v3": ["latent", "latent-parameters"],
    "gemma2": ["all-linear"],
    "gemma3_text": ["all-linear"],
}
"""The models that are taken with adapters, and with which."""
TOKENS = np.random.RandomState(0).randint(0, 128, 90)


def write_model(folder: Path, name: str, dtype: str = "F32", shards: int = 1) -> LanguageModel:
    """Write one of `MODELS`."""
    folder.mkdir(parents=True)
    config = DIMENSIONS | MODELS[name]
    (folder / "config.json").write_text(json.dumps(config))
    model = LanguageModel.from_config(folder)
    tensors = {name: weights(name, shape, model) for name, shape in model.tensors().items()}
    names = sorted(tensors)
    parts = [names[part::shards] for part in range(shards)]
    files = [f"model-{part + 1:05}-of-{shards:05}.safetensors" for part in range(shards)]
    if shards == 1:
        files = ["model.safetensors"]
    else:
        index = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        content = {"metadata": {}, "weight_map": index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    for file, part in zip(files, parts, strict=True):
        write_tensors(folder / file, {name: tensors[name] for name in part}, dtype)
    return model


def weights(name: str, shape: tuple[int, ...], model: LanguageModel) -> np.ndarray:
    """A tensor's values: of its name alone, so that no other one changes them."""
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        gain = 1.5 if name == "lm_head.weight" else 1.3
        values *= gain / math.sqrt(shape[1])
    elif not name.endswith("sinks"):
        values *= 0.2
    # Gemma's norms store what their gain exceeds 1 by.
    around = 0 if model.post_norms or "norm" not in name else 1
    return (values + around).astype(np.float32)


def write_adapter(folder: Path, name: str, model: LanguageModel) -> Path:
    """Write one of `ADAPTERS` as PEFT does, strong enough to change every logit."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none"} | ADAPTERS[name]
    config |= {"base_model_name_or_path": model.name, "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    from hardwire.models.adapter.config import placements
    from hardwire.models.adapter.modules import modules_of

    tensors = {}
    places = placements(config, model, "test", experts_apart=name == "experts")
    for seed, module in enumerate(modules_of(places, model)):
        rng = np.random.RandomState(1000 + seed)
        path = f"base_model.model.{module_path(module.layer, module.target)}"
        a = rng.standard_normal((module.rank, module.in_features)) / math.sqrt(module.in_features)
        b = rng.standard_normal((module.out_features, module.rank)) * 0.2
        tensors[f"{path}.lora_A.weight"] = a.astype(np.float32)
        tensors[f"{path}.lora_B.weight"] = b.astype(np.float32)
    if "target_parameters" in config:
        tensors = in_one(tensors)
    elif name == "experts" and model.family == "mixtral":
        own = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
        config["target_modules"] = list(own.values())
        (folder / "adapter_config.json").write_text(json.dumps(config))
        for new, old in own.items():
            tensors = {
                key.replace("mlp.", "block_sparse_moe.").replace(f"{new}.", f"{old}."): value
                for key, value in tensors.items()
            }
    write_tensors(folder / "adapter_model.safetensors", tensors, "F32")
    return folder


def in_one(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pairs of all experts of a layer in one, as PEFT's wrappers of their parameters have them."""
    found: dict[str, np.ndarray] = {}
    both = any(".gate_up_proj." in name for name in tensors)
    for name in sorted(tensors):
        head, experts, rest = name.partition(".mlp.experts.0.")
        if not experts:
            if ".mlp.experts." not in name:
                found[name] = tensors[name]
            continue
        parts = []
        while (key := f"{head}.mlp.experts.{len(parts)}.{rest}") in tensors:
            parts.append(tensors[key])
        inner = ".base_layer" if both and rest.startswith("gate_up_proj") else ""
        half = rest.split(".", 1)[1]
        whole = np.concatenate(parts) if half.startswith("lora_A") else np.stack(parts, axis=2)
        whole = whole if half.startswith("lora_A") else whole.reshape(len(whole), -1)
        found[f"{head}.mlp.experts{inner}.{half}"] = whole
    return found


def write_tensors(path: Path, tensors: dict[str, np.ndarray], dtype: str) -> None:
    """Write a safetensors file."""
    header = safetensors_header({name: value.shape for name, value in tensors.items()}, dtype)
    data = b"".join(encode(tensors[name], dtype) for name in sorted(tensors))
    path.write_bytes(header + data)
