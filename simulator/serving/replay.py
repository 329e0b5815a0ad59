"""Replay a workload on a server of either kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from hardwire.models import catalogue
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.description import GPU_MARKS, SPLIT_MARK, SYSTEM_MARK, mark_of
from hardwire.models.gpu_server import BatchServer
from hardwire.models.server import Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import SplitServer
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog
from hardwire.simulator.serving.policies.policy import Policy

if TYPE_CHECKING:
    from hardwire.simulator.serving.cards.hardware import Hardware

AnyServer = Server | SystemServer | BatchServer | SplitServer


def open_server(name: str | os.PathLike[str]) -> AnyServer:
    """A server of hardwired cards, of systems of dies, of GPUs, or of both, as its file says.

    Raises
    ------
    InputError
        On a name that is not in the catalogue or a file that cannot be used.
    """
    kind = mark_of(catalogue.locate("server", name), "server")
    if kind == SPLIT_MARK:
        return SplitServer.open(name)
    if kind == SYSTEM_MARK:
        return SystemServer.open(name)
    return BatchServer.open(name) if kind in GPU_MARKS else Server.open(name)


def price_of(server: AnyServer) -> float:
    """What a server costs to buy, USD."""
    if isinstance(server, BatchServer):
        return float(server.batching.price_usd)
    if isinstance(server, SplitServer):
        return server.price_usd
    return float(server.machine.price_usd)


def hardware_of(
    server: Server | SystemServer, chip: Chip | None, adapters: Sequence[Adapter]
) -> Hardware:
    """One of the machines of a server, with another chip on its cards where one is given.

    Raises
    ------
    InputError
        On adapters of another model, or dies that cannot be.
    ValueError
        If a chip is given for a server of systems.
    """
    if isinstance(server, Server):
        from hardwire.simulator.serving.cards.hardware import Card  # noqa: PLC0415 - one kind per run

        return Card(server, chip or Chip.open(server.chip), adapters)
    if chip is not None:
        raise ValueError(f"{server.name} is a server of systems: its dies have their own chips")
    from hardwire.simulator.serving.cards.dies import Dies  # noqa: PLC0415

    return Dies(server, adapters)


def replay(
    server: AnyServer,
    workload: Workload,
    adapters: Sequence[Adapter],
    policy: Policy = Policy(),  # noqa: B008 - frozen, so that sharing it is safe
    *,
    chip: Chip | None = None,
    seed: int = 0,
    engine: Literal["events", "compiled", "reference"] = "events",
    until_s: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> ServingLog:
    """Serve a workload and record what happens to each request.

    Parameters
    ----------
    adapters : one per name in ``workload.adapters``.
    policy : choices of a hardwired server; of a GPU server only ``slots`` counts.
    chip : on the cards of a hardwired server, instead of the server's own.
    seed : of what the server itself draws, the errors of expected output lengths.
    engine : ``events`` decides in SimPy, with compiled rounds of tokens in between; ``compiled``
        decides in compiled code, too, which takes long to compile at its first use; ``reference``
        walks every token in plain Python: for checking, on small loads. All give the same log, and
        its ``engine`` says which one it was. A GPU server's ``events`` is ``compiled``.
    until_s : stop there; requests that have not ended by then are ``UNFINISHED``.
    progress : called now and then with the simulated seconds.

    Returns
    -------
    ServingLog
        After a KeyboardInterrupt, of what had happened: ``definitions["interrupted"]`` says when.

    Raises
    ------
    InputError
        If the server cannot be set up so: slots or pinned adapters that leave no room, a power
        limit below rest.
    ValueError
        If a chip is given for a server that has none of its own, or not one adapter per name.
    """
    if isinstance(server, BatchServer):
        if chip is not None:
            raise ValueError(f"{server.name} is a GPU server: it has no hardwired chip")
        from hardwire.simulator.serving.gpu.server import simulate_batch  # noqa: PLC0415 - one kind per run

        return simulate_batch(
            server,
            workload,
            adapters,
            slots=policy.slots,
            rank=None,
            until_s=until_s,
            engine="compiled" if engine == "events" else engine,
            progress=progress,
        )
    if isinstance(server, SplitServer):
        if chip is not None:
            raise ValueError(f"{server.name} is two servers: its cards have their own chip")
        from hardwire.simulator.serving.split import serve_split  # noqa: PLC0415

        return serve_split(
            server,
            hardware_of(server.decode, None, adapters),
            workload,
            adapters,
            policy,
            seed=seed,
            engine=engine,
            until_s=until_s,
            progress=progress,
        )
    from hardwire.simulator.serving.cards.server import CardServer  # noqa: PLC0415

    hardware = hardware_of(server, chip, adapters)
    run = CardServer(server, hardware, workload, adapters, policy, seed, engine)
    return run.serve(until_s, progress)
