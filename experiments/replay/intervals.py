"""How sure the numbers of a replay are: the same load on draws of what is not known of a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hardwire.experiments.replay.prepared import Prepared
from hardwire.experiments.replay.replay import Replay
from hardwire.experiments.replay.several import serve
from hardwire.experiments.shared.nested import at
from hardwire.experiments.shared.parallel import cores, in_processes, in_threads
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.server import Server
from hardwire.simulator.belief.draws import interval
from hardwire.simulator.belief.servers import draw_gpu_servers, draw_servers
from hardwire.simulator.serving.closed_loop import arrived
from hardwire.simulator.serving.metrics import summarize
from hardwire.simulator.serving.replay import AnyServer

LEAST = 19
"""Draws whose extremes hold nine in ten of further ones: with fewer there is no 5th percentile."""

GPU_DRAWS = 64
CARD_DRAWS = LEAST
"""By default: a draw of a hardwired server takes several times as long."""

LATENCIES = tuple(
    f"{name}.{level}"
    for name in ("ttft_s", "tpot_s", "e2e_s")
    for level in ("mean", "p50", "p90", "p99")
)
METRICS = (
    "served.requests_per_s", "output_tokens_per_s", "served.prompt_tokens_per_s", "duration_s",
    "goodput", "slo_met", *LATENCIES, "adapter_hit_rate", "swaps", "swap_wait_s",
    "utilization.compute.mean", "server_power_w", "server_energy_j_per_output_token",
    "usd_per_million_tokens",
)  # fmt: skip
"""Of a summary, by dotted names: what has an interval."""


def draws_of(prepared: Prepared) -> int:
    """How many draws the intervals of a replay are over."""
    usual = GPU_DRAWS if isinstance(prepared.server, BatchServer) else CARD_DRAWS
    return prepared.setup.draws or usual


def expected_s(done: Replay) -> float:
    """About how long its intervals take, from how long it took."""
    return done.wall_s * draws_of(_prepared(done)) / cores()


def with_intervals(
    done: Replay, report: Callable[[int, int], None] = lambda made, total: None
) -> Replay:
    """A replay with the 5th to 95th percentile of its numbers over draws of its server.

    Each draw serves the very same requests, so that what differs is the server alone. ``summary``
    gains ``intervals``, by dotted name, ``interval_draws`` and ``interval_not_started``, the draws
    that cannot start for want of memory or power; the others are what the intervals are of. A
    replay that was interrupted comes back as it is, and one of several dies where nobody asked.

    Parameters
    ----------
    report : told how many draws are done, and of how many.

    Raises
    ------
    InputError
        As ``draw_chips``, or if no draw can start.
    """
    if done.interrupted:
        return done
    prepared = _prepared(done)
    size = draws_of(prepared)
    server = prepared.server
    if isinstance(server, BatchServer):
        numbers = in_threads(
            lambda one: _numbers(prepared, one, None), draw_gpu_servers(server, size), report
        )
    elif not isinstance(server, Server):
        if prepared.setup.intervals or prepared.setup.draws:
            raise InputError(
                f"--intervals: are over draws of one chip, and {server.name} has several dies or "
                "servers: it has none"
            )
        return done
    else:
        assert done.chip is not None
        drawn = draw_servers(server, done.chip, size)
        numbers = in_processes(lambda pair: _numbers(prepared, *pair), drawn, report)
    started = [one for one in numbers if one is not None]
    if not started:
        raise InputError(f"{server.name}: none of {size} draws from the ranges can start")
    found = {}
    for name in METRICS:
        values = [one[name] for one in started if one[name] is not None]
        if at(done.summary, name) is not None and values:
            found[name] = interval(values)
    summary = done.summary | {
        "intervals": found,
        "interval_draws": len(numbers),
        "interval_not_started": len(numbers) - len(started),
    }
    return dataclasses.replace(done, summary=summary)


def _prepared(done: Replay) -> Prepared:
    assert done.prepared is not None
    return done.prepared


def _numbers(
    prepared: Prepared, server: AnyServer, chip: Chip | None
) -> dict[str, float | None] | None:
    """The numbers of one draw; None where it cannot start."""
    setup = prepared.setup
    try:
        log, _ = serve(prepared, server=server, chip=chip, alone=True)
    except InputError:
        return None
    summary = summarize(*arrived(prepared.workload, log), setup.goals, server=server.name)
    return {name: at(summary, name) for name in METRICS}
