"""The SRAM budget: what is in it sums to the capacity, and what is said to fit does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st

from hardwire.kernels.decoder.kv_cache import PAGE_TOKENS, KVCache, Sequence
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.sram import SramBudget, kv_bytes_per_token, kv_row_bits, sram_budget

HC1, ROMA = Chip.open("hc1"), Chip.open("roma")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
MODELS = ["llama-3.1-8b", "llama-3.2-1b", "llama-3.2-3b", "qwen2.5-7b", "qwen3-8b"]

loads = st.fixed_dictionaries(
    {
        "users": st.integers(1, 64),
        "context_tokens": st.integers(1, 10_000),
        "adapter_bytes": st.integers(0, 600 << 20),
    }
)


def test_hc1_by_hand() -> None:
    """448 MiB; 32 layers × 8 heads × 128 × K and V: 65,536 codes, and 2,048 scales of 2 bytes."""
    budget = sram_budget(HC1, LLAMA, users=2, context_tokens=1024, adapter_bytes=44_564_480)
    assert budget.capacity_bytes == 448 * 2**20
    assert budget.kv_bytes_per_token == 69_632
    assert budget.kv_bytes == 136 * 2**20
    assert budget.free_bytes == 312 * 2**20 - 44_564_480
    assert budget.max_context_tokens == (448 * 2**20 - 44_564_480) // (2 * 69_632)
    assert budget.max_users == 5
    assert sram_budget(HC1, LLAMA, users=1, context_tokens=1).max_context_tokens == 6746


def test_roma_by_hand() -> None:
    """Published: 288 MB. 28 layers × 8 heads × 128 × K and V: 57,344 codes, 1,792 scales."""
    model = LanguageModel.by_name("llama-3.2-3b")
    budget = sram_budget(ROMA, model, users=1, context_tokens=1)
    assert budget.capacity_bytes == 288e6
    assert budget.kv_bytes_per_token == 57_344 + 2 * 1792


@examples(80)
@given(load=loads, kv_bits=st.sampled_from([4, 8, 16]), name=st.sampled_from(MODELS))
def test_the_budget_is_conserved_and_what_fits_is_the_most(
    load: dict[str, int], kv_bits: int, name: str
) -> None:
    chip = HC1.with_values({"formats.kv_bits": kv_bits})
    model = LanguageModel.by_name(name)

    def budget(**changes: int) -> SramBudget:
        return sram_budget(chip, model, **{**load, **changes})

    found = budget()
    assert found.kv_bytes + found.adapter_bytes + found.free_bytes == found.capacity_bytes
    assume(load["adapter_bytes"] <= found.capacity_bytes)
    most, users = int(found.max_context_tokens), int(found.max_users)
    assert budget(context_tokens=most).free_bytes >= 0
    assert budget(context_tokens=most + 1).free_bytes < 0
    assert users == 0 or budget(users=users).free_bytes >= 0
    assert budget(users=users + 1).free_bytes < 0
    assert (found.free_bytes >= 0) == (load["context_tokens"] <= most)
    assert (found.free_bytes >= 0) == (load["users"] <= users)


def test_nothing_fits_beside_an_adapter_that_is_too_large() -> None:
    budget = sram_budget(HC1, LLAMA, users=1, context_tokens=1, adapter_bytes=449 << 20)
    assert budget.max_context_tokens == budget.max_users == 0
    assert budget.free_bytes == -(1 << 20) - 69_632


@examples(50)
@given(load=loads, capacity=st.lists(st.floats(1, 4096), min_size=3, max_size=3))
def test_arrays_equal_scalars(load: dict[str, int], capacity: list[float]) -> None:
    many = HC1.with_values({"sram.capacity_mib": np.array(capacity)})
    together = dataclasses.asdict(sram_budget(many, LLAMA, **load))
    for index, value in enumerate(capacity):
        one = HC1.with_values({"sram.capacity_mib": value})
        alone = dataclasses.asdict(sram_budget(one, LLAMA, **load))
        for name, number in alone.items():
            assert np.broadcast_to(together[name], 3)[index] == pytest.approx(number), name


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_b8_a_token_takes_the_bytes_that_the_cache_of_the_kernels_stores(
    name: str, bits: int
) -> None:
    model = LanguageModel.by_name(name)
    cache = KVCache(model.layers, model.kv_heads, model.head_dim, bits)
    cache.extend(Sequence(), PAGE_TOKENS, 0)
    pages = len(cache.owners)
    assert kv_bytes_per_token(model, bits) == cache.nbytes / pages / PAGE_TOKENS
    assert kv_bytes_per_token(model, np.array([bits, 16]))[0] == kv_bytes_per_token(model, bits)


@pytest.mark.parametrize("name", MODELS)
def test_e4m3_takes_the_bytes_that_the_cache_of_the_kernels_stores(name: str) -> None:
    """A byte an element, and no scale: 65,536 for Llama 3.1 8B, where int8 takes 69,632."""
    model = LanguageModel.by_name(name)
    cache = KVCache(model.layers, model.kv_heads, model.head_dim, "e4m3")
    cache.extend(Sequence(), PAGE_TOKENS, 0)
    stored = cache.nbytes / len(cache.owners) / PAGE_TOKENS
    if model.head_dim % 32 == 0:
        assert kv_bytes_per_token(model, 8, "e4m3") == stored
    chip = HC1.with_values({"formats.kv_8bit": "e4m3"})
    assert sram_budget(chip, LLAMA, users=1, context_tokens=1).kv_bytes_per_token == 65_536
    for bits in (4, 16):
        assert kv_bytes_per_token(model, bits, "e4m3") == kv_bytes_per_token(model, bits)


@given(head_dim=st.integers(1, 300), kv_heads=st.integers(1, 16), bits=st.sampled_from([4, 8]))
def test_b8_a_started_group_of_elements_has_a_scale(
    head_dim: int, kv_heads: int, bits: int
) -> None:
    model = dataclasses.replace(LLAMA, head_dim=head_dim, kv_heads=kv_heads)
    scales = len(range(0, head_dim, 32))
    assert kv_row_bits(model, bits) == kv_heads * (head_dim * bits + 16 * scales)
    assert kv_row_bits(model, 16) == kv_heads * head_dim * 16
