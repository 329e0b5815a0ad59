"""An adapter's shape against the adapter with that shape, module by module."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from designs import HC1
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Adapter, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.errors import InputError
from hardwire.models.language_model import TARGETS
from hardwire.simulator import predict
from hardwire.simulator.datapath import adapter_bytes, shape_bytes
from hardwire.simulator.timing import Timing

LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-1b")


@examples(30)
@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=4),
    st.sets(st.sampled_from(TARGETS), min_size=1),
    st.sampled_from(["float16", "int8", "int4", None]),
    st.sampled_from([LLAMA, SMALL]),
)
def test_a_shape_with_many_ranks_is_as_many_adapters(
    ranks: list[int], targets: set[str], fmt: str | None, model: LanguageModel
) -> None:
    names = tuple(target for target in TARGETS if target in targets)
    shape = AdapterShape(model, np.array(ranks), names, fmt)
    together = predict(HC1, model, adapter=shape, prompt=100, output=60)
    sizes = shape_bytes(HC1, model, shape)
    work = Timing.of(HC1, model, [shape]).tokens[1].work
    for index, rank in enumerate(ranks):
        text = f"r{rank}:{'+'.join(names)}" + (f":{fmt}" if fmt else "")
        adapter = Adapter.from_shape(text, model)
        assert AdapterShape.of_adapter(adapter) == AdapterShape(model, rank, names, fmt)
        alone = predict(HC1, model, adapter=adapter, prompt=100, output=60)
        assert together.token_s[index] == alone.token_s
        assert together.ttft_s[index] == alone.ttft_s
        assert together.energy_j_per_decode_token[index] == alone.energy_j_per_decode_token
        assert sizes[index] == adapter_bytes(HC1, adapter)
        one = Timing.of(HC1, model, [adapter]).tokens[1].work
        assert (work.macs[index], work.bytes[index]) == (one.macs, one.bytes)


def test_an_irregular_adapter_has_no_shape() -> None:
    regular = Adapter.from_shape("r4:qv", SMALL)
    fewer = dataclasses.replace(regular, modules=regular.modules[:-1])
    assert AdapterShape.of_adapter(fewer) is None
    wider = dataclasses.replace(regular.modules[-1], rank=8)
    mixed = dataclasses.replace(regular, modules=(*regular.modules[:-1], wider))
    assert AdapterShape.of_adapter(mixed) is None


@pytest.mark.parametrize(
    "shape",
    [
        {"rank": 0, "targets": ("q_proj",)},
        {"rank": np.array([4, 0]), "targets": ("q_proj",)},
        {"rank": 4, "targets": ()},
        {"rank": 4, "targets": ("query",)},
        {"rank": 4, "targets": ("q_proj",), "adapter_format": "int7"},
    ],
)
def test_a_shape_that_cannot_be(shape: dict) -> None:
    with pytest.raises(ValueError, match=r"rank|targets|format"):
        AdapterShape(base=LLAMA, **shape)


def test_targets_as_a_user_writes_them() -> None:
    assert AdapterShape.of(LLAMA, "qv", 4).targets == ("q_proj", "v_proj")
    with pytest.raises(InputError, match="did you mean"):
        AdapterShape.of(LLAMA, "q_porj", 4)
