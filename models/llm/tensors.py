"""The tensors of a checkpoint: names and shapes as Hugging Face stores them, and how many numbers.

Names: the files of the checkpoints, and in transformers ``modeling_*.py`` of each family. Where a
checkpoint is quantized, what is stored and what is a parameter differ: counts are of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hardwire.models.llm.architecture import Architecture
from hardwire.models.llm.parts import EXPERT, HEAD, SHARED, LayerKind

EMBEDDING, FINAL_NORM = "model.embed_tokens.weight", "model.norm.weight"

MXFP4_BLOCK = 32
"""Numbers that share a scale; two of them are stored in a byte."""

FP8_TILE = 128
"""Rows and columns of a tile that shares a scale (``weight_block_size`` of DeepSeek V3)."""

_MIXTRAL = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


@dataclass(frozen=True)
class LayerTensor:
    """A tensor of each layer of a kind; where its name has ``{}``, of each of its experts."""

    name: str
    shape: tuple[int, ...]
    quantized: bool = False

    def copies(self, experts: int) -> int:
        """How many of it are in a layer with so many experts."""
        return experts if "{}" in self.name else 1


def layer_tensors(model: Architecture, kind: LayerKind) -> Iterator[LayerTensor]:
    """The tensors of a decoder layer of a kind, below ``model.layers.N.``."""
    yield from _attention(model)
    yield from _experts(model) if kind.experts else _dense(model)
    yield LayerTensor("input_layernorm.weight", (model.hidden,))
    yield LayerTensor("post_attention_layernorm.weight", (model.hidden,))
    if model.post_norms:
        yield LayerTensor("pre_feedforward_layernorm.weight", (model.hidden,))
        yield LayerTensor("post_feedforward_layernorm.weight", (model.hidden,))


def _linear(
    model: Architecture, block: str, target: str, *, bias: bool = False
) -> Iterator[LayerTensor]:
    shape = model.linear_shape(target)
    yield LayerTensor(f"{block}.{target}.weight", shape, quantized=model.quantized == "fp8")
    if bias:
        yield LayerTensor(f"{block}.{target}.bias", shape[:1])


def _attention(model: Architecture) -> Iterator[LayerTensor]:
    for target in model.attention_targets:
        if model.latent is None:
            bias = model.output_bias if target == "o_proj" else model.attention_bias
        else:  # none on what makes heads of latents
            bias = model.attention_bias and target not in ("q_proj", "q_b_proj", "kv_b_proj")
        yield from _linear(model, "self_attn", target, bias=bias)
    if model.latent is not None:
        if model.latent.query_rank is not None:
            yield LayerTensor("self_attn.q_a_layernorm.weight", (model.latent.query_rank,))
        yield LayerTensor("self_attn.kv_a_layernorm.weight", (model.latent.kv_rank,))
    if model.qk_norm:
        yield LayerTensor("self_attn.q_norm.weight", (model.head_dim,))
        yield LayerTensor("self_attn.k_norm.weight", (model.head_dim,))
    if model.sinks:
        yield LayerTensor("self_attn.sinks", (model.heads,))
    if model.sub_norm:
        yield LayerTensor("self_attn.attn_sub_norm.weight", (model.hidden,))


def _dense(model: Architecture) -> Iterator[LayerTensor]:
    for target in ("gate_proj", "up_proj", "down_proj"):
        yield from _linear(model, "mlp", target, bias=model.mlp_bias)
    if model.sub_norm:
        yield LayerTensor("mlp.ffn_sub_norm.weight", (model.intermediate,))


def _experts(model: Architecture) -> Iterator[LayerTensor]:
    experts = model.experts
    assert experts is not None
    block = "block_sparse_moe" if experts.stored == "w123" else "mlp"
    router = f"{block}.router" if experts.stored == "fused" else f"{block}.gate"
    yield LayerTensor(f"{router}.weight", (experts.count, model.hidden))
    if experts.router_bias:
        yield LayerTensor(f"{router}.bias", (experts.count,))
    if experts.correction_bias:
        yield LayerTensor(f"{router}.e_score_correction_bias", (experts.count,))
    if experts.stored == "fused":
        of_experts = f"{block}.experts"
        width = 2 * experts.intermediate
        quantized = model.quantized == "mxfp4"
        up, down = (width, model.hidden), (model.hidden, experts.intermediate)
        if not quantized:  # in 16 bits transformers stores them (in_features, out_features)
            up, down = up[::-1], down[::-1]
        yield LayerTensor(f"{of_experts}.gate_up_proj", (experts.count, *up), quantized)
        yield LayerTensor(f"{of_experts}.gate_up_proj_bias", (experts.count, width))
        yield LayerTensor(f"{of_experts}.down_proj", (experts.count, *down), quantized)
        yield LayerTensor(f"{of_experts}.down_proj_bias", (experts.count, model.hidden))
    else:
        for target in ("gate_proj", "up_proj", "down_proj"):
            name = _MIXTRAL[target] if experts.stored == "w123" else target
            for one in _linear(model, block, EXPERT + target):
                yield replace(one, name=f"{block}.experts.{{}}.{name}.weight")
    if experts.shared:
        for target in ("gate_proj", "up_proj", "down_proj"):
            yield from _linear(model, block, SHARED + target)


def _stored(name: str, tensor: LayerTensor, quantized: str | None) -> Iterator[tuple[str, tuple]]:
    """Names and shapes under which a tensor lies in the file."""
    if not tensor.quantized:
        yield name, tensor.shape
    elif quantized == "mxfp4":
        *outer, inner = tensor.shape
        blocks = inner // MXFP4_BLOCK
        yield f"{name}_blocks", (*outer, blocks, MXFP4_BLOCK // 2)
        yield f"{name}_scales", (*outer, blocks)
    else:
        rows, columns = tensor.shape
        yield name, tensor.shape
        yield f"{name}_scale_inv", (-(-rows // FP8_TILE), -(-columns // FP8_TILE))


def _of_layer(
    model: Architecture, layer: int, kind: LayerKind
) -> Iterator[tuple[str, tuple[int, ...]]]:
    count = model.experts.count if model.experts is not None else 0
    for tensor in layer_tensors(model, kind):
        for expert in range(tensor.copies(count)):
            name = f"model.layers.{layer}.{tensor.name.format(expert)}"
            yield from _stored(name, tensor, model.quantized)


def tensors(model: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor, as stored, but for those of ``extra_predictors``."""
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (model.vocab, model.hidden)}
    kinds = {layer: kind for kind in model.layer_kinds for layer in kind.layers}
    for layer in range(model.layers):
        shapes.update(_of_layer(model, layer, kinds[layer]))
    shapes[FINAL_NORM] = (model.hidden,)
    if not model.tied_embeddings:
        shapes[f"{HEAD}.weight"] = (model.vocab, model.hidden)
    return shapes


def extra_tensors(model: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the layers that predict further tokens, as stored.

    DeepSeek V3's: a layer like the last one, that of its input from the hidden state and the
    embedding of the next token, and an embedding and a head that it shares with the model and the
    checkpoint has once more (technical report, arXiv 2412.19437, section 2.2).
    """
    shapes: dict[str, tuple[int, ...]] = {}
    kind, width = model.layer_kinds[-1], model.hidden
    for layer in range(model.layers, model.layers + model.extra_predictors):
        shapes.update(_of_layer(model, layer, kind))
        prefix = f"model.layers.{layer}"
        for name in ("enorm", "hnorm", "shared_head.norm"):
            shapes[f"{prefix}.{name}.weight"] = (width,)
        shapes[f"{prefix}.eh_proj.weight"] = (width, 2 * width)
        for name in ("embed_tokens", "shared_head.head"):
            shapes[f"{prefix}.{name}.weight"] = (model.vocab, width)
    return shapes


def layer_parameters(model: Architecture, kind: LayerKind, experts: int) -> int:
    """Parameters of a layer of a kind, of its experts only so many."""
    total = 0
    for tensor in layer_tensors(model, kind):
        size = math.prod(tensor.shape)
        if "{}" in tensor.name:
            size *= experts
        elif ".experts." in tensor.name:  # all experts in one
            size = size // tensor.shape[0] * experts
        total += size
    return total


def outer_parameters(model: Architecture) -> int:
    """Parameters outside of decoder layers: embedding, LM head where it is another, final norm."""
    matrices = 1 if model.tied_embeddings else 2
    return matrices * model.vocab * model.hidden + model.hidden


def extra_parameters(model: Architecture) -> int:
    """Parameters of the layers that predict further tokens, embedding and head left out: they are
    the model's own."""
    kind, width = model.layer_kinds[-1], model.hidden
    count = model.experts.count if model.experts is not None else 0
    each = layer_parameters(model, kind, count) + 3 * width + 2 * width * width
    return model.extra_predictors * each
