"""What is not known of a server: draws from the ranges of its file, and of the chip on its cards.

Values that a fit found together are drawn together, normal with the covariance that it left in the
file; the others each from their range. How far measured steps lie off the form of a step's time is
one factor of all its terms. What an operator sets, such as the seats of a batch, is left as filed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.chip import Chip
from hardwire.models.gpu_server import STEP_TERMS, BatchServer
from hardwire.models.parameters import Quantity, draw, quantities
from hardwire.models.server import Machine, Server
from hardwire.simulator.belief.draws import MIN_ACCEPTED, SEED, at_measured_rate, draw_chips, stream

CANDIDATES = 4
"""Candidates per draw that are tried: about half of HC1's go together with its server's limit."""

CHOSEN = frozenset({"host_memory_gib", "limit_w", "memory_share"})
"""Numbers that an operator sets, beside all that are counted: nothing is unknown about them."""


def draw_gpu_servers(server: BatchServer, size: int, seed: int = SEED) -> list[BatchServer]:
    """The same server with other values of what is not known of it.

    The same seed gives the same draws; each parameter has a stream of its own, so that the first
    draws of many are those of few.
    """
    specs = server.declared
    drawn = _ranges(server, specs, size, seed)
    if server.fit is not None:
        names = server.fit.names
        root = _root(server.fit.matrix)
        normal = [
            stream(seed, f"fit {number}").standard_normal(size) for number in range(len(root))
        ]
        for name, change in zip(names, root @ np.array(normal), strict=True):
            near = getattr(server.batching, name) + change
            drawn[name] = np.clip(near, specs[name].low, specs[name].high)
    off = 1 + server.form_error * stream(seed, "residual").standard_normal(size)
    return [
        _slower(server.changed(values), factor)
        for values, factor in zip(_rows(drawn, size), off.tolist(), strict=True)
    ]


def _slower(server: BatchServer, factor: float) -> BatchServer:
    """All terms of a step's time times a factor."""
    batching = server.batching
    terms = {name: getattr(batching, name) * factor for name in STEP_TERMS}
    return dataclasses.replace(server, batching=dataclasses.replace(batching, **terms))


def draw_servers(
    server: Server, chip: Chip, size: int, seed: int = SEED
) -> list[tuple[Server, Chip]]:
    """The same server with other values of what is not known of it, and of the chip on its cards.

    The chips are those of ``hardwire.simulator.belief.draws``: what ``hardwire run`` draws. Where
    the server's power limit is published of it, as is the rate that the chip's calibration
    measured, draws that the limit would hold below this rate contradict both, and are left out;
    where that leaves too few, the limit says nothing of the chip, and all are taken.

    Raises
    ------
    InputError
        As ``draw_chips``.
    """
    chips = draw_chips(chip, max(CANDIDATES * size, MIN_ACCEPTED), seed)
    columns = {
        name: values for name in chip.parameters if np.ndim(values := chips.value(name)) == 1
    }
    tried = len(next(iter(columns.values())))  # fewer where few reproduce the calibration
    drawn = _ranges(server, quantities(Machine), tried, seed)
    kept = np.arange(tried)
    if chip.calibration is not None and server.parameters["limit_w"].kind == "published":
        measured = chips if chip.as_filed is None else draw_chips(chip.as_filed, tried, seed)
        host_w = drawn.get("host_w", np.full(tried, server.host_w))
        share_w = (server.machine.limit_w - host_w) / server.cards
        agreed = np.flatnonzero(at_measured_rate(measured, chip.calibration, share_w))
        kept = agreed if len(agreed) >= size else kept
    machines = _rows(drawn, tried)
    found = []
    for number in kept[:size].tolist():
        values = {name: column[number].item() for name, column in columns.items()}
        machine = dataclasses.replace(server.machine, **machines[number])
        found.append((dataclasses.replace(server, machine=machine), chip._replaced(values)))
    return found


def _ranges(
    server: Server | BatchServer, specs: dict[str, Quantity], size: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Each parameter that has a range and is no choice, from its range."""
    return {
        name: draw(parameter, specs[name], size, stream(seed, specs[name].stream or name))
        for name, parameter in server.parameters.items()
        if parameter.range is not None and not specs[name].integer and name not in CHOSEN
    }


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix whose product with its transpose is the covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = vectors * np.sqrt(np.maximum(values, 0))
    return root


def _rows(drawn: dict[str, NDArray[np.float64]], size: int) -> list[dict[str, Any]]:
    return [{name: float(values[n]) for name, values in drawn.items()} for n in range(size)]
