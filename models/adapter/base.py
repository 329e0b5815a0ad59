"""An adapter belongs to the model that it was made for."""

from __future__ import annotations

from typing import Any, Protocol

from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel

DIMENSIONS = ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "layers")
"""What shapes the linear layers that adapters change; vocabulary and head are not among them."""


class Made(Protocol):
    """An adapter, or the shape of one."""

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> LanguageModel: ...


def as_base(model: Any) -> LanguageModel:
    """The model itself.

    Raises
    ------
    InputError
        If it is none, such as a name.
    """
    if not isinstance(model, LanguageModel):
        raise InputError(f"model: a LanguageModel is expected, not {type(model).__name__}")
    return model


def check_base(adapter: Made, model: LanguageModel) -> None:
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
    for dimension in DIMENSIONS:
        made, found = getattr(adapter.base, dimension), getattr(as_base(model), dimension)
        if made != found:
            raise InputError(
                f"adapter {adapter.name} was made for {adapter.base.name} ({dimension} {made:,}); "
                f"{model.name} has {found:,}"
            )
