"""What serves the requests of a server: a card of one chip, or a system of several dies.

A server's engines know one memory, one time of a token and one link to the host. Of a chip they are
its own. Of a system the tightest die decides what fits, and a swap ends when the last die has its
slices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import Chip
from hardwire.models.energy import transfer_energy
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.models.sram import kv_bytes_on
from hardwire.simulator.datapath import adapter_room
from hardwire.simulator.serving.cards.costs import TokenCosts, token_costs
from hardwire.simulator.supply import Supply, supply
from hardwire.simulator.swap import SwapLatency, swap_latency

PAGE_TOKENS = 16
"""Tokens of a KV page, as in the decoder's KV cache and in vLLM's blocks."""


class Hardware(ABC):
    """One of the equal machines of a server.

    Attributes
    ----------
    unit : what it is called in logs.
    model : that it holds.
    users : requests that it has in its datapath at a time.
    capacity, page_bytes : of memory for adapters and KV pages; of a system those of its tightest
        die.
    kinds : the unlike adapters, by identity.
    rooms : by the same, bytes of that memory.
    ways : by the same, from disk to the machine.
    usable : by the same, whether it can be loaded at all.
    kv_bytes_per_token : of all dies together, in their formats.
    page_s : seconds on the host link of a KV page.
    switch_s : seconds to point the datapath at another resident adapter.
    """

    unit: str
    model: LanguageModel
    users: int
    capacity: int
    page_bytes: int
    kinds: dict[int, Adapter]
    rooms: dict[int, int]
    ways: dict[int, Supply]
    usable: dict[int, bool]
    kv_bytes_per_token: float
    page_s: float
    switch_s: float

    def __init__(self, model: LanguageModel, adapters: Sequence[Adapter]) -> None:
        self.model = model
        self.kinds = {id(adapter): adapter for adapter in adapters}
        for adapter in self.kinds.values():
            check_base(adapter, model)

    @abstractmethod
    def costs(self, adapters: Sequence[Adapter], longest: int, limit_w: float) -> TokenCosts:
        """Ticks and energy of tokens of contexts up to ``longest``."""

    @abstractmethod
    def swaps(self, costs: TokenCosts) -> dict[int, SwapLatency]:
        """Of the adapters that are usable, by identity."""

    @abstractmethod
    def moved_j(self, adapter_bytes: float, kv_bytes: float) -> dict[str, float]:
        """Energy of bytes that moved between it and the host, regulators not included.

        ``kv_bytes`` are pages of ``page_bytes``.
        """

    def check(self, slots: int | None) -> None:  # noqa: B027 - a chip has nothing to refuse here
        """Refuse adapters that memory cannot hold together, beside what ``capacity`` says.

        Raises
        ------
        InputError
            If they, or so many slots, are too many for the part of memory that is for them.
        """


class Card(Hardware):
    """A card of one chip."""

    def __init__(self, server: Server, chip: Chip, adapters: Sequence[Adapter]) -> None:
        model = LanguageModel.open(chip.model)
        super().__init__(model, adapters)
        self.unit = "card"
        self.chip, self.issue = chip, server.issue
        self.users = int(server.machine.users_per_card)
        self.capacity = int(chip.sram.capacity_mib * BYTES_PER_MIB)
        self.page_bytes = int(PAGE_TOKENS * kv_bytes_on(chip, model))
        self.rooms = {key: adapter_room(chip, model, one) for key, one in self.kinds.items()}
        self.usable = {
            key: one.max_rank <= chip.formats.max_rank for key, one in self.kinds.items()
        }
        self.ways = {key: supply(chip, model, one) for key, one in self.kinds.items()}
        self.kv_bytes_per_token = float(kv_bytes_on(chip, model))
        self.page_s = self.page_bytes / (float(chip.link.bandwidth_gb_per_s) * 1e9)
        self.switch_s = float(chip.lora.switch_cycles) / (float(chip.datapath.clock_ghz) * 1e9)

    def costs(self, adapters: Sequence[Adapter], longest: int, limit_w: float) -> TokenCosts:
        return token_costs(
            self.chip, self.model, adapters, longest=longest, issue=self.issue, limit_w=limit_w
        )

    def swaps(self, costs: TokenCosts) -> dict[int, SwapLatency]:
        # Made for the tables, where all adapters are of one kind.
        program = costs.program if len(self.kinds) == 1 else None
        return {
            key: swap_latency(self.chip, self.model, adapter, program=program)
            for key, adapter in self.kinds.items()
            if self.usable[key]
        }

    def moved_j(self, adapter_bytes: float, kv_bytes: float) -> dict[str, float]:
        moved = transfer_energy(self.chip, adapter_bytes + kv_bytes)
        return {part: float(joules) for part, joules in moved.items()}


def ticks_of(seconds: float, hertz: float) -> int:
    """Whole ticks that hold some seconds."""
    return int(np.ceil(seconds * hertz))
