"""What each die of a system holds: weights by matrix, its share of the KV cache, and experts.

What several dies hold alike counts once, at the first of them, and at the others as copies: the
weights of all dies together are those of the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hardwire.models.language_model import HEAD
from hardwire.models.system.placement import HOST, Stage
from hardwire.models.system.slices import Slice, kv_parts, matrices, slice_of
from hardwire.models.system.system import System

EMBEDDING = "embedding"


@dataclass(frozen=True)
class Contents:
    """What one die holds.

    Attributes
    ----------
    die : its name.
    slices : by layer, the die's part of each matrix; all experts of the die that a layer has are
        one slice each.
    experts : by layer, the numbers of the experts that the die holds.
    weights : by matrix, summed over layers, of which this die is the first or only holder.
    copies : the same of what another die is the first holder of.
    kv_share : by layer, the part of a token's keys and values that the die keeps, mean over tokens.
    head_rows : rows of the LM head.
    """

    die: str
    slices: Mapping[int, tuple[Slice, ...]]
    experts: Mapping[int, tuple[int, ...]]
    weights: Mapping[str, int]
    copies: Mapping[str, int]
    kv_share: Mapping[int, Fraction]
    head_rows: int

    @property
    def held(self) -> int:
        """All weights on the die, copies with them."""
        return sum(self.weights.values()) + sum(self.copies.values())


def contents(system: System) -> dict[str, Contents]:
    """What each die holds, by its name and in the order of the system's dies."""
    model, placement = system.model, system.placement
    own: dict[str, Counter[str]] = {die.name: Counter() for die in system.dies}
    copied: dict[str, Counter[str]] = {die.name: Counter() for die in system.dies}
    slices: dict[str, dict[int, tuple[Slice, ...]]] = {die.name: {} for die in system.dies}
    kv: dict[str, dict[int, Fraction]] = {die.name: {} for die in system.dies}
    experts: dict[str, dict[int, tuple[int, ...]]] = {die.name: {} for die in system.dies}
    known: dict[Any, tuple[Slice, ...]] = {}
    for number, stage in enumerate(placement.stages):
        for layer in stage.layers:
            kind = model.kind_of(layer)
            for place, die in enumerate(stage.dies):
                # Layers of a kind lie alike on a die of a group, but for their experts.
                key = number, kind, stage.experts.get(layer), place
                if key not in known:
                    known[key] = tuple(
                        slice_of(stage, matrix, layer, place) for matrix in matrices(model, layer)
                    )
                parts = slices[die][layer] = known[key]
                for part in parts:
                    first = _is_first(stage, part, place)
                    (own if first else copied)[die][part.matrix] += part.weights
                kv[die][layer] = _kv_share(stage, layer, place)
                if layer in stage.experts:
                    held = stage.experts[layer]
                    experts[die][layer] = tuple(
                        expert for expert, at in enumerate(held) if at == place
                    )
    rows = _head_rows(system)
    for die, count in rows.items():
        own[die][HEAD] += count * model.hidden
    if placement.embedding != HOST:
        alone = not model.tied_embeddings
        if alone:
            own[placement.embedding][EMBEDDING] += model.embedding_weights
        elif placement.head != (placement.embedding,):
            missing = model.vocab - rows.get(placement.embedding, 0)
            copied[placement.embedding][EMBEDDING] += missing * model.hidden
    return {
        die: Contents(
            die=die,
            slices=slices[die],
            experts=experts[die],
            weights=dict(own[die]),
            copies=dict(copied[die]),
            kv_share=kv[die],
            head_rows=rows.get(die, 0),
        )
        for die in own
    }


def _is_first(stage: Stage, part: Slice, place: int) -> bool:
    """Whether a die is the first of those that hold its slice: of a group, all or one does."""
    return part.holders == 1 or place < len(stage.dies) // part.holders


def _kv_share(stage: Stage, layer: int, place: int) -> Fraction:
    dies = len(stage.dies)
    if stage.kv == "layer":
        return Fraction((layer - stage.layers.start) % dies == place)
    heads, positions = kv_parts(stage)
    return Fraction(1, heads * positions)


def _head_rows(system: System) -> dict[str, int]:
    """Rows of the LM head on each of its dies: equal parts, the first ones with one more."""
    head = system.placement.head
    each, more = divmod(system.model.vocab, len(head))
    return {die: each + (place < more) for place, die in enumerate(head)}
