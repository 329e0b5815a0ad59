"""What an adapter takes of the SRAM, where every layer has its own and where all share one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.sram import kv_bytes_per_token
from hardwire.simulator.datapath import adapter_bytes, adapter_layer_bytes, adapter_room
from hardwire.simulator.fit import check_fit

HC1, ROMA = Chip.open("hc1"), Chip.open("roma")
LLAMA = LanguageModel.open("llama-3.1-8b")
MIB = 1 << 20


def on_layers(shape: str, layers: set[int]) -> Adapter:
    """An adapter that changes some layers only, as PEFT's ``layers_to_transform`` makes them."""
    whole = Adapter.from_shape(shape, LLAMA)
    modules = tuple(module for module in whole.modules if module.layer in layers)
    return dataclasses.replace(whole, modules=modules)


def test_b7_fifteen_adapters_in_four_layers_do_not_fit_layers_of_14_mib() -> None:
    """Each layer would need 81.7 MiB of 14, though 319 MiB of the 448 would be free."""
    adapter = on_layers("r64:all-linear", {0, 1, 2, 3})
    assert adapter_bytes(HC1, adapter) == 21.25 * MIB
    assert adapter_room(HC1, LLAMA, adapter) == 32 * 5.3125 * MIB
    kv = 2048 * kv_bytes_per_token(LLAMA, HC1.formats.kv_bits)
    assert int((448 * MIB - kv) // adapter_room(HC1, LLAMA, adapter)) == 1
    assert adapter_room(ROMA, LLAMA, adapter) == 21.25 * MIB


def test_a_context_that_the_fullest_layer_has_no_room_for_is_refused() -> None:
    adapter = on_layers("r64:all-linear", {7})
    load = {"prompt": 2048, "output": 2048, "users": 1}
    check_fit(HC1, LLAMA, adapter, **load)
    with pytest.raises(InputError, match=r"beside an adapter of 170.0 MiB lack 62.0 MiB of 448"):
        check_fit(HC1, LLAMA, adapter, **{**load, "prompt": 3072})


@given(
    st.sets(st.integers(0, 31), min_size=1),
    st.sampled_from(["r4:qv", "r16:all-linear", "r8:all-linear+lm_head"]),
)
def test_room_is_at_least_the_image_and_enough_for_every_layer(
    layers: set[int], shape: str
) -> None:
    adapter = on_layers(shape, layers | ({32} if "lm_head" in shape else set()))
    room, image = adapter_room(HC1, LLAMA, adapter), adapter_bytes(HC1, adapter)
    *slices, head = adapter_layer_bytes(HC1, adapter, LLAMA.layers + 1)
    assert room >= image
    assert (room - head) / LLAMA.layers >= max(slices)
    assert adapter_room(ROMA, LLAMA, adapter) == adapter_bytes(ROMA, adapter)
    if len(layers) == LLAMA.layers:
        assert room == image
