"""Grouped-query attention over the pages of a KV cache, and the definition that it equals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.activation import exp_plain
from hardwire.kernels.decoder.kv_cache import KVCache
from hardwire.kernels.decoder.norm import sum_lanes


def attend(
    q: NDArray[np.float32],
    cache: KVCache,
    layer: int,
    tables: NDArray[np.int64],
    counts: NDArray[np.int64],
    owners: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Attention of each token over the first tokens of its own sequence.

    Parameters
    ----------
    q
        (tokens, heads, head_dim) float32; head h uses KV head h // (heads / kv heads).
    cache, layer
        Where keys and values are.
    tables
        (tokens, pages) pages of each token's sequence in order; the rest of a row is not used.
    counts
        (tokens,) how many tokens of the sequence are attended to, at least 1.
    owners
        (tokens,) whose pages each token may read.

    Returns
    -------
    (tokens, heads, head_dim) float32, equal to `attend_plain` of each token, bit for bit.

    Raises
    ------
    ValueError
        If a page belongs to another owner.
    """
    from hardwire.kernels.decoder.decoder_jit import attend as compiled  # noqa: PLC0415

    keys, key_scales, values, value_scales = cache.arrays(layer)
    out = np.empty_like(q)
    foreign = compiled(
        q, keys, key_scales, values, value_scales, cache.owners, tables, counts, owners, out
    )
    if foreign >= 0:
        raise ValueError(
            f"KV page {foreign} belongs to another adapter, or another version of it, than the "
            "token that would read it"
        )
    return out


def attend_plain(
    q: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Attention of one token: the definition, in float32 with one rounding per operation.

    A score adds q·k element by element and is then multiplied by 1/sqrt(head_dim); the exponentials
    of the scores, less the largest, are summed as in `sum_lanes`; each output adds the weighted
    values token by token and is then divided by that sum.

    Parameters
    ----------
    q
        (heads, head_dim).
    keys, values
        (tokens, kv heads, head_dim), as `KVCache.restored` gives them.

    Returns
    -------
    (heads, head_dim) float32.
    """
    heads, dim = q.shape
    share = heads // keys.shape[1]
    factor = np.float32(1) / np.sqrt(np.float32(dim))
    out = np.empty_like(q)
    for h in range(heads):
        k, v = keys[:, h // share], values[:, h // share]
        scores = np.zeros(len(k), np.float32)
        for d in range(dim):
            scores = scores + q[h, d] * k[:, d]
        scores = scores * factor
        weights = exp_plain(scores - scores.max())
        total = np.zeros(dim, np.float32)
        for weight, value in zip(weights, v, strict=True):
            total = total + weight * value
        out[h] = total / sum_lanes(weights)
    return out
