"""One decoder layer's weights as a decoder holds them, and how they are packed from a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.checkpoint import Weights
from hardwire.models.language_model import LanguageModel, module_path

ROUTER = "gate"
"""Name of the router among a layer's matrices, as in `module_path`."""

_KV_B = "kv_b_proj"


class Matrix(Protocol):
    """A matrix in any format."""

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""

    def apply(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """(tokens, out_features) from (tokens, in_features)."""


MakeMatrix = Callable[[NDArray[np.float32]], Matrix]
"""Packs a matrix that is in float32, (out_features, in_features)."""


@dataclass(frozen=True, eq=False)
class LatentWeights:
    """What multi-head latent attention has besides matrices of a whole layer.

    The absorbed form multiplies each head's query, and each head's mixture of latents, by that
    head's part of `kv_b_proj`, so these are matrices of their own, the first turned.

    Attributes
    ----------
    keys
        Of each head, (kv_rank, nope_dim).
    values
        Of each head, (value_dim, kv_rank).
    query_norm, kv_norm
        Gains of the norms of the latents; the first is None where queries have none.
    """

    keys: tuple[Matrix, ...]
    values: tuple[Matrix, ...]
    query_norm: NDArray[np.float32] | None
    kv_norm: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One decoder layer: matrices and biases by target, gains of the norms.

    Targets are those of `LanguageModel.places`, each expert's too, and `ROUTER`. A norm, `latent`,
    `sinks` or `correction` that the model does not have is None.

    Attributes
    ----------
    input_norm, post_norm
        Before attention, and before the MLP.
    q_norm, k_norm
        Over each head.
    attention_norm, mlp_norm
        Before the o and the down projection (BitNet).
    attention_out_norm, mlp_out_norm
        Behind attention and behind the MLP, before the residual is added (Gemma).
    sinks
        (heads,): a score more in each head's softmax.
    correction
        (experts,): what is added to the router's scores to choose by.
    """

    matrices: dict[str, Matrix]
    biases: dict[str, NDArray[np.float32]]
    input_norm: NDArray[np.float32]
    post_norm: NDArray[np.float32]
    q_norm: NDArray[np.float32] | None
    k_norm: NDArray[np.float32] | None
    attention_norm: NDArray[np.float32] | None
    mlp_norm: NDArray[np.float32] | None
    attention_out_norm: NDArray[np.float32] | None
    mlp_out_norm: NDArray[np.float32] | None
    latent: LatentWeights | None
    sinks: NDArray[np.float32] | None
    correction: NDArray[np.float32] | None

    @property
    def products(self) -> dict[str, Matrix]:
        """All matrices by name, those of the heads of latent attention too."""
        found = dict(self.matrices)
        if self.latent is not None:
            for half in ("keys", "values"):
                for head, matrix in enumerate(getattr(self.latent, half)):
                    found[f"{_KV_B}.{half}.{head}"] = matrix
        return found

    def with_products(self, matrices: Mapping[str, Matrix]) -> LayerWeights:
        """The layer with other matrices in place of all of `products`."""
        latent = self.latent
        if latent is not None:
            keys, values = (
                tuple(matrices[f"{_KV_B}.{half}.{head}"] for head in range(len(latent.keys)))
                for half in ("keys", "values")
            )
            latent = dataclasses.replace(latent, keys=keys, values=values)
        whole = {target: matrices[target] for target in self.matrices}
        return dataclasses.replace(self, matrices=whole, latent=latent)


class LayerPacker:
    """Packs a model's layers, one tensor after the other.

    Parameters
    ----------
    model, source
    shapes
        Of the tensors that the model computes with.
    matrix
        Packs a named matrix of a layer, a block of rows at a time.
    router
        As `matrix`, for routers.
    small
        Packs a matrix of a layer that is in float32.
    """

    def __init__(
        self,
        model: LanguageModel,
        source: Weights,
        shapes: dict[str, tuple[int, ...]],
        matrix: Callable[[str], Matrix],
        router: Callable[[str], Matrix],
        small: MakeMatrix,
    ) -> None:
        self.model, self.source, self.shapes = model, source, shapes
        self.matrix, self.router, self.small = matrix, router, small

    def vector(self, name: str) -> NDArray[np.float32] | None:
        """A vector, or None where the model has none of the name."""
        return self.source.read(name) if name in self.shapes else None

    def norm(self, name: str) -> NDArray[np.float32] | None:
        """Gain of a norm; Gemma stores what it exceeds 1 by."""
        gain = self.vector(name)
        if gain is not None and self.model.post_norms:
            gain = gain + np.float32(1)
        return gain

    def needed_norm(self, name: str) -> NDArray[np.float32]:
        """Gain of a norm that every model has."""
        gain = self.norm(name)
        assert gain is not None
        return gain

    def layer(self, index: int) -> LayerWeights:
        """All of one layer."""
        model, prefix = self.model, f"model.layers.{index}"
        kind = model.kind_of(index)
        targets = [*model.attention_targets, *model.mlp_targets(kind)]
        chosen = [target for place, target in model.places(targets) if place == index]
        paths = {target: module_path(index, target) for target in chosen if target != _KV_B}
        matrices = {target: self.matrix(f"{path}.weight") for target, path in paths.items()}
        if kind.experts:
            paths[ROUTER] = module_path(index, ROUTER)
            matrices[ROUTER] = self.router(f"{paths[ROUTER]}.weight")
        biases = {target: self.vector(f"{path}.bias") for target, path in paths.items()}
        gemma = model.post_norms
        before_mlp = "pre_feedforward_layernorm" if gemma else "post_attention_layernorm"
        behind = "post_attention_layernorm" if gemma else ""
        return LayerWeights(
            matrices,
            {target: bias for target, bias in biases.items() if bias is not None},
            self.needed_norm(f"{prefix}.input_layernorm.weight"),
            self.needed_norm(f"{prefix}.{before_mlp}.weight"),
            self.norm(f"{prefix}.self_attn.q_norm.weight"),
            self.norm(f"{prefix}.self_attn.k_norm.weight"),
            self.norm(f"{prefix}.self_attn.attn_sub_norm.weight"),
            self.norm(f"{prefix}.mlp.ffn_sub_norm.weight"),
            self.norm(f"{prefix}.{behind}.weight"),
            self.norm(f"{prefix}.post_feedforward_layernorm.weight"),
            self._latent(index),
            self.vector(f"{prefix}.self_attn.sinks"),
            self.vector(f"{module_path(index, ROUTER)}.e_score_correction_bias"),
        )

    def _latent(self, index: int) -> LatentWeights | None:
        latent = self.model.latent
        if latent is None:
            return None
        of_head = latent.nope_dim + latent.value_dim
        whole = self.source.read(f"{module_path(index, _KV_B)}.weight")
        heads = whole.reshape(-1, of_head, latent.kv_rank)
        prefix = f"model.layers.{index}.self_attn"
        return LatentWeights(
            tuple(self.small(np.ascontiguousarray(head[: latent.nope_dim].T)) for head in heads),
            tuple(self.small(head[latent.nope_dim :]) for head in heads),
            self.norm(f"{prefix}.q_a_layernorm.weight"),
            self.needed_norm(f"{prefix}.kv_a_layernorm.weight"),
        )
