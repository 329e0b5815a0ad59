"""Adapters on their way to the dies: each die's slices, cut into bursts and timed on the link."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hardwire.models.whole import ceil_div
from hardwire.simulator.requests import AdapterLoad, Bursts
from hardwire.simulator.system.program import SystemProgram


def schedule(program: SystemProgram, loads: Sequence[AdapterLoad]) -> Bursts:
    """When each burst of some loads has arrived at its die, and how long its write takes.

    A load waits on each link until the one before it has been sent there; dies with links of their
    own load side by side. Times of a link are those of ``hardwire.simulator.requests``.

    Raises
    ------
    ValueError
        If an adapter is loaded twice.
    """
    seen = [load.adapter for load in loads]
    if len(set(seen)) != len(seen):
        raise ValueError("an adapter can be loaded once in a run")
    rows: list[tuple[int, int, int, int, int]] = []
    remaining = np.zeros((len(loads), program.layers), np.int64)
    link_free: dict[int, int] = {}
    for number, load in enumerate(loads):
        begin: dict[int, int] = {}
        sent: dict[int, int] = {}
        until: dict[int, int] = {}
        for piece in program.slices[load.adapter - 1]:
            host = piece.host
            since = begin.setdefault(host, max(load.start, link_free.get(host, 0)) + piece.latency)
            for index, offset in enumerate(range(0, piece.bytes, piece.burst_bytes)):
                data = min(piece.burst_bytes, piece.bytes - offset)
                sent[host] = sent.get(host, 0) + data
                cycles = ceil_div(data, piece.write_bytes_per_cycle)
                write = ceil_div(cycles * piece.per_cycle[0], piece.per_cycle[1])
                until[host] = since + math.ceil(sent[host] * program.hz / piece.bytes_per_s)
                port = piece.ports[index % len(piece.ports)]
                rows.append((until[host], write, port, number, piece.layer))
                remaining[number, piece.layer] += 1
        link_free.update(until)
    rows.sort(key=lambda row: row[0])  # keeps the order of those that arrive in one tick
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 5)
    return Bursts(
        arrival=table[:, 0].copy(),
        cycles=table[:, 1].copy(),
        port=table[:, 2].astype(np.int32),
        load=table[:, 3].astype(np.int32),
        layer=table[:, 4].astype(np.int32),
        remaining=remaining,
    )
