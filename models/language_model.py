"""Decoder-only language models: dimensions, exact tensor shapes and parameter counts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import read_json_object
from hardwire.models.llm import tensors
from hardwire.models.llm.architecture import Architecture
from hardwire.models.llm.config import (
    ACTIVATIONS,
    FAMILIES,
    architecture_fields,
    rope_fields,
    rope_kind,
)
from hardwire.models.llm.parts import (
    ADAPTABLE,
    ATTENTION_TARGETS,
    EXPERT,
    FUSED,
    HEAD,
    LATENT_TARGETS,
    MLP_TARGETS,
    SHARED,
    TARGETS,
    Experts,
    LatentAttention,
    LayerKind,
    module_path,
    of_any_expert,
)

__all__ = [
    "ACTIVATIONS", "ADAPTABLE", "ATTENTION_TARGETS", "EXPERT", "FAMILIES", "FUSED", "HEAD",
    "LATENT_TARGETS", "MLP_TARGETS", "SHARED", "TARGETS", "Experts", "LanguageModel",
    "LatentAttention", "LayerKind", "module_path", "of_any_expert", "rope_fields", "rope_kind",
]  # fmt: skip


@dataclass(frozen=True)
class LanguageModel(Architecture):
    """A decoder-only transformer: what ``Architecture`` states, and what follows from it.

    Read from a Hugging Face config.json or from the catalogue. Its layers may be of several kinds
    (``layer_kinds``): with a dense MLP or experts, attending to all tokens or to a window.
    """

    def __repr__(self) -> str:
        return one_line(
            self,
            self.name,
            self.family,
            f"{self.parameter_count / 1e9:.2f}e9 parameters",
            f"{self.layers} layers of {self.hidden:,}",
            f"{self.max_position:,} positions",
        )

    def limit(self) -> str:
        """What ``max_position`` is, for a sentence on a request that exceeds it."""
        return f"the {self.max_position:,} positions of {self.name}"

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> LanguageModel:
        """Return the model that a user means: a catalogue name or a path to a config.json.

        Raises
        ------
        InputError
            As `by_name` and `from_config`.
        """
        text = catalogue.name_or_path("model", name)
        known = {entry.lower() for entry in catalogue.names("model")}
        if text.lower() not in known and os.path.isdir(text):
            return cls.from_config(text)
        if text.count("/") == 1 and not text.endswith(".json") and not os.path.exists(text):
            # As on Hugging Face, organization and name: the catalogue has names alone.
            near = _of_the_catalogue(text)
            choices = [near] if near in known else sorted(known)
            raise InputError(
                f"{text}: does not exist{did_you_mean(near, choices)} "
                "(hardwire list shows the catalogue; other models are a config.json)"
            )
        return cls.from_config(catalogue.locate("model", text))

    @classmethod
    def by_name(cls, name: str | os.PathLike[str]) -> LanguageModel:
        """Return a model of the catalogue.

        Raises
        ------
        InputError
            If the catalogue has no such model; the message names the nearest ones.
        """
        return cls.from_config(catalogue.resolve("model", name))

    @classmethod
    def from_config(
        cls, source: str | os.PathLike[str] | Mapping[str, Any], name: str | None = None
    ) -> LanguageModel:
        """Read a Hugging Face config.json.

        Parameters
        ----------
        source : path or mapping
            The file, the folder that holds it, or its content.
        name : str, optional
            What to call the model; by default the file's name, or the folder's if the file is
            called config.json.

        Raises
        ------
        InputError
            If the file cannot be read, a field is missing or out of range, or the model is of a
            family that is not modelled.
        """
        if isinstance(source, Mapping):
            where, default_name, config = "config.json", str(source.get("model_type")), source
        else:
            path = Path(catalogue.name_or_path("model", source))
            if path.suffix in (".safetensors", ".gguf"):
                raise InputError(f"{path}: holds weights; a model is a config.json beside them")
            if os.path.isdir(path):
                path = path / "config.json"
            where, config = str(path), read_json_object(path)
            named_by_folder = path.name == "config.json"
            default_name = path.absolute().parent.name if named_by_folder else path.stem
        return cls(name=name or default_name, **architecture_fields(config, where))

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor of the checkpoint, as Hugging Face stores it.

        Those of ``extra_predictors`` are left out: ``extra_tensors`` has them. Of quantized ones
        blocks and scales are named, as they are stored.
        """
        return tensors.tensors(self)

    def extra_tensors(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every tensor of the layers that predict further tokens."""
        return tensors.extra_tensors(self)

    @cached_property
    def parameter_count(self) -> int:
        """All parameters, tied embeddings counted once; without ``extra_predictors``."""
        experts = self.experts.count if self.experts is not None else 0
        return self._parameters(experts)

    @cached_property
    def active_parameter_count(self) -> int:
        """Parameters that a token may meet: of the experts in each layer, only those chosen.

        The embedding counts whole, as in most published figures, though a token takes one row.
        """
        return self._parameters(self.experts.active if self.experts is not None else 0)

    @property
    def extra_parameter_count(self) -> int:
        """Parameters of ``extra_predictors``, embedding and head left out: the model has them."""
        return tensors.extra_parameters(self)

    def _parameters(self, experts: int) -> int:
        in_layers = sum(
            len(kind.layers) * tensors.layer_parameters(self, kind, experts)
            for kind in self.layer_kinds
        )
        return tensors.outer_parameters(self) + in_layers

    def layer_weights(self, kind: LayerKind, experts: int | None = None) -> int:
        """Weights of the matrices of one layer of a kind, without biases; the router's are in it.

        Parameters
        ----------
        experts : how many of a layer's experts count; by default all.
        """
        total = 0
        for target in (*self.attention_targets, *self.mlp_targets(kind)):
            times = 1
            if target.startswith(EXPERT):
                assert self.experts is not None
                times = self.experts.count if experts is None else experts
            total += times * math.prod(self.linear_shape(target))
        if kind.experts and self.experts is not None:
            total += self.experts.count * self.hidden
        return total

    @property
    def expert_weights(self) -> int:
        """Weights of all experts of all layers, those that every token meets left out."""
        if self.experts is None:
            return 0
        each = sum(math.prod(self.linear_shape(EXPERT + target)) for target in MLP_TARGETS)
        return (self.layers - len(self.dense_layers)) * self.experts.count * each

    @property
    def linear_weights(self) -> int:
        """Weights of the matrices of all decoder layers, without biases."""
        return sum(len(kind.layers) * self.layer_weights(kind) for kind in self.layer_kinds)

    @property
    def active_linear_weights(self) -> int:
        """Those of them that one token is multiplied by."""
        active = self.experts.active if self.experts is not None else 0
        return sum(len(kind.layers) * self.layer_weights(kind, active) for kind in self.layer_kinds)

    @property
    def embedding_weights(self) -> int:
        """Weights of the token embedding."""
        return self.vocab * self.hidden

    @property
    def kv_elements_per_token(self) -> int:
        """Numbers that one token leaves in the KV cache, keys and values of all layers."""
        return self.layers * self.kv_width

    def kv_elements(self, context: int) -> int:
        """Numbers that the KV cache holds after so many tokens: a window's layers keep no more.

        Parameters
        ----------
        context : tokens, at least 0.
        """
        held = sum(len(kind.layers) * kind.attended(context) for kind in self.layer_kinds)
        return held * self.kv_width


def _of_the_catalogue(name: str) -> str:
    """A name on Hugging Face as the catalogue would have it: without who made it and tuned it."""
    return re.sub(r"^meta-|-(instruct|chat|base|it|hf)$", "", name.rpartition("/")[2].lower())
