"""What an adapter wants: the model that it was made for, and side paths of a chip."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Protocol, TypeAlias

from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import HEAD, LanguageModel

Base: TypeAlias = LanguageModel | str | os.PathLike[str]
"""A model, or what ``LanguageModel.open`` takes."""

_PARTS = {
    "experts": "its experts",
    "dense_layers": "which layers have experts",
    "latent": "its latent attention",
}

DIMENSIONS = ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "layers")
"""What shapes the linear layers of decoder layers. The vocabulary shapes only the LM head."""


class Made(Protocol):
    """An adapter, or the shape of one."""

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> LanguageModel: ...

    @property
    def targets(self) -> tuple[str, ...]: ...


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


def head_obstacle(chip: Chip, targets: Collection[str]) -> str | None:
    """Why a chip cannot take an adapter on these targets: LoRA on an LM head without a side path.

    None where it can.
    """
    if HEAD not in targets or chip.lora.head == "present":
        return None
    return f"has LoRA on {HEAD}, beside which {chip.name} has no side path (lora.head: absent)"


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
    for dimension in (*DIMENSIONS, "vocab") if HEAD in adapter.targets else DIMENSIONS:
        made, found = getattr(adapter.base, dimension), getattr(model, dimension)
        if made != found:
            raise InputError(
                f"adapter {adapter.name} was made for {adapter.base.name} ({dimension} {made:,}); "
                f"{model.name} has {found:,}"
            )
    for what in ("experts", "dense_layers", "latent"):
        if getattr(adapter.base, what) != getattr(model, what):
            raise InputError(
                f"adapter {adapter.name} was made for {adapter.base.name}; {model.name} differs "
                f"from it in {_PARTS[what]}"
            )
