"""One replay: from the options, given or saved in a file, to a log and its numbers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardwire.experiments.replay.prepared import Prepared
from hardwire.experiments.replay.refusals import causes, nothing_served
from hardwire.experiments.replay.setup import (
    CARD_FIELDS,
    POLICY_CHOICES,
    POLICY_FIELDS,
    Setup,
    option_of,
)
from hardwire.experiments.replay.several import ROUTING, engine_of, fleet_summary, serve
from hardwire.experiments.replay.sound import SOUND, soundness, soundness_of_dies
from hardwire.experiments.shared.settings import set_over
from hardwire.models.brief import one_line
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.simulator.serving.closed_loop import arrived
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.load.client_rates import ClientRates
from hardwire.simulator.serving.load.popularity import Uniform, assign_adapters, parse_popularity
from hardwire.simulator.serving.load.synthetic import make_tenants, make_workload, preset_names
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog, Status
from hardwire.simulator.serving.metrics import summarize
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import AnyServer, open_server, price_of

DEFAULT_RANK = 16
Loader = Callable[[Setup, LanguageModel], tuple[Workload, AdapterSet]]


@dataclass(frozen=True)
class Replay:
    """A replay and its numbers.

    Attributes
    ----------
    title, memory : of the server; what its memory for KV and adapters is called.
    chip : on the cards; of a GPU server none.
    ranks : of the adapters.
    summary : what ``hardwire.simulator.serving.metrics.summarize`` gives.
    prepared : what was replayed, for intervals; None of one that is read back.
    wall_s : seconds that the simulation took. Not among the answers, which are the same each time.
    """

    setup: Setup
    title: str
    memory: str
    workload: Workload
    ranks: frozenset[int]
    log: ServingLog
    summary: dict[str, Any]
    wall_s: float
    chip: Chip | None = None
    prepared: Prepared | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        data = self.summary
        rate = data["output_tokens_per_s"]
        met = data["slo_met"]
        return one_line(
            self,
            str(data["server"]),
            self.workload.name,
            f"{data['completed']:,} of {data['requests']:,} requests served",
            "" if rate is None else f"{rate:,.0f} output tokens/s",
            "" if met is None else f"{met:.1%} met the SLO",
        )

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C cut it off."""
        return self.summary["interrupted"] is not None

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return self.summary

    def words(self) -> list[str]:
        """What was run, for headlines."""
        setup, count = self.setup, int(self.summary["requests"])
        closed = f", {setup.concurrency:,} in flight" if setup.concurrency else ""
        length = self.workload.duration_s
        span = f"{length / 60:,.0f} min" if length >= 600 else f"{length:,.3g} s"
        words = [f"{self.workload.name}: {count:,} request{'s' * (count != 1)} in {span}{closed}"]
        if skipped := self.workload.skipped:
            words[0] += f" ({skipped:,} that failed there left out)"
        if setup.chip and self.chip is not None:
            words.append(f"chip {self.chip.name}")
        words += [f"{name}={value}" for name, value in (setup.settings or {}).items()]
        adapters = len(self.workload.adapters)
        if adapters:
            low, high = min(self.ranks), max(self.ranks)
            rank = f"rank {low}" if low == high else f"ranks {low} to {high}"
            words.append(f"{adapters:,} adapter{'s' * (adapters != 1)} of {rank}")
            if setup.popularity:
                words.append(setup.popularity)
        words += [
            str(getattr(setup, name))
            for name in ("residency", "swap", "schedule", "routing")
            if getattr(setup, name)
        ]
        if setup.servers:
            words.append(f"{setup.servers} servers, {setup.server_routing or ROUTING}")
        if setup.slots:
            words.append(f"{setup.slots} slots")
        return [*words, f"seed {setup.seed}"]


def prepare(
    setup: Setup,
    load: Loader | None = None,
    *,
    server: AnyServer | None = None,
    chip: Chip | None = None,
) -> Prepared:
    """Open the server, make the workload and give its requests their adapters.

    Parameters
    ----------
    load : instead of ``make_load``, such as one that keeps the loads that it made.
    server, chip : instead of those that the setup names; settings are set over the chip.

    Raises
    ------
    InputError
        On a source, server, adapter or choice that cannot be used, or that go not together.
    """
    server = server or open_server(setup.server)
    if isinstance(server, BatchServer):
        for name in (*POLICY_FIELDS, *CARD_FIELDS):
            if getattr(setup, name) is not None:
                why = "which has none" if name in CARD_FIELDS else "with a scheduler of its own"
                raise InputError(
                    f"{option_of(name)}: is of hardwired servers; {server.name} is a GPU server "
                    + why
                )
        chip, model = None, server.model
    elif not isinstance(server, Server):
        for name in CARD_FIELDS:
            if getattr(setup, name) is not None:
                raise InputError(
                    f"{option_of(name)}: is of servers of cards of one chip, which {server.name} "
                    "is not"
                )
        chip, model = None, server.model
    else:
        chip = set_over(chip, setup.settings) if chip else setup.card_chip(server)
        model = LanguageModel.open(chip.model)
    workload, offered = (load or make_load)(setup, model)
    chosen = policy_of(setup, offered)
    hardwired = not isinstance(server, BatchServer)
    filled: dict[str, Any] = {}
    if hardwired:
        filled = choices_of(chosen)
    if setup.engine is None:
        filled["engine"] = engine_of(setup, len(workload), hardwired=hardwired)
    if setup.server_routing is not None and setup.servers is None:
        raise InputError("--server-routing: is of several servers, which --servers asks for")
    setup = setup.model_copy(update=filled)
    return Prepared(setup, server, workload, offered.adapters, chosen, chip)


def policy_of(setup: Setup, offered: AdapterSet) -> Policy:
    """The policy of a hardwired server, as far as it is chosen."""
    given = {
        name: getattr(setup, name)
        for name in (*POLICY_CHOICES, "slots")
        if getattr(setup, name) is not None
    }
    return Policy(
        **given,
        pinned=offered.pinned,
        ttft_goal_s=setup.goals.ttft_s or Policy.ttft_goal_s,
        reserve_s=setup.reserve,
        power_limit_w=setup.power_limit,
    )


def choices_of(chosen: Policy) -> dict[str, Any]:
    """The choices of a policy, by the names of the options."""
    return {name: getattr(chosen, name) for name in POLICY_CHOICES}


def run(
    prepared: Prepared,
    progress: Callable[[float], None] | None = None,
    *,
    chip: Chip | None = None,
) -> Replay:
    """Replay what was prepared.

    Parameters
    ----------
    chip : on the cards of a hardwired server, instead of the server's own.
    progress : called now and then with the simulated seconds; if it fails it is called no more.

    Raises
    ------
    InputError
        If the server cannot be set up so (out of memory), or with ``strict`` and a request that it
        can never serve.
    """
    setup, workload, server = prepared.setup, prepared.workload, prepared.server
    begin = time.perf_counter()
    log, fleet = serve(
        prepared,
        chip=chip or prepared.chip,
        progress=None if progress is None else _harmless(progress),
    )
    wall_s = time.perf_counter() - begin
    log = _with_interrupt(log, setup)
    workload, log = arrived(workload, log)
    summary = summarize(workload, log, setup.goals, server=prepared.name)
    if setup.concurrency:
        summary["concurrency"] = setup.concurrency
    if workload.skipped:
        summary["skipped"] = workload.skipped
    summary["price_usd"] = price_of(server) * (setup.servers or 1)
    if fleet is not None:
        routing = setup.server_routing or ROUTING
        summary["fleet"] = fleet_summary(fleet, workload, setup.goals, routing, server.name)
    cards = chip or prepared.chip
    if isinstance(server, Server) and cards is not None:
        summary |= soundness(server, cards, workload, setup.power_limit)
    elif isinstance(server, SystemServer):
        summary |= soundness_of_dies(server)
    else:
        summary |= SOUND
    if why := causes(workload, log, prepared.adapters, cards):
        summary["refusal_causes"] = why
    memory = "GPU memory" if isinstance(server, BatchServer) else "SRAM"
    # Adapters of one shape are one object, whose rank is looked up once.
    ranks = frozenset(one.max_rank for one in {id(a): a for a in prepared.adapters}.values())
    of = dataclasses.replace(prepared, chip=cards)
    return Replay(setup, server.title, memory, workload, ranks, log, summary, wall_s, cards, of)


def refuse_nothing_served(done: Replay) -> None:
    """Refuse a load of which nothing can be served.

    Raises
    ------
    InputError
        If nothing can be.
    """
    if (why := nothing_served(done.summary)) is not None:
        raise InputError(f"{done.summary['server']}: {why}")


def refuse_what_is_never_served(done: Replay) -> None:
    """Refuse a load of which nothing can be served; with ``strict``, one request is enough.

    Raises
    ------
    InputError
        If nothing can be; or with ``strict``, naming the first request that never can.
    """
    refuse_nothing_served(done)
    status, workload = done.log.status, done.workload
    refused = np.flatnonzero((status == Status.TOO_LONG) | (status == Status.ADAPTER_TOO_BIG))
    if not done.setup.strict or len(refused) == 0:
        return
    request = int(refused[0])
    number = int(workload.adapter[request])
    adapter = f"adapter {workload.adapters[number]}" if number >= 0 else "no adapter"
    tokens = f"{workload.prompt[request]:,} + {workload.output[request]:,} tokens"
    why = (
        "is longer than the context, or than the memory beside the adapter"
        if status[request] == Status.TOO_LONG
        else "wants an adapter that can never be loaded"
    )
    raise InputError(
        f"--strict: {workload.name}: request {request + 1} ({tokens}, {adapter}) {why} on "
        f"{done.summary['server']}; {len(refused):,} of {len(workload):,} requests can never be "
        "served"
    )


def make_load(setup: Setup, model: LanguageModel) -> tuple[Workload, AdapterSet]:
    """The requests of a replay and the adapters on offer: what ``LOAD_FIELDS`` decide.

    Raises
    ------
    InputError
        On a source or adapters that cannot be used, or that go not together.
    """
    if setup.concurrency is None:
        return _open_load(setup, model)
    for name in ("rate", "arrivals", "duration", "adapter_rates", "client_rates"):
        if getattr(setup, name) is not None:
            raise InputError(
                f"--concurrency: a request comes when another ends, so {option_of(name)} has "
                "nothing to say"
            )
    made, offered = _open_load(setup, model)
    return made.closed(setup.concurrency), offered


def _open_load(setup: Setup, model: LanguageModel) -> tuple[Workload, AdapterSet]:
    """The same with the arrivals of the source, or as they are asked for."""
    rank = setup.rank or DEFAULT_RANK
    offered = None if setup.adapters is None else AdapterSet.open(setup.adapters, model, rank)
    if setup.rank is not None and offered is not None and not _is_count(setup.adapters):
        raise InputError("--rank: the catalogue file states the shape of each adapter")
    if setup.adapter_rates is not None:
        return _tenants(setup, offered)
    if setup.client_rates is not None:
        return _clients(setup, setup.client_rates, offered, model)
    made = make_workload(
        setup.source,
        rate=setup.rate,
        duration=setup.duration,
        requests=setup.requests,
        arrivals=setup.arrivals or "source",
        time_unit=setup.time_unit,
        sort=setup.sort,
        seed=setup.seed,
    )
    if made.adapters and setup.popularity is None:  # the trace says who wants which
        if offered is None or (_is_count(setup.adapters) and len(offered) > 0):
            offered = _named(made, offered, model, rank)
        # No adapters are adapters off: everybody gets the base model.
        return (offered.bind(made) if offered else assign_adapters(made, (), Uniform())), offered
    if offered is None:
        if setup.popularity is not None:
            raise InputError("--popularity: needs --adapters, a number or a catalogue file")
        offered = AdapterSet.equal(0, model, rank)
    asked = offered.popularity() if setup.popularity is None else parse_popularity(setup.popularity)
    return assign_adapters(made, offered.names, asked, setup.seed), offered


def _is_count(text: str | None) -> bool:
    return text is not None and text.strip().lstrip("-").isdigit()


def _named(
    made: Workload, offered: AdapterSet | None, model: LanguageModel, rank: int
) -> AdapterSet:
    """Equal adapters under the names that a trace uses."""
    if offered is not None and set(made.adapters) <= set(offered.names):
        return offered
    if offered is not None and len(offered) < len(made.adapters):
        raise InputError(
            f"--adapters {len(offered)}: {made.name} names {len(made.adapters)} adapters"
        )
    equal = AdapterSet.equal(len(made.adapters), model, rank)
    return dataclasses.replace(equal, names=made.adapters)


def _tenants(setup: Setup, offered: AdapterSet | None) -> tuple[Workload, AdapterSet]:
    assert setup.adapter_rates is not None
    duration = _drawn_for(setup, "--adapter-rates", "rate", "client_rates")
    if not offered:
        raise InputError("--adapter-rates: needs --adapters, a number or a catalogue file")
    made = make_tenants(
        offered.names, setup.adapter_rates, duration, lengths=setup.source, seed=setup.seed
    )
    return dataclasses.replace(made, name=setup.source), offered


def _clients(
    setup: Setup, path: str, offered: AdapterSet | None, model: LanguageModel
) -> tuple[Workload, AdapterSet]:
    duration = _drawn_for(setup, "--client-rates")
    rates = ClientRates.open(path)
    if offered is None:
        equal = AdapterSet.equal(len(rates.clients), model, setup.rank or DEFAULT_RANK)
        offered = dataclasses.replace(
            equal, names=tuple(f"client-{client}" for client in rates.clients)
        )
    if not offered:
        raise InputError("--client-rates: gives every client an adapter, so 0 are too few")
    made = rates.workload(
        offered.names, duration, rate=setup.rate, lengths=setup.source, seed=setup.seed
    )
    return made, offered


def _drawn_for(setup: Setup, option: str, *beside: str) -> float:
    """The duration of a load that ``option`` states, which leaves no say to others."""
    for name in ("requests", "popularity", "arrivals", "time_unit", *beside):
        if getattr(setup, name) is not None:
            word = name.replace("_", "-")
            raise InputError(f"{option}: states the load, as --{word} would")
    if setup.duration is None:
        raise InputError(f"{option}: needs --duration")
    if setup.source not in preset_names():
        raise InputError(
            f"{option}: takes lengths from a preset ({', '.join(preset_names())}), not from "
            f"{setup.source}"
        )
    return setup.duration


def _harmless(progress: Callable[[float], None]) -> Callable[[float], None]:
    """A progress call that cannot fail a run: after its first error it is silent."""
    broken = False

    def report(simulated_s: float) -> None:
        nonlocal broken
        if not broken:
            try:
                progress(simulated_s)
            except Exception:  # whatever a display can do wrong
                broken = True

    return report


def _with_interrupt(log: ServingLog, setup: Setup) -> ServingLog:
    """Say that a log was interrupted where its server does not: nothing else leaves work undone."""
    cut = setup.until is None and bool((log.status == Status.UNFINISHED).any())
    if not cut or "interrupted" in log.definitions:
        return log
    words = {**log.definitions, "interrupted": f"at {log.end_s:.1f} s of the simulated time"}
    return dataclasses.replace(log, definitions=words)
