"""Dense decoder-only language models: dimensions, exact tensor shapes and parameter counts."""

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import complaint, read_json_object

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of one decoder layer, in the order in which a token meets them."""

HEAD = "lm_head"
"""The linear layer behind the last decoder layer, beside which only some chips have a side path."""

ADAPTABLE = (*TARGETS, HEAD)
"""The linear layers that LoRA can change, in the order in which a token meets them."""

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "bitnet")
"""The Hugging Face ``model_type`` values that are modelled."""

ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu2": "relu2"}
"""Hugging Face's ``hidden_act`` of the gate, and one name for each function."""

_WITH_KINDS = ("qwen2", "qwen3")  # families whose configs say of each layer whether it slides
_MOE = "is a mixture of experts"
_MLA = "uses multi-head latent attention (MLA)"
_GEMMA = "is a Gemma model (GeGLU, scaled embeddings)"
_NOT_MODELLED = {
    "deepseek_v2": f"{_MLA} and {_MOE}",
    "deepseek_v3": f"{_MLA} and {_MOE}",
    "gpt_oss": f"{_MOE} with sliding-window attention",
    "llama4": _MOE,
    "mixtral": _MOE,
    "olmoe": _MOE,
    "phimoe": _MOE,
    "qwen2_moe": _MOE,
    "qwen3_moe": _MOE,
    "gemma": _GEMMA,
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "gemma3_text": _GEMMA,
    "gemma4": _GEMMA,
    "gemma4_text": _GEMMA,
    "phi3": "is a Phi model (fused projections)",
}
# A file that calls itself dense but carries one of these keys is not what it says.
_FOREIGN_KEYS = {
    "num_local_experts": _MOE,
    "num_experts": _MOE,
    "n_routed_experts": _MOE,
    "kv_lora_rank": _MLA,
}


def module_path(layer: int, target: str) -> str:
    """Return the Hugging Face path of a linear layer, e.g. ``model.layers.3.mlp.up_proj``."""
    if target == HEAD:
        return HEAD
    block = "self_attn" if target in TARGETS[:4] else "mlp"
    return f"model.layers.{layer}.{block}.{target}"


_Width = Annotated[int, Field(strict=True, ge=1, le=2**20)]
_Count = Annotated[int, Field(strict=True, ge=1, le=2**28)]
_Flag = Annotated[bool, Field(strict=True)]
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
    tie_word_embeddings: _Flag = False
    attention_bias: _Flag = False
    mlp_bias: _Flag = False
    hidden_act: str | None = None
    use_sliding_window: _Flag = False
    # Where the key is absent, transformers has 4096 in all families that know windows.
    sliding_window: _Count | None = 4096
    max_window_layers: Annotated[int, Field(strict=True, ge=0)] = 28
    layer_types: list[str] | None = None


def rope_fields(config: Mapping[str, Any], where: str) -> tuple[str, Mapping[str, Any]]:
    """Return which field of a config.json scales the rotary embedding, and its content.

    As in transformers 5 (`RotaryEmbeddingConfigMixin`), a ``rope_scaling`` that says anything wins
    over ``rope_parameters``. Where it knows kinds of layers, in Qwen's families, parameters may
    stand under each kind; those of full attention are meant.

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
    if isinstance(content, Mapping) and config.get("model_type") in _WITH_KINDS:
        content = content.get("full_attention", content)
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: {field}: must be an object")
    return field, content


def rope_kind(content: Mapping[str, Any]) -> Any:
    """Return the kind of scaling of `rope_fields`; ``type`` is the older name of ``rope_type``."""
    return content.get("rope_type", content.get("type", "default"))


@dataclass(frozen=True)
class LanguageModel:
    """A dense decoder-only transformer with grouped-query attention and a gated MLP.

    Attributes
    ----------
    name : str
    family : str
        Hugging Face ``model_type``, one of `FAMILIES`.
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocab : int
        Dimensions as in the model's config.json.
    max_position : int
        Longest context in tokens: ``max_position_embeddings``, stretched by YaRN, linear and
        dynamic scaling of the rotary embedding as vLLM does; and no more than a sliding window.
    tied_embeddings : bool
        The LM head is the embedding matrix; its weights exist once.
    attention_bias, output_bias, mlp_bias : bool
        Bias vectors on q, k and v; on o; on gate, up and down.
    qk_norm : bool
        RMSNorm over each head of q and k.
    sub_norm : bool
        RMSNorm before the o projection and before the down projection, as in BitNet b1.58.
    activation : str
        Of the gate: ``silu``, or ``relu2``, the square of the positive part.
    sliding_window : int, optional
        Where layers slide, the tokens of their window. Up to there it is full attention, which is
        what is modelled.
    """

    name: str
    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied_embeddings: bool
    max_position: int
    attention_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    sub_norm: bool
    activation: str
    sliding_window: int | None = None

    def __repr__(self) -> str:
        return one_line(
            self,
            self.name,
            self.family,
            f"{self.parameter_count / 1e9:.2f}e9 parameters",
            f"{self.layers} layers of {self.hidden:,}",
            f"{self.max_position:,} positions",
        )

    def limit(self) -> str:
        """What ``max_position`` is, for a sentence on a request that exceeds it."""
        if self.sliding_window is None:
            return f"the {self.max_position:,} positions of {self.name}"
        return (
            f"the sliding window of {self.sliding_window:,} tokens of {self.name}, up to which it "
            "is full attention; beyond, it is not modelled"
        )

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> "LanguageModel":
        """Return the model that a user means: a catalogue name or a path to a config.json.

        Raises
        ------
        InputError
            As `by_name` and `from_config`.
        """
        text = catalogue.name_or_path("model", name)
        known = {entry.lower() for entry in catalogue.names("model")}
        if text.lower() not in known and os.path.isdir(text):
            return cls.from_config(text)
        if text.count("/") == 1 and not text.endswith(".json") and not os.path.exists(text):
            # As on Hugging Face, organization and name: the catalogue has names alone.
            near = _of_the_catalogue(text)
            choices = [near] if near in known else sorted(known)
            raise InputError(
                f"{text}: does not exist{did_you_mean(near, choices)} "
                "(hardwire list shows the catalogue; other models are a config.json)"
            )
        return cls.from_config(catalogue.locate("model", text))

    @classmethod
    def by_name(cls, name: str | os.PathLike[str]) -> "LanguageModel":
        """Return a model of the catalogue.

        Raises
        ------
        InputError
            If the catalogue has no such model; the message names the nearest ones.
        """
        return cls.from_config(catalogue.resolve("model", name))

    @classmethod
    def from_config(
        cls, source: str | os.PathLike[str] | Mapping[str, Any], name: str | None = None
    ) -> "LanguageModel":
        """Read a Hugging Face config.json.

        Parameters
        ----------
        source : path or mapping
            The file, the folder that holds it, or its content.
        name : str, optional
            What to call the model; by default the file's name, or the folder's if the file is
            called config.json.

        Raises
        ------
        InputError
            If the file cannot be read, a field is missing or out of range, or the model is of a
            family that is not modelled.
        """
        if isinstance(source, Mapping):
            where, default_name, config = "config.json", str(source.get("model_type")), source
        else:
            path = Path(catalogue.name_or_path("model", source))
            if path.suffix in (".safetensors", ".gguf"):
                raise InputError(f"{path}: holds weights; a model is a config.json beside them")
            if os.path.isdir(path):
                path = path / "config.json"
            where, config = str(path), read_json_object(path)
            named_by_folder = path.name == "config.json"
            default_name = path.absolute().parent.name if named_by_folder else path.stem
        return _build(config, where, name or default_name)

    def linear_shape(self, target: str) -> tuple[int, int]:
        """Return ``(out_features, in_features)`` of one of `ADAPTABLE`."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (q, self.hidden),
            "k_proj": (kv, self.hidden),
            "v_proj": (kv, self.hidden),
            "o_proj": (self.hidden, q),
            "gate_proj": (self.intermediate, self.hidden),
            "up_proj": (self.intermediate, self.hidden),
            "down_proj": (self.hidden, self.intermediate),
            HEAD: (self.vocab, self.hidden),
        }[target]

    def places(self, targets: Collection[str] = ADAPTABLE) -> list[tuple[int, str]]:
        """Return layer and target of the linear layers that are called so, in a token's order.

        The LM head counts as what comes behind the last layer: its number is ``layers``.
        """
        chosen = [target for target in TARGETS if target in targets]
        found = [(layer, target) for layer in range(self.layers) for target in chosen]
        return [*found, (self.layers, HEAD)] if HEAD in targets else found

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor of the checkpoint, as Hugging Face stores it."""
        biased = dict.fromkeys(TARGETS[:3], self.attention_bias)
        biased["o_proj"] = self.output_bias
        biased |= dict.fromkeys(TARGETS[4:], self.mlp_bias)
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab, self.hidden)
        }
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            for target in TARGETS:
                path = module_path(layer, target)
                shapes[f"{path}.weight"] = self.linear_shape(target)
                if biased[target]:
                    shapes[f"{path}.bias"] = self.linear_shape(target)[:1]
            if self.qk_norm:
                shapes[f"{prefix}.self_attn.q_norm.weight"] = (self.head_dim,)
                shapes[f"{prefix}.self_attn.k_norm.weight"] = (self.head_dim,)
            if self.sub_norm:
                shapes[f"{prefix}.self_attn.attn_sub_norm.weight"] = (self.hidden,)
                shapes[f"{prefix}.mlp.ffn_sub_norm.weight"] = (self.intermediate,)
            shapes[f"{prefix}.input_layernorm.weight"] = (self.hidden,)
            shapes[f"{prefix}.post_attention_layernorm.weight"] = (self.hidden,)
        shapes["model.norm.weight"] = (self.hidden,)
        if not self.tied_embeddings:
            shapes["lm_head.weight"] = (self.vocab, self.hidden)
        return shapes

    @property
    def parameter_count(self) -> int:
        """All parameters, tied embeddings counted once."""
        return sum(math.prod(shape) for shape in self.tensors().values())

    @property
    def linear_weights_per_layer(self) -> int:
        """Weights of the seven linear layers of one decoder layer, without biases."""
        return sum(math.prod(self.linear_shape(target)) for target in TARGETS)

    @property
    def embedding_weights(self) -> int:
        """Weights of the token embedding."""
        return self.vocab * self.hidden

    @property
    def kv_elements_per_token(self) -> int:
        """Numbers that one token leaves in the KV cache, keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def _of_the_catalogue(name: str) -> str:
    """A name on Hugging Face as the catalogue would have it: without who made it and tuned it."""
    return re.sub(r"^meta-|-(instruct|chat|base|it|hf)$", "", name.rpartition("/")[2].lower())


def _build(config: Mapping[str, Any], where: str, name: str) -> LanguageModel:
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
        if config.get(key):
            raise InputError(f"{where}: {key}: a model with this key {kind}, {use_one}")
    try:
        fields = _Config.model_validate(dict(config))
    except ValidationError as error:
        raise InputError(f"{where}: {complaint(error)}") from error

    activation = "relu2" if family == "bitnet" else "silu"
    stated = fields.hidden_act or activation
    if ACTIVATIONS.get(stated) != activation:
        raise InputError(f"{where}: hidden_act: must be '{activation}', not '{stated}'")
    max_position = _max_position(config, fields.max_position_embeddings, where)
    window = _window(family, fields, max_position, where)
    heads = fields.num_attention_heads
    # Only Llama's config class falls back to one KV head per head where the key is absent: those
    # of the other families fall back to a constant that fits one of their models, BitNet's too.
    if family != "llama" and "num_key_value_heads" not in fields.model_fields_set:
        raise InputError(f"{where}: num_key_value_heads: this field is missing")
    kv_heads = fields.num_key_value_heads or heads
    if heads % kv_heads:
        raise InputError(
            f"{where}: num_key_value_heads: {kv_heads} must divide num_attention_heads, {heads}"
        )
    head_dim = _head_dim(family, fields, where)
    if family == "bitnet" and heads * head_dim != fields.hidden_size:
        raise InputError(
            f"{where}: head_dim: {heads} heads of {head_dim} must make hidden_size, "
            f"{fields.hidden_size}, over which BitNet norms what they give"
        )
    return LanguageModel(
        name=name,
        family=family,
        layers=fields.num_hidden_layers,
        hidden=fields.hidden_size,
        intermediate=fields.intermediate_size,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=fields.vocab_size,
        tied_embeddings=fields.tie_word_embeddings,
        max_position=window or max_position,
        # Hugging Face reads attention_bias in Llama, Qwen3 and BitNet only: Mistral never has
        # biases and Qwen2 always has them, on q, k and v.
        attention_bias=family == "qwen2" or (family != "mistral" and fields.attention_bias),
        output_bias=family in ("llama", "qwen3", "bitnet") and fields.attention_bias,
        mlp_bias=family == "llama" and fields.mlp_bias,
        qk_norm=family == "qwen3",
        sub_norm=family == "bitnet",
        activation=activation,
        sliding_window=window,
    )


def _head_dim(family: str, fields: _Config, where: str) -> int:
    hidden, heads = fields.hidden_size, fields.num_attention_heads
    head_dim = fields.head_dim
    if head_dim is None and family == "qwen3":
        head_dim = 128  # Qwen3Config's default, whatever the hidden size
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


def _max_position(config: Mapping[str, Any], stated: int, where: str) -> int:
    field, scaling = rope_fields(config, where)
    kind = rope_kind(scaling)
    if kind not in _STRETCHING:
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


def _window(family: str, fields: _Config, max_position: int, where: str) -> int | None:
    """The window of layers that slide, as transformers decides; it may lie unused."""
    kinds, window = fields.layer_types, fields.sliding_window
    slides = family == "mistral" or (family in _WITH_KINDS and fields.use_sliding_window)
    if kinds and any(kind != "full_attention" for kind in kinds):
        known = family in _WITH_KINDS and set(kinds) <= {"full_attention", "sliding_attention"}
        if not (known and slides and window):
            raise InputError(f"{where}: layer_types: asks for attention which is not modelled yet")
    elif family in _WITH_KINDS:
        slides &= not kinds and fields.max_window_layers < fields.num_hidden_layers
    return window if slides and window is not None and window < max_position else None
