"""Several like servers behind a router, which sends requests to them as a server does to its cards.

Where it is known beforehand who gets which request, each server is replayed by itself. Else all run
on one clock: each has gone on to where the next request comes when one of them is chosen for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.server import Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import SplitServer
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans, Status
from hardwire.simulator.serving.policies.policy import Policy, Routing
from hardwire.simulator.serving.policies.routing import foreseen
from hardwire.simulator.serving.replay import AnyServer, hardware_of, replay

MOST_SERVERS = 1000
"""More would be simulated just so; a number above this is more likely mistyped."""

Each = Callable[[Callable[[Any], ServingLog], Sequence[Any]], list[ServingLog]]
"""Does the same work for all items, such as in several processes."""


def in_turn(work: Callable[[Any], ServingLog], items: Sequence[Any]) -> list[ServingLog]:
    """One after the other."""
    return [work(item) for item in items]


@dataclass(frozen=True)
class FleetLog:
    """What happened on several servers.

    Attributes
    ----------
    sent : (N,) the server of each request; -1 where none got it.
    logs : of each server, to the end of the last, of the requests that it got.
    whole : of all, whose units are those of the first server, then those of the second, ….
    """

    sent: NDArray[np.int64]
    logs: tuple[ServingLog, ...]
    whole: ServingLog


def replay_fleet(
    server: AnyServer,
    workload: Workload,
    adapters: Sequence[Adapter],
    policy: Policy = Policy(),  # noqa: B008 - frozen, so that sharing it is safe
    *,
    servers: int,
    routing: Routing = "round_robin",
    chip: Chip | None = None,
    seed: int = 0,
    engine: Literal["events", "compiled", "reference"] = "compiled",
    until_s: float | None = None,
    progress: Callable[[float], None] | None = None,
    each: Each = in_turn,
) -> FleetLog:
    """Serve a workload on several like servers; parameters as of ``replay``, and those below.

    Parameters
    ----------
    servers : how many, at least 1.
    routing : who gets a request: by turns; the server with the least backlog; by its adapter; or so
        up to ``policy.spill_s``. ``policies.routing.choose`` says it, of cards and servers alike.
    each : how servers that do not share a clock are replayed, one after the other by default.

    Raises
    ------
    InputError
        As ``replay``; on a closed loop; where servers share a clock and are GPU servers, run in
        another engine than ``compiled``, or look ahead.
    KeyboardInterrupt
        If one of servers that do not share a clock was interrupted: the others did not serve then.
    """
    if not 1 <= servers <= MOST_SERVERS:
        raise InputError(f"servers: must be 1 to {MOST_SERVERS}, not {servers}")
    if workload.concurrency is not None:
        raise InputError("servers: a closed loop is of one server, whose ends bring its requests")
    if isinstance(server, SplitServer):
        raise InputError(f"servers: {server.name} is two servers already, and is replayed alone")
    sent = foreseen(routing, workload.adapter, servers)
    status = None
    if sent is not None:

        def one(number: int) -> ServingLog:
            mine = workload.take(np.flatnonzero(sent == number))
            return replay(
                server, mine, adapters, policy, chip=chip, seed=seed, engine=engine,
                until_s=until_s, progress=progress,
            )  # fmt: skip

        logs = each(one, range(servers))
        if any("interrupted" in log.definitions for log in logs):
            raise KeyboardInterrupt
    else:
        sent, logs, status = _together(
            server, workload, adapters, policy, servers, routing, chip, seed, engine, until_s,
            progress,
        )  # fmt: skip
    end_s = max(log.end_s for log in logs)
    lasting = tuple(log.lasting(end_s) for log in logs)
    return FleetLog(sent, lasting, _whole(workload, sent, lasting, status))


def _together(
    server: Server | SystemServer | BatchServer,
    workload: Workload,
    adapters: Sequence[Adapter],
    policy: Policy,
    servers: int,
    routing: Routing,
    chip: Chip | None,
    seed: int,
    engine: str,
    until_s: float | None,
    progress: Callable[[float], None] | None,
) -> tuple[NDArray[np.int64], list[ServingLog], NDArray[np.int8]]:
    """Servers on one clock, and the statuses of requests that none of them got."""
    if isinstance(server, BatchServer):
        raise InputError(
            f"server routing {routing}: goes by the backlog of servers, which {server.name}, a GPU "
            "server, does not tell; round_robin goes without, and affine where all want adapters"
        )
    if engine != "compiled":
        raise InputError(
            f"engine {engine}: servers that share a clock, as {routing} asks, are of engine "
            "compiled"
        )
    from hardwire.simulator.serving.cards.server import CardServer  # noqa: PLC0415 - one kind per run

    hardware = hardware_of(server, chip, adapters)
    run = CardServer(server, hardware, workload, adapters, policy, seed, "compiled")
    sent, logs = run.serve_together(servers, routing, until_s, progress)
    return sent, logs, run.status


def _whole(
    workload: Workload,
    sent: NDArray[np.int64],
    logs: Sequence[ServingLog],
    status: NDArray[np.int8] | None,
) -> ServingLog:
    """One log of all servers. ``status`` is of the requests that none of them got."""
    first, units = logs[0], len(logs[0].units)
    order = [np.flatnonzero(sent == number) for number in range(len(logs))]
    columns: dict[str, Any] = {}
    for name, some in first.to_arrays().items():
        nothing = {"unit": -1, "adapter_hit": -1}.get(name, np.nan if name.endswith("_s") else 0)
        columns[name] = np.full(len(sent), nothing, dtype=some.dtype)
        for number, (mine, log) in enumerate(zip(order, logs, strict=True)):
            values = getattr(log, name)
            if name == "unit":
                values = np.where(values >= 0, values + number * units, values)
            columns[name][mine] = values
    columns["swap_wait_s"][sent < 0] = 0.0
    if status is not None:
        columns["status"][sent < 0] = status[sent < 0]
        refused = (sent < 0) & (status != Status.UNFINISHED)
        columns["finish_s"][refused] = workload.arrival_s[refused]
    samples = [log.occupancy for log in logs]
    words = dict(first.definitions)
    if status is not None:
        words["servers"] = (
            "chosen by backlogs, which know output lengths as admission and queues do"
        )
    return dataclasses.replace(
        first,
        **columns,
        definitions=words,
        units=tuple(
            f"server {number} {unit}" for number in range(len(logs)) for unit in first.units
        ),
        busy_s={name: np.concatenate([log.busy_s[name] for log in logs]) for name in first.busy_s},
        spans=tuple(
            _spans([log.spans[kind] for log in logs], units) for kind in range(len(first.spans))
        ),
        occupancy=Occupancy(
            _of_all([one.unit for one in samples], units),
            np.concatenate([one.time_s for one in samples]),
            np.concatenate([one.kv_bytes for one in samples]),
            np.concatenate([one.adapter_bytes for one in samples]),
        ),
        energy_j=sum(log.energy_j for log in logs),
        energy_by_j={
            part: sum(log.energy_by_j[part] for log in logs) for part in first.energy_by_j
        },
        rest_w={part: watts * len(logs) for part, watts in first.rest_w.items()},
        capex_usd_per_s=first.capex_usd_per_s * len(logs),
        swaps=sum(log.swaps for log in logs),
        warnings=tuple(dict.fromkeys(sentence for log in logs for sentence in log.warnings)),
    )


def _of_all(parts: Sequence[NDArray[np.int32]], units: int) -> NDArray[np.int32]:
    """Units of servers as units of all of them."""
    return np.concatenate(
        [np.where(part >= 0, part + number * units, part) for number, part in enumerate(parts)]
    ).astype(np.int32)


def _spans(parts: Sequence[Spans], units: int) -> Spans:
    """Spans of all servers, in order of begin."""
    begin_s = np.concatenate([part.begin_s for part in parts])
    order = np.argsort(begin_s, kind="stable")
    return Spans(
        parts[0].kind,
        _of_all([part.unit for part in parts], units)[order],
        np.concatenate([part.adapter for part in parts])[order],
        begin_s[order],
        np.concatenate([part.end_s for part in parts])[order],
        np.concatenate([part.bytes for part in parts])[order],
    )
