"""The fewest dies that hold a model with its users and adapters, and the best placement on them.

Placements that are tried: layers in a row of stages, each on a group of 1, 2, 4, 8 or 16 dies,
cut so that the heaviest stage is as light as can be. In a group matrices are split in pairs,
outputs and then inputs, which need one reduction each; heads, where they divide, keep their own KV
cache; experts are dealt whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hardwire.experiments.system.answer import SystemAnswer, ask, fit
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.brief import one_line
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import check_word
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import HOST, Placement, Stage, evenly
from hardwire.models.system.read import die_names, usual_kv
from hardwire.models.system.slices import with_experts
from hardwire.models.system.system import Die, System
from hardwire.models.system.topology import SWITCH, Link

OBJECTIVES = ("rate", "dies", "usd")
"""What is best: tokens/s of one user, fewest dies, least USD per million tokens."""

GROUPS = (1, 2, 4, 8, 16)
"""Dies of a stage that are tried."""

STRETCHES = (1.0, 1.5, 2.0)
"""Times the fewest stages that are tried where dies are not what counts: users fill more stages."""


@dataclass(frozen=True)
class Load:
    """What the dies have to hold and to do."""

    prompt: int = 1024
    output: int = 1024
    users: int = 1
    adapter: Adapter | None = None
    adapters: int = 1

    def ask(self, system: System) -> SystemAnswer:
        """What a system does with it."""
        return ask(
            system, prompt=self.prompt, output=self.output, users=self.users,
            adapter=self.adapter, adapters=self.adapters,
        )  # fmt: skip

    def fits(self, system: System) -> bool:
        """Whether every die of a system holds its part."""
        found = fit(system, self.prompt + self.output, self.users, self.adapter, self.adapters)
        return all(one.fits for one in found.values())


@dataclass(frozen=True)
class Plan:
    """The best of what was tried, and all of it.

    Attributes
    ----------
    objective : one of ``OBJECTIVES``.
    best : the answer of the best placement.
    options : of every placement that fits, the best first.
    """

    objective: str
    best: SystemAnswer
    options: tuple[SystemAnswer, ...]

    def __repr__(self) -> str:
        return one_line(self, self.best.system.model.name, repr(self.best)[1:-1])

    @property
    def system(self) -> System:
        """The best placement."""
        return self.best.system

    def to_dict(self) -> dict[str, Any]:
        """The best answer as plain values, and of the others what they are chosen by."""
        return {
            "objective": self.objective,
            **self.best.to_dict(),
            "options": [
                {
                    "dies": one.dies,
                    "dies_of_a_stage": len(one.system.placement.stages[0].dies),
                    "decode_tokens_per_s_user": one.decode_tokens_per_s_user,
                    "decode_tokens_per_s_system": one.decode_tokens_per_s_system,
                    "power_w": one.power_w,
                    "usd_per_million_tokens": one.usd_per_million_tokens,
                }
                for one in self.options
            ],
        }


def plan(
    model: LanguageModel,
    chip: Chip,
    kind: LinkKind,
    load: Load,
    objective: str = "rate",
) -> Plan:
    """The best placement of a model on dies of one chip, linked by one kind of links.

    Parameters
    ----------
    objective : one of ``OBJECTIVES``.

    Raises
    ------
    InputError
        If no placement that is tried fits, with what overflows in the nearest one; on an unknown
        objective; or as ``hardwire.experiments.system.answer.ask``.
    """
    objective = check_word("--objective", objective, OBJECTIVES)
    found = [load.ask(system) for system in _fitting(model, chip, kind, load, objective)]
    if not found:
        raise InputError(_nothing_fits(model, chip, kind, load))
    keys = {
        "rate": lambda one: (-one.decode_tokens_per_s_user, one.dies),
        "dies": lambda one: (one.dies, -one.decode_tokens_per_s_user),
        "usd": lambda one: (one.usd_per_million_tokens, one.dies),
    }
    options = tuple(sorted(found, key=keys[objective]))
    return Plan(objective, options[0], options)


def fewest(model: LanguageModel, chip: Chip, kind: LinkKind, load: Load) -> int | None:
    """The fewest dies that hold a model, of the placements that are tried; None where none does."""
    best: int | None = None
    for group in GROUPS:
        if best is not None:
            # Only what would be fewer: as many stages as that leaves must fit.
            stages = min((best - 1) // group, model.layers)
            system = arranged(model, chip, kind, stages, group) if stages else None
            if system is None or not load.fits(system):
                continue
        least = fewest_stages(model, chip, kind, load, group)
        if least is not None:
            best = least * group if best is None else min(best, least * group)
    return best


def _fitting(
    model: LanguageModel, chip: Chip, kind: LinkKind, load: Load, objective: str
) -> Iterator[System]:
    """Placements that hold the model: of each size of groups the fewest stages, and more of them
    where dies are not what counts."""
    for group in GROUPS:
        least = fewest_stages(model, chip, kind, load, group)
        if least is None:
            continue
        stretches = STRETCHES[:1] if objective == "dies" else STRETCHES
        numbers = {min(math.ceil(least * by), model.layers) for by in stretches}
        for stages in sorted(numbers):
            system = arranged(model, chip, kind, stages, group)
            if system is not None and (stages == least or load.fits(system)):
                yield system


def fewest_stages(
    model: LanguageModel, chip: Chip, kind: LinkKind, load: Load, group: int
) -> int | None:
    """The fewest stages of groups of one size that hold a model; None where none do.

    Found by doubling and then by halving: more stages never hold less.
    """

    def holds(stages: int) -> bool:
        system = arranged(model, chip, kind, stages, group)
        return system is not None and load.fits(system)

    low, high = 0, 1
    while not holds(high):
        if high == model.layers:
            return None
        low, high = high, min(2 * high, model.layers)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def arranged(
    model: LanguageModel, chip: Chip, kind: LinkKind, stages: int, group: int
) -> System | None:
    """Layers cut evenly into stages, each on its own group of dies; None where a group of that size
    does not divide what it splits.

    The embedding is on the first die, or in the host where the chip has it there, and the LM head
    on the last group. Dies that pass a vector on are linked, place by place, the last with the
    first.
    """
    names = die_names(stages * group)
    groups = [tuple(names[begin : begin + group]) for begin in range(0, len(names), group)]
    cut = evenly(layer_weights(model, embedded=chip.rom.embedding == "rom"), stages)
    made = [
        with_experts(Stage(layers, dies, kv=usual_kv(model)), model)
        for layers, dies in zip(cut, groups, strict=True)
    ]
    try:
        return System(
            name=f"{model.name}-{chip.name}x{len(names)}",
            title=f"{model.name} on {len(names)} dies of {chip.name}",
            dies=tuple(Die(name, chip) for name in names),
            links=_links(groups, kind),
            model=model,
            placement=Placement(
                tuple(made), names[0] if chip.rom.embedding == "rom" else HOST, groups[-1]
            ),
            source=f"planned: {stages} stages of {group} dies, linked by {kind.name}",
        )
    except InputError:
        return None


def layer_weights(model: LanguageModel, *, embedded: bool) -> list[int]:
    """Weights of each layer, the embedding with the first and the LM head with the last."""
    weights = [model.layer_weights(model.kind_of(layer)) for layer in range(model.layers)]
    weights[0] += model.embedding_weights * (embedded and not model.tied_embeddings)
    weights[-1] += model.embedding_weights
    return weights


def _links(groups: list[tuple[str, ...]], kind: LinkKind) -> tuple[Link, ...]:
    """Links inside each group and from each group to the next one, or all to one switch."""
    names = [die for group in groups for die in group]
    if len(names) == 1:
        return ()
    if kind.sheet.way == "switch":
        return tuple(Link((die, SWITCH), kind) for die in names)
    pairs = [pair for group in groups for pair in itertools.combinations(group, 2)]
    for one, other in itertools.pairwise(groups):
        pairs += list(zip(one, other, strict=True))
    if len(groups) > 2:
        pairs.append((groups[-1][0], groups[0][0]))
    return tuple(Link(pair, kind) for pair in pairs)


def _nothing_fits(model: LanguageModel, chip: Chip, kind: LinkKind, load: Load) -> str:
    """What overflows in the placement on most dies that can be made at all."""
    for group in reversed(GROUPS):
        system = arranged(model, chip, kind, model.layers, group)
        if system is None:
            continue
        found = fit(system, load.prompt + load.output, load.users, load.adapter, load.adapters)
        worst = max(found.values(), key=lambda one: (one.over_mm2 > 0, one.over_mm2))
        if not worst.fits:
            return (
                f"{model.name}: no placement on dies of {chip.name} holds it: with {group} dies "
                f"for each layer, {worst.obstacle}"
            )
    raise AssertionError("a die for each layer can always be made")
