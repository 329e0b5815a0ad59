"""An adapter belongs to the model that it was made for."""

from __future__ import annotations

import os
from typing import Protocol, TypeAlias

from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel

Base: TypeAlias = LanguageModel | str | os.PathLike[str]
"""A model, or what ``LanguageModel.open`` takes."""

DIMENSIONS = ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "layers")
"""What shapes the linear layers that adapters change; vocabulary and head are not among them."""


class Made(Protocol):
    """An adapter, or the shape of one."""

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> LanguageModel: ...


def as_base(model: Base) -> LanguageModel:
    """The model, opened where it is named.

    Raises
    ------
    InputError
        If it is neither a model nor a name or path of one.
    """
    if isinstance(model, LanguageModel):
        return model
    if isinstance(model, str | os.PathLike):
        return LanguageModel.open(model)
    raise InputError(f"model: a LanguageModel or its name is expected, not {type(model).__name__}")


def check_base(adapter: Made, model: Base) -> None:
    """Refuse an adapter that was made for a model of other dimensions.

    One that was made for a model of another name but the same dimensions, such as an instruct
    variant, fits.

    Raises
    ------
    InputError
        The sentence names both models and the first dimension in which they differ.
    """
    if adapter.base is model:
        return
    model = as_base(model)
    for dimension in DIMENSIONS:
        made, found = getattr(adapter.base, dimension), getattr(model, dimension)
        if made != found:
            raise InputError(
                f"adapter {adapter.name} was made for {adapter.base.name} ({dimension} {made:,}); "
                f"{model.name} has {found:,}"
            )
