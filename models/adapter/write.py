"""Adapters with random weights, for trying things out."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import Base, as_base
from hardwire.models.adapter.config import check_rank, placements
from hardwire.models.adapter.files import encode, safetensors_header
from hardwire.models.adapter.modules import LowRankModule, modules_of, parse_targets
from hardwire.models.adapter.stored import CONFIG, WEIGHTS, tensor_shapes
from hardwire.models.errors import InputError
from hardwire.models.files import new_folder
from hardwire.models.language_model import EXPERT, FUSED, module_path

_FILE_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def write_adapter(
    out: str | os.PathLike[str],
    model: Base,
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
    model : LanguageModel, or its name or config.json
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
    model = as_base(model)
    chosen = parse_targets(targets, "targets", model)
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
        "target_modules": _target_modules(chosen),
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }
    modules = modules_of(placements(config, model, CONFIG), model)
    with new_folder(Path(out)) as folder:
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        with (folder / WEIGHTS).open("wb") as file:
            file.write(safetensors_header(tensor_shapes(modules), _FILE_DTYPES[dtype]))
            for tensor in _random_tensors(modules, seed):
                file.write(encode(tensor, _FILE_DTYPES[dtype]))
    return Adapter.open(out, model)


def _target_modules(targets: tuple[str, ...]) -> list[str] | str:
    """What PEFT goes by: names, or where experts are among them a pattern of their paths."""
    own = [target.removeprefix(EXPERT) for target in targets if target.startswith(EXPERT)]
    if FUSED in targets:
        raise InputError(f"targets: {FUSED}: LoRA on bare parameters is not written")
    if not own:
        return list(targets)
    # With their block: a bare name would be that of experts, too.
    others = (target for target in targets if not target.startswith(EXPERT))
    names = [re.escape(module_path(0, one).removeprefix("model.layers.0.")) for one in others]
    names.append(r"mlp\.experts\.\d+\.(?:" + "|".join(own) + ")")
    return r"(?:.*\.)?(?:" + "|".join(names) + ")"


def _random_tensors(modules: tuple[LowRankModule, ...], seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield the tensors in the order of the file, each from its own random stream."""
    for name, shape in sorted(tensor_shapes(modules).items()):
        rng = np.random.default_rng([seed, *name.encode()])
        if ".lora_A." in name:
            bound = 1 / math.sqrt(shape[1])
            yield rng.uniform(-bound, bound, shape).astype(np.float32)
        else:
            yield rng.normal(0.0, 0.01, shape).astype(np.float32)
