"""LoRA adapters: their modules and exact sizes, from a shape, a configuration or a file."""

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.base import as_base
from hardwire.models.adapter.config import Place, check_rank, placements
from hardwire.models.adapter.files import (
    PICKLE_SUFFIXES,
    StoredTensor,
    encode,
    missing,
    read_gguf,
    read_safetensors,
    refuse_pickle,
    safetensors_header,
    shown,
    standard_names,
)
from hardwire.models.catalogue import did_you_mean, name_or_path
from hardwire.models.errors import InputError
from hardwire.models.files import new_folder, read_json_object, reason
from hardwire.models.language_model import TARGETS, LanguageModel, module_path

SRAM_FORMATS = ("float32", "float16", "int8", "int4")
"""Formats that adapter weights can have in SRAM."""

_GROUPS = {
    "all-linear": TARGETS,
    "attention": TARGETS[:4],
    "mlp": TARGETS[4:],
    "qv": ("q_proj", "v_proj"),
}
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KEY_PREFIX = "base_model.model."
_FILE_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
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
class LowRankModule:
    """The low-rank pair beside one linear layer: ``y = W x + scale * B (A x)``.

    ``A`` is ``(rank, in_features)``, ``B`` is ``(out_features, rank)``.
    """

    layer: int
    target: str
    rank: int
    in_features: int
    out_features: int
    scale: float

    @property
    def parameters(self) -> int:
        """Weights of A and B together."""
        return self.rank * (self.in_features + self.out_features)


@dataclass(frozen=True)
class _Pair:
    a: StoredTensor
    b: StoredTensor
    # GGUF's llama architecture stores the rows of q and k interleaved for its rotary embedding;
    # this many heads have to be put back into Hugging Face's order. 0 where nothing is to do.
    interleaved_heads: int = 0


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter for a dense language model.

    Attributes
    ----------
    name : str
    base : LanguageModel
        The model that it was made for.
    modules : tuple of LowRankModule
        Sorted by layer, then in the order of `hardwire.models.language_model.TARGETS`.
    sram_format : {"float32", "float16", "int8", "int4"} or None
        Format of the weights in SRAM; None leaves it to the chip.
    source : Path or None
        Where the weights are; None for an adapter that is a shape only.
    """

    name: str
    base: LanguageModel = field(repr=False)
    modules: tuple[LowRankModule, ...] = field(repr=False)
    sram_format: str | None = None
    source: Path | None = None
    _pairs: Mapping[Place, _Pair] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_shape(cls, text: str, model: LanguageModel) -> "Adapter":
        """Describe an adapter without weights, e.g. ``r16:all-linear:int8``.

        Parameters
        ----------
        text : str
            ``rRANK:TARGETS`` or ``rRANK:TARGETS:FORMAT``. TARGETS as in `parse_targets`; FORMAT is
            one of `SRAM_FORMATS`.
        model : LanguageModel

        Raises
        ------
        InputError
            If a part cannot be understood or the rank exceeds the model's largest width.
        """
        if not isinstance(text, str):
            raise InputError(f"adapter shape: a text is expected, not {type(text).__name__}")
        as_base(model)
        where = f"adapter shape '{text:.60}'"
        rank_text, *rest = text.strip().lower().split(":")
        digits = rank_text.removeprefix("r")
        # Nine digits are more than any rank, and int() refuses very long numbers its own way.
        rank_is_sound = digits.isascii() and digits.isdigit() and len(digits) <= 9
        if len(rest) not in (1, 2) or digits == rank_text or not rank_is_sound:
            raise InputError(f"{where}: must look like r16:all-linear or r16:q_proj+v_proj:int8")
        rank = int(digits)
        check_rank(rank, model, where)
        targets = parse_targets(rest[0], where)
        sram_format = rest[1] if len(rest) == 2 else None
        if sram_format is not None and sram_format not in SRAM_FORMATS:
            raise InputError(
                f"{where}: the format must be one of {', '.join(SRAM_FORMATS)}, not '{sram_format}'"
            )
        places = {(layer, t): (rank, 1.0) for layer in range(model.layers) for t in targets}
        return cls(text.strip(), model, _modules(places, model), sram_format)

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any],
        model: LanguageModel,
        name: str | None = None,
    ) -> "Adapter":
        """Describe an adapter by its PEFT configuration alone, without weights.

        Parameters
        ----------
        source : path or mapping
            An adapter_config.json or its content.
        model : LanguageModel
        name : str, optional
            By default the file's name, or its folder's if it is called adapter_config.json.

        Raises
        ------
        InputError
            If the file cannot be read, or the configuration asks for something that a hardwired
            base cannot do or that does not fit the model.
        """
        as_base(model)
        if isinstance(source, Mapping):
            modules = _modules(placements(source, model, _CONFIG), model)
            return cls(name or "adapter", model, modules)
        path = Path(name_or_path("adapter", source))
        places = placements(read_json_object(path), model, str(path))
        by_folder = path.name == _CONFIG
        default_name = path.absolute().parent.name if by_folder else path.stem
        return cls(name or default_name, model, _modules(places, model))

    @classmethod
    def open(cls, source: str | os.PathLike[str], model: LanguageModel) -> "Adapter":
        """Open an adapter with its weights: a PEFT folder or a GGUF adapter file.

        Everything is checked here (header, shapes against the model, pairs, finite values), so
        that `weights` can be relied on afterwards.

        Raises
        ------
        InputError
            If the file cannot be read, is damaged or a pickle, or does not fit the model or a
            hardwired base; the sentence names the file and the field or tensor.
        """
        as_base(model)
        path = Path(name_or_path("adapter", source))
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError as error:
            raise InputError(f"{path}: does not exist") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({reason(error)})") from error
        if is_folder:
            return _open_peft(path, model)
        if path.suffix.lower() == ".gguf":
            return _open_gguf(path, model)
        refuse_pickle(path)
        raise InputError(
            f"{path}: is no adapter; give a PEFT folder ({_CONFIG} and {_WEIGHTS}) or a .gguf file"
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
        """Targets that are adapted in at least one layer, in the order of `TARGETS`."""
        present = {module.target for module in self.modules}
        return tuple(target for target in TARGETS if target in present)

    def rank(self, layer: int, target: str) -> int:
        """Return the rank beside a linear layer, 0 where it has no adapter."""
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
        item_bytes = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
        header = safetensors_header(_tensor_shapes(self.modules), dtype)
        return len(header) + self.parameters * item_bytes

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
        pair = self._pairs[layer, target]
        a, b = pair.a.read(), pair.b.read()
        if pair.interleaved_heads:
            out_features, rank = b.shape
            b = b.reshape(pair.interleaved_heads, -1, 2, rank).swapaxes(1, 2)
            b = b.reshape(out_features, rank)
        return a, b

    @cached_property
    def _by_place(self) -> dict[Place, LowRankModule]:
        return {(module.layer, module.target): module for module in self.modules}


def parse_targets(text: str, where: str) -> tuple[str, ...]:
    """Return the targets that a user means, in the order of `TARGETS`.

    Parameters
    ----------
    text : str
        ``all-linear``, ``attention`` (q, k, v, o), ``mlp`` (gate, up, down), ``qv``, or names
        such as ``q_proj`` joined by ``+`` or ``,``.
    where : str
        Begins error messages.

    Raises
    ------
    InputError
        If a name is unknown; the message gives the nearest ones.
    """
    chosen: set[str] = set()
    for word in text.lower().replace(",", "+").split("+"):
        if word not in _GROUPS and word not in TARGETS:
            raise InputError(
                f"{where}: '{word}' is no target; use {', '.join(_GROUPS)} or names such as "
                f"q_proj+v_proj{did_you_mean(word, (*_GROUPS, *TARGETS))}"
            )
        chosen.update(_GROUPS.get(word, (word,)))
    return tuple(target for target in TARGETS if target in chosen)


def targets_text(targets: tuple[str, ...]) -> str:
    """Return targets as a user writes them: what `parse_targets` reads."""
    names = {group: text for text, group in _GROUPS.items()}
    return names.get(targets, "+".join(targets))


def write_adapter(
    out: str | os.PathLike[str],
    model: LanguageModel,
    rank: int,
    targets: str,
    *,
    alpha: float | None = None,
    dtype: str = "float16",
    seed: int = 0,
) -> Adapter:
    """Write a full-size PEFT adapter with random weights, for trying things out.

    A is uniform within ``+-1/sqrt(in_features)`` as PEFT starts it; B, which PEFT starts at zero,
    is normal with standard deviation 0.01, so that the adapter does something.

    Parameters
    ----------
    out : path
        Folder to make; it must not exist or be empty, and its parent must exist.
    model : LanguageModel
    rank : int
    targets : str
        As in `parse_targets`.
    alpha : float, optional
        ``lora_alpha``; by default the rank, so that the scale is 1.
    dtype : {"float32", "float16", "bfloat16"}
    seed : int
        Same seed, same bytes.

    Returns
    -------
    Adapter
        What was written, opened and checked.

    Raises
    ------
    InputError
        If an argument is invalid or the folder cannot be written. Nothing half-written stays.
    """
    as_base(model)
    chosen = parse_targets(targets, "targets")
    check_rank(rank, model, "rank")
    if dtype not in _FILE_DTYPES:
        raise InputError(f"dtype: must be one of {', '.join(_FILE_DTYPES)}, not '{dtype}'")
    alpha = float(rank if alpha is None else alpha)
    if not math.isfinite(alpha):
        raise InputError(f"alpha: must be a finite number, not {alpha}")
    if seed < 0:
        raise InputError(f"seed: must be 0 or more, not {seed}")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": list(chosen),
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }
    modules = _modules(placements(config, model, _CONFIG), model)
    with new_folder(Path(out)) as folder:
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        with (folder / _WEIGHTS).open("wb") as file:
            file.write(safetensors_header(_tensor_shapes(modules), _FILE_DTYPES[dtype]))
            for tensor in _random_tensors(modules, seed):
                file.write(encode(tensor, _FILE_DTYPES[dtype]))
    return Adapter.open(out, model)


def _modules(
    places: Mapping[Place, tuple[int, float]], model: LanguageModel
) -> tuple[LowRankModule, ...]:
    modules = []
    for (layer, target), (rank, scale) in places.items():
        out_features, in_features = model.linear_shape(target)
        modules.append(LowRankModule(layer, target, rank, in_features, out_features, scale))
    return tuple(modules)


def _tensor_names(place: Place) -> tuple[str, str]:
    path = _KEY_PREFIX + module_path(*place)
    return f"{path}.lora_A.weight", f"{path}.lora_B.weight"


def _tensor_shapes(modules: tuple[LowRankModule, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for module in modules:
        name_a, name_b = _tensor_names((module.layer, module.target))
        shapes[name_a] = (module.rank, module.in_features)
        shapes[name_b] = (module.out_features, module.rank)
    return shapes


def _open_peft(folder: Path, model: LanguageModel) -> Adapter:
    try:
        present = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({reason(error)})") from error
    if _WEIGHTS not in present:
        for name in sorted(present):
            if name.startswith("adapter_model") and name.endswith(PICKLE_SUFFIXES):
                refuse_pickle(folder / name)
        raise InputError(f"{folder}: holds no {_WEIGHTS}, so it is no PEFT adapter")
    if _CONFIG not in present:
        raise InputError(f"{folder}: holds no {_CONFIG}, so rank and scale are unknown")
    config_path = folder / _CONFIG
    expected = placements(read_json_object(config_path), model, str(config_path))
    weights_path = folder / _WEIGHTS
    tensors = standard_names(read_safetensors(weights_path), _KEY_PREFIX)

    modules = _modules(expected, model)
    pairs = {}
    for module in modules:
        place = module.layer, module.target
        a, b = (_pop(tensors, name, weights_path) for name in _tensor_names(place))
        pairs[place] = _checked_pair(a, b, model, module.target)
        if a.shape[0] != module.rank:
            raise InputError(
                f"{weights_path}: {a.name}: its rank is {a.shape[0]}, but "
                f"{_CONFIG} gives {module.rank}"
            )
    for name, tensor in tensors.items():
        raise InputError(f"{weights_path}: {shown(tensor.name)}: {_why_foreign(name)}")
    return Adapter(folder.absolute().name, model, modules, None, folder, pairs)


def _pop(tensors: dict[str, StoredTensor], name: str, path: Path) -> StoredTensor:
    if name not in tensors:
        raise missing(name, "this tensor", (t.name for t in tensors.values()), path)
    return tensors.pop(name)


def _why_foreign(name: str) -> str:
    """Explain why a tensor that no targeted module owns makes an adapter unusable."""
    if "lora_magnitude_vector" in name:
        return "DoRA rescales base weights, which are fixed in ROM"
    if name.endswith((".bias", "lora_B.bias")):
        return "bias vectors cannot be changed: they are fixed in ROM"
    if "lora_" in name:
        return f"belongs to no module that {_CONFIG} targets in this model"
    return "would replace base weights, which are fixed in ROM"


def _checked_pair(a: StoredTensor, b: StoredTensor, model: LanguageModel, target: str) -> _Pair:
    """Check shapes against the model, the two halves against each other, and all values."""
    out_features, in_features = model.linear_shape(target)
    if len(a.shape) != 2 or a.shape[1] != in_features or a.shape[0] < 1:
        raise InputError(
            f"{a.path}: {a.name}: shape must be (rank, {in_features}) for {model.name}, not "
            f"{a.shape}"
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
    return _Pair(a, b)


def _open_gguf(path: Path, model: LanguageModel) -> Adapter:
    metadata, tensors = read_gguf(path)
    architecture = _GGUF_ARCHITECTURE[model.family]
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
    for layer in range(model.layers):
        for target in TARGETS:
            stem = f"blk.{layer}.{_GGUF_MODULES[target]}.weight"
            names = f"{stem}.lora_a", f"{stem}.lora_b"
            if not any(name in tensors for name in names):
                continue
            a, b = (_pop(tensors, name, path) for name in names)
            pair = _checked_pair(a, b, model, target)
            if architecture == "llama" and target in ("q_proj", "k_proj"):
                heads = model.heads if target == "q_proj" else model.kv_heads
                pair = _Pair(pair.a, pair.b, interleaved_heads=heads)
            rank = pair.a.shape[0]
            # llama.cpp takes an alpha of 0 for "no alpha": scale 1.
            places[layer, target] = rank, (alpha / rank if alpha else 1.0)
            pairs[layer, target] = pair
    for name in tensors:
        what = (
            "belongs to no linear layer of the model"
            if name.endswith((".lora_a", ".lora_b"))
            else "would replace base weights, which are fixed in ROM"
        )
        raise InputError(f"{path}: {shown(name)}: {what}")
    if not places:
        raise InputError(f"{path}: holds no LoRA tensors")
    return Adapter(path.stem, model, _modules(places, model), None, path, pairs)


def _random_tensors(modules: tuple[LowRankModule, ...], seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield the tensors in the order of the file, each from its own random stream."""
    for name, shape in sorted(_tensor_shapes(modules).items()):
        rng = np.random.default_rng([seed, *name.encode()])
        if ".lora_A." in name:
            bound = 1 / math.sqrt(shape[1])
            yield rng.uniform(-bound, bound, shape).astype(np.float32)
        else:
            yield rng.normal(0.0, 0.01, shape).astype(np.float32)
