"""An adapter of equal modules in every layer, whose rank may be an array: for sweeps."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import ADAPTER_FORMATS, Adapter
from hardwire.models.adapter.base import Base, as_base
from hardwire.models.adapter.modules import parse_targets, targets_text
from hardwire.models.brief import brief, one_line
from hardwire.models.catalogue import name_or_path
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel


@dataclass(frozen=True)
class AdapterShape:
    """LoRA modules of one rank on the same targets of every layer, and perhaps on the LM head.

    The closed forms take it in place of an ``Adapter``; unlike one it needs no list of modules,
    and its rank may be an array with one element per design.

    Attributes
    ----------
    base : the model that it is made for.
    rank : int or integer array, at least 1.
    targets : in the order of the base's ``adaptable``.
    adapter_format : one of ``ADAPTER_FORMATS``, or None to leave it to the chip.
    """

    base: LanguageModel
    rank: Any
    targets: tuple[str, ...]
    adapter_format: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.base, LanguageModel):
            raise InputError(f"base: a LanguageModel is expected, not {type(self.base).__name__}")
        if np.any(np.less(self.rank, 1)):
            raise ValueError("the rank of an adapter is at least 1")
        known = self.base.adaptable
        if not self.targets or any(target not in known for target in self.targets):
            raise ValueError(f"targets must be some of {', '.join(known)}")
        if self.adapter_format is not None and self.adapter_format not in ADAPTER_FORMATS:
            raise ValueError(f"the format must be one of {', '.join(ADAPTER_FORMATS)}")

    def __repr__(self) -> str:
        words = f"rank {brief(self.rank)} on {targets_text(self.targets)}"
        return one_line(self, "", words, self.adapter_format or "")

    @classmethod
    def of(
        cls, base: Base, targets: str, rank: Any, adapter_format: str | None = None
    ) -> AdapterShape:
        """A shape on targets as a user writes them, such as ``all-linear``.

        Raises
        ------
        InputError
            If a target is unknown.
        """
        model = as_base(base)
        return cls(model, rank, parse_targets(targets, "adapter.targets", model), adapter_format)

    @classmethod
    def from_text(cls, text: str, model: Base) -> AdapterShape:
        """``r16:all-linear:int8``; raises as ``Adapter.from_shape``."""
        shape = cls.of_adapter(Adapter.from_shape(text, model))
        assert shape is not None  # a shape is regular
        return shape

    @classmethod
    def of_adapter(cls, adapter: Adapter) -> AdapterShape | None:
        """The shape of an adapter that has one rank on the same targets of every layer, or None."""
        base, targets = adapter.base, adapter.targets
        if len(adapter.ranks) != 1 or len(adapter.modules) != len(base.places(targets)):
            return None
        return cls(base, adapter.max_rank, targets, adapter.adapter_format)

    @property
    def name(self) -> str:
        """As a user writes it, such as ``r16:q_proj+v_proj``; with the first and last of ranks."""
        ranks = np.ravel(self.rank)
        last = f"..r{ranks[-1]}" if ranks.size > 1 else ""
        parts = [f"r{ranks[0]}{last}", targets_text(self.targets), self.adapter_format]
        return ":".join(part for part in parts if part)

    @property
    def max_rank(self) -> Any:
        """The rank, as ``Adapter.max_rank``."""
        return self.rank


def open_adapter(source: str | os.PathLike[str], model: Base) -> Adapter | None:
    """The adapter that a user names: a path, a shape or ``none``. A path that exists wins.

    Raises
    ------
    InputError
        As ``Adapter.open`` and ``Adapter.from_shape``.
    """
    text = name_or_path("adapter", source)
    if text.lower() == "none":
        return None
    exists = Path(text).exists()
    if re.fullmatch(r"r[0-9]+", text) and not exists:
        raise InputError(f"{text}: is no file, and a shape names targets too: {text}:all-linear")
    is_shape = ":" in text and not exists
    return Adapter.from_shape(text, model) if is_shape else Adapter.open(text, model)
