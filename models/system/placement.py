"""What lies on which die: layers in stages, a stage on a group of dies, experts among them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hardwire.models.errors import InputError

SPLITS = ("output", "input", "grid", "replicated")
"""How a matrix is split over the dies of a group: by its outputs, by its inputs, by both over rows
and columns of the group, or not at all: each die has all of it."""

KV_SPLITS = ("head", "position", "grid", "layer")
"""How the KV cache of a group's layers is split over its dies: by heads of K and V; by position
modulo the number of dies; by heads over the columns and by position over the rows of the group; or
layer by layer in turn."""

COLLECTIVES = ("direct", "ring", "scatter")
"""How dies of a group form a sum that all of them need: each sends to all others in one round; it
goes round a ring; or each sums a part and sends it to all, a reduce-scatter and an all-gather."""

HOST = "host"
"""Where an embedding lies that is on no die: in a memory, which sends a token's row."""

DEFAULT_SPLIT: Mapping[str, str] = {
    "qkv": "output",
    "o": "input",
    "q_b": "output",
    "kv_b": "output",
    "gate_up": "output",
    "down": "input",
    "shared_experts.gate_up": "output",
    "shared_experts.down": "input",
}
"""Of a group of several dies, what is not stated: pairs of matrices need one reduction each, as in
Shoeybi et al., Megatron-LM, arXiv 1909.08053. A matrix that is not named here is replicated."""


@dataclass(frozen=True)
class Stage:
    """Layers that follow each other on one group of dies.

    Attributes
    ----------
    layers : numbers of the layers, in order and without holes.
    dies : names of the dies of the group; where it has several rows, row by row.
    rows : of the group as a grid; its columns follow.
    split : of the matrices by name, one of ``SPLITS``; ``split_of`` has what is not stated.
    kv : one of ``KV_SPLITS``.
    experts : for each layer of the stage that has experts, by the layer's number, the place in
        ``dies`` of the die that holds each expert.
    """

    layers: range
    dies: tuple[str, ...]
    rows: int = 1
    split: Mapping[str, str] = field(default_factory=dict)
    kv: str = "head"
    experts: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """Dies in a row of the group."""
        return len(self.dies) // self.rows

    def split_of(self, matrix: str) -> str:
        """How a matrix is split, by its name."""
        if len(self.dies) == 1:
            return "replicated"
        return self.split.get(matrix, DEFAULT_SPLIT.get(matrix, "replicated"))

    def position(self, die: str) -> tuple[int, int]:
        """Row and column of a die in the group."""
        return divmod(self.dies.index(die), self.columns)


@dataclass(frozen=True)
class Placement:
    """Where all of a model lies.

    Attributes
    ----------
    stages : in the order of their layers.
    embedding : the die that holds the token embedding, or ``HOST``.
    head : the dies that hold the LM head, its rows in equal shares.
    """

    stages: tuple[Stage, ...]
    embedding: str
    head: tuple[str, ...]

    def stage_of(self, layer: int) -> Stage:
        """The stage that has a layer."""
        return next(stage for stage in self.stages if layer in stage.layers)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, as a system file has it; experts by the place of their die."""
        return {
            "stages": [
                {
                    "layers": [stage.layers.start, stage.layers.stop - 1],
                    "dies": list(stage.dies),
                    "rows": stage.rows,
                    "split": dict(stage.split),
                    "kv": stage.kv,
                    "experts": {str(layer): list(at) for layer, at in stage.experts.items()}
                    if len(stage.dies) > 1
                    else {},
                }
                for stage in self.stages
            ],
            "embedding": self.embedding,
            "head": list(self.head),
        }

    def used(self) -> frozenset[str]:
        """Names of all dies that hold something."""
        found = {die for stage in self.stages for die in stage.dies} | {*self.head}
        return frozenset(found | ({self.embedding} - {HOST}))


def check_placement(placement: Placement, dies: Sequence[str], layers: int, where: str) -> None:
    """Refuse a placement with holes or doubles, or on dies that are not there.

    Parameters
    ----------
    dies : names of all dies.
    layers : of the model.
    where : begins messages.

    Raises
    ------
    InputError
        With what is missing or twice.
    """
    for number, stage in enumerate(placement.stages):
        at = f"{where}.stages[{number}]"
        _known(stage.dies, dies, f"{at}.dies")
        if not stage.dies:
            raise InputError(f"{at}.dies: a stage needs at least one die")
        if len(stage.dies) % stage.rows:
            raise InputError(
                f"{at}.rows: {len(stage.dies)} dies do not make {stage.rows} whole rows"
            )
    _known(placement.head, dies, f"{where}.head")
    if not placement.head:
        raise InputError(f"{where}.head: the LM head needs at least one die")
    if placement.embedding != HOST:
        _known((placement.embedding,), dies, f"{where}.embedding")
    _cover(placement.stages, layers, f"{where}.stages")
    seen: dict[str, int] = {}
    for number, stage in enumerate(placement.stages):
        for die in stage.dies:
            if die in seen:
                raise InputError(
                    f"{where}.stages[{number}].dies: '{die}' is already in stage {seen[die]}"
                )
            seen[die] = number
    used = placement.used()
    idle = [die for die in dies if die not in used]
    if idle:
        raise InputError(f"{where}: die '{idle[0]}' holds nothing")


def _known(found: Sequence[str], dies: Sequence[str], where: str) -> None:
    for die in found:
        if die not in dies:
            raise InputError(f"{where}: there is no die '{die}' (there are {brief_names(dies)})")
    if len(set(found)) < len(found):
        twice = next(die for die in found if found.count(die) > 1)
        raise InputError(f"{where}: '{twice}' is given twice")


def brief_names(names: Sequence[str]) -> str:
    """Names for a message: all of a few, the ends of many."""
    if len(names) <= 6:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]}, {len(names)} of them"


def _cover(stages: Sequence[Stage], layers: int, where: str) -> None:
    """Refuse stages that do not hold each layer once, in order."""
    begin = 0
    for number, stage in enumerate(stages):
        if not stage.layers or stage.layers.step != 1:
            raise InputError(f"{where}[{number}].layers: must be a first and a last layer")
        if stage.layers.start > begin:
            raise InputError(
                f"{where}[{number}].layers: {_layers(begin, stage.layers.start)} in no stage"
            )
        if stage.layers.start < begin:
            doubled = min(begin, stage.layers.stop)
            raise InputError(
                f"{where}[{number}].layers: {_layers(stage.layers.start, doubled)} in a stage "
                "before it, too"
            )
        begin = stage.layers.stop
    if begin > layers:
        raise InputError(
            f"{where}[{len(stages) - 1}].layers: ends at layer {begin - 1}, but the last one of "
            f"the model is {layers - 1}"
        )
    if begin < layers:
        raise InputError(f"{where}: {_layers(begin, layers)} in no stage")


def _layers(begin: int, end: int) -> str:
    return f"layer {begin} is" if end - begin == 1 else f"layers {begin} to {end - 1} are"


def dealt(experts: int, dies: int) -> tuple[int, ...]:
    """Experts to dies in turn: the first to the first die, and so on round."""
    return tuple(expert % dies for expert in range(experts))


def balanced(counts: Sequence[float], dies: int) -> tuple[int, ...]:
    """Experts to dies by measured load, each die with as many, or one more than another.

    The most loaded expert first, each to the die with the least load that has room: Graham's rule
    of the longest first (SIAM J. Appl. Math. 17, 1969) with a bound on the number.

    Parameters
    ----------
    counts : tokens of each expert, shape ``(experts,)``.
    """
    most, more = divmod(len(counts), dies)
    load, held = [0.0] * dies, [0] * dies
    found = [0] * len(counts)
    for expert in sorted(range(len(counts)), key=lambda one: (-counts[one], one)):
        larger = sum(one > most for one in held)
        room = [
            die for die in range(dies) if held[die] < most or (held[die] == most and larger < more)
        ]
        best = min(room, key=lambda die: (load[die], die))
        found[expert] = best
        load[best] += counts[expert]
        held[best] += 1
    return tuple(found)


def evenly(weights: Sequence[int], groups: int) -> list[range]:
    """Layers in order cut into groups so that the heaviest group is as light as can be.

    Parameters
    ----------
    weights : of each layer.
    groups : at most as many as layers.

    Returns
    -------
    list of range
        A group each, none empty.
    """
    low, high = max(weights), sum(weights)
    while low < high:  # the least bound that so many groups can keep, by halving
        middle = (low + high) // 2
        if len(_cut(weights, middle, groups)) <= groups:
            high = middle
        else:
            low = middle + 1
    ends = list(itertools.accumulate(len(part) for part in _cut(weights, low, groups)))
    return [range(begin, end) for begin, end in itertools.pairwise([0, *ends])]


def _cut(weights: Sequence[int], bound: int, groups: int) -> list[list[int]]:
    """Layers in groups of at most ``bound``, as few as can be but no fewer than ``groups``."""
    found: list[list[int]] = []
    held = 0  # by the last group
    for layer, weight in enumerate(weights):
        left = len(weights) - layer
        if found and held + weight <= bound and len(found) + left > groups:
            found[-1].append(layer)
            held += weight
        else:
            found.append([layer])
            held = weight
    return found
