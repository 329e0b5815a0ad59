"""The MLP of a decoder layer: a gated one, or experts of which a router chooses some per token."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.activation import clamped_swiglu_plain, gelu_mul_plain
from hardwire.kernels.decoder.layer_weights import ROUTER
from hardwire.kernels.decoder.norm import rms_norm
from hardwire.kernels.decoder.routing import route
from hardwire.kernels.decoder.side_path import LayerProducts
from hardwire.kernels.parts import by_parts
from hardwire.models.language_model import EXPERT, SHARED, LanguageModel

CLAMPED_ALPHA = 1.702
"""Slope of gpt-oss's gate: `swiglu_alpha` of transformers' GptOssConfig, which no published config
changes; 1.702 makes the sigmoid a likeness of gelu (Hendrycks and Gimpel, 2016)."""


def activate(
    model: LanguageModel, gate: NDArray[np.float32], up: NDArray[np.float32], threads: int = 1
) -> NDArray[np.float32]:
    """What comes of gate and up by a model's activation; may be written into `gate`."""
    from hardwire.kernels.decoder.decoder_jit import relu2_mul, silu_mul  # noqa: PLC0415

    if model.activation == "gelu_tanh":
        return gelu_mul_plain(gate, up)
    if model.activation == "clamped_silu":
        assert model.activation_limit is not None
        return clamped_swiglu_plain(gate, up, CLAMPED_ALPHA, model.activation_limit)
    multiply = relu2_mul if model.activation == "relu2" else silu_mul

    def part(begin: int, end: int) -> None:
        multiply(gate[begin:end].reshape(-1), up[begin:end].reshape(-1))

    by_parts(part, len(gate), threads)
    return gate


def feed_forward(
    model: LanguageModel, eps: float, products: LayerProducts, x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """MLP, or router and experts, of normed activations (tokens, hidden)."""
    if ROUTER not in products.weights.matrices:
        return _gated(model, eps, products, "", x)
    experts, correction = model.experts, products.weights.correction
    assert experts is not None
    chosen, weights = route(products.of(ROUTER, x), experts, correction)
    y = np.zeros_like(x)
    # By rising number of the expert, in which order each token's sum is then defined.
    for expert in np.unique(chosen):
        tokens, place = np.nonzero(chosen == expert)
        own = _gated(model, eps, products, f"{EXPERT}{expert}.", x[tokens], tokens)
        y[tokens] += weights[tokens, place][:, None] * own
    if experts.shared:
        y += _gated(model, eps, products, SHARED, x)
    return y


def _gated(
    model: LanguageModel,
    eps: float,
    products: LayerProducts,
    prefix: str,
    x: NDArray[np.float32],
    tokens: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """The gated MLP whose linear layers begin with a prefix, of some of the batch's tokens."""
    gate, up = products.together((f"{prefix}gate_proj", f"{prefix}up_proj"), x, tokens)
    inner = activate(model, gate, up, products.threads)
    norm = products.weights.mlp_norm
    if norm is not None:
        inner = rms_norm(inner, norm, eps)
    return products.of(f"{prefix}down_proj", inner, tokens)
