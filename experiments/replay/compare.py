"""Servers side by side under one load."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hardwire.experiments.replay.fleet import Fleet, fleets
from hardwire.experiments.replay.prepared import Prepared
from hardwire.experiments.replay.refusals import nothing_served
from hardwire.experiments.replay.replay import (
    Replay,
    prepare,
    refuse_what_is_never_served,
    run,
)
from hardwire.experiments.replay.setup import ServerOrName, Setup
from hardwire.models.brief import one_line
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError

DID_NOT_RUN = "did not run"
"""How tables, plots and files say so."""


@dataclass(frozen=True)
class Comparison:
    """Replays of one load.

    Attributes
    ----------
    done : one per server that ran, in the order asked.
    obstacles : server to the reason why it did not run.
    servers : all, in the order asked.
    named : as they were named, which may be by file.
    setup : of the first, with the choices of all.
    needed : with goals, by server how many of it the goodput of the best takes; None where no
        number of them does.
    """

    servers: tuple[str, ...]
    named: tuple[str, ...]
    setup: Setup
    done: tuple[Replay, ...]
    obstacles: dict[str, str]
    needed: Mapping[str, Fleet | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        rates = [
            f"{one.summary['server']} {one.summary['output_tokens_per_s']:,.0f} output tokens/s"
            for one in self.done
        ]
        lost = [f"{server} {DID_NOT_RUN}" for server in self.obstacles]
        return one_line(self, self.setup.source, *rates, *lost)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C cut one off; those after it are missing."""
        return any(one.interrupted for one in self.done)

    def with_each(self, change: Callable[[Replay], Replay]) -> Comparison:
        """The same with each replay changed."""
        return dataclasses.replace(self, done=tuple(map(change, self.done)))

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "servers": [one.to_dict() for one in self.done],
            "did_not_run": self.obstacles,
            "needed": self.needed_dict(),
        }

    def needed_dict(self) -> dict[str, Any]:
        """``needed`` as plain values."""
        return {name: fleet and fleet.to_dict() for name, fleet in self.needed.items()}


def compare(
    setup: Setup,
    servers: Sequence[ServerOrName],
    progress: Callable[[str, float], Callable[[float], None] | None] | None = None,
    *,
    chip: Chip | None = None,
) -> Comparison:
    """Replay the same load on several servers.

    Parameters
    ----------
    setup : of each; choices that a server does not have are left out for it.
    servers : names, files, or as they are; ``NAME:20`` is 20 of them behind a router.
    chip : on the cards of all hardwired servers, instead of the one that the setup names.
    progress : given a server's name and the length of the load, what to call as it runs.

    Raises
    ------
    InputError
        On input that cannot be used, or with ``strict`` and a request that a server can never
        serve. A server that cannot run, for want of memory for instance, or that can serve
        nothing of the load, is an obstacle instead.
    """
    named = tuple(one if isinstance(one, str) else one.name for one in servers)
    if len(set(named)) < len(named):
        raise InputError(f"--servers {','.join(named)}: one is named twice")
    ready = [_prepared(setup, one, chip) for one in servers]
    done: list[Replay] = []
    obstacles: dict[str, str] = {}
    for prepared in ready:
        name = prepared.name
        watch = progress(name, prepared.workload.duration_s) if progress else None
        try:
            one = run(prepared, watch)
        except InputError as error:
            obstacles[name] = str(error).removeprefix(f"{prepared.server.name}: ")
            continue
        if (why := nothing_served(one.summary)) is not None:
            obstacles[name] = why
            continue
        refuse_what_is_never_served(one)
        done.append(one)
        if one.interrupted:
            later = ready[len(done) + len(obstacles) :]
            obstacles |= {p.name: "interrupted before its turn" for p in later}
            break
    names = tuple(one.name for one in ready)
    needed: dict[str, Fleet | None] = {}
    # A load that waits for the server is another one on more servers.
    counted = any(one.setup.servers for one in ready)  # then it is said how many there are
    open_load = setup.slo and setup.concurrency is None and not counted
    if open_load and len(done) > 1 and not any(one.interrupted for one in done):
        prepared_of = {one.server.name: one for one in ready}
        needed = fleets({one.summary["server"]: one for one in done}, prepared_of)
    return Comparison(names, named, setup, tuple(done), obstacles, needed)


def counted_name(text: str) -> tuple[str, int | None]:
    """A name or file, and how many there are of it: ``hc1x10:20`` is 20 of ``hc1x10``."""
    name, colon, number = text.rpartition(":")
    return (name, int(number)) if colon and name and number.isdecimal() else (text, None)


def _prepared(setup: Setup, one: ServerOrName, chip: Chip | None) -> Prepared:
    if not isinstance(one, str):
        return prepare(setup.only(one), server=one, chip=chip)
    name, count = counted_name(one)
    chosen = setup.only(name)
    if count is not None:
        chosen = Setup.from_options({**chosen.model_dump(exclude_none=True), "servers": count})
    return prepare(chosen, chip=chip)
