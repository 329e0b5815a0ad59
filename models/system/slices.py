"""The part of each matrix that a die of a group holds, and which splits divide it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.llm.parts import EXPERT, SHARED
from hardwire.models.rom import RomMatrix
from hardwire.models.system.placement import KV_SPLITS, SPLITS, Stage, brief_names, dealt


@dataclass(frozen=True)
class Slice:
    """What one die holds of a matrix.

    Attributes
    ----------
    matrix : name of the whole.
    in_features, out_features : of the slice.
    holders : dies that hold the very same slice; 1 if this one alone.
    times : such slices on the die: experts have one each.
    """

    matrix: str
    in_features: int
    out_features: int
    holders: int = 1
    times: int = 1

    @property
    def weights(self) -> int:
        """Weights of all such slices on the die."""
        return self.in_features * self.out_features * self.times


ROUTER = "router"


def matrices(model: LanguageModel, layer: int) -> tuple[RomMatrix, ...]:
    """The matrices of one layer in the order of execution; of experts one of each of the two.

    Those that hear the same input are one. Of latent attention ``qkv_a`` makes the latents of
    queries, keys and values, ``q_b`` and ``kv_b`` what heads make of them.
    """

    def of(name: str, *targets: str) -> RomMatrix:
        shapes = [model.linear_shape(target) for target in targets]
        return RomMatrix(name, shapes[0][1], sum(shape[0] for shape in shapes), targets)

    kind = model.kind_of(layer)
    found = [of("qkv", "q_proj", "k_proj", "v_proj")] if model.latent is None else []
    if model.latent is not None:
        ranked = model.latent.query_rank is not None
        found.append(of("qkv_a", "q_a_proj" if ranked else "q_proj", "kv_a_proj_with_mqa"))
        if ranked:
            found.append(of("q_b", "q_b_proj"))
        found.append(of("kv_b", "kv_b_proj"))
    found.append(of("o", "o_proj"))
    prefixes = [""]
    if kind.experts and model.experts is not None:
        found.append(RomMatrix(ROUTER, model.hidden, model.experts.count, ()))
        prefixes = [SHARED, EXPERT] if model.experts.shared else [EXPERT]
    for prefix in prefixes:
        found.append(of(f"{prefix}gate_up", f"{prefix}gate_proj", f"{prefix}up_proj"))
        found.append(of(f"{prefix}down", f"{prefix}down_proj"))
    return tuple(found)


def experts_of(model: LanguageModel, layer: int) -> int:
    """Experts of a layer that a router chooses from; 0 for a dense one."""
    kind = model.kind_of(layer)
    return model.experts.count if kind.experts and model.experts is not None else 0


def with_experts(stage: Stage, model: LanguageModel) -> Stage:
    """A stage whose experts are dealt to its dies in turn where it does not say where they lie."""
    missing = {
        layer: dealt(experts_of(model, layer), len(stage.dies))
        for layer in stage.layers
        if experts_of(model, layer) and layer not in stage.experts
    }
    return dataclasses.replace(stage, experts={**stage.experts, **missing}) if missing else stage


def grid_of(stage: Stage, matrix: str) -> tuple[int, int]:
    """In how many parts a group cuts a matrix by its inputs, and by its outputs.

    In a grid, heads lie over the columns: what makes them is cut by its inputs over the rows and by
    its outputs over the columns, and what takes them in, ``o``, the other way round, as is
    ``down`` behind ``gate_up``. Experts are whole unless a split of theirs is stated.
    """
    dies, split = len(stage.dies), stage.split_of(matrix)
    if split == "output":
        return 1, dies
    if split == "input":
        return dies, 1
    if split == "grid":
        across = (stage.rows, stage.columns)
        return across[::-1] if matrix == "o" or matrix.endswith("down") else across
    return 1, 1


def slice_of(stage: Stage, matrix: RomMatrix, layer: int, place: int) -> Slice:
    """What a die of a group, by its place in it, holds of a matrix of a layer."""
    inputs, outputs = grid_of(stage, matrix.name)
    holders, times = len(stage.dies) // (inputs * outputs), 1
    if matrix.name.startswith(EXPERT):
        places = stage.experts[layer]
        if inputs * outputs == 1:
            holders, times = 1, places.count(place)
        else:
            times = len(places)
    return Slice(
        matrix.name, matrix.in_features // inputs, matrix.out_features // outputs, holders, times
    )


def kv_parts(stage: Stage) -> tuple[int, int]:
    """In how many parts a group cuts the KV cache of a layer: by heads, and by position."""
    dies = len(stage.dies)
    return {
        "head": (dies, 1),
        "position": (1, dies),
        "grid": (stage.columns, stage.rows),
        "layer": (1, 1),
    }[stage.kv]


def check_split(model: LanguageModel, stage: Stage, where: str) -> None:
    """Refuse a group whose splits do not divide what they split, or experts that lie nowhere.

    Parameters
    ----------
    where : begins messages.

    Raises
    ------
    InputError
        On an unknown matrix or split, or numbers that do not divide.
    """
    present = {matrix.name: matrix for layer in stage.layers for matrix in matrices(model, layer)}
    _known_names(stage, present, where)
    for name, matrix in present.items():
        inputs, outputs = grid_of(stage, name)
        at = f"{where}.split.{name}"
        _divides(model.heads if name == "o" else 0, inputs, f"heads into {name}", at)
        _divides(matrix.in_features, inputs, f"inputs of {name}", at)
        if name in ("qkv", "q_b", "kv_b"):
            _divides(model.heads, outputs, "query heads", at)
        if name == "qkv":
            _divides(model.kv_heads, outputs, "heads of K and V", at)
        _divides(matrix.out_features, outputs, f"outputs of {name}", at)
    if len(stage.dies) > 1:
        heads = kv_parts(stage)[0]
        if model.latent is not None and heads > 1:
            raise InputError(
                f"{where}.kv: must be position or layer, not {stage.kv}: all heads of "
                f"{model.name} share one latent"
            )
        _divides(model.kv_heads, heads, "heads of K and V", f"{where}.kv")
    for layer in stage.layers:
        places = stage.experts.get(layer, ())
        if len(places) != experts_of(model, layer):
            raise InputError(
                f"{where}.experts: {len(places)} experts of layer {layer} lie on dies, but it has "
                f"{experts_of(model, layer)}"
            )
        if any(not 0 <= place < len(stage.dies) for place in places):
            raise InputError(
                f"{where}.experts: a die of layer {layer} is none of {len(stage.dies)}"
            )


def _known_names(stage: Stage, present: Mapping[str, RomMatrix], where: str) -> None:
    for name, split in stage.split.items():
        if name not in present:
            raise InputError(
                f"{where}.split: '{name}' is no matrix of these layers (they have "
                f"{brief_names(list(present))})"
            )
        if split not in SPLITS:
            raise InputError(
                f"{where}.split.{name}: must be one of {', '.join(SPLITS)}, not '{split}'"
            )
    if stage.kv not in KV_SPLITS:
        raise InputError(f"{where}.kv: must be one of {', '.join(KV_SPLITS)}, not '{stage.kv}'")


def _divides(number: int, parts: int, what: str, where: str) -> None:
    if number % parts:
        raise InputError(f"{where}: {number:,} {what} do not divide by {parts}")
