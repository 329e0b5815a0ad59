"""Tokens that go through a decoder together: their places in sequences, pages and positions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.attention_kinds import Places, Reach
from hardwire.kernels.decoder.kv_cache import PAGE_TOKENS, KVCache
from hardwire.kernels.decoder.kv_cache import Sequence as KVSequence
from hardwire.kernels.decoder.rope import Rope
from hardwire.kernels.decoder.side_path import ResidentAdapter
from hardwire.models.language_model import LanguageModel

BASE = 0
"""Owner of the KV pages of tokens without an adapter."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Tokens on their way through the layers; made by `Decoder.begin`.

    Attributes
    ----------
    adapters
        Each token's adapter, None for the base alone.
    where
        Place of each token in its sequence and in the KV cache.
    reaches
        For layers that attend to all tokens, and for those that attend to a window; None where the
        model has no such layers.
    """

    adapters: tuple[ResidentAdapter | None, ...]
    where: Places
    reaches: tuple[Reach | None, Reach | None]


def place(
    model: LanguageModel,
    cache: KVCache,
    ropes: tuple[Rope, Rope],
    sequences: Sequence[KVSequence],
    adapters: tuple[ResidentAdapter | None, ...],
) -> Batch:
    """Give each token the next place of its sequence in the cache.

    Parameters
    ----------
    model, cache
    ropes
        Rotary embedding, and that of layers with a window.
    sequences, adapters
        Each token's.

    Raises
    ------
    ValueError
        If a sequence belongs to another adapter or version, or would outgrow the model; nothing has
        changed then.
    """
    owners = [adapter.version if adapter else BASE for adapter in adapters]
    _check_sequences(model, sequences, owners)
    positions = np.array(
        [cache.extend(s, 1, owner) for s, owner in zip(sequences, owners, strict=True)], np.int64
    )
    where = Places(
        np.array(owners, np.int64),
        positions,
        positions % PAGE_TOKENS,
        _turns(sequences, cache.tokens_at_once),
    )
    dim = model.latent.rope_dim if model.latent is not None else model.head_dim
    whole = _reach(ropes[0], dim, positions, [s.pages for s in sequences])
    ring = _reach(ropes[1], dim, positions, [s.ring for s in sequences])
    return Batch(adapters, where, (whole, ring))


def _reach(
    rope: Rope, dim: int, positions: NDArray[np.int64], pages: list[list[int]]
) -> Reach | None:
    """For layers that keep these pages; None where there are none."""
    columns = max(map(len, pages))
    if columns == 0:
        return None
    tables = np.zeros((len(pages), columns), np.int64)
    for row, own in zip(tables, pages, strict=True):
        row[: len(own)] = own
    # A ring has all its columns once its first page is written anew.
    current = tables[np.arange(len(pages)), positions // PAGE_TOKENS % columns]
    return Reach(current, tables, *rope.rotations(positions, dim))


def _turns(sequences: Sequence[KVSequence], most: int) -> tuple[slice, ...]:
    """Cut a batch where a sequence would have more than so many tokens in a part."""
    cuts, counts = [0], dict.fromkeys(map(id, sequences), 0)
    for token, sequence in enumerate(sequences):
        if counts[id(sequence)] == most:
            cuts.append(token)
            counts = dict.fromkeys(counts, 0)
        counts[id(sequence)] += 1
    return tuple(itertools.starmap(slice, itertools.pairwise([*cuts, len(sequences)])))


def _check_sequences(
    model: LanguageModel, sequences: Sequence[KVSequence], owners: Sequence[int]
) -> None:
    lengths: dict[int, int] = {}
    firsts: dict[int, int] = {}
    for sequence, owner in zip(sequences, owners, strict=True):
        key = id(sequence)
        length = lengths[key] = lengths.get(key, sequence.length) + 1
        if length > model.max_position:
            raise ValueError(f"a sequence of {length:,} tokens exceeds {model.limit()}")
        first = firsts.setdefault(key, owner if sequence.owner is None else sequence.owner)
        if first != owner:
            raise ValueError(
                f"KV pages of {_owner_name(first)} cannot be read by a token of "
                f"{_owner_name(owner)}"
            )


def _owner_name(owner: int) -> str:
    return "the base alone" if owner == BASE else f"adapter version {owner}"
