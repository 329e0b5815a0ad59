"""LoRA adapters: their modules and exact sizes, from a shape, a configuration or a file."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.base import Base, as_base
from hardwire.models.adapter.config import Place, check_rank, placements
from hardwire.models.adapter.files import refuse_pickle, safetensors_header
from hardwire.models.adapter.modules import LowRankModule, modules_of, parse_targets, targets_text
from hardwire.models.adapter.stored import (
    CONFIG,
    WEIGHTS,
    Pair,
    read_gguf_adapter,
    read_peft,
    tensor_shapes,
)
from hardwire.models.brief import one_line
from hardwire.models.catalogue import name_or_path
from hardwire.models.errors import InputError
from hardwire.models.files import file_size, read_json_object, reason
from hardwire.models.language_model import EXPERT, LanguageModel, of_any_expert

ADAPTER_FORMATS = ("float32", "float16", "int8", "int4", "int2")
"""Formats that adapter weights can have in SRAM."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter for a dense language model.

    Attributes
    ----------
    name : str
    base : LanguageModel
        The model that it was made for.
    modules : tuple of LowRankModule
        In the order of `LanguageModel.places`.
    adapter_format : {"float32", "float16", "int8", "int4", "int2"} or None
        Format of the weights in SRAM; None leaves it to the chip.
    source : Path or None
        Where the weights are; None for an adapter that is a shape only.
    file_bytes : int or None
        Size of the file with the weights; None for a shape.
    """

    name: str
    base: LanguageModel = field(repr=False)
    modules: tuple[LowRankModule, ...] = field(repr=False)
    adapter_format: str | None = None
    source: Path | None = None
    file_bytes: int | None = field(default=None, repr=False, compare=False)
    _pairs: Mapping[Place, Pair] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        ranks = sorted(self.ranks)
        rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
        return one_line(
            self,
            self.name,
            f"{rank} on {targets_text(self.targets)}",
            f"{self.parameters:,} parameters",
            self.adapter_format or "",
            f"from {self.source}" if self.source is not None else "",
        )

    @classmethod
    def from_shape(cls, text: str, model: Base) -> "Adapter":
        """Describe an adapter without weights, e.g. ``r16:all-linear:int8``.

        Parameters
        ----------
        text : str
            ``rRANK:TARGETS`` or ``rRANK:TARGETS:FORMAT``. TARGETS as in `parse_targets`; FORMAT is
            one of `ADAPTER_FORMATS`.
        model : LanguageModel, or its name or config.json

        Raises
        ------
        InputError
            If a part cannot be understood or the rank exceeds the model's largest width.
        """
        if not isinstance(text, str):
            raise InputError(f"adapter shape: a text is expected, not {type(text).__name__}")
        model = as_base(model)
        where = f"adapter shape '{text:.60}'"
        rank_text, *rest = text.strip().lower().split(":")
        digits = rank_text.removeprefix("r")
        # Nine digits are more than any rank, and int() refuses very long numbers its own way.
        rank_is_sound = digits.isascii() and digits.isdigit() and len(digits) <= 9
        if len(rest) not in (1, 2) or digits == rank_text or not rank_is_sound:
            raise InputError(f"{where}: must look like r16:all-linear or r16:q_proj+v_proj:int8")
        rank = int(digits)
        check_rank(rank, model, where)
        targets = parse_targets(rest[0], where, model)
        own = rest[1] if len(rest) == 2 else None
        if own is not None and own not in ADAPTER_FORMATS:
            raise InputError(
                f"{where}: the adapter format must be one of {', '.join(ADAPTER_FORMATS)}, "
                f"not '{own}'"
            )
        places = dict.fromkeys(model.places(targets), (rank, 1.0))
        return cls(text.strip(), model, modules_of(places, model), own)

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any],
        model: Base,
        name: str | None = None,
    ) -> "Adapter":
        """Describe an adapter by its PEFT configuration alone, without weights.

        Parameters
        ----------
        source : path or mapping
            An adapter_config.json or its content.
        model : LanguageModel, or its name or config.json
        name : str, optional
            By default the file's name, or its folder's if it is called adapter_config.json.

        Raises
        ------
        InputError
            If the file cannot be read, or the configuration asks for something that a hardwired
            base cannot do or that does not fit the model.
        """
        model = as_base(model)
        if isinstance(source, Mapping):
            modules = modules_of(placements(source, model, CONFIG), model)
            return cls(name or "adapter", model, modules)
        path = Path(name_or_path("adapter", source))
        places = placements(read_json_object(path), model, str(path))
        by_folder = path.name == CONFIG
        default_name = path.absolute().parent.name if by_folder else path.stem
        return cls(name or default_name, model, modules_of(places, model))

    @classmethod
    def open(cls, source: str | os.PathLike[str], model: Base) -> "Adapter":
        """Open an adapter with its weights: a PEFT folder or a GGUF adapter file.

        Everything is checked here (header, shapes against the model, pairs, finite values), so
        that `weights` can be relied on afterwards.

        Raises
        ------
        InputError
            If the file cannot be read, is damaged or a pickle, or does not fit the model or a
            hardwired base; the sentence names the file and the field or tensor.
        """
        model = as_base(model)
        path = Path(name_or_path("adapter", source))
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError as error:
            raise InputError(f"{path}: does not exist") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({reason(error)})") from error
        if is_folder:
            modules, pairs = read_peft(path, model)
            size = file_size(path / WEIGHTS)
            return cls(path.absolute().name, model, modules, None, path, size, pairs)
        if path.suffix.lower() == ".gguf":
            modules, pairs = read_gguf_adapter(path, model)
            return cls(path.stem, model, modules, None, path, file_size(path), pairs)
        refuse_pickle(path)
        raise InputError(
            f"{path}: is no adapter; give a PEFT folder ({CONFIG} and {WEIGHTS}) or a .gguf file"
        )

    @property
    def parameters(self) -> int:
        """Weights of all modules."""
        return sum(module.parameters for module in self.modules)

    @property
    def max_rank(self) -> int:
        """Highest rank of any module."""
        return max(self.ranks)

    @property
    def ranks(self) -> set[int]:
        """Ranks that occur."""
        return {module.rank for module in self.modules}

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets that are adapted in at least one layer, in a token's order.

        ``experts.up_proj`` stands for that of any expert.
        """
        present = {of_any_expert(module.target) for module in self.modules}
        return tuple(target for target in self.base.adaptable if target in present)

    def rank(self, layer: int, target: str) -> int:
        """Return the rank beside a linear layer, 0 where it has no adapter.

        Of ``experts.up_proj`` the highest of any expert: which ones a token meets is not known.
        """
        if target.startswith(EXPERT):
            return self._of_experts.get((layer, of_any_expert(target)), 0)
        module = self._by_place.get((layer, target))
        return module.rank if module else 0

    def checkpoint_bytes(self, dtype: str = "F32") -> int:
        """Return the exact size of the safetensors file that PEFT writes for this adapter.

        Parameters
        ----------
        dtype : {"F32", "F16", "BF16"}
            PEFT trains and saves adapters in float32 unless told otherwise.

        Returns
        -------
        int
            Bytes, header included.
        """
        if dtype not in self._header_bytes:
            header = safetensors_header(tensor_shapes(self.modules), dtype)
            self._header_bytes[dtype] = len(header)
        item_bytes = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
        return self._header_bytes[dtype] + self.parameters * item_bytes

    def weights(self, layer: int, target: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read the matrices beside one linear layer.

        Returns
        -------
        A : ndarray of float32, shape (rank, in_features)
        B : ndarray of float32, shape (out_features, rank)
            Rows in the order of Hugging Face's checkpoint, also from GGUF. Neither is scaled.

        Raises
        ------
        ValueError
            If the adapter has a shape only.
        KeyError
            If the adapter has no such module.
        InputError
            If the file has changed since it was opened.
        """
        if self.source is None:
            raise ValueError(f"adapter {self.name} has a shape only, no weights")
        return self._pairs[layer, target].read()

    @cached_property
    def _of_experts(self) -> dict[Place, int]:
        ranks: dict[Place, int] = {}
        for module in self.modules:
            if module.target.startswith(EXPERT):
                place = module.layer, of_any_expert(module.target)
                ranks[place] = max(module.rank, ranks.get(place, 0))
        return ranks

    @cached_property
    def _header_bytes(self) -> dict[str, int]:
        """By the format of the weights, once it was asked for: a replay asks for it four times."""
        return {}

    @cached_property
    def _by_place(self) -> dict[Place, LowRankModule]:
        return {(module.layer, module.target): module for module in self.modules}
