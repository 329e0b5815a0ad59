"""Parts of language models: the names of linear layers, experts, latent attention, layer kinds."""

from __future__ import annotations

import re
from dataclasses import dataclass

ATTENTION_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Linear layers of grouped-query attention, in the order in which a token meets them."""

LATENT_TARGETS = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
"""Those of multi-head latent attention (MLA); without a rank for queries, ``q_proj`` stands in
place of the first two."""

MLP_TARGETS = ("gate_proj", "up_proj", "down_proj")
"""Linear layers of a gated MLP."""

SHARED, EXPERT = "shared_experts.", "experts."
"""Begin the names of linear layers of the MLP beside the experts, and of the experts:
``experts.gate_proj`` is of any, ``experts.5.gate_proj`` of one."""

FUSED = "experts.gate_up_proj"
"""Gate and up of experts as one linear layer: PEFT's where a checkpoint has both in one tensor
(``target_parameters``), with one low-rank pair for both."""

TARGETS = (*ATTENTION_TARGETS, *MLP_TARGETS)
"""The linear layers of one dense decoder layer, in the order in which a token meets them."""

HEAD = "lm_head"
"""The linear layer behind the last decoder layer, beside which only some chips have a side path."""

ADAPTABLE = (*TARGETS, HEAD)
"""The linear layers of a dense model that LoRA can change, in the order of a token."""

_NUMBER = re.compile(r"experts\.(\d+)\.")


def module_path(layer: int, target: str) -> str:
    """Return the Hugging Face path of a linear layer, e.g. ``model.layers.3.mlp.up_proj``."""
    if target == HEAD:
        return HEAD
    of_attention = target in ATTENTION_TARGETS or target in LATENT_TARGETS
    return f"model.layers.{layer}.{'self_attn' if of_attention else 'mlp'}.{target}"


def of_any_expert(target: str) -> str:
    """``experts.gate_proj`` for ``experts.5.gate_proj``; any other target as it is."""
    return _NUMBER.sub(EXPERT, target) if target.startswith(EXPERT) else target


@dataclass(frozen=True)
class Experts:
    """The experts of a layer, each a gated MLP, of which a router chooses some for each token.

    Attributes
    ----------
    count, active : experts in a layer, and how many of them a token is sent to.
    intermediate : width of each.
    shared : experts that every token meets beside the chosen ones. They are one MLP,
        ``shared * intermediate`` wide.
    scoring : what makes a router's numbers scores: ``softmax`` or ``sigmoid``.
    normalized : the scores of the chosen experts are divided by their sum.
    scale : by which the weights of the chosen experts are multiplied.
    groups, active_groups : experts stand in so many groups, and the chosen ones come from the best
        of them only (DeepSeek V3).
    router_bias : the router has a bias, as all experts' linear layers then have (gpt-oss).
    correction_bias : a number per expert is added to its score where experts are chosen, and not
        where they are weighted (DeepSeek V3).
    stored : how the checkpoint has them: ``each`` expert alone, ``w123``, the same under the names
        of Mixtral, or ``fused``, all of a layer in one tensor with gate and up interleaved.
    """

    count: int
    active: int
    intermediate: int
    shared: int = 0
    scoring: str = "softmax"
    normalized: bool = True
    scale: float = 1.0
    groups: int = 1
    active_groups: int = 1
    router_bias: bool = False
    correction_bias: bool = False
    stored: str = "each"

    @property
    def shared_intermediate(self) -> int:
        """Width of the MLP that every token meets; 0 where there is none."""
        return self.shared * self.intermediate


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    Attributes
    ----------
    query_rank : width of the queries' latent; None where queries come from one matrix.
    kv_rank : width of the latent that keys and values share, which is cached.
    nope_dim, rope_dim : elements of a head's query and key without and with rotary positions; the
        latter of a key are common to all heads, and cached beside the latent.
    value_dim : elements of a head's value.
    """

    query_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int


@dataclass(frozen=True)
class LayerKind:
    """Decoder layers that are alike.

    Attributes
    ----------
    layers : their numbers.
    window : tokens that they attend to at most, the current one included; None for all.
    experts : their MLP is a mixture of experts.
    """

    layers: tuple[int, ...]
    window: int | None
    experts: bool

    def attended(self, context: int) -> int:
        """Tokens attended to, and kept, of a context of so many, the current one included."""
        return context if self.window is None else min(context, self.window)
