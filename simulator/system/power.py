"""Power of a system: what dies and links take at all times, and what each token adds.

A token's products are those of the model on one die of the chip, whatever the split: each die takes
its share of that energy by the weights that it holds, copies too, since copies work as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.energy import token_energy
from hardwire.models.system.budget import DieBudget
from hardwire.models.system.contents import EMBEDDING
from hardwire.models.system.system import System
from hardwire.simulator.closed_form import decode_context
from hardwire.simulator.system.links import link_bytes
from hardwire.simulator.system.walk import Walk
from hardwire.simulator.timing import Timing


@dataclass(frozen=True)
class SystemPower:
    """Watts at rest and joules per token, by die and by link.

    Attributes
    ----------
    card_idle_w : of each die's card while it waits, by the die's name.
    card_j : what a token adds to each, regulators included.
    limit_w : of each card.
    link_idle_w, link_j : of each link, by its index; arrays where its numbers are.
    """

    card_idle_w: Mapping[str, float]
    card_j: Mapping[str, float]
    limit_w: Mapping[str, float]
    link_idle_w: Mapping[int, Any]
    link_j: Mapping[int, Any]

    @property
    def idle_w(self) -> Any:
        """Power at rest."""
        return sum(self.card_idle_w.values()) + sum(self.link_idle_w.values())

    @property
    def token_j(self) -> Any:
        """Energy that a token adds."""
        return sum(self.card_j.values()) + sum(self.link_j.values())

    def power_w(self, tokens_per_s: Any) -> Any:
        """Power while tokens are decoded at a rate: the sum over dies and links."""
        return self.idle_w + self.token_j * tokens_per_s

    def idle_share(self, tokens_per_s: float) -> float:
        """The part of that power which is there without any token."""
        return float(self.idle_w / self.power_w(tokens_per_s))

    def throttle(self, tokens_per_s: float) -> float:
        """The share of a rate that the power limits of the cards allow, 1 for all of it."""
        shares = [1.0]
        for die, idle in self.card_idle_w.items():
            taken = self.card_j[die] * tokens_per_s
            if taken > 0:
                shares.append(max(self.limit_w[die] - idle, 0) / taken)
        return min(shares)


def system_power(
    system: System,
    found: Mapping[str, DieBudget],
    walk: Walk,
    *,
    prompt: int,
    output: int,
    adapter: Adapter | None = None,
) -> SystemPower:
    """Power of a system whose tokens attend to the mean context of a load.

    Parameters
    ----------
    found : ``hardwire.models.system.budget.budgets`` of the system.
    walk : of its tokens, for what they put on links.
    """
    model = system.model
    shares = working_shares(found)
    adapters = () if adapter is None else (adapter,)
    energies: dict[int, float] = {}
    card_j = {}
    for die in system.dies:
        chip = die.chip
        if id(chip) not in energies:
            token = Timing.of(chip, model, adapters).tokens[-1]
            activity = token.activity(decode_context(prompt, output), sampled=True)
            energies[id(chip)] = float(sum(token_energy(chip, model, activity).values()))
        efficiency = float(chip.power.regulator_efficiency)
        card_j[die.name] = energies[id(chip)] * shares[die.name] / efficiency
    sent = sent_bytes(walk)
    kinds = {number: link.kind for number, link in enumerate(system.links)}
    on_link = dict.fromkeys(kinds, 0.0)
    for (number, _), size in sent.items():
        on_link[number] += size
    return SystemPower(
        card_idle_w={name: one.card_idle_w for name, one in found.items()},
        card_j=card_j,
        limit_w={die.name: float(die.chip.power.limit_w) for die in system.dies},
        link_idle_w={number: kind.idle_w for number, kind in kinds.items()},
        link_j={number: kind.energy_j(on_link[number]) for number, kind in kinds.items()},
    )


def working_shares(found: Mapping[str, DieBudget]) -> dict[str, float]:
    """Of the energy of a token's products the share of each die, by its name."""
    held = {name: _working(one) for name, one in found.items()}
    whole = sum(sum(one.held.weights.values()) for one in found.values())
    whole -= sum(one.held.weights.get(EMBEDDING, 0) for one in found.values())
    return {name: weights / whole for name, weights in held.items()}


def _working(one: DieBudget) -> int:
    """Weights of a die that tokens are multiplied by: all but the embedding's."""
    held = one.held
    return held.held - held.weights.get(EMBEDDING, 0) - held.copies.get(EMBEDDING, 0)


def sent_bytes(walk: Walk) -> dict[tuple[int, str], float]:
    """Bytes that a decode token puts on each link, by the link's index and the sender.

    Links that no token uses are left out.
    """
    found = {}
    for unit, size in link_bytes(walk).items():
        if unit.startswith("link "):
            _, number, sender, *_ = unit.split(" ")
            found[int(number), sender] = size
    return found
