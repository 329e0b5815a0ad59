"""How many of a server the same goodput takes: the load dealt out over more and more of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.replay.prepared import Prepared
from hardwire.experiments.replay.replay import Replay, run
from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.workload import BASE, Workload

GOOD = 0.99
"""Of the requests for which the best server meets the goals, the share that is the same goodput."""
MOST = 64
"""Servers of a kind that are tried."""

NEEDED = (
    f"as many of a server as together meet every SLO for {GOOD:.0%} of the requests for which the "
    f"best one does, up to {MOST}; adapters and with them requests are dealt out by tokens"
)


@dataclass(frozen=True)
class Fleet:
    """Servers of a kind that are needed, and what they take together.

    Attributes
    ----------
    servers, units : of the kind; cards or GPUs in all of them.
    price_usd, fleet_power_w : of all; the power is the mean of each while it serves.
    met : share of all requests of the load that met every goal.
    """

    servers: int
    units: int
    price_usd: float
    fleet_power_w: float
    met: float

    def to_dict(self) -> dict[str, Any]:
        """The fleet as plain values."""
        return dataclasses.asdict(self)


def fleets(done: Mapping[str, Replay], ready: Mapping[str, Prepared]) -> dict[str, Fleet | None]:
    """The fewest servers of each kind for the goodput of the best one.

    Parameters
    ----------
    done, ready : by server, a replay of the whole load with goals, and what it was made from.

    Returns
    -------
    By server; None where ``MOST`` of them do not do, or where twice as many do no better.
    """
    met = {name: float(one.summary["slo_met"] or 0.0) for name, one in done.items()}
    wanted = GOOD * max(met.values(), default=0.0)
    if not wanted:
        return dict.fromkeys(done)
    return {name: _fewest(one, ready[name], wanted) for name, one in done.items()}


def _fewest(alone: Replay, prepared: Prepared, wanted: float) -> Fleet | None:
    """Twice as many until they do, then by halving: a server with less to do does it no worse."""
    tried = {1: _together([alone], len(alone.workload))}
    servers = 1
    while tried[servers].met < wanted:
        before, servers = tried[servers].met, 2 * servers
        if servers > min(MOST, len(alone.workload)):
            return None
        try:
            tried[servers] = _dealt(prepared, servers)
        except InputError:  # a part that cannot be served at all
            return None
        if tried[servers].met <= before and before > 0:
            return None
    few = servers // 2
    while servers - few > 1:
        middle = (few + servers) // 2
        tried[middle] = _dealt(prepared, middle)
        few, servers = (few, middle) if tried[middle].met >= wanted else (middle, servers)
    return tried[servers]


def _dealt(prepared: Prepared, servers: int) -> Fleet:
    """So many servers with a part of the load each."""
    parts = [_part(prepared, mine) for mine in deal(prepared.workload, servers)]
    done = []
    for part in parts:
        done.append(run(part))
        if done[-1].interrupted:  # of a part of the load nothing can be said
            raise KeyboardInterrupt
    return _together(done, len(prepared.workload))


def _together(done: Sequence[Replay], requests: int) -> Fleet:
    each = [one.summary for one in done]
    good = sum((one["slo_met"] or 0.0) * one["requests"] for one in each)
    return Fleet(
        servers=len(each),
        units=sum(one["units"] for one in each),
        price_usd=sum(one["price_usd"] for one in each),
        fleet_power_w=sum(one["server_power_w"] or 0.0 for one in each),
        met=good / requests,
    )


def deal(workload: Workload, servers: int) -> list[NDArray[np.int64]]:
    """Places of the requests of each server.

    An adapter goes to one server; where there are fewer adapters than servers, to several, whose
    requests for it take turns. The largest by tokens is dealt first, each to the server with the
    fewest tokens so far. Requests for the base model take turns over all servers.
    """
    tokens = workload.prompt + workload.output
    wanted = [number for number in np.unique(workload.adapter) if number != BASE]
    copies = math.ceil(servers / max(len(wanted), 1))
    hands = [
        places[copy::copies]
        for places in (np.flatnonzero(workload.adapter == number) for number in wanted)
        for copy in range(copies)
    ]
    of: list[list[NDArray[np.int64]]] = [[] for _ in range(servers)]
    load = [0] * servers
    for hand in sorted(hands, key=lambda places: -int(tokens[places].sum())):
        lightest = load.index(min(load))
        of[lightest].append(hand)
        load[lightest] += int(tokens[hand].sum())
    base = np.flatnonzero(workload.adapter == BASE)
    for number in range(servers):
        of[number].append(base[number::servers])
    return [np.sort(np.concatenate(places)) for places in of if sum(map(len, places))]


def _part(prepared: Prepared, places: NDArray[np.int64]) -> Prepared:
    """The requests at some places, with the adapters that they want."""
    whole = prepared.workload
    wanted = [int(number) for number in np.unique(whole.adapter[places]) if number != BASE]
    names = tuple(whole.adapters[number] for number in wanted)
    renumbered = np.full(len(whole.adapters) + 1, BASE, np.int32)  # the last one is the base's
    renumbered[wanted] = np.arange(len(wanted))
    part = dataclasses.replace(
        whole,
        arrival_s=whole.arrival_s[places],
        prompt=whole.prompt[places],
        output=whole.output[places],
        adapter=renumbered[whole.adapter[places]],
        adapters=names,
        prefixes=None if whole.prefixes is None else whole.prefixes.take(places),
        skipped=0,
    )
    pinned = tuple(name for name in prepared.policy.pinned if name in names)
    return dataclasses.replace(
        prepared,
        workload=part,
        adapters=tuple(prepared.adapters[number] for number in wanted),
        policy=dataclasses.replace(prepared.policy, pinned=pinned),
    )
