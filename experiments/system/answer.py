"""One question to a system of dies: this load on these dies. And its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.brief import one_line
from hardwire.models.cost import SECONDS_PER_YEAR, mask_cost_usd
from hardwire.models.errors import InputError
from hardwire.models.parameters import check_word
from hardwire.models.system.budget import DieBudget, budgets
from hardwire.models.system.system import System
from hardwire.simulator.fit import check_clock
from hardwire.simulator.load import check_load
from hardwire.simulator.system.adapter_slices import adapter_rooms
from hardwire.simulator.system.closed_form import SystemRates, rates
from hardwire.simulator.system.measured import measure
from hardwire.simulator.system.power import SystemPower, sent_bytes, system_power
from hardwire.simulator.system.walk import Walk, walk_of

CLOSED_FORM = "closed form"
ENGINES = (CLOSED_FORM, "compiled", "reference")
"""What computes rates; the engines simulate every token."""


@dataclass(frozen=True)
class SystemAnswer:
    """What a system does with a load, and what it takes. SI units.

    Attributes
    ----------
    adapters : of the adapter's size that lie in SRAM at a time.
    found : what each die has and needs, by its name.
    engine : what the rates are of: ``closed form``, ``compiled`` or ``reference``.
    unlimited : rates if power were free.
    power : at rest and per token.
    sent : bytes per token on each link, by its index and the sender.
    """

    system: System
    prompt: int
    output: int
    users: int
    adapter: Adapter | None
    adapters: int
    engine: str
    found: Mapping[str, DieBudget]
    unlimited: SystemRates
    power: SystemPower
    sent: Mapping[tuple[int, str], float]

    def __repr__(self) -> str:
        rate = f"{self.decode_tokens_per_s_user:,.0f} tokens/s for one user"
        dies = f"{self.dies} die{'s' * (self.dies > 1)}"
        wrong = "" if self.fits else "does not fit"
        return one_line(self, self.system.name, wrong, rate, dies, self.system.model.name)

    @property
    def dies(self) -> int:
        """How many there are."""
        return len(self.system.dies)

    @property
    def obstacles(self) -> tuple[str, ...]:
        """What the dies cannot hold, a sentence for each that overflows."""
        return tuple(one.obstacle for one in self.found.values() if one.obstacle is not None)

    @property
    def fits(self) -> bool:
        """Whether every die holds what is placed on it."""
        return not self.obstacles

    @cached_property
    def throttle(self) -> float:
        """The share of the rates that the power limits of the cards leave."""
        return self.power.throttle(float(self.unlimited.decode_tokens_per_s_system))

    @property
    def in_flight(self) -> float:
        """Tokens in the system at once; of one user there is one, which nothing else bounds."""
        return float(self.unlimited.in_flight)

    @property
    def decode_tokens_per_s_user(self) -> float:
        """Of one user, by the power limits."""
        return float(self.unlimited.decode_tokens_per_s_user) * self.throttle

    @property
    def decode_tokens_per_s_system(self) -> float:
        """Of all users, by the power limits."""
        return float(self.unlimited.decode_tokens_per_s_system) * self.throttle

    @property
    def power_w(self) -> float:
        """Of all cards and links while all users decode."""
        return self.power.power_w(self.decode_tokens_per_s_system)

    @property
    def energy_j_per_token(self) -> float:
        """Of all cards and links while they decode without a pause; infinite where none can."""
        rate = self.decode_tokens_per_s_system
        return self.power_w / rate if rate else math.inf

    @cached_property
    def variants(self) -> int:
        """Dies with weights that no other one has, each with masks of its own; a die that holds
        nothing but copies is made with those of another."""
        return sum(self._is_variant(die.name) for die in self.system.dies)

    def _is_variant(self, die: str) -> bool:
        return bool(sum(self.found[die].held.weights.values()))

    @cached_property
    def masks_usd(self) -> dict[str, float]:
        """Price of masks: ``shared`` by all dies of a chip, of ``variants``, and in ``total``."""
        total = {"shared": 0.0, "variants": 0.0, "total": 0.0}
        for chip in {id(die.chip): die.chip for die in self.system.dies}.values():
            own = [die.name for die in self.system.dies if die.chip is chip]
            variants = sum(map(self._is_variant, own))
            for part, usd in mask_cost_usd(chip, variants).items():
                total[part] += float(usd)
        return total

    @cached_property
    def cards_usd(self) -> float:
        """Of all dies with package, test and board; infinite where one cannot be made."""
        return sum(
            self.found[die.name].die_usd
            + float(die.chip.cost.package_test_usd)
            + float(die.chip.cost.board_usd)
            for die in self.system.dies
        )

    @cached_property
    def usd_per_million_tokens(self) -> float:
        """Depreciation of the cards and electricity, waiting included, as
        ``hardwire.models.cost.usd_per_million_tokens``; without masks, design and hosts. The sum
        over dies and links."""
        rate = self.decode_tokens_per_s_system
        return self.usd_per_million_tokens_at(rate) if rate else math.inf

    def usd_per_million_tokens_at(self, rate: Any) -> Any:
        """The same at a rate of all users above 0, or at each of an array of them."""
        cost = self.system.dies[0].chip.cost
        idle = sum(self.power.link_idle_w.values()) / (float(cost.utilization) * rate)
        links = (idle + sum(self.power.link_j.values())) * usd_per_j(cost)
        return 1e6 * links + sum(self._die_usd_at(die, rate) for die in self.found)

    def die_usd_per_million_tokens(self, die: str) -> float:
        """Of one die and its card; infinite where nothing is decoded, or the die cannot be made."""
        rate = self.decode_tokens_per_s_system
        return self._die_usd_at(die, rate) if rate else math.inf

    def _die_usd_at(self, die: str, rate: Any) -> Any:
        cost, found = self.system.die(die).chip.cost, self.found[die]
        usd = found.die_usd + float(cost.package_test_usd) + float(cost.board_usd)
        used = float(cost.utilization)
        written_off = usd / (float(cost.lifetime_years) * SECONDS_PER_YEAR * used * rate)
        joules = self.power.card_j[die] + found.card_idle_w / (used * rate)
        return 1e6 * (written_off + joules * usd_per_j(cost))

    @property
    def max_users(self) -> int:
        """Users of this length whose keys and values the fullest die holds beside the adapters."""
        rooms = []
        for one in self.found.values():
            if each := one.kv_bytes / self.users:
                beside = max(one.sram_bytes - one.adapter_bytes, 0)
                rooms.append((beside + one.memory_bytes * (beside > 0)) / each)
        return math.floor(min(rooms))

    def link_share(self, link: int, sender: str) -> float:
        """The share of the time that a link is busy one way while all users decode."""
        kind = self.system.links[link].kind
        rate = min(float(kind.bandwidth), float(kind.port))
        return self.sent.get((link, sender), 0.0) * self.decode_tokens_per_s_system / rate

    def to_dict(self) -> dict[str, Any]:
        """The answer as one object of plain values, in SI units."""
        rate = self.decode_tokens_per_s_system
        return {
            "system": self.system.name,
            "title": self.system.title,
            "model": self.system.model.name,
            "chips": sorted({die.chip.name for die in self.system.dies}),
            "dies": self.dies,
            "prompt": self.prompt,
            "output": self.output,
            "users": self.users,
            "adapter": self.adapter.name if self.adapter else None,
            "adapters": self.adapters,
            "engine": self.engine,
            "fits": self.fits,
            "obstacles": list(self.obstacles),
            "decode_tokens_per_s_user": self.decode_tokens_per_s_user,
            "decode_tokens_per_s_system": rate,
            "ttft_s": float(self.unlimited.ttft_s),
            "latency_s": {k: float(v) for k, v in self.unlimited.latency_s.items()},
            "critical_unit": self.unlimited.critical_unit,
            "power_throttle": self.throttle,
            "power_w": self.power_w,
            "idle_w": self.power.idle_w,
            "idle_share": self.power.idle_share(rate),
            "links_w": sum(self.power.link_idle_w.values()),
            "energy_j_per_token": _finite(self.energy_j_per_token),
            "cards_usd": _finite(self.cards_usd),
            "masks_usd": self.masks_usd,
            "variants": self.variants,
            "usd_per_million_tokens": _finite(self.usd_per_million_tokens),
            "max_users": self.max_users,
            "by_die": {name: _of_die(one, self) for name, one in self.found.items()},
            "by_link": [
                {
                    "ends": list(link.ends),
                    "kind": link.kind.name,
                    "bytes_per_token": {
                        end: self.sent.get((number, end), 0.0) for end in link.ends
                    },
                    "busy": {end: self.link_share(number, end) for end in link.ends},
                }
                for number, link in enumerate(self.system.links)
            ],
            "placement": self.system.placement.to_dict(),
        }


def _of_die(one: DieBudget, of: SystemAnswer) -> dict[str, Any]:
    layers = sorted(one.held.slices)
    idle, joules = one.card_idle_w, of.power.card_j[one.die]
    return {
        "chip": one.chip,
        "layers": [layers[0], layers[-1]] if layers else [],
        "weights": one.held.held,
        "copies": sum(one.held.copies.values()),
        "area_mm2": dict(one.area_mm2),
        "die_mm2": one.die_mm2,
        "over_mm2": one.over_mm2,
        "sram_bytes": one.sram_bytes,
        "kv_bytes": one.kv_bytes,
        "adapter_bytes": one.adapter_bytes,
        "over_bytes": one.over_bytes,
        "spilled_bytes": one.spilled_bytes,
        "fits": one.fits,
        "idle_w": idle,
        "power_w": idle + joules * of.decode_tokens_per_s_system,
        "yield": one.yield_share,
        "die_usd": _finite(one.die_usd),
        "usd_per_million_tokens": _finite(of.die_usd_per_million_tokens(one.die)),
    }


def usd_per_j(cost: Any) -> float:
    """Price of a joule at the meter of the site, in USD, by the cost section of a chip."""
    return float(cost.pue) * float(cost.electricity_usd_per_kwh) / 3.6e6


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def ask(
    system: System,
    *,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    adapter: Adapter | None = None,
    adapters: int = 1,
    experts: str = "uniform",
    engine: str = CLOSED_FORM,
) -> SystemAnswer:
    """What a system does with ``users`` equal requests.

    Parameters
    ----------
    adapter : that all requests use, or None.
    adapters : of its size that lie in SRAM.
    experts : how tokens choose experts, as ``hardwire.simulator.system.routing.Routing.open``.
    engine : one of ``ENGINES``.

    Raises
    ------
    InputError
        If the load is none, exceeds the model's context, a chip's clock is out of its reach, or the
        adapter is not for this model or these chips.
    """
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    if prompt + output > system.model.max_position:
        raise InputError(
            f"prompt and output: {prompt + output:,} tokens exceed {system.model.limit()}"
        )
    for chip in {id(die.chip): die.chip for die in system.dies}.values():
        check_clock(chip)
        if adapter is not None and adapter.max_rank > chip.formats.max_rank:
            raise InputError(
                f"{adapter.name}: rank {adapter.max_rank} exceeds what {chip.name} takes "
                f"(formats.max_rank: 1 to {chip.formats.max_rank})"
            )
    engine = check_word("--engine", engine, ENGINES)
    found = fit(system, prompt + output, users, adapter, adapters)
    walk = walk_of(system, () if adapter is None else (adapter,))
    return SystemAnswer(
        system=system,
        prompt=prompt,
        output=output,
        users=users,
        adapter=adapter,
        adapters=adapters if adapter is not None else 0,
        found=found,
        engine=engine,
        unlimited=_rates(system, engine, prompt, output, users, adapter, experts, walk),
        power=system_power(system, found, walk, prompt=prompt, output=output, adapter=adapter),
        sent=sent_bytes(walk),
    )


def _rates(
    system: System,
    engine: str,
    prompt: int,
    output: int,
    users: int,
    adapter: Adapter | None,
    experts: str,
    walk: Walk,
) -> SystemRates:
    """Rates by what computes them."""
    if engine == CLOSED_FORM:
        return rates(
            system, prompt=prompt, output=output, users=users, adapter=adapter, routing=experts,
            walk=walk,
        )  # fmt: skip
    return measure(
        system, prompt=prompt, output=output, users=users, adapter=adapter, routing=experts,
        engine="reference" if engine == "reference" else "compiled",
    )  # fmt: skip


def fit(
    system: System, context: int, users: int, adapter: Adapter | None, adapters: int
) -> dict[str, DieBudget]:
    """What each die has and needs, with some adapters of one size in SRAM."""
    rooms = {} if adapter is None else adapter_rooms(system, adapter)
    return budgets(
        system,
        users=users,
        context_tokens=context,
        adapter_bytes={die: adapters * room for die, room in rooms.items()},
    )


def overfull(one: DieBudget) -> str:
    """By how much a die overflows, in few words."""
    words = []
    if one.over_mm2 > 0:
        words.append(f"+{one.over_mm2:,.0f} mm²")
    if one.over_bytes > 0:
        words.append(f"+{one.over_bytes / BYTES_PER_MIB:,.0f} MiB")
    return ", ".join(words)
