"""The KV cache: keys and values in pages of 32 tokens, at 32, 16, 8 or 4 bits, each page owned.

A page holds one layer's share for 32 consecutive tokens of one sequence, the same page number in
every layer. Keys lie with the 32 tokens side by side for each element, so that a page's scores are
32 sums next to each other; values lie token by token. In int8 and int4, 32 consecutive elements of
a head's key or value share one float16 scale, as in an adapter's image
(`hardwire.kernels.lowrank.formats`).

An adapter changes keys and values, so a page belongs to the adapter, and the version of it, that
wrote it, and cannot be read with another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.float8 import from_e4m3, to_e4m3
from hardwire.kernels.lowrank.formats import BLOCK, CODES
from hardwire.models.language_model import LanguageModel

PAGE_TOKENS = BLOCK
KV_BITS = (32, 16, 8, 4)
KVBits: TypeAlias = int | str
KV_FORMATS = {"float32": 32, "float16": 16, "int8": 8, "e4m3": 8, "int4": 4}
"""Bits of the formats of an element."""
_LARGEST_HALF = np.float32(65504)
_FREE = -1


@dataclass(eq=False)
class Sequence:
    """One user's tokens in a cache: its pages in order, and how many tokens have a place there.

    `ring` has the pages of layers that keep a window, which are written in turn. `owner` is the one
    whose pages they are, None before the first token.
    """

    pages: list[int] = field(default_factory=list)
    ring: list[int] = field(default_factory=list)
    length: int = 0
    owner: int | None = None


class KVCache:
    """Pages of all layers; their number grows as sequences do.

    Parameters
    ----------
    layers, kv_heads, head_dim
        Shape of one token's keys, and of its values.
    bits
        Bits of an element, one of `KV_BITS`: float32, float16, int8 or int4; or "e4m3", 8 bits of
        FP8 without scales: one of 1 for all, as vLLM's cache has that is not calibrated. What
        exceeds float16 or e4m3 is stored as the largest of them, as a saturating converter does.
    windows
        Of each layer, to how many tokens one attends at most, or None for all; () where none does.
        Layers with a window keep the longest of them in a ring of pages, which stops growing: as
        many as hold it, and one more, which is being written.
    latent
        Where keys and values are one vector, as in multi-head latent attention: how many of its
        first elements are the value. Nothing is stored twice then. 0 where values are their own.

    Raises
    ------
    ValueError
        If the bits are none of these.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        bits: KVBits,
        *,
        windows: Collection[int | None] = (),
        latent: int = 0,
    ) -> None:
        if bits not in KV_BITS and bits != "e4m3":
            raise ValueError(
                f"kv_bits must be one of {', '.join(map(str, KV_BITS))}, or e4m3, not {bits}"
            )
        names = {n: name for name, n in reversed(KV_FORMATS.items())}
        self.format = bits if isinstance(bits, str) else names[bits]
        bits = KV_FORMATS[self.format]
        self.layers, self.kv_heads, self.head_dim, self.bits = layers, kv_heads, head_dim, bits
        self.latent, self.value_dim = latent, latent or head_dim
        self.groups = -(-head_dim // BLOCK)
        self.slides = tuple(window is not None for window in windows) or (False,) * layers
        longest = max((window for window in windows if window), default=0)
        self.ring_pages = -(-longest // PAGE_TOKENS) + 1 if any(self.slides) else 0
        self._all = not all(self.slides)  # some layer keeps all tokens
        self._dtype = {32: np.float32, 16: np.uint16, 8: np.int8, 4: np.uint8}[bits]
        per_element = 2 if bits == 4 else 1
        self._key_shape = (kv_heads, head_dim, PAGE_TOKENS // per_element)
        self._value_shape = (kv_heads, PAGE_TOKENS, self.groups * BLOCK // per_element)
        self._scale_shape = (kv_heads, self.groups, PAGE_TOKENS)
        self._pools = _Pool(), _Pool()  # of layers that keep all tokens, and of those with a ring
        self._keys = [self._new(self._key_shape) for _ in range(layers)]
        self._values = [self._new(self._value_shape) for _ in range(layers)]
        self._key_scales: list[NDArray[np.uint16]] = []
        self._value_scales: list[NDArray[np.uint16]] = []
        if self.format in CODES:
            self._key_scales = [self._new(self._scale_shape, np.uint16) for _ in range(layers)]
            self._value_scales = [self._new(self._scale_shape, np.uint16) for _ in range(layers)]

    @classmethod
    def of(cls, model: LanguageModel, bits: KVBits) -> KVCache:
        """The cache of a model: rings where layers slide, latents where attention has them."""
        windows = [model.kind_of(layer).window for layer in range(model.layers)]
        latent = model.latent
        if latent is None:
            return cls(model.layers, model.kv_heads, model.head_dim, bits, windows=windows)
        width, rank = model.kv_width, latent.kv_rank
        return cls(model.layers, 1, width, bits, windows=windows, latent=rank)

    @property
    def owners(self) -> NDArray[np.int64]:
        """(pages,) who owns each page of the layers that keep all tokens."""
        return self._pools[0].owners

    def owners_of(self, layer: int) -> NDArray[np.int64]:
        """(pages,) who owns each page of one layer."""
        return self._pools[self.slides[layer]].owners

    @property
    def nbytes(self) -> int:
        """Bytes of all pages, free ones included."""
        arrays = (*self._keys, *self._values, *self._key_scales, *self._value_scales)
        return sum(array.nbytes for array in arrays)

    @property
    def elements(self) -> int:
        """Numbers that all pages hold, free ones included."""
        each = self.kv_heads * self.head_dim * PAGE_TOKENS * (1 if self.latent else 2)
        return each * sum(len(self.owners_of(layer)) for layer in range(self.layers))

    @property
    def pages_in_use(self) -> int:
        """Pages that belong to a sequence."""
        return sum(len(pool.owners) - len(pool.free) for pool in self._pools)

    @property
    def tokens_at_once(self) -> int:
        """Tokens of one sequence that may be written to a ring before the first of them reads it.

        With more, the last would take the places of those that the first attends to.
        """
        return PAGE_TOKENS

    def extend(self, sequence: Sequence, count: int, owner: int) -> int:
        """Give `count` more tokens of a sequence a place; return the position of the first.

        Raises
        ------
        ValueError
            If the sequence's pages belong to another owner.
        """
        if sequence.owner not in (None, owner):
            raise ValueError(
                f"a sequence whose KV pages belong to owner {sequence.owner} cannot be continued "
                f"by owner {owner}"
            )
        first = sequence.length
        needed = -(-(first + count) // PAGE_TOKENS)
        while self._all and len(sequence.pages) < needed:
            sequence.pages.append(self._take(False, owner))
        while len(sequence.ring) < min(needed, self.ring_pages):
            sequence.ring.append(self._take(True, owner))
        sequence.length, sequence.owner = first + count, owner
        return first

    def release(self, sequence: Sequence) -> None:
        """Free a sequence's pages and empty it."""
        for pool, pages in zip(self._pools, (sequence.pages, sequence.ring), strict=True):
            pool.owners[pages] = _FREE
            pool.free.extend(reversed(pages))
        sequence.pages, sequence.ring, sequence.length, sequence.owner = [], [], 0, None

    def write(
        self,
        layer: int,
        pages: NDArray[np.int64],
        slots: NDArray[np.int64],
        keys: NDArray[np.float32],
        values: NDArray[np.float32] | None,
    ) -> None:
        """Store keys and values of tokens, rounded to the cache's format.

        Parameters
        ----------
        layer
        pages, slots
            (tokens,) page of each token and its place there; no two tokens share both.
        keys, values
            (tokens, kv heads, head_dim) float32; no values where they are part of the keys.
        """
        stored, scales = self._rounded(keys)
        if scales is not None:
            self._key_scales[layer][pages, :, :, slots] = scales
        if self.bits == 4:
            # Two tokens share a byte of the keys: all even slots first, so that no write is lost.
            codes, packed = stored.view(np.uint8) & np.uint8(0xF), self._keys[layer]
            for parity, kept in ((0, 0xF0), (1, 0x0F)):
                chosen = slots % 2 == parity
                place = pages[chosen], slice(None), slice(None), slots[chosen] // 2
                packed[place] = packed[place] & kept | codes[chosen] << 4 * parity
        else:
            self._keys[layer][pages, :, :, slots] = stored
        if values is None:
            return
        stored, scales = self._rounded(values)
        if scales is not None:
            self._value_scales[layer][pages, :, :, slots] = scales
        if self.bits == 4:
            codes = stored.view(np.uint8)
            stored = codes[..., 0::2] & 0xF | codes[..., 1::2] << 4
        self._values[layer][pages, :, slots, : stored.shape[2]] = stored

    def _rounded(self, x: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.uint16] | None]:
        """Elements (tokens, kv heads, head_dim) in the cache's format, and their scales or None."""
        if self._key_scales:
            return _quantize(x, CODES[self.format][1])
        if self.bits == 16:
            return _halves(x), None
        return (to_e4m3(x) if self.bits == 8 else x), None

    def arrays(
        self, layer: int
    ) -> tuple[NDArray[Any], NDArray[np.uint16] | None, NDArray[Any], NDArray[np.uint16] | None]:
        """Keys, their scales or None, values, and their scales or None of one layer's pages.

        Keys (pages, kv heads, head_dim, 32 tokens) and values (pages, kv heads, 32 tokens, head_dim
        rounded up to a multiple of 32), two int4 codes per element, the earlier in the low half;
        scales as float16 bits (pages, kv heads, groups of 32 elements, 32 tokens).
        """
        key_scales = self._key_scales[layer] if self._key_scales else None
        value_scales = self._value_scales[layer] if self._value_scales else None
        return self._keys[layer], key_scales, self._values[layer], value_scales

    def restored(
        self, layer: int, sequence: Sequence
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keys and values of a sequence as they are stored, each (tokens, kv heads, elements).

        Of a layer with a ring, those of the tokens that it still has from a page's first one on.
        """
        keys, key_scales, values, value_scales = self.arrays(layer)
        pages, length = sequence.pages, sequence.length
        if self.slides[layer]:
            last = -(-length // PAGE_TOKENS)
            first = max(0, last - self.ring_pages)
            pages = [sequence.ring[page % self.ring_pages] for page in range(first, last)]
            length -= first * PAGE_TOKENS
        shape = (-1, self.kv_heads, self.head_dim)
        k = _restore(keys[pages], self.format).transpose(0, 3, 1, 2)
        if key_scales is not None:
            k = k * _spread(key_scales[pages], self.head_dim)
        k = k.reshape(shape)[:length]
        if self.latent:
            return k, k[..., : self.latent]
        v = _restore(values[pages], self.format).transpose(0, 2, 1, 3)[..., : self.head_dim]
        if value_scales is not None:
            v = v * _spread(value_scales[pages], self.head_dim)
        return k, v.reshape(shape)[:length]

    def _new(self, shape: tuple[int, ...], dtype: Any = None) -> NDArray[Any]:
        return np.zeros((0, *shape), dtype or self._dtype)

    def _take(self, ring: bool, owner: int) -> int:
        """A free page of one pool, which `owner` then has."""
        pool = self._pools[ring]
        if not pool.free:
            more = pool.grow()
            for arrays in (self._keys, self._values, self._key_scales, self._value_scales):
                for layer, old in enumerate(arrays):
                    is_value = arrays is self._values or arrays is self._value_scales
                    if self.slides[layer] == ring and not (self.latent and is_value):
                        new = np.zeros((more, *old.shape[1:]), old.dtype)
                        arrays[layer] = np.concatenate([old, new])
        page = pool.free.pop()
        pool.owners[page] = owner
        return page


class _Pool:
    """Page numbers: who owns each, and which are free."""

    def __init__(self) -> None:
        self.owners = np.full(0, _FREE, np.int64)
        self.free: list[int] = []

    def grow(self) -> int:
        """Double the pages, from 4 on; return how many are new."""
        count = len(self.owners)
        more = max(4, count)
        self.owners = np.concatenate([self.owners, np.full(more, _FREE, np.int64)])
        self.free.extend(reversed(range(count, count + more)))
        return more


def _halves(x: NDArray[np.float32]) -> NDArray[np.uint16]:
    """float16 bits, saturated."""
    return np.clip(x, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).view(np.uint16)


def _quantize(x: NDArray[np.float32], top: int) -> tuple[NDArray[Any], NDArray[np.uint16]]:
    """Codes (tokens, kv heads, head_dim) and scales (tokens, kv heads, groups) as float16 bits."""
    dim = x.shape[2]
    groups = -(-dim // BLOCK)
    padded = np.zeros((*x.shape[:2], groups, BLOCK), np.float32)
    padded.reshape(*x.shape[:2], -1)[..., :dim] = x
    largest = np.abs(padded).max(axis=3)
    scales = np.minimum(largest / np.float32(top), _LARGEST_HALF).astype(np.float16)
    # As in an adapter's image: the next float16 up where rounding left the scale too small.
    short = scales.astype(np.float32) * np.float32(top + 0.5) < largest
    short &= scales < np.float16(_LARGEST_HALF)
    scales = np.where(short, np.nextafter(scales, np.float16(np.inf)), scales)
    steps = scales.astype(np.float32)
    steps[largest == 0] = 1
    codes = np.clip(np.rint(padded / steps[..., None]), -top, top)
    codes = codes.reshape(*x.shape[:2], -1)[..., :dim].astype(np.int8)
    return codes, scales.view(np.uint16)


def _restore(stored: NDArray[Any], fmt: str) -> NDArray[np.float32]:
    """Stored elements as float32, without their scales."""
    if fmt == "e4m3":
        return from_e4m3(stored)
    if fmt == "float16":
        stored = stored.view(np.float16)
    elif fmt == "int4":
        halves = np.stack([stored << 4, stored & 0xF0], axis=-1)
        stored = (halves.view(np.int8) >> 4).reshape(*stored.shape[:-1], -1)
    return stored.astype(np.float32)


def _spread(scales: NDArray[np.uint16], dim: int) -> NDArray[np.float32]:
    """Scales of pages as (pages, tokens, kv heads, head_dim)."""
    values = scales.view(np.float16).astype(np.float32).transpose(0, 3, 1, 2)
    return values.repeat(BLOCK, axis=3)[..., :dim]
