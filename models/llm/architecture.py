"""The dimensions of a language model, the shapes that follow, and the kinds of its layers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from hardwire.models.llm.parts import (
    ATTENTION_TARGETS,
    EXPERT,
    FUSED,
    HEAD,
    LATENT_TARGETS,
    MLP_TARGETS,
    SHARED,
    Experts,
    LatentAttention,
    LayerKind,
    of_any_expert,
)


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer: attention and a gated MLP, or experts, in each layer.

    Attributes
    ----------
    name : str
    family : str
        Hugging Face ``model_type``, one of `FAMILIES`.
    layers, hidden, intermediate, heads, kv_heads, head_dim, vocab : int
        Dimensions as in the model's config.json. ``intermediate`` is of dense MLPs; a mixture of
        experts has that of an expert in ``experts``. With latent attention, ``head_dim`` is of a
        query, with and without rotary positions, and ``kv_heads`` is the number of heads.
    max_position : int
        Longest context in tokens: ``max_position_embeddings``, stretched by YaRN, linear and
        dynamic scaling of the rotary embedding as vLLM does.
    tied_embeddings : bool
        The LM head is the embedding matrix; its weights exist once.
    attention_bias, output_bias, mlp_bias : bool
        Bias vectors on q, k and v; on o; on gate, up and down.
    qk_norm : bool
        RMSNorm over each head of q and k.
    sub_norm : bool
        RMSNorm before the o projection and before the down projection, as in BitNet b1.58.
    activation : str
        Of the gate: ``silu``; ``relu2``, the square of the positive part; ``gelu_tanh``; or
        ``clamped_silu``, gpt-oss's, clamped by ``activation_limit``.
    sliding_window : int, optional
        Tokens that layers which slide attend to, the current one included; None where none slides,
        or the window is as long as the longest context.
    sliding_layers : tuple of int
        The layers that slide; all others attend to the whole context.
    experts : Experts, optional
        The mixture of experts of all layers but ``dense_layers``; None in dense models.
    dense_layers : tuple of int
        In a mixture of experts, the layers whose MLP is dense.
    latent : LatentAttention, optional
        Of models with multi-head latent attention (MLA), whose cache is one latent per token.
    sinks : bool
        A learned logit per head that takes part in the softmax and has no value (gpt-oss).
    attention_softcap, logit_softcap : float, optional
        ``cap * tanh(x / cap)`` of attention scores, and of the LM head's logits (Gemma).
    query_scale : float, optional
        Attention scores are divided by its square root; None for ``head_dim``, as usual.
    post_norms : bool
        RMSNorm also behind attention and behind the MLP, before the residual addition (Gemma).
    scaled_embedding : bool
        Embeddings are multiplied by the square root of ``hidden`` (Gemma).
    activation_limit : float, optional
        Bound of gate and up before gpt-oss's activation.
    extra_predictors : int
        Layers that predict more tokens ahead (multi-token prediction); they are in the checkpoint,
        and counted apart.
    quantized : str, optional
        How the checkpoint stores the matrices that it stores in fewer bits: ``mxfp4``, blocks of 32
        with a scale, of gpt-oss's experts; or ``fp8``, with a scale for each tile of 128 by 128.
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
    sliding_layers: tuple[int, ...] = ()
    experts: Experts | None = None
    dense_layers: tuple[int, ...] = ()
    latent: LatentAttention | None = None
    sinks: bool = False
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    query_scale: float | None = None
    post_norms: bool = False
    scaled_embedding: bool = False
    activation_limit: float | None = None
    extra_predictors: int = 0
    quantized: str | None = None

    @cached_property
    def layer_kinds(self) -> tuple[LayerKind, ...]:
        """The kinds of decoder layers, in the order in which a token first meets each."""
        found: dict[tuple[int | None, bool], list[int]] = {}
        sliding, dense = frozenset(self.sliding_layers), frozenset(self.dense_layers)
        for layer in range(self.layers):
            window = self.sliding_window if layer in sliding else None
            experts = self.experts is not None and layer not in dense
            found.setdefault((window, experts), []).append(layer)
        return tuple(LayerKind(tuple(layers), *kind) for kind, layers in found.items())

    def kind_of(self, layer: int) -> LayerKind:
        """The kind of a layer."""
        return next(kind for kind in self.layer_kinds if layer in kind.layers)

    @property
    def is_dense(self) -> bool:
        """Whether no layer has experts."""
        return self.experts is None

    @property
    def query_width(self) -> int:
        """Elements of all heads' queries."""
        return self.heads * self.head_dim

    @property
    def attended_width(self) -> int:
        """Elements that attention hands to the o projection."""
        value = self.latent.value_dim if self.latent is not None else self.head_dim
        return self.heads * value

    @property
    def kv_width(self) -> int:
        """Numbers that one token leaves in the KV cache of one layer: keys and values of all heads,
        or the latent of both and the rotary part of a key."""
        if self.latent is not None:
            return self.latent.kv_rank + self.latent.rope_dim
        return 2 * self.kv_heads * self.head_dim

    @property
    def score_products(self) -> int:
        """Multiplications per query head and token attended to: score and weighted sum.

        With latent attention, those with the latent itself: heads attend to it in place of the keys
        and values that it stands for.
        """
        if self.latent is not None:
            return 2 * self.latent.kv_rank + self.latent.rope_dim
        return 2 * self.head_dim

    def mlp_width(self, kind: LayerKind) -> int:
        """Elements of a token between gate and down in layers of a kind, of all MLPs it meets."""
        if not kind.experts or self.experts is None:
            return self.intermediate
        return self.experts.active * self.experts.intermediate + self.experts.shared_intermediate

    @property
    def summed_experts(self) -> int:
        """MLPs whose outputs are added up behind the experts of a layer."""
        if self.experts is None:
            return 0
        return self.experts.active + (self.experts.shared > 0)

    @property
    def attention_targets(self) -> tuple[str, ...]:
        """Linear layers of attention, in a token's order."""
        if self.latent is None:
            return ATTENTION_TARGETS
        if self.latent.query_rank is None:
            return ("q_proj", *LATENT_TARGETS[2:])
        return LATENT_TARGETS

    def mlp_targets(self, kind: LayerKind) -> tuple[str, ...]:
        """Linear layers of the MLP in layers of a kind; ``experts.gate_proj`` is of any expert."""
        if not kind.experts:
            return MLP_TARGETS
        assert self.experts is not None
        shared = tuple(SHARED + target for target in MLP_TARGETS) if self.experts.shared else ()
        return (*shared, *(EXPERT + target for target in MLP_TARGETS))

    @property
    def adaptable(self) -> tuple[str, ...]:
        """What LoRA can change: `targets`, experts' gate and up as one, and the LM head."""
        fused = (FUSED,) if any(kind.experts for kind in self.layer_kinds) else ()
        return (*self.targets, *fused, HEAD)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The linear layers of all decoder layers, each name once, in a token's order."""
        of_mlp = (target for kind in self.layer_kinds for target in self.mlp_targets(kind))
        return (*self.attention_targets, *dict.fromkeys(of_mlp))

    def linear_shape(self, target: str) -> tuple[int, int]:
        """Return ``(out_features, in_features)`` of a linear layer, one of `adaptable`.

        Raises
        ------
        KeyError
            If the model has no such layer.
        """
        return self._shapes[of_any_expert(target)]

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        hidden, heads = self.hidden, self.heads
        shapes = {HEAD: (self.vocab, hidden), "o_proj": (hidden, self.attended_width)}
        if self.latent is None:
            kv = self.kv_heads * self.head_dim
            shapes |= {"q_proj": (self.query_width, hidden)}
            shapes |= {"k_proj": (kv, hidden), "v_proj": (kv, hidden)}
        else:
            latent = self.latent
            if latent.query_rank is None:
                shapes["q_proj"] = (self.query_width, hidden)
            else:
                shapes["q_a_proj"] = (latent.query_rank, hidden)
                shapes["q_b_proj"] = (self.query_width, latent.query_rank)
            shapes["kv_a_proj_with_mqa"] = (self.kv_width, hidden)
            of_head = latent.nope_dim + latent.value_dim
            shapes["kv_b_proj"] = (heads * of_head, latent.kv_rank)
        widths = {"": self.intermediate}
        if self.experts is not None:
            widths |= {EXPERT: self.experts.intermediate}
            widths |= {SHARED: self.experts.shared_intermediate}
        for prefix, width in widths.items():
            if width:
                shapes |= {f"{prefix}gate_proj": (width, hidden)}
                shapes |= {f"{prefix}up_proj": (width, hidden)}
                shapes |= {f"{prefix}down_proj": (hidden, width)}
        if self.experts is not None:
            shapes[FUSED] = (2 * self.experts.intermediate, hidden)
        return shapes

    def places(self, targets: Collection[str] | None = None) -> list[tuple[int, str]]:
        """Return layer and target of linear layers, in a token's order.

        Parameters
        ----------
        targets : which ones; by default all but those of experts. ``experts.gate_proj`` means that
            of every expert, each of which is a place of its own.

        Notes
        -----
        The LM head counts as what comes behind the last layer: its number is ``layers``.
        """
        if targets is None:
            targets = (*(one for one in self.targets if not one.startswith(EXPERT)), HEAD)
        experts = range(self.experts.count) if self.experts is not None else range(0)
        chosen: dict[LayerKind, list[str]] = {}
        for kind in self.layer_kinds:
            names = chosen[kind] = []
            fused = (FUSED,) if kind.experts else ()
            for target in (*self.attention_targets, *self.mlp_targets(kind), *fused):
                if target not in targets:
                    continue
                if target.startswith(EXPERT):
                    own = target.removeprefix(EXPERT)
                    names.extend(f"{EXPERT}{expert}.{own}" for expert in experts)
                else:
                    names.append(target)
        of_layer = {layer: names for kind, names in chosen.items() for layer in kind.layers}
        found = [(layer, name) for layer in range(self.layers) for name in of_layer[layer]]
        return [*found, (self.layers, HEAD)] if HEAD in targets else found
