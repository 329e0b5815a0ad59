"""A replay on one server, or on several behind a router: in which engine, and what each did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hardwire.experiments.replay.prepared import Prepared
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.shared.parallel import in_processes
from hardwire.models.chip import Chip
from hardwire.simulator.serving.fleet import FleetLog, in_turn, replay_fleet
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog
from hardwire.simulator.serving.metrics import Slo, summarize
from hardwire.simulator.serving.policies.policy import Routing
from hardwire.simulator.serving.replay import AnyServer, replay

COMPILED_FROM = 100_000
"""Requests from which on hardwired servers run compiled where nobody chose the engine.

In SimPy so many take 2 s (serial issue) to 4 s; the compiled loop takes 0.6 s to load once it was
compiled, and 15 s before.
"""

ROUTING: Routing = "round_robin"
"""Among servers, by default: what most load balancers do, and it asks servers nothing."""

IN_PROCESSES_FROM = 200_000
"""Requests from which on servers that share no clock are shared among processes: to send back what
happened to each costs about as much as to compute it, and fewer take less time than to fork."""

OF_EACH = (
    "requests", "completed", "generated_tokens", "output_tokens_per_s", "ttft_s", "tpot_s", "e2e_s",
    "goodput", "slo_met", "swaps", "adapter_hit_rate", "preemptions", "utilization", "units",
    "server_energy_j", "server_power_w", "server_energy_j_per_output_token", "usd",
    "usd_per_million_tokens",
)  # fmt: skip
"""Of a summary, what is said of each server of several."""


def engine_of(setup: Setup, requests: int, *, hardwired: bool) -> str:
    """The engine of a replay in which nobody chose one; all give the same numbers."""
    together = setup.servers is not None and (setup.server_routing or ROUTING) != "round_robin"
    return "compiled" if hardwired and (together or requests >= COMPILED_FROM) else "events"


def serve(
    prepared: Prepared,
    *,
    server: AnyServer | None = None,
    chip: Chip | None = None,
    progress: Callable[[float], None] | None = None,
    alone: bool = False,
) -> tuple[ServingLog, FleetLog | None]:
    """Replay what was prepared, maybe on another server or chip; several servers' own logs, too.

    Parameters
    ----------
    alone : in this process, such as where there are several already.

    Raises
    ------
    InputError
        As ``simulator.serving.replay.replay`` and ``simulator.serving.fleet.replay_fleet``.
    """
    setup, workload = prepared.setup, prepared.workload
    options: dict[str, Any] = {
        "chip": chip,
        "seed": setup.seed,
        "engine": setup.engine,
        "until_s": setup.until,
        "progress": progress,
    }
    what = (server or prepared.server, workload, prepared.adapters, prepared.policy)
    if setup.servers is None:
        return replay(*what, **options), None
    shared = len(workload) >= IN_PROCESSES_FROM and not alone
    fleet = replay_fleet(
        *what,
        **options,
        servers=setup.servers,
        routing=setup.server_routing or ROUTING,
        each=in_processes if shared else in_turn,
    )
    return fleet.whole, fleet


def fleet_summary(
    fleet: FleetLog, workload: Workload, goals: Slo, routing: str, server: str
) -> dict[str, Any]:
    """What several servers did, each by itself: ``fleet`` of a summary."""
    each = []
    for number, log in enumerate(fleet.logs):
        mine = workload.take(np.flatnonzero(fleet.sent == number))
        of_one = summarize(mine, log, goals, server=f"server {number}")
        each.append({"server": of_one["server"], **{name: of_one[name] for name in OF_EACH}})
    return {"server": server, "servers": len(each), "routing": routing, "each": each}
