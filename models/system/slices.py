"""The part of each matrix that a die of a group holds, and which splits divide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import RomMatrix, layer_matrices
from hardwire.models.system.placement import KV_SPLITS, SPLITS, Stage, brief_names


@dataclass(frozen=True)
class Slice:
    """What one die holds of a matrix.

    Attributes
    ----------
    matrix : name of the whole.
    in_features, out_features : of the slice.
    holders : dies that hold the very same slice; 1 if this one alone.
    """

    matrix: str
    in_features: int
    out_features: int
    holders: int = 1

    @property
    def weights(self) -> int:
        """Weights of the slice."""
        return self.in_features * self.out_features


def matrices(model: LanguageModel, layer: int) -> tuple[RomMatrix, ...]:
    """The matrices of one layer in the order of execution."""
    del layer  # layers are alike
    return layer_matrices(model)


def experts_of(model: LanguageModel, layer: int) -> int:
    """Experts of a layer that a router chooses from; 0 for a dense one."""
    del model, layer
    return 0


def grid_of(stage: Stage, matrix: str) -> tuple[int, int]:
    """In how many parts a group cuts a matrix by its inputs, and by its outputs.

    In a grid, heads lie over the columns: what makes them is cut by its inputs over the rows and by
    its outputs over the columns, and what takes them in, ``o``, the other way round, as is
    ``down`` behind ``gate_up``.
    """
    dies, split = len(stage.dies), stage.split_of(matrix)
    if split == "output":
        return 1, dies
    if split == "input":
        return dies, 1
    if split == "grid":
        across = (stage.rows, stage.columns)
        return across[::-1] if matrix in ("o", "down") else across
    return 1, 1


def slice_of(stage: Stage, matrix: RomMatrix) -> Slice:
    """What each die of a group holds of a matrix; all hold equal parts."""
    inputs, outputs = grid_of(stage, matrix.name)
    return Slice(
        matrix.name,
        matrix.in_features // inputs,
        matrix.out_features // outputs,
        len(stage.dies) // (inputs * outputs),
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
    """Refuse a group whose splits do not divide what they split.

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
        heads = model.heads if name == "o" else 0
        _divides(matrix.in_features, inputs, f"inputs of {name}", f"{where}.split.{name}")
        _divides(heads, inputs, f"heads into {name}", f"{where}.split.{name}")
        _divides(matrix.out_features, outputs, f"outputs of {name}", f"{where}.split.{name}")
        if name == "qkv":
            _divides(model.heads, outputs, "query heads", f"{where}.split.{name}")
            _divides(model.kv_heads, outputs, "heads of K and V", f"{where}.split.{name}")
    if len(stage.dies) > 1:
        _divides(model.kv_heads, kv_parts(stage)[0], "heads of K and V", f"{where}.kv")


def _known_names(stage: Stage, present: Sequence[str] | dict[str, RomMatrix], where: str) -> None:
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
