"""A Hugging Face config.json, read: which families there are, and what each makes of its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardwire.models.errors import InputError
from hardwire.models.files import complaint
from hardwire.models.llm.parts import Experts, LatentAttention

DENSE_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "bitnet", "gemma2", "gemma3_text")
MOE_FAMILIES = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3")
FAMILIES = (*DENSE_FAMILIES, *MOE_FAMILIES)
"""The Hugging Face ``model_type`` values that are modelled."""

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "relu2": "relu2",
    "gelu_pytorch_tanh": "gelu_tanh",
}
"""Hugging Face's ``hidden_act`` of the gate, and one name for each function."""

_GEMMA = ("gemma2", "gemma3_text")
# Families whose configs say of each layer whether it slides.
_WITH_KINDS = ("qwen2", "qwen3", "gpt_oss", *_GEMMA)
# Those whose rotary parameters may stand under each kind of layer.
_ROPE_BY_KIND = ("qwen2", "qwen3", "gemma3_text")
_MOE = "is a mixture of experts"
_MLA = "uses multi-head latent attention (MLA)"
_NOT_MODELLED = {
    "deepseek_v2": f"{_MLA} and {_MOE}, older than DeepSeek V3's",
    "deepseek_v32": f"{_MLA} of which an index chooses the tokens that are attended to",
    "llama4": f"{_MOE} with chunked attention",
    "olmoe": _MOE,
    "phimoe": _MOE,
    "qwen2_moe": _MOE,
    "gemma": "is a Gemma model of the first generation",
    "gemma3": "also sees; its text_config alone is of the family gemma3_text",
    "gemma4": "is Gemma 4 (heads of two widths, keys that are values too, experts beside an MLP)",
    "gemma4_text": (
        "is Gemma 4 (heads of two widths, keys that are values too, experts beside an MLP)"
    ),
    "phi3": "is a Phi model (fused projections)",
}
# A file that calls itself dense but carries one of these keys is not what it says.
_FOREIGN_KEYS = {
    "num_local_experts": _MOE,
    "num_experts": _MOE,
    "n_routed_experts": _MOE,
    "kv_lora_rank": _MLA,
}
_OWN_KEYS = {
    "mixtral": {"num_local_experts", "num_experts"},
    "qwen3_moe": {"num_local_experts", "num_experts"},
    "gpt_oss": {"num_local_experts", "num_experts"},
    "deepseek_v3": {"n_routed_experts", "num_local_experts", "kv_lora_rank"},
}

_Width = Annotated[int, Field(strict=True, ge=1, le=2**20)]
_Count = Annotated[int, Field(strict=True, ge=1, le=2**28)]
_Layers = Annotated[int, Field(strict=True, ge=0, le=10_000)]
_Flag = Annotated[bool, Field(strict=True)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Kinds of rotary scaling that lengthen the context, as vLLM counts it (_get_and_verify_max_len).
_STRETCHING = ("linear", "dynamic", "yarn")


class _Config(BaseModel):
    """The fields of a Hugging Face config.json that decide shapes; the rest is ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    num_hidden_layers: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    hidden_size: _Width
    intermediate_size: _Width
    num_attention_heads: _Width
    num_key_value_heads: _Width | None = None
    head_dim: _Width | None = None
    vocab_size: _Count
    max_position_embeddings: _Count
    tie_word_embeddings: _Flag | None = None
    attention_bias: _Flag | None = None
    mlp_bias: _Flag = False
    hidden_act: str | None = None
    hidden_activation: str | None = None
    use_sliding_window: _Flag = False
    sliding_window: _Count | None = None
    sliding_window_pattern: _Count = 6
    max_window_layers: Annotated[int, Field(strict=True, ge=0)] = 28
    layer_types: list[str] | None = None

    num_local_experts: _Width | None = None
    num_experts: _Width | None = None
    n_routed_experts: _Width | None = None
    num_experts_per_tok: _Width | None = None
    moe_intermediate_size: _Width | None = None
    n_shared_experts: Annotated[int, Field(strict=True, ge=0, le=1024)] | None = None
    norm_topk_prob: _Flag | None = None
    decoder_sparse_step: _Count = 1
    mlp_only_layers: list[_Layers] | None = None
    first_k_dense_replace: _Layers = 3
    moe_layer_freq: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    n_group: _Width = 8
    topk_group: _Width = 4
    routed_scaling_factor: _Positive = 2.5
    num_nextn_predict_layers: _Layers = 1

    q_lora_rank: _Width | None = None
    kv_lora_rank: _Width | None = None
    qk_nope_head_dim: _Width | None = None
    qk_rope_head_dim: _Width | None = None
    v_head_dim: _Width | None = None

    attn_logit_softcapping: _Positive | None = None
    final_logit_softcapping: _Positive | None = None
    query_pre_attn_scalar: _Positive | None = None
    swiglu_limit: _Positive = 7.0
    quantization_config: dict[str, Any] | None = None


def rope_fields(config: Mapping[str, Any], where: str) -> tuple[str, Mapping[str, Any]]:
    """Return which field of a config.json scales the rotary embedding, and its content.

    As in transformers 5 (`RotaryEmbeddingConfigMixin`), a ``rope_scaling`` that says anything wins
    over ``rope_parameters``. Where it knows kinds of layers, in Qwen's families and Gemma 3,
    parameters may stand under each kind; those of full attention are meant.

    Parameters
    ----------
    config : mapping
        Content of the file.
    where : str
        Begins error messages.

    Returns
    -------
    str
        ``rope_scaling`` or ``rope_parameters``.
    mapping
        Empty where neither is there.

    Raises
    ------
    InputError
        If the field is no object.
    """
    field = "rope_scaling" if config.get("rope_scaling") else "rope_parameters"
    content = config.get(field) or {}
    if isinstance(content, Mapping) and config.get("model_type") in _ROPE_BY_KIND:
        content = content.get("full_attention", content)
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: {field}: must be an object")
    return field, content


def rope_kind(content: Mapping[str, Any]) -> Any:
    """Return the kind of scaling of `rope_fields`; ``type`` is the older name of ``rope_type``."""
    return content.get("rope_type", content.get("type", "default"))


def architecture_fields(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of ``Architecture`` but for its name, of a config.json's content.

    Raises
    ------
    InputError
        If a field is missing or out of range, or the family is not modelled.
    """
    family = _family(config, where)
    try:
        fields = _Config.model_validate(dict(config))
    except ValidationError as error:
        raise InputError(f"{where}: {complaint(error)}") from error

    max_position = _max_position(config, fields.max_position_embeddings, where)
    window, sliding = _windows(family, fields, max_position, where)
    heads = fields.num_attention_heads
    latent = _latent(fields, where) if family == "deepseek_v3" else None
    kv_heads, head_dim = heads, 0
    if latent is not None:
        head_dim = latent.nope_dim + latent.rope_dim
    else:
        kv_heads, head_dim = _kv_heads(family, fields, where), _head_dim(family, fields, where)
    if family == "bitnet" and heads * head_dim != fields.hidden_size:
        raise InputError(
            f"{where}: head_dim: {heads} heads of {head_dim} must make hidden_size, "
            f"{fields.hidden_size}, over which BitNet norms what they give"
        )
    gemma, gpt_oss = family in _GEMMA, family == "gpt_oss"
    experts, dense = _experts(family, fields, where)
    biased = gpt_oss if fields.attention_bias is None else fields.attention_bias
    return {
        "family": family,
        "layers": fields.num_hidden_layers,
        "hidden": fields.hidden_size,
        "intermediate": fields.intermediate_size,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocab": fields.vocab_size,
        # Gemma's config classes tie where the key is absent, all others do not.
        "tied_embeddings": gemma if fields.tie_word_embeddings is None else
        fields.tie_word_embeddings,
        "max_position": max_position,
        # Hugging Face reads attention_bias in some families only: Mistral and Mixtral never have
        # biases and Qwen2 always has them, on q, k and v.
        "attention_bias": family == "qwen2" or (family not in ("mistral", "mixtral") and biased),
        "output_bias": family not in ("mistral", "mixtral", "qwen2") and biased,
        "mlp_bias": family == "llama" and fields.mlp_bias,
        "qk_norm": family in ("qwen3", "qwen3_moe", "gemma3_text"),
        "sub_norm": family == "bitnet",
        "activation": _activation(family, fields, where),
        "sliding_window": window,
        "sliding_layers": sliding,
        "experts": experts,
        "dense_layers": dense,
        "latent": latent,
        "sinks": gpt_oss,
        "attention_softcap": _softcap("attn_logit_softcapping", 50.0, family, fields),
        "logit_softcap": _softcap("final_logit_softcapping", 30.0, family, fields),
        "query_scale": (fields.query_pre_attn_scalar or 256.0) if gemma else None,
        "post_norms": gemma,
        "scaled_embedding": gemma,
        "activation_limit": fields.swiglu_limit if gpt_oss else None,
        "extra_predictors": fields.num_nextn_predict_layers if family == "deepseek_v3" else 0,
        "quantized": _quantized(family, fields, where),
    }  # fmt: skip


def _family(config: Mapping[str, Any], where: str) -> str:
    family = config.get("model_type")
    if not isinstance(family, str):
        raise InputError(
            f"{where}: model_type: must be one of {', '.join(FAMILIES)}, but it is "
            + ("missing" if family is None else f"no string: {family!r}")
        )
    use_one = f"which is not modelled yet; use one of {', '.join(FAMILIES)}"
    if family in _NOT_MODELLED:
        raise InputError(f"{where}: model_type: '{family}' {_NOT_MODELLED[family]}, {use_one}")
    if family not in FAMILIES:
        raise InputError(f"{where}: model_type: '{family}' is a family {use_one}")
    for key, kind in _FOREIGN_KEYS.items():
        if config.get(key) and key not in _OWN_KEYS.get(family, ()):
            raise InputError(f"{where}: {key}: a model with this key {kind}, {use_one}")
    return family


def _missing(where: str, field: str) -> InputError:
    return InputError(f"{where}: {field}: this field is missing")


def _kv_heads(family: str, fields: _Config, where: str) -> int:
    heads = fields.num_attention_heads
    # Only Llama's config class falls back to one KV head per head where the key is absent: those
    # of the other families fall back to a constant that fits one of their models, BitNet's too.
    if family != "llama" and "num_key_value_heads" not in fields.model_fields_set:
        raise _missing(where, "num_key_value_heads")
    kv_heads = fields.num_key_value_heads or heads
    if heads % kv_heads:
        raise InputError(
            f"{where}: num_key_value_heads: {kv_heads} must divide num_attention_heads, {heads}"
        )
    return kv_heads


_DEFAULT_HEAD_DIM = {"qwen3": 128, "gpt_oss": 64, "gemma2": 256, "gemma3_text": 256}
"""What config classes have where the key is absent, whatever the hidden size."""


def _head_dim(family: str, fields: _Config, where: str) -> int:
    hidden, heads = fields.hidden_size, fields.num_attention_heads
    head_dim = fields.head_dim or _DEFAULT_HEAD_DIM.get(family)
    if head_dim is None:
        if hidden % heads:
            raise InputError(
                f"{where}: head_dim: this field is missing, and hidden_size {hidden} is no "
                f"multiple of num_attention_heads {heads}"
            )
        head_dim = hidden // heads
    if head_dim % 2:
        raise InputError(f"{where}: head_dim: must be even for rotary embeddings, not {head_dim}")
    return head_dim


def _latent(fields: _Config, where: str) -> LatentAttention:
    for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        if getattr(fields, name) is None:
            raise _missing(where, name)
    if "q_lora_rank" not in fields.model_fields_set:
        raise _missing(where, "q_lora_rank")
    assert fields.kv_lora_rank and fields.qk_nope_head_dim
    assert fields.qk_rope_head_dim and fields.v_head_dim
    if fields.qk_rope_head_dim % 2:
        raise InputError(
            f"{where}: qk_rope_head_dim: must be even for rotary embeddings, not "
            f"{fields.qk_rope_head_dim}"
        )
    return LatentAttention(
        query_rank=fields.q_lora_rank,
        kv_rank=fields.kv_lora_rank,
        nope_dim=fields.qk_nope_head_dim,
        rope_dim=fields.qk_rope_head_dim,
        value_dim=fields.v_head_dim,
    )


def _activation(family: str, fields: _Config, where: str) -> str:
    """One name for the function of the gate; each family has one."""
    if family in _GEMMA:
        field, stated, wanted = "hidden_activation", fields.hidden_activation, "gelu_tanh"
    else:
        field, stated = "hidden_act", fields.hidden_act
        wanted = "relu2" if family == "bitnet" else "silu"
    if stated is not None and ACTIVATIONS.get(stated) != wanted:
        name = next(name for name, function in ACTIVATIONS.items() if function == wanted)
        raise InputError(f"{where}: {field}: must be '{name}', not '{stated}'")
    return "clamped_silu" if family == "gpt_oss" else wanted


def _softcap(name: str, default: float, family: str, fields: _Config) -> float | None:
    """A cap of Gemma's; only the config class of Gemma 2 has one where the key is absent."""
    if family not in _GEMMA:
        return None
    value: float | None = getattr(fields, name)
    return default if family == "gemma2" and name not in fields.model_fields_set else value


_COUNT_OF_EXPERTS = {
    "mixtral": ("num_local_experts", "num_experts"),
    "qwen3_moe": ("num_experts", "num_local_experts"),
    "gpt_oss": ("num_local_experts", "num_experts"),
    "deepseek_v3": ("n_routed_experts", "num_local_experts"),
}
"""By family, the key with the number of experts, and another name of it."""


def _experts(family: str, fields: _Config, where: str) -> tuple[Experts | None, tuple[int, ...]]:
    """The mixture of experts, and the layers that have a dense MLP instead."""
    if family not in MOE_FAMILIES:
        return None, ()
    names = _COUNT_OF_EXPERTS[family]
    count = next((found for name in names if (found := getattr(fields, name))), None)
    if count is None:
        raise _missing(where, names[0])
    active = fields.num_experts_per_tok
    if active is None:
        raise _missing(where, "num_experts_per_tok")
    if active > count:
        raise InputError(f"{where}: num_experts_per_tok: {active} of {count} experts cannot be")
    every = range(fields.num_hidden_layers)
    if family in ("mixtral", "gpt_oss"):
        fused = family == "gpt_oss"
        own = Experts(
            count, active, fields.intermediate_size,
            router_bias=fused, stored="fused" if fused else "w123",
        )  # fmt: skip
        return own, ()
    width = fields.moe_intermediate_size
    if width is None:
        raise _missing(where, "moe_intermediate_size")
    if family == "qwen3_moe":
        step, only = fields.decoder_sparse_step, set(fields.mlp_only_layers or ())
        dense = tuple(layer for layer in every if layer in only or (layer + 1) % step)
        return Experts(count, active, width, normalized=bool(fields.norm_topk_prob)), dense
    groups, chosen = fields.n_group, fields.topk_group
    if count % groups:
        raise InputError(f"{where}: n_group: {groups} groups of {count} experts are not alike")
    if chosen > groups or active > chosen * (count // groups):
        raise InputError(
            f"{where}: topk_group: {chosen} of {groups} groups with {count // groups} experts "
            f"each do not have {active} experts"
        )
    own = Experts(
        count, active, width, shared=1 if fields.n_shared_experts is None else
        fields.n_shared_experts, scoring="sigmoid",
        normalized=fields.norm_topk_prob is not False, scale=fields.routed_scaling_factor,
        groups=groups, active_groups=chosen, correction_bias=True,
    )  # fmt: skip
    return own, tuple(every[: fields.first_k_dense_replace])


def _quantized(family: str, fields: _Config, where: str) -> str | None:
    """How the checkpoint stores matrices in fewer bits, of the two ways that have own tensors."""
    stated = fields.quantization_config or {}
    method = stated.get("quant_method")
    if family == "gpt_oss" and method == "mxfp4":
        if fields.hidden_size % 32 or fields.intermediate_size % 32:
            raise InputError(
                f"{where}: quantization_config: blocks of 32 do not divide hidden_size "
                f"{fields.hidden_size} and intermediate_size {fields.intermediate_size}"
            )
        return "mxfp4"
    if family == "deepseek_v3" and method == "fp8":
        if stated.get("weight_block_size") != [128, 128]:
            raise InputError(
                f"{where}: quantization_config.weight_block_size: must be [128, 128], not "
                f"{stated.get('weight_block_size')!r:.40}"
            )
        return "fp8"
    return None


def _max_position(config: Mapping[str, Any], stated: int, where: str) -> int:
    field, scaling = rope_fields(config, where)
    kind = rope_kind(scaling)
    # Gemma 3's max_position_embeddings is of the context after scaling, as vLLM knows.
    if kind not in _STRETCHING or config.get("model_type") == "gemma3_text":
        return stated
    begin = scaling.get("original_max_position_embeddings") if kind == "yarn" else None
    values = {
        "factor": scaling.get("factor", 1),
        "original_max_position_embeddings": stated if begin is None else begin,
    }
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 2**28:
            raise InputError(
                f"{where}: {field}.{key}: must be a number from 1 to {2**28}, not {value!r:.40}"
            )
    return int(math.prod(values.values()))


def _windows(
    family: str, fields: _Config, max_position: int, where: str
) -> tuple[int | None, tuple[int, ...]]:
    """The window, and the layers that slide, as transformers decides.

    A window as long as the longest context is none.
    """
    window = fields.sliding_window
    if "sliding_window" not in fields.model_fields_set:
        # What transformers has where the key is absent.
        window = {"mixtral": None, "gpt_oss": 128}.get(family, 4096)
    every = range(fields.num_hidden_layers)
    kinds = fields.layer_types
    if kinds and any(kind != "full_attention" for kind in kinds):
        slides = family in ("gpt_oss", *_GEMMA) or fields.use_sliding_window
        known = family in _WITH_KINDS and set(kinds) <= {"full_attention", "sliding_attention"}
        if not (known and slides and window):
            raise InputError(f"{where}: layer_types: asks for attention which is not modelled yet")
    if kinds and family in _WITH_KINDS:
        if len(kinds) != len(every):
            raise InputError(
                f"{where}: layer_types: names {len(kinds)} layers, and num_hidden_layers is "
                f"{len(every)}"
            )
        sliding = [layer for layer in every if kinds[layer] == "sliding_attention"]
    elif family in ("mistral", "mixtral"):
        sliding = list(every)
    elif family == "qwen3_moe":
        sliding = list(every) if fields.use_sliding_window else []
    elif family in ("qwen2", "qwen3"):
        sliding = list(every[fields.max_window_layers :]) if fields.use_sliding_window else []
    elif family in ("gpt_oss", "gemma2"):
        sliding = [layer for layer in every if (layer + 1) % 2]
    elif family == "gemma3_text":
        sliding = [layer for layer in every if (layer + 1) % fields.sliding_window_pattern]
    else:
        sliding = []
    if window is None or window >= max_position or not sliding:
        return None, ()
    return window, tuple(sliding)
