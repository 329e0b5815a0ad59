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


def kv_bytes_per_token(model: LanguageModel, bits: Any, eight: str = "int8") -> Any:
    """Bytes of a token's keys and values in all layers, scales included, as ``kv_row_bits``."""
    return 2 * model.layers * kv_row_bits(model, bits, eight) / 8


def kv_bytes_on(chip: Chip, model: LanguageModel) -> Any:
    """Bytes of a token's keys and values in the format of a chip."""
    return kv_bytes_per_token(model, chip.formats.kv_bits, chip.formats.kv_8bit)


@dataclass(frozen=True)
class SramBudget:
    """Bytes of SRAM and what fits. ``free_bytes`` is negative by what is lacking."""

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
    kv = users * context_tokens * per_token
    room = np.maximum(capacity - adapter_bytes, 0)
    return SramBudget(
        capacity_bytes=capacity,
        kv_bytes_per_token=per_token,
        kv_bytes=kv,
        adapter_bytes=adapter_bytes,
        free_bytes=capacity - kv - adapter_bytes,
        max_context_tokens=np.floor(room / (users * per_token)),
        max_users=np.floor(room / (context_tokens * per_token)),
    )
