"""Weights of a language model, one tensor at a time: a Hugging Face folder, or random numbers.

Both sources have the same two methods, `read` for a small tensor and `blocks` for a matrix of any
size, so that nothing that packs a model ever holds more of it in float32 than one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.layouts import DTYPES, Layout, Piece, layouts, own_tensors
from hardwire.models.adapter.files import (
    FLOATS,
    PICKLE_SUFFIXES,
    StoredTensor,
    missing,
    read_safetensors,
    refuse_pickle,
    shown,
    standard_names,
)
from hardwire.models.errors import InputError
from hardwire.models.files import read_json_object, reason
from hardwire.models.language_model import LanguageModel

BLOCK_BYTES = 64 * 2**20
"""Largest block of rows that `blocks` yields, in bytes of float32, unless one row takes more."""

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


class Weights(Protocol):
    """A source of a model's tensors."""

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a whole tensor in float32."""

    def blocks(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Yield consecutive blocks of a matrix's rows, (rows, in_features) float32."""


def rows_per_block(row_length: int) -> int:
    """Rows of float32 that `BLOCK_BYTES` hold, at least 1."""
    return max(1, BLOCK_BYTES // (4 * row_length))


class Checkpoint:
    """The safetensors of a Hugging Face model folder, in one file or in shards.

    Parameters
    ----------
    folder
        Holds model.safetensors, or model.safetensors.index.json and the files that it names.
    model
        Every tensor of `own_tensors` must be there, in one of the `layouts`, with its shape. Where
        embeddings are tied, a stored LM head is ignored, as transformers does; so are the rotary
        frequencies that old checkpoints carry, and layers that predict further tokens. Names may
        carry the marks that `standard_names` knows.

    Raises
    ------
    InputError
        If a file is missing, damaged, a pickle or no safetensors file, or a tensor is missing,
        unknown or of another shape. Values are checked when they are read.
    """

    def __init__(self, folder: Path, model: LanguageModel) -> None:
        stored: dict[str, StoredTensor] = {}
        for path in _files(folder):
            for name, tensor in read_safetensors(path, DTYPES).items():
                if name in stored:
                    raise InputError(f"{path}: {shown(name)}: is also in {stored[name].path.name}")
                stored[name] = tensor
        found = standard_names(stored)
        self._pieces: dict[str, Piece] = {}
        known = layouts(model)
        for name, layout in known.items():
            if name in found:
                self._add(name, layout, found, model, folder)
        self._shapes = own_tensors(model)
        for name in self._shapes:
            if name not in self._pieces:
                raise missing(name, f"this tensor of {model.name}", stored, folder)
        for name, tensor in found.items():
            if name not in known and not _is_passed_over(name, model):
                raise InputError(
                    f"{tensor.path}: {shown(tensor.name)}: is no tensor of {model.name}"
                )

    def _add(
        self,
        name: str,
        layout: Layout,
        found: dict[str, StoredTensor],
        model: LanguageModel,
        folder: Path,
    ) -> None:
        """Note what of the model a tensor of the file holds."""
        tensor = found[name]
        where = f"{tensor.path}: {shown(tensor.name)}"
        if tensor.shape != layout.shape:
            raise InputError(
                f"{where}: shape must be {layout.shape} for {model.name}, not {tensor.shape}"
            )
        if tensor.dtype not in layout.dtypes:
            raise InputError(
                f"{where}: dtype must be {' or '.join(layout.dtypes)} in {model.name}, not "
                f"{tensor.dtype}"
            )
        scales = None
        if tensor.dtype not in FLOATS and layout.scales is not None:
            scales = found.get(layout.scales)
            if scales is None:
                raise missing(layout.scales, f"the scales of {shown(tensor.name)}", found, folder)
        for own, part in layout.parts.items():
            if own in self._pieces:
                other = shown(self._pieces[own].tensor.name)
                raise InputError(f"{where}: has {own}, which {other} has, too")
            self._pieces[own] = Piece(tensor, part, scales)

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a whole tensor.

        Raises
        ------
        InputError
            If it holds an infinity or NaN, or the file has changed since it was opened.
        """
        return self._pieces[name].read(0, self._shapes[name][0])

    def blocks(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Yield consecutive blocks of rows, as `Weights.blocks`; raises as `read`."""
        count, length = self._shapes[name]
        step = rows_per_block(length)
        for begin in range(0, count, step):
            yield self._pieces[name].read(begin, min(begin + step, count))


class RandomWeights:
    """Weights of a model's shapes from a seed, each tensor from its own random stream.

    Matrices are normal with standard deviation 0.02, as transformers initialises them, biases
    likewise, sinks and what corrects a router, too; norm gains are normal around 1 with standard
    deviation 0.1, so that leaving one out shows.
    """

    def __init__(self, model: LanguageModel, seed: int) -> None:
        self._shapes = own_tensors(model)
        self._seed = seed
        # Gemma's norms store what their gain exceeds 1 by.
        self._around = np.float32(0 if model.post_norms else 1)

    def read(self, name: str) -> NDArray[np.float32]:
        """Return a whole tensor."""
        values = self._normal(self._stream(name), self._shapes[name])
        if "norm" in name:
            return values * np.float32(5) + self._around
        return values

    def blocks(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Yield consecutive blocks of rows, as `Weights.blocks`; together the same as `read`."""
        rng = self._stream(name)
        count, length = self._shapes[name]
        step = rows_per_block(length)
        for begin in range(0, count, step):
            yield self._normal(rng, (min(step, count - begin), length))

    def _stream(self, name: str) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self._seed, *name.encode()]))

    @staticmethod
    def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        values = rng.standard_normal(math.prod(shape), dtype=np.float32)
        values *= np.float32(0.02)
        return values.reshape(shape)


def _is_passed_over(name: str, model: LanguageModel) -> bool:
    """Whether transformers leaves a tensor alone, too: rotary frequencies, a head that is tied, and
    layers that predict further tokens."""
    if name == "lm_head.weight":
        return model.tied_embeddings
    extra = range(model.layers, model.layers + model.extra_predictors)
    return name.endswith("rotary_emb.inv_freq") or name.startswith(
        tuple(f"model.layers.{layer}." for layer in extra)
    )


def _files(folder: Path) -> list[Path]:
    try:
        present = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({reason(error)})") from error
    if _WEIGHTS in present:
        return [folder / _WEIGHTS]
    if _INDEX not in present:
        for name in sorted(present):
            if name.endswith(PICKLE_SUFFIXES):
                refuse_pickle(folder / name)
        raise InputError(f"{folder}: holds neither {_WEIGHTS} nor {_INDEX}")
    index = folder / _INDEX
    names = read_json_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index}: weight_map: must be an object that gives each tensor's file")
    shards = set()
    for tensor, name in names.items():
        if not isinstance(name, str) or Path(name).name != name or not name:
            raise InputError(
                f"{index}: weight_map.{shown(tensor)}: must be a file of the same folder, "
                f"not {name!r:.60}"
            )
        shards.add(name)
    return [folder / name for name in sorted(shards)]
