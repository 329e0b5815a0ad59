"""Which experts a token goes to: drawn, for what a router says depends on what is said.

Every layer with experts draws ``k`` distinct ones for each token, one after the other, each by the
weights of those that are left. The weights are equal, or Zipf's with the ranks of each layer
shuffled, or counts that were measured. A named stream draws; all engines are given the same.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.simulator.belief.draws import stream

STREAM = "expert routing"
MOST_SKEW = 8.0
"""Largest exponent of Zipf's law: the first of two experts takes 99.6% of the tokens."""


@dataclass(frozen=True, eq=False)
class Choices:
    """Experts of tokens: ``of_token`` (tokens, layers with experts, k) int16, distinct in a row."""

    of_token: NDArray[np.int16]

    def counts(self, experts: int) -> NDArray[np.int64]:
        """Tokens of each expert, ``(layers with experts, experts)``: tokens × k in a layer."""
        layers = self.of_token.shape[1]
        flat = self.of_token.astype(np.int64) + experts * np.arange(layers)[None, :, None]
        return np.bincount(flat.ravel(), minlength=layers * experts).reshape(layers, experts)


@dataclass(frozen=True, eq=False)
class Routing:
    """How tokens go to experts.

    Attributes
    ----------
    name : what it is called in results: ``uniform``, ``zipf:1.0``, or a file's name.
    skew : exponent of Zipf's law; 0 is uniform.
    measured : (layers with experts, experts) counts of tokens, instead.
    """

    name: str = "uniform"
    skew: float = 0.0
    measured: NDArray[np.float64] | None = None

    @classmethod
    def open(cls, text: str | os.PathLike[str] | Routing) -> Routing:
        """``uniform``, ``zipf:S``, or a file of counts per layer, CSV or npz.

        Raises
        ------
        InputError
            If it is none of these, or the file holds no table of counts.
        """
        if isinstance(text, Routing):
            return text
        name = os.fspath(text)
        if name == "uniform":
            return cls()
        kind, _, rest = name.partition(":")
        if kind == "zipf":
            try:
                skew = float(rest)
            except ValueError:
                skew = -1.0
            if not 0 <= skew <= MOST_SKEW:
                raise InputError(
                    f"routing: the exponent in '{name}' must be a number from 0 to {MOST_SKEW:g}, "
                    "as in 'zipf:1.0'"
                )
            return cls(name, skew)
        if Path(name).suffix in (".csv", ".npz"):
            return cls(name, measured=_read_counts(Path(name)))
        raise InputError(
            f"routing: '{name}' is not 'uniform', not 'zipf:S' and no .csv or .npz file of counts"
        )

    def weights(self, layers: int, experts: int, chosen: int, seed: int) -> NDArray[np.float64]:
        """Share of each expert of a first choice, ``(layers, experts)``.

        Raises
        ------
        InputError
            If measured counts are of another number of layers or experts, or of fewer experts than
            a token chooses.
        """
        if self.measured is None:
            ranked = np.arange(1, experts + 1, dtype=float) ** -self.skew
            rng = stream(seed, f"{STREAM}, ranks")
            table = np.stack([rng.permutation(ranked) for _ in range(layers)])
        else:
            table = self.measured
            if table.shape != (layers, experts):
                raise InputError(
                    f"{self.name}: has {table.shape[0]} rows of {table.shape[1]} counts, but the "
                    f"model has {layers} layers of {experts} experts"
                )
            if short := np.flatnonzero((table > 0).sum(axis=1) < chosen).tolist():
                raise InputError(
                    f"{self.name}: row {short[0] + 1}: fewer experts have a count above 0 than the "
                    f"{chosen} that a token chooses"
                )
        return np.asarray(table / table.sum(axis=1, keepdims=True))

    def draw(self, tokens: int, layers: int, experts: int, chosen: int, seed: int = 0) -> Choices:
        """Choices of so many tokens in each of the layers that have experts."""
        if not layers:  # all experts of a system of one die work at once
            return Choices(np.zeros((tokens, 0, chosen), np.int16))
        from hardwire.simulator.system import routing_jit  # noqa: PLC0415 - numba only where it is called

        weights = self.weights(layers, experts, chosen, seed)
        found = np.empty((tokens, layers, chosen), np.int16)
        routing_jit.draw(stream(seed, STREAM), np.cumsum(weights, axis=1), weights, found)
        return Choices(found)


def busiest_expert(tokens: Any, experts: int, chosen: int) -> Any:
    """Mean number of tokens at the busiest of ``experts`` when each of ``tokens`` chooses evenly.

    ``P(max ≥ L) = 1 − (1 − P(Bin(tokens, k/N) ≥ L))^N``, as if experts were independent, summed
    over ``L``. A number or an array of them.
    """
    return np.vectorize(lambda count: _busiest(int(count), experts, chosen / experts))(tokens)[()]


def _busiest(tokens: int, experts: int, share: float) -> float:
    probability = np.empty(tokens + 1)
    probability[0] = (1 - share) ** tokens
    for count in range(1, tokens + 1):
        ratio = (tokens - count + 1) / count * share / (1 - share) if share < 1 else np.inf
        probability[count] = probability[count - 1] * ratio if share < 1 else count == tokens
    at_least = np.cumsum(probability[::-1])[::-1][1:]
    return float((1 - (1 - np.minimum(at_least, 1)) ** experts).sum())


def _read_counts(path: Path) -> NDArray[np.float64]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                if file.files != ["counts"]:
                    raise InputError(f"{path}: must hold one array, 'counts'")
                table = np.asarray(file["counts"], float)
        else:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file) if row]
            if len({len(row) for row in rows}) > 1:
                raise InputError(f"{path}: rows have different numbers of counts")
            table = np.array([[float(cell) for cell in row] for row in rows], float)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{path}: is no table of counts ({error})") from error
    if table.ndim != 2 or not table.size:
        raise InputError(f"{path}: must be a table of counts, a row for each layer with experts")
    if not np.isfinite(table).all() or (table < 0).any():
        raise InputError(f"{path}: counts must be finite and not below 0")
    return table
