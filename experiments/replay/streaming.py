"""A replay in bounded memory: requests are drawn, served and stored part by part.

Servers between which requests are dealt out beforehand share nothing, so that each process serves
some of them. All draw the same requests; a process keeps those of its servers.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.experiments.replay.config import config_text
from hardwire.experiments.replay.replay import DEFAULT_RANK, Replay, choices_of, policy_of
from hardwire.experiments.replay.save import replay_configuration
from hardwire.experiments.replay.setup import Setup, option_of
from hardwire.experiments.replay.several import OF_EACH, ROUTING
from hardwire.experiments.replay.sound import soundness
from hardwire.experiments.replay.stored import (
    PartsFile,
    adapters_table,
    column_of,
    requests_table,
    stored_percentiles,
)
from hardwire.experiments.shared.configuration import CONFIGURATION
from hardwire.experiments.shared.folder import json_file, text_file
from hardwire.experiments.shared.parallel import cores, in_processes
from hardwire.experiments.shared.run_folder import BESIDE, check_run_folder, write_run
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.serving.cards.hardware import Card
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.cards.streamed import Memory, Part, Streamed
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.load.chunks import Chunks
from hardwire.simulator.serving.load.popularity import parse_popularity
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog
from hardwire.simulator.serving.metrics import Totals, summary_of
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.policies.routing import foreseen
from hardwire.simulator.serving.replay import open_server

_NOT_STREAMED = (
    "duration", "until", "concurrency", "adapter_rates", "client_rates", "arrivals", "time_unit",
    "intervals", "draws",
)  # fmt: skip
_LATENCIES = ("ttft_s", "tpot_s", "e2e_s")


@dataclass(frozen=True)
class _Load:
    """What every process opens: a server without requests, and all requests to come."""

    setup: Setup
    server: Server
    chip: Chip
    chunks: Chunks
    adapters: tuple[Adapter, ...]
    policy: Policy

    @property
    def servers(self) -> int:
        return self.setup.servers or 1


@dataclass(frozen=True)
class _Server:
    """What came of one server: sums, and a log without requests."""

    totals: Totals
    memory: Memory
    log: ServingLog


def stream(setup: Setup, folder: Path | None = None) -> tuple[Replay, list[Path]]:
    """Replay a load part by part, and store it.

    Parameters
    ----------
    setup : of a hardwired server and a preset.
    folder : for the files of the replay, all or none; None keeps none.

    Returns
    -------
    replay : its numbers are those of ``replay.run``: percentiles to the bit, sums to rounding. Its
        workload and log have no requests: they are in the files.
    files : that were written.

    Raises
    ------
    InputError
        On what is not of streamed replays, or as ``replay.prepare``.
    """
    load = _open(setup)
    begin = time.perf_counter()
    run = CardServer(
        load.server, Card(load.server, load.chip, load.adapters), load.chunks.empty(),
        load.adapters, load.policy, setup.seed, "compiled",
    )  # fmt: skip
    # The loop is compiled before processes are forked, which would each do it.
    list(Streamed(run, setup.seed).end())
    with _staging(folder) as staging:
        groups = [range(one, load.servers, cores()) for one in range(min(cores(), load.servers))]
        found: dict[int, _Server] = {}
        for part in in_processes(partial(_serve, load, run, staging), groups):
            found |= part
        servers = [found[number] for number in range(load.servers)]
        summary = _summary(load, servers, staging)
        nothing = load.chunks.empty(summary["offered"]["duration_s"])
        done = Replay(
            load.setup, load.server.title, "SRAM", nothing,
            frozenset(one.max_rank for one in {id(a): a for a in load.adapters}.values()),
            servers[0].log, summary, time.perf_counter() - begin, load.chip,
        )  # fmt: skip
        return done, [] if folder is None else _save(done, staging, folder)


@contextmanager
def _staging(folder: Path | None) -> Iterator[Path]:
    """A folder for files as they come, where the final one will be."""
    where = None
    if folder is not None:
        where = check_run_folder(folder).parent
        where.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{BESIDE}stream-", dir=where) as name:
        yield Path(name)


def _open(setup: Setup) -> _Load:
    for name in _NOT_STREAMED:
        if getattr(setup, name) is not None:
            raise InputError(f"{option_of(name)}: is not of streamed replays")
    if setup.requests is None:
        raise InputError("--stream: needs --requests")
    if setup.engine not in (None, "compiled"):
        raise InputError(f"--engine {setup.engine}: a streamed replay is compiled")
    server = open_server(setup.server)
    if not isinstance(server, Server):
        raise InputError(f"--stream: is of hardwired servers; {server.name} is a GPU server")
    chip = setup.card_chip(server)
    model = LanguageModel.open(chip.model)
    offered = AdapterSet.open(setup.adapters or "0", model, setup.rank or DEFAULT_RANK)
    popularity = offered.popularity()
    if setup.popularity is not None:
        popularity = parse_popularity(setup.popularity)
    chunks = Chunks.of(
        setup.source, setup.requests, setup.rate, offered.names, popularity, setup.seed
    )
    policy = policy_of(setup, offered)
    routing = setup.server_routing or ROUTING
    known = foreseen(routing, np.zeros(1, np.int32) - (not offered.names), setup.servers or 1)
    if known is None:
        raise InputError(
            f"--server-routing {routing}: goes by the backlog of servers, which share a clock "
            "then; a streamed replay takes round_robin, or affine where all want adapters"
        )
    filled = {"engine": "compiled", **choices_of(policy)}
    return _Load(setup.model_copy(update=filled), server, chip, chunks, offered.adapters, policy)


def _serve(
    load: _Load, run: CardServer, staging: Path, numbers: Iterable[int]
) -> dict[int, _Server]:
    """Serve the requests of some servers, and write what becomes of them."""
    servers = {number: _Writer(load, run, staging, number) for number in numbers}
    routing, first = load.setup.server_routing or ROUTING, 0
    for workload in load.chunks:
        places = np.arange(first, first + len(workload))
        sent = foreseen(routing, workload.adapter, load.servers, first)
        for number, server in servers.items():
            mine = np.flatnonzero(sent == number)
            server.take(server.streamed.feed(places[mine], workload.take(mine)))
        first += len(workload)
    for server in servers.values():
        server.take(server.streamed.end())
    return {number: server.close() for number, server in servers.items()}


class _Writer:
    """One server: its files, its sums, and the last that its log says."""

    def __init__(self, load: _Load, run: CardServer, staging: Path, number: int) -> None:
        cards = load.server.cards
        self.streamed = Streamed(run, load.setup.seed)
        self._units = [f"server {number} card {card}" for card in range(cards)]
        if load.setup.servers is None:
            self._units = [f"card {card}" for card in range(cards)]
        self._requests = PartsFile(staging / f"requests-{number:04d}.parquet")
        self._adapters = PartsFile(staging / f"adapters-{number:04d}.parquet")
        self._totals, self._memory = Totals(load.setup.goals), Memory(cards)
        self._joules: dict[str, float] = {}
        self._swaps, self._end_s = 0, 0.0
        self._last: ServingLog | None = None

    def take(self, parts: Iterable[Part]) -> None:
        """Count and store requests that have ended."""
        for part in parts:
            log = part.log
            self._requests.add(requests_table(part, self._units))
            self._adapters.add(adapters_table(part, self._units))
            self._totals.add(part.workload, log)
            self._memory.add(log)
            for name, joules in log.energy_by_j.items():
                self._joules[name] = self._joules.get(name, 0.0) + joules
            self._swaps += log.swaps
            self._end_s = max(self._end_s, log.end_s)
            self._last = log

    def close(self) -> _Server:
        """What came of the server, its files closed."""
        self._requests.close()
        self._adapters.close()
        last = self._last
        assert last is not None  # the end of a stream is a part of its own
        at_rest = {name: watts * self._end_s for name, watts in last.rest_w.items()}
        joules = {**self._joules, **at_rest}
        log = dataclasses.replace(
            last,
            **{name: column[:0] for name, column in last.to_arrays().items()},
            units=tuple(self._units),
            spans=(),
            occupancy=Occupancy(
                np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)
            ),
            end_s=self._end_s,
            energy_j=sum(joules.values()),
            energy_by_j=joules,
            swaps=self._swaps,
        )
        return _Server(self._totals, self._memory, log)


def _summary(load: _Load, servers: list[_Server], staging: Path) -> dict[str, Any]:
    """The numbers of all servers, and of each where there are several."""
    setup = load.setup
    end_s = max(one.log.end_s for one in servers)
    logs = [one.log.lasting(end_s) for one in servers]
    totals = Totals(setup.goals)
    for one in servers:
        one.memory.end(end_s)
        totals += one.totals
    *_, last = load.chunks  # the last arrival is the end of the load
    nothing = load.chunks.empty(last.duration_s)
    first = logs[0]
    whole = dataclasses.replace(
        first,
        units=tuple(unit for log in logs for unit in log.units),
        busy_s={name: np.concatenate([log.busy_s[name] for log in logs]) for name in first.busy_s},
        energy_j=sum(log.energy_j for log in logs),
        energy_by_j={
            part: sum(log.energy_by_j[part] for log in logs) for part in first.energy_by_j
        },
        capex_usd_per_s=first.capex_usd_per_s * len(logs),
        swaps=sum(log.swaps for log in logs),
    )

    def levels(paths: list[Path]) -> dict[str, Mapping[str, float | None]]:
        return {name: stored_percentiles(partial(column_of, paths, name)) for name in _LATENCIES}

    files = [staging / f"requests-{number:04d}.parquet" for number in range(len(servers))]
    name = f"{len(servers)} × {load.server.name}" if len(servers) > 1 else load.server.name
    summary = summary_of(
        nothing, whole, totals, levels(files), _sram(servers, first, end_s), server=name
    )
    if setup.servers is not None:
        each = []
        for number, (one, log, file) in enumerate(zip(servers, logs, files, strict=True)):
            who = f"server {number}"
            sram = _sram([one], log, end_s)
            found = summary_of(nothing, log, one.totals, levels([file]), sram, server=who)
            each.append({"server": who, **{key: found[key] for key in OF_EACH}})
        routing = setup.server_routing or ROUTING
        summary["fleet"] = {
            "server": load.server.name, "servers": len(servers), "routing": routing, "each": each,
        }  # fmt: skip
    summary["price_usd"] = float(load.server.machine.price_usd) * len(servers)
    some: Workload = next(iter(load.chunks))  # every block of a preset has the same lengths
    return summary | soundness(load.server, load.chip, some, setup.power_limit)


def _sram(servers: list[_Server], log: ServingLog, end_s: float) -> dict[str, Any]:
    """``sram`` of a summary."""
    found: dict[str, Any] = {"capacity_bytes": log.capacity_bytes}
    peaks = np.max([one.memory.peak for one in servers], axis=0)
    sums = np.sum([one.memory.byte_s for one in servers], axis=0)
    cards = len(log.units) * len(servers)
    for place, name in enumerate(("", "kv_", "adapter_")):
        found[f"peak_{name}bytes"] = int(peaks[place])
        found[f"mean_{name}bytes"] = float(sums[place] / (end_s * cards)) if end_s > 0 else None
    return found


def _save(done: Replay, staging: Path, folder: Path) -> list[Path]:
    """Put the files where they belong, with those that say what was run."""
    options = done.setup.model_dump(mode="json", exclude_none=True)
    resolved = replay_configuration("replay", options, done.setup, [done.setup.server], [done])

    def moved(path: Path) -> Callable[[Path], Any]:
        return lambda target: os.replace(path, target)

    writers: dict[str, Callable[[Path], Any]] = {
        path.name: moved(path) for path in sorted(staging.glob("*.parquet"))
    }
    writers["summary.json"] = json_file(done.summary)
    writers["config.yaml"] = text_file(config_text(done.setup, folder))
    writers[CONFIGURATION] = json_file(resolved)
    return write_run(folder, writers)
