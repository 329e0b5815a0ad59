"""Many systems at once: one placement over arrays of users and of the numbers of its links."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hardwire.experiments.system.answer import CLOSED_FORM, SystemAnswer, fit
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.system.system import System
from hardwire.simulator.fit import check_clock
from hardwire.simulator.system.closed_form import rates
from hardwire.simulator.system.power import sent_bytes, system_power
from hardwire.simulator.system.walk import walk_of


@dataclass(frozen=True)
class ManyAnswers:
    """What one placement does at many points. SI units; arrays of one shape, or numbers.

    Attributes
    ----------
    one : the answer for one user, whose rates and watts are arrays.
    users : at each point.
    """

    one: SystemAnswer
    users: Any

    @cached_property
    def decode_tokens_per_s_system(self) -> Any:
        """Of all users, by the power limits of the cards."""
        power, limit = self.one.power, np.inf
        for die, joules in power.card_j.items():
            if joules > 0:
                spare = max(power.limit_w[die] - power.card_idle_w[die], 0)
                limit = min(limit, spare / joules)
        return np.minimum(self.one.unlimited.decode_tokens_per_s_system, limit)

    @property
    def decode_tokens_per_s_user(self) -> Any:
        """Of one user, by the power limits."""
        return self.decode_tokens_per_s_system / self.users

    @property
    def power_w(self) -> Any:
        """Of all cards and links while all users decode."""
        return self.one.power.power_w(self.decode_tokens_per_s_system)

    @property
    def fits(self) -> Any:
        """Whether every die holds its part with these users."""
        return self.one.fits & (self.users <= self.one.max_users)

    @property
    def usd_per_million_tokens(self) -> Any:
        """As ``SystemAnswer.usd_per_million_tokens``; infinite where nothing is decoded."""
        rate = np.asarray(self.decode_tokens_per_s_system, float)
        decoded = rate > 0
        return np.where(
            decoded, self.one.usd_per_million_tokens_at(np.where(decoded, rate, 1)), np.inf
        )


def ask_many(
    system: System,
    *,
    prompt: int = 1024,
    output: int = 1024,
    users: Any = 1,
    adapter: Adapter | None = None,
    adapters: int = 1,
    experts: str = "uniform",
) -> ManyAnswers:
    """What a system does with equal requests, in closed form, at many points at once.

    Parameters
    ----------
    system : numbers of its links may be arrays.
    users : a number, or an array that broadcasts with those of the links.
    prompt, output, adapter, adapters, experts : as ``hardwire.experiments.system.answer.ask``
        takes them.

    Raises
    ------
    InputError
        If the load has no decode step or nobody, a chip's clock is out of its reach, or the
        adapter is not for this model.
    """
    for chip in {id(die.chip): die.chip for die in system.dies}.values():
        check_clock(chip)
    users = np.asarray(users)
    found = fit(system, prompt + output, 1, adapter, adapters)
    walk = walk_of(system, () if adapter is None else (adapter,))
    one = SystemAnswer(
        system=system,
        prompt=prompt,
        output=output,
        users=1,
        adapter=adapter,
        adapters=adapters if adapter is not None else 0,
        found=found,
        engine=CLOSED_FORM,
        unlimited=rates(
            system, prompt=prompt, output=output, users=users, adapter=adapter, routing=experts,
            walk=walk,
        ),
        power=system_power(system, found, walk, prompt=prompt, output=output, adapter=adapter),
        sent=sent_bytes(walk),
    )  # fmt: skip
    return ManyAnswers(one, users)
