"""A system of several dies as the machine that serves requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.energy import transfer_energy
from hardwire.models.errors import InputError
from hardwire.models.server_of_systems import SystemServer, issued
from hardwire.models.system.budget import budgets, kv_bytes
from hardwire.models.whole import ceil_div
from hardwire.simulator.fit import check_clock
from hardwire.simulator.serving.cards.costs import TokenCosts, Tokens, costs_of, dynamic_energy
from hardwire.simulator.serving.cards.hardware import PAGE_TOKENS, Hardware
from hardwire.simulator.supply import Supply, supply
from hardwire.simulator.swap import SwapLatency
from hardwire.simulator.system.adapter_slices import adapter_rooms, adapter_slices
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.power import sent_bytes, working_shares
from hardwire.simulator.system.swap import system_swap
from hardwire.simulator.system.token_tables import is_serial, token_ticks
from hardwire.simulator.system.walk import Walk, walk_of
from hardwire.simulator.timing import Timing


class Dies(Hardware):
    """A system, whose memory is that of its tightest die.

    Each die has its part of every KV page and of every adapter. What they take is counted on the
    die whose memory pages fill first, with an adapter as large there as it is, by share of memory,
    where it is largest: what is let in fits on every die, and of unlike dies a little more might.
    """

    def __init__(self, server: SystemServer, adapters: Sequence[Adapter]) -> None:
        self.system = system = issued(server.system, server.issue)
        super().__init__(system.model, adapters)
        self.unit, self.users = "system", server.users
        for die in system.dies:
            check_clock(die.chip)
        self.found = budgets(system)
        self.held: dict[str, float] = {
            die.name: kv_bytes(die.chip, self.model, self.found[die.name].held, 1)
            for die in system.dies
        }
        memory = {name: int(one.sram_bytes + one.memory_bytes) for name, one in self.found.items()}
        self.tightest = max(memory, key=lambda name: self.held[name] / memory[name])
        self.capacity = memory[self.tightest]
        self.page_bytes = int(PAGE_TOKENS * self.held[self.tightest])
        self.room_of = {key: adapter_rooms(system, one) for key, one in self.kinds.items()}
        self.rooms = {
            key: max(int(ceil_div(room * self.capacity, memory[die])) for die, room in of.items())
            for key, of in self.room_of.items()
        }
        ranks = [die.chip.formats.max_rank for die in system.dies]
        self.usable = {key: one.max_rank <= min(ranks) for key, one in self.kinds.items()}
        self.ways = {key: self._way(one) for key, one in self.kinds.items()}
        self.kv_bytes_per_token = sum(self.held.values())
        self.page_s = self._sent_s({die: PAGE_TOKENS * size for die, size in self.held.items()})
        self.switch_s = max(
            float(die.chip.lora.switch_cycles) / (float(die.chip.datapath.clock_ghz) * 1e9)
            for die in system.dies
        )

    def check(self, slots: int | None) -> None:
        for die, one in self.found.items():
            largest = max((of[die] for of in self.room_of.values()), default=0)
            taken = largest * (slots or 1)
            if one.memory_bytes and taken > one.sram_bytes:
                raise InputError(
                    f"{self.system.name}: die {die}: adapters of {taken / BYTES_PER_MIB:,.1f} MiB "
                    f"do not fit in {one.sram_bytes / BYTES_PER_MIB:,g} MiB of SRAM, and its other "
                    "memory is for keys and values"
                )

    # --- the way from the host ----------------------------------------------------------------

    def _sent_s(self, sizes: dict[str, float]) -> float:
        """Seconds until all dies have their bytes, over one host link or one for each."""
        seconds = [
            size / (float(self.system.die(die).chip.link.bandwidth_gb_per_s) * 1e9)
            for die, size in sizes.items()
        ]
        return max(seconds) if self.system.host_links == "each" else sum(seconds)

    def _way(self, adapter: Adapter) -> Supply:
        """As that of one chip, with the bytes of all dies' slices."""
        sizes = {die: sum(of.values()) for die, of in adapter_slices(self.system, adapter).items()}
        ways = {die.name: supply(die.chip, self.model, adapter) for die in self.system.dies}
        image = sum(sizes.values())
        sent_s = {die: sizes[die] / float(ways[die].bytes_per_s) for die in sizes}
        last = max(sent_s, key=lambda die: sent_s[die])
        whole_s = sent_s[last] if self.system.host_links == "each" else sum(sent_s.values())
        first = ways[last]
        converted = self.system.die(last).chip.link.host_copy == "converted"
        return Supply(
            file_bytes=first.file_bytes,
            host_bytes=image if converted else first.host_bytes,
            image_bytes=image,
            disk_s=max(float(way.disk_s) for way in ways.values()),
            # Of one die its own, to the bit.
            bytes_per_s=float(first.bytes_per_s) * (sent_s[last] / whole_s) * (image / sizes[last]),
        )

    def swaps(self, costs: TokenCosts) -> dict[int, SwapLatency]:
        return {
            key: system_swap(self.system, one).latency
            for key, one in self.kinds.items()
            if self.usable[key]
        }

    def moved_j(self, adapter_bytes: float, kv_bytes: float) -> dict[str, float]:
        """Each byte by the chip of the first die; pages have the parts of all dies."""
        parts = sum(self.held.values()) / self.held[self.tightest]
        moved = transfer_energy(self.system.dies[0].chip, adapter_bytes + kv_bytes * parts)
        return {part: float(joules) for part, joules in moved.items()}

    # --- tokens -------------------------------------------------------------------------------

    def costs(self, adapters: Sequence[Adapter], longest: int, limit_w: float) -> TokenCosts:
        """Tables of the system's own program, whose ticks are those of its engines.

        Raises
        ------
        InputError
            If the limit is below what a die or all of them take at rest.
        """
        system, kinds = self.system, list(self.kinds.values())
        walk = walk_of(system, kinds)
        program = build_program(system, kinds, walk=walk)
        links_w = sum(float(link.kind.idle_w) for link in system.links)
        idle_w = sum(one.card_idle_w for one in self.found.values()) + links_w
        efficiency = {d.name: float(d.chip.power.regulator_efficiency) for d in system.dies}
        base = efficiency[system.dies[0].name]
        budget_of = {
            name: (self._limit(name, limit_w, idle_w) - one.card_idle_w) * efficiency[name]
            for name, one in self.found.items()
        }
        budget_w = (limit_w - idle_w) * base
        for name, left in (*budget_of.items(), (system.name, budget_w)):
            if left <= 0:
                raise InputError(
                    f"{name}: a power limit of {limit_w:.0f} W for the system is below the "
                    f"{idle_w:.1f} W that it takes before it computes a token"
                )
        shares = working_shares(self.found)
        timings = {id(die.chip): Timing.of(die.chip, self.model, kinds) for die in system.dies}

        def tokens(sampled: bool) -> Tokens:
            ticks = token_ticks(program, longest, sampled=sampled)
            of_chip = {
                key: dynamic_energy(timing, longest, sampled) for key, timing in timings.items()
            }
            joules: NDArray[np.float64] = np.zeros(ticks.latency.shape)
            spread = np.zeros(ticks.latency.shape)
            for die in system.dies:
                mine = of_chip[id(die.chip)] * shares[die.name]
                joules += mine * (base / efficiency[die.name])
                spread = np.maximum(spread, mine / budget_of[die.name])
            joules += _links_j(walk, sampled=sampled) * base
            spread = np.maximum(spread, joules / budget_w)
            capped = np.ceil(spread * program.hz).astype(np.int64)
            return ticks.latency, ticks.interval, capped, joules

        place = {key: number for number, key in enumerate(self.kinds, start=1)}
        return costs_of(
            tokens(sampled=False),
            tokens(sampled=True),
            row=[0, *(place[id(adapter)] for adapter in adapters)],
            idle_w=idle_w,
            budget_w=budget_w,
            regulator_efficiency=base,
            serial=is_serial(program),
            clock_hz=program.hz,
            program=None,
        )

    def _limit(self, die: str, limit_w: float, idle_w: float) -> float:
        """What a die may take, at most: its own limit, or what all others leave at rest."""
        others = idle_w - self.found[die].card_idle_w
        return min(float(self.system.die(die).chip.power.limit_w), limit_w - others)


def _links_j(walk: Walk, *, sampled: bool) -> float:
    """What a token's bytes take on links, beyond what lanes take at all times."""
    parts = tuple(part for part in walk.parts if sampled or not part.head)
    sent = sent_bytes(dataclasses.replace(walk, parts=parts))
    return sum(
        float(walk.system.links[number].kind.energy_j(size)) for (number, _), size in sent.items()
    )
