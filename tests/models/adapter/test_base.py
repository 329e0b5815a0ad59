"""An adapter belongs to the model that it was made for, and fits those of the same dimensions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from hardwire.models import Adapter, InputError, LanguageModel
from hardwire.models.adapter.base import DIMENSIONS, check_base
from hardwire.models.adapter.shape import AdapterShape, open_adapter
from hardwire.models.adapter.write import write_adapter

LLAMA = LanguageModel.by_name("llama-3.1-8b")
QWEN = LanguageModel.by_name("qwen2.5-1.5b")


@pytest.mark.parametrize("made", [Adapter.from_shape, AdapterShape.from_text])
def test_an_adapter_for_another_model_is_refused(made: Any) -> None:
    adapter = made("r16:all-linear", QWEN)
    check_base(adapter, QWEN)
    with pytest.raises(InputError) as caught:
        check_base(adapter, LLAMA)
    assert str(caught.value) == (
        "adapter r16:all-linear was made for qwen2.5-1.5b (hidden 1,536); llama-3.1-8b has 4,096"
    )


def test_an_adapter_from_a_configuration_knows_its_model() -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    with pytest.raises(InputError, match=r"adapter mine was made for qwen2\.5-1\.5b"):
        check_base(Adapter.from_config(config, QWEN, "mine"), LLAMA)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_counts(dimension: str) -> None:
    other = dataclasses.replace(LLAMA, **{dimension: 2 * getattr(LLAMA, dimension)})
    with pytest.raises(InputError, match=rf"llama-3\.1-8b \({dimension} "):
        check_base(Adapter.from_shape("r16:qv", LLAMA), other)


def test_a_variant_of_the_same_dimensions_takes_it() -> None:
    variant = dataclasses.replace(LLAMA, name="llama-3.1-8b-instruct", vocab=128_258)
    check_base(Adapter.from_shape("r16:qv", LLAMA), variant)


@pytest.mark.parametrize(
    ("rank", "targets", "fmt", "name"),
    [
        (16, "all-linear", None, "r16:all-linear"),
        (4, "q_proj+o_proj", "int4", "r4:q_proj+o_proj:int4"),
        (np.array([4, 8, 64]), "qv", None, "r4..r64:qv"),
    ],
)
def test_a_shape_is_named_as_a_user_writes_it(
    rank: Any, targets: str, fmt: str | None, name: str
) -> None:
    assert AdapterShape.of(LLAMA, targets, rank, fmt).name == name


def test_a_model_may_be_named(tmp_path: Any) -> None:
    name = LLAMA.name
    made = Adapter.from_shape("r4:qv", name)
    assert made.base == LLAMA and made.parameters == Adapter.from_shape("r4:qv", LLAMA).parameters
    write_adapter(tmp_path / "new", name, 4, "qv")
    assert Adapter.open(tmp_path / "new", name).parameters == made.parameters
    assert AdapterShape.of(name, "qv", 4).base == LLAMA
    check_base(made, name)
    with pytest.raises(InputError, match="is no model in the catalogue"):
        Adapter.from_shape("r16:qv", "llama-3.1-9b")


def test_what_is_no_model_is_refused(tmp_path: Any) -> None:
    thing: Any = 8
    for call in (
        lambda: Adapter.from_shape("r16:qv", thing),
        lambda: Adapter.from_config({}, thing),
        lambda: Adapter.open(tmp_path, thing),
        lambda: open_adapter("r16:qv", thing),
        lambda: write_adapter(tmp_path / "new", thing, 4, "qv"),
        lambda: AdapterShape.of(thing, "qv", 4),
        lambda: check_base(Adapter.from_shape("r16:qv", LLAMA), thing),
    ):
        with pytest.raises(InputError, match="model: a LanguageModel or its name is expected"):
            call()
