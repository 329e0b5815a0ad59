"""Grouped-query attention over the pages of a KV cache, and the definition that it equals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.activation import exp_plain, soft_cap_plain
from hardwire.kernels.decoder.kv_cache import KVCache
from hardwire.kernels.decoder.norm import sum_lanes
from hardwire.kernels.parts import by_parts


@dataclass(frozen=True, eq=False)
class ScoreRule:
    """How scores become weights, beside what is said in `attend_plain`.

    Attributes
    ----------
    factor
        What q·k is multiplied by; rounded to float32.
    window
        A token attends to the last so many tokens, itself included; None for all.
    soft_cap
        Scores become ``soft_cap · tanh(score / soft_cap)``; None where they are not capped.
    sinks
        (heads,) float32: one more score of each head, which takes weight and has no value; or None.
    """

    factor: float
    window: int | None = None
    soft_cap: float | None = None
    sinks: NDArray[np.float32] | None = None

    @classmethod
    def of_heads(cls, head_dim: int) -> ScoreRule:
        """The rule of plain attention: a factor of 1/sqrt(head_dim)."""
        return cls(float(np.float32(1) / np.sqrt(np.float32(head_dim))))


_NO_SINKS = np.zeros(0, np.float32)
_NO_WINDOW = 2**62


def attend(
    q: NDArray[np.float32],
    cache: KVCache,
    layer: int,
    tables: NDArray[np.int64],
    counts: NDArray[np.int64],
    owners: NDArray[np.int64],
    rule: ScoreRule | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Attention of each token over the first tokens of its own sequence.

    Parameters
    ----------
    q
        (tokens, heads, key_dim) float32; head h uses KV head h // (heads / kv heads).
    cache, layer
        Where keys and values are.
    tables
        (tokens, pages) pages of each token's sequence in order; the rest of a row is not used. In
        a layer that keeps a window, the ring of pages.
    counts
        (tokens,) how many tokens the sequence has up to this one, at least 1.
    owners
        (tokens,) whose pages each token may read.
    rule
        By default that of plain attention.
    threads
        That share the tokens; the result does not depend on it.

    Returns
    -------
    (tokens, heads, value_dim) float32, equal to `attend_plain` of each token, bit for bit.

    Raises
    ------
    ValueError
        If a page belongs to another owner.
    """
    from hardwire.kernels.decoder.decoder_jit import attend as compiled  # noqa: PLC0415

    rule = rule or ScoreRule.of_heads(q.shape[2])
    stored, page_owners, q = cache.arrays(layer), cache.owners_of(layer), np.ascontiguousarray(q)
    out = np.empty((*q.shape[:2], cache.value_dim), np.float32)
    foreign: list[tuple[int, int]] = []

    def part(begin: int, end: int) -> None:
        page = compiled(
            q[begin:end],
            *stored,
            page_owners,
            tables[begin:end],
            counts[begin:end],
            owners[begin:end],
            np.float32(rule.factor),
            rule.window or _NO_WINDOW,
            np.float32(rule.soft_cap or 0),
            _NO_SINKS if rule.sinks is None else rule.sinks,
            out[begin:end],
        )
        if page >= 0:
            foreign.append((begin, page))

    by_parts(part, len(q), threads)
    if foreign:
        raise ValueError(
            f"KV page {min(foreign)[1]} belongs to another adapter, or another version of it, than "
            "the token that would read it"
        )
    return out


def attend_plain(
    q: NDArray[np.float32],
    keys: NDArray[np.float32],
    values: NDArray[np.float32],
    rule: ScoreRule | None = None,
) -> NDArray[np.float32]:
    """Attention of one token: the definition, in float32 with one rounding per operation.

    A score adds q·k element by element, is then multiplied by the rule's factor, 1/sqrt(key_dim)
    by default, and then capped, where it is. Tokens before the window have weight 0. The
    exponentials of the scores, less the largest of them and the sink, are summed as in `sum_lanes`,
    and that of the sink is added last; each output adds the weighted values token by token and is
    then divided by that sum.

    Parameters
    ----------
    q
        (heads, key_dim).
    keys, values
        (tokens, kv heads, key_dim) and (tokens, kv heads, value_dim), as `KVCache.restored` gives
        them.
    rule

    Returns
    -------
    (heads, value_dim) float32.
    """
    heads, dim = q.shape
    rule = rule or ScoreRule.of_heads(dim)
    share = heads // keys.shape[1]
    first = max(0, len(keys) - (rule.window or _NO_WINDOW))
    out = np.empty((heads, values.shape[2]), np.float32)
    for h in range(heads):
        k, v = keys[:, h // share], values[first:, h // share]
        scores = np.zeros(len(k), np.float32)
        for d in range(dim):
            scores = scores + q[h, d] * k[:, d]
        scores = scores * np.float32(rule.factor)
        if rule.soft_cap:
            scores = soft_cap_plain(scores, rule.soft_cap)
        sink = np.float32(-np.inf) if rule.sinks is None else rule.sinks[h]
        largest = np.maximum(scores[first:].max(), sink)
        weights = exp_plain(scores - largest)
        weights[:first] = 0
        total = np.zeros(values.shape[2], np.float32)
        for weight, value in zip(weights[first:], v, strict=True):
            total = total + weight * value
        whole = sum_lanes(weights)
        if rule.sinks is not None:
            whole = whole + exp_plain(sink - largest)
        out[h] = total / whole
    return out
