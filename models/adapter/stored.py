"""The stored weights of an adapter: a PEFT folder or a GGUF file, checked against the model."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.models import catalogue
from hardwire.models.adapter.config import (
    EMBEDDING_IS_LOOKED_UP,
    Place,
    check_rank,
    placements,
)
from hardwire.models.adapter.files import (
    PICKLE_SUFFIXES,
    StoredTensor,
    missing,
    read_gguf,
    read_safetensors,
    refuse_pickle,
    shown,
    standard_names,
)
from hardwire.models.adapter.modules import LowRankModule, modules_of
from hardwire.models.errors import InputError
from hardwire.models.files import read_json_object, reason
from hardwire.models.language_model import HEAD, TARGETS, LanguageModel, module_path

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KEY_PREFIX = "base_model.model."
_OF_EXPERT = re.compile(r"\.mlp\.experts\.\d+\.")
# general.architecture of llama.cpp, which takes Mistral for a Llama.
_GGUF_ARCHITECTURE = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_GGUF_MODULES = dict(
    zip(
        TARGETS,
        ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
        strict=True,
    )
)


@dataclass(frozen=True)
class Pair:
    """The two tensors beside one linear layer, as they are in the file."""

    a: StoredTensor
    b: StoredTensor
    # GGUF's llama architecture stores the rows of q and k interleaved for its rotary embedding;
    # this many heads have to be put back into Hugging Face's order. 0 where nothing is to do.
    interleaved_heads: int = 0

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read A ``(rank, in_features)`` and B ``(out_features, rank)``, not scaled.

        Raises
        ------
        InputError
            If the file has changed since it was opened.
        """
        a, b = self.a.read(), self.b.read()
        if self.interleaved_heads:
            out_features, rank = b.shape
            b = b.reshape(self.interleaved_heads, -1, 2, rank).swapaxes(1, 2)
            b = b.reshape(out_features, rank)
        return a, b


Stored = tuple[tuple[LowRankModule, ...], dict[Place, Pair]]
"""The modules of an adapter, and the tensors of each."""


def read_peft(folder: Path, model: LanguageModel) -> Stored:
    """Read and check a PEFT folder.

    Raises
    ------
    InputError
        If it lacks a file, or one of them is damaged, a pickle, or does not fit the model or a
        hardwired base.
    """
    try:
        present = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({reason(error)})") from error
    if WEIGHTS not in present:
        for name in sorted(present):
            if name.startswith("adapter_model") and name.endswith(PICKLE_SUFFIXES):
                refuse_pickle(folder / name)
        raise InputError(f"{folder}: holds no {WEIGHTS}, so it is no PEFT adapter")
    if CONFIG not in present:
        raise InputError(f"{folder}: holds no {CONFIG}, so rank and scale are unknown")
    config_path = folder / CONFIG
    config = read_json_object(config_path)
    weights_path = folder / WEIGHTS
    if config.get("target_parameters"):
        placements(config, model, str(config_path))
        raise InputError(
            f"{config_path}: target_parameters: weights of LoRA on parameters that have all "
            "experts in one are not read; sizes and times of it are modelled from this file alone"
        )
    tensors = standard_names(read_safetensors(weights_path), _KEY_PREFIX)
    apart = any(_OF_EXPERT.search(name) for name in tensors)
    expected = placements(config, model, str(config_path), experts_apart=apart)

    modules = modules_of(expected, model)
    pairs = {}
    for module in modules:
        place = module.layer, module.target
        a, b = (_pop(tensors, name, weights_path) for name in _tensor_names(place))
        pairs[place] = _checked_pair(
            a, b, model, module.target, config.get("base_model_name_or_path")
        )
        if a.shape[0] != module.rank:
            raise InputError(
                f"{weights_path}: {a.name}: its rank is {a.shape[0]}, but "
                f"{CONFIG} gives {module.rank}"
            )
    for name, tensor in tensors.items():
        raise InputError(f"{weights_path}: {shown(tensor.name)}: {_why_foreign(name)}")
    return modules, pairs


def _pop(tensors: dict[str, StoredTensor], name: str, path: Path) -> StoredTensor:
    if name not in tensors:
        raise missing(name, "this tensor", (t.name for t in tensors.values()), path)
    return tensors.pop(name)


def _why_foreign(name: str) -> str:
    """Explain why a tensor that no targeted module owns makes an adapter unusable."""
    if "block_sparse_moe" in name:
        return "LoRA on Mixtral's experts by their old names is not read"
    if "lora_magnitude_vector" in name:
        return "DoRA rescales base weights, which are fixed in ROM"
    if name.endswith((".bias", "lora_B.bias")):
        return "bias vectors cannot be changed: they are fixed in ROM"
    if "lora_embedding_" in name:
        return f"cannot be used here: {EMBEDDING_IS_LOOKED_UP}"
    if "lora_" in name:
        return f"belongs to no module that {CONFIG} targets in this model"
    return "would replace base weights, which are fixed in ROM"


def _checked_pair(
    a: StoredTensor, b: StoredTensor, model: LanguageModel, target: str, made_for: object = None
) -> Pair:
    """Check shapes against the model, the two halves against each other, and all values.

    ``made_for`` is the model that the adapter's configuration names, if it does.
    """
    out_features, in_features = model.linear_shape(target)
    if len(a.shape) != 2 or a.shape[1] != in_features or a.shape[0] < 1:
        raise InputError(
            f"{a.path}: {a.name}: shape must be (rank, {in_features}) for {model.name}, not "
            f"{a.shape}{_of_another(a.shape, model, target, made_for)}"
        )
    rank = a.shape[0]
    if b.shape != (out_features, rank):
        raise InputError(
            f"{b.path}: {b.name}: shape must be {(out_features, rank)} for {model.name}, not "
            f"{b.shape}"
        )
    check_rank(rank, model, f"{a.path}: {a.name}")
    a.check_finite()
    b.check_finite()
    return Pair(a, b)


def _of_another(shape: tuple[int, ...], model: LanguageModel, target: str, made_for: object) -> str:
    """Say which model an adapter is of whose A does not fit: the named one, or those so wide."""
    if isinstance(made_for, str) and made_for not in ("", model.name):
        return f"; it was made for {made_for}, as {CONFIG} says"
    wide = [
        name
        for name in catalogue.names("model")
        if target in (*(other := LanguageModel.by_name(name)).targets, HEAD)
        and other.linear_shape(target)[1:] == shape[1:]
    ]
    return f"; so wide is {' or '.join(wide)}" if wide else ""


def read_gguf_adapter(path: Path, model: LanguageModel) -> Stored:
    """Read and check an adapter file of llama.cpp.

    Raises
    ------
    InputError
        If it is damaged, no LoRA adapter, or does not fit the model or a hardwired base.
    """
    architecture = _GGUF_ARCHITECTURE.get(model.family)
    if architecture is None:
        raise InputError(
            f"{path}: adapters of the family {model.family} are read from PEFT folders, not GGUF"
        )
    metadata, tensors = read_gguf(path)
    for key, needed in (
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("general.architecture", architecture),
    ):
        if (value := metadata.get(key)) != needed:
            found = "it is missing" if value is None else f"not {value!r:.60}"
            raise InputError(f"{path}: {key}: must be '{needed}' for {model.name}, {found}")
    if metadata.get("adapter.alora.invocation_tokens"):
        raise InputError(f"{path}: adapter.alora.invocation_tokens: aLoRA is not modelled")
    alpha = metadata.get("adapter.lora.alpha")
    if type(alpha) is not float or not math.isfinite(alpha):
        raise InputError(f"{path}: adapter.lora.alpha: must be a finite float, not {alpha!r:.60}")

    places: dict[Place, tuple[int, float]] = {}
    pairs = {}
    for layer, target in model.places():
        stem = "output" if target == HEAD else f"blk.{layer}.{_GGUF_MODULES[target]}"
        names = f"{stem}.weight.lora_a", f"{stem}.weight.lora_b"
        if not any(name in tensors for name in names):
            continue
        a, b = (_pop(tensors, name, path) for name in names)
        pair = _checked_pair(a, b, model, target)
        if architecture == "llama" and target in ("q_proj", "k_proj"):
            heads = model.heads if target == "q_proj" else model.kv_heads
            pair = Pair(pair.a, pair.b, interleaved_heads=heads)
        rank = pair.a.shape[0]
        # llama.cpp takes an alpha of 0 for "no alpha": scale 1.
        places[layer, target] = rank, (alpha / rank if alpha else 1.0)
        pairs[layer, target] = pair
    for name in tensors:
        if not name.endswith((".lora_a", ".lora_b")):
            what = "would replace base weights, which are fixed in ROM"
        elif name.startswith("token_embd."):
            what = f"cannot be used here: {EMBEDDING_IS_LOOKED_UP}"
        else:
            what = "belongs to no linear layer of the model"
        raise InputError(f"{path}: {shown(name)}: {what}")
    if not places:
        raise InputError(f"{path}: holds no LoRA tensors")
    return modules_of(places, model), pairs


def _tensor_names(place: Place) -> tuple[str, str]:
    path = _KEY_PREFIX + module_path(*place)
    return f"{path}.lora_A.weight", f"{path}.lora_B.weight"


def tensor_shapes(modules: tuple[LowRankModule, ...]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor in the file that PEFT writes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module in modules:
        name_a, name_b = _tensor_names((module.layer, module.target))
        shapes[name_a] = (module.rank, module.in_features)
        shapes[name_b] = (module.out_features, module.rank)
    return shapes
