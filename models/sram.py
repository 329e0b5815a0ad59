"""The SRAM budget: KV cache and adapters in one capacity, closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel

SCALE_BITS = 16
SCALED_ELEMENTS = 32
"""At 8 and 4 bits, a float16 scale for 32 elements of a head's key or value, as the KV cache of
``hardwire.kernels.decoder.kv_cache`` stores them; e4m3 has none."""


def kv_row_bits(model: LanguageModel, bits: Any, eight: str = "int8") -> Any:
    """Bits of a token's keys in one layer, or of its values, of elements of ``bits`` and scales.

    Elements of 8 bits are of the format ``eight``, as ``formats.kv_8bit`` of a chip.
    """
    scaled = bits < SCALE_BITS if eight == "int8" else bits < 8
    scales = -(-model.head_dim // SCALED_ELEMENTS) * SCALE_BITS * scaled
    return model.kv_heads * (model.head_dim * bits + scales)


def kv_layer_bits(model: LanguageModel, bits: Any, eight: str = "int8") -> Any:
    """Bits of a token's keys and values in one layer, or of the latent that is both.

    A latent is kept as one vector, its rotary part as another.
    """
    if model.latent is None:
        return 2 * kv_row_bits(model, bits, eight)
    scaled = bits < SCALE_BITS if eight == "int8" else bits < 8
    parts = (model.latent.kv_rank, model.latent.rope_dim)
    scales = sum(-(-part // SCALED_ELEMENTS) for part in parts) * SCALE_BITS * scaled
    return model.kv_width * bits + scales


def kv_bytes_per_token(model: LanguageModel, bits: Any, eight: str = "int8") -> Any:
    """Bytes of a token's keys and values in all layers, scales included, as ``kv_row_bits``."""
    return model.layers * kv_layer_bits(model, bits, eight) / 8


def kv_bytes_on(chip: Chip, model: LanguageModel) -> Any:
    """Bytes of a token's keys and values in the format of a chip."""
    return kv_bytes_per_token(model, chip.formats.kv_bits, chip.formats.kv_8bit)


def kv_held(model: LanguageModel, context: Any) -> Any:
    """Tokens whose keys and values are kept of so many, mean over layers: a window keeps no more
    than its tokens. A number or an array, at least 0."""
    if model.sliding_window is None:
        return context
    share = len(model.sliding_layers) / model.layers
    return context - share * np.maximum(context - model.sliding_window, 0)


def _longest(model: LanguageModel, held: Any) -> Any:
    """The longest context of which no more than so many tokens are kept: ``kv_held``, inverted."""
    if model.sliding_window is None:
        return held
    window, full = model.sliding_window, 1 - len(model.sliding_layers) / model.layers
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = window + np.divide(held - window, full)
    beyond = np.where(np.isfinite(beyond), beyond, model.max_position)
    return np.where(held > window, np.maximum(beyond, window), held)[()]


@dataclass(frozen=True)
class SramBudget:
    """Bytes of SRAM and what fits. ``free_bytes`` is negative by what is lacking.

    ``kv_bytes_per_token`` is what one token leaves in all layers, before windows drop any.
    """

    capacity_bytes: Any
    kv_bytes_per_token: Any
    kv_bytes: Any
    adapter_bytes: Any
    free_bytes: Any
    max_context_tokens: Any
    max_users: Any


def sram_budget(
    chip: Chip, model: LanguageModel, *, users: Any, context_tokens: Any, adapter_bytes: Any = 0
) -> SramBudget:
    """SRAM needed by ``users`` of ``context_tokens`` each beside ``adapter_bytes`` of adapters.

    Returns
    -------
    SramBudget
        ``max_context_tokens`` is for these users, ``max_users`` for this context.
    """
    capacity = chip.sram.capacity_mib * BYTES_PER_MIB
    per_token = kv_bytes_on(chip, model)
    held = kv_held(model, context_tokens)
    kv = users * held * per_token
    room = np.maximum(capacity - adapter_bytes, 0)
    return SramBudget(
        capacity_bytes=capacity,
        kv_bytes_per_token=per_token,
        kv_bytes=kv,
        adapter_bytes=adapter_bytes,
        free_bytes=capacity - kv - adapter_bytes,
        max_context_tokens=np.floor(_longest(model, room / (users * per_token))),
        max_users=np.floor(room / (held * per_token)),
    )
