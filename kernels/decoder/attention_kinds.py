"""The attention of a decoder layer up to its o projection: grouped-query heads, or a latent.

Multi-head latent attention is computed in its absorbed form: what is cached of a token is one
latent and one rotary key for all heads, and a head's query is brought to the latent's width by that
head's part of `kv_b_proj` before it meets them. Scores and mixtures are over latents, and values
are made of the mixture. Source: DeepSeek-AI, "DeepSeek-V2", arXiv 2405.04434, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.attention import ScoreRule, attend
from hardwire.kernels.decoder.kv_cache import KVCache
from hardwire.kernels.decoder.layer_weights import Matrix
from hardwire.kernels.decoder.norm import rms_norm
from hardwire.kernels.decoder.rope import Rope, rotate, rotate_pairs
from hardwire.kernels.decoder.side_path import LayerProducts, add_low_rank
from hardwire.kernels.lowrank.lowrank import LowRankImage
from hardwire.models.language_model import LanguageModel

LATENT_EPS = 1e-6
"""Of the norms of latents, whatever `rms_norm_eps` says: the default of transformers'
DeepseekV3RMSNorm, which these two keep."""


@dataclass(frozen=True, eq=False)
class Reach:
    """What layers that reach equally far back, over all tokens or a window, need of a batch.

    Attributes
    ----------
    pages
        (tokens,) page of each token.
    tables
        (tokens, pages) pages of each token's sequence, or its ring of pages.
    cos, sin
        (tokens, half of what turns of a head) of the rotary embedding.
    """

    pages: NDArray[np.int64]
    tables: NDArray[np.int64]
    cos: NDArray[np.float32]
    sin: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the tokens of a batch are.

    Attributes
    ----------
    owners
        (tokens,) whose pages each may read.
    positions, slots
        (tokens,) place of each in its sequence, and in its page.
    turns
        Slices of the batch that are written to and read from a ring one after the other.
    """

    owners: NDArray[np.int64]
    positions: NDArray[np.int64]
    slots: NDArray[np.int64]
    turns: tuple[slice, ...]


def score_rule(
    model: LanguageModel, layer: int, rope: Rope, sinks: NDArray[np.float32] | None
) -> ScoreRule:
    """Factor, window, cap and sinks of a layer's scores."""
    if model.latent is not None:
        width: float = model.head_dim
    else:
        width = model.query_scale or model.head_dim
    factor = float(np.float32(1) / np.sqrt(np.float32(width)))
    if model.latent is not None:
        factor *= rope.score_size
    return ScoreRule(factor, model.kind_of(layer).window, model.attention_softcap, sinks)


def grouped(
    model: LanguageModel,
    eps: float,
    products: LayerProducts,
    x: NDArray[np.float32],
    where: Places,
    reach: Reach,
    cache: KVCache,
    rule: ScoreRule,
) -> NDArray[np.float32]:
    """Grouped-query attention of normed activations: (tokens, heads · head_dim)."""
    weights = products.weights
    q, k, v = (
        y.reshape(len(x), -1, model.head_dim)
        for y in products.together(("q_proj", "k_proj", "v_proj"), x)
    )
    if weights.q_norm is not None and weights.k_norm is not None:
        q, k = rms_norm(q, weights.q_norm, eps), rms_norm(k, weights.k_norm, eps)
    rotate(q, reach.cos, reach.sin)
    rotate(k, reach.cos, reach.sin)
    return _attended(q, k, v, products, where, reach, cache, rule).reshape(len(x), -1)


def latent(
    model: LanguageModel,
    products: LayerProducts,
    x: NDArray[np.float32],
    where: Places,
    reach: Reach,
    cache: KVCache,
    rule: ScoreRule,
) -> NDArray[np.float32]:
    """Multi-head latent attention of normed activations: (tokens, heads · value_dim)."""
    shape, weights = model.latent, products.weights.latent
    assert shape is not None and weights is not None
    if weights.query_norm is None:
        queries = products.of("q_proj", x)
    else:
        narrow = rms_norm(products.of("q_a_proj", x), weights.query_norm, LATENT_EPS)
        queries = products.of("q_b_proj", narrow)
    queries = queries.reshape(len(x), model.heads, -1)
    both = products.of("kv_a_proj_with_mqa", x)
    kept = rms_norm(both[:, : shape.kv_rank], weights.kv_norm, LATENT_EPS)
    turned_key = rotate_pairs(both[:, None, shape.kv_rank :], reach.cos, reach.sin)
    keys = np.concatenate([kept[:, None], turned_key], axis=2)

    paths = products.latent_images("kv_b_proj")
    of_keys = [image.keys if image else None for image in paths]
    of_values = [image.values if image else None for image in paths]
    wide = _by_head(weights.keys, of_keys, queries[:, :, : shape.nope_dim], products.threads)
    turned = rotate_pairs(queries[:, :, shape.nope_dim :], reach.cos, reach.sin)
    q = np.concatenate([wide, turned], axis=2)
    mixed = _attended(q, keys, None, products, where, reach, cache, rule)
    return _by_head(weights.values, of_values, mixed, products.threads).reshape(len(x), -1)


def _by_head(
    matrices: Sequence[Matrix],
    images: Sequence[Sequence[LowRankImage] | None],
    x: NDArray[np.float32],
    threads: int,
) -> NDArray[np.float32]:
    """Each head's own matrix times its own row of (tokens, heads, elements)."""
    heads = []
    for head, matrix in enumerate(matrices):
        own = np.ascontiguousarray(x[:, head])
        y = matrix.apply(own, threads)
        add_low_rank([image[head] if image else None for image in images], own, y, threads)
        heads.append(y)
    return np.stack(heads, axis=1)


def _attended(
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32] | None,
    products: LayerProducts,
    where: Places,
    reach: Reach,
    cache: KVCache,
    rule: ScoreRule,
) -> NDArray[np.float32]:
    """Write keys and values, and let each token attend: (tokens, heads, elements of a value)."""
    out, layer = [], products.index
    for turn in where.turns if cache.slides[layer] else (slice(None),):
        values = None if v is None else v[turn]
        cache.write(layer, reach.pages[turn], where.slots[turn], k[turn], values)
        counts = where.positions[turn] + 1
        tables, owners = reach.tables[turn], where.owners[turn]
        out.append(attend(q[turn], cache, layer, tables, counts, owners, rule, products.threads))
    return out[0] if len(out) == 1 else np.concatenate(out)
