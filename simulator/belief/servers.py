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
from hardwire.models.gpu_server import STEP_TERMS, Batching, BatchServer
from hardwire.models.parameters import Quantity, draw, quantities
from hardwire.models.server import Machine, Server
from hardwire.simulator.belief.draws import MIN_ACCEPTED, SEED, draw_chips, stream

CHOSEN = frozenset({"host_memory_gib", "limit_w", "memory_share"})
"""Numbers that an operator sets, beside all that are counted: nothing is unknown about them."""


def draw_gpu_servers(server: BatchServer, size: int, seed: int = SEED) -> list[BatchServer]:
    """The same server with other values of what is not known of it.

    The same seed gives the same draws; each parameter has a stream of its own, so that the first
    draws of many are those of few.
    """
    specs = quantities(Batching)
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
        off = 1 + server.fit.residual * stream(seed, "residual").standard_normal(size)
        for name in STEP_TERMS:
            drawn[name] = drawn.get(name, np.full(size, getattr(server.batching, name))) * off
    return [
        dataclasses.replace(server, batching=dataclasses.replace(server.batching, **values))
        for values in _rows(drawn, size)
    ]


def draw_servers(
    server: Server, chip: Chip, size: int, seed: int = SEED
) -> list[tuple[Server, Chip]]:
    """The same server with other values of what is not known of it, and of the chip on its cards.

    The chips are those of ``hardwire.simulator.belief.draws``: what ``hardwire run`` draws.

    Raises
    ------
    InputError
        As ``draw_chips``.
    """
    machines = _rows(_ranges(server, quantities(Machine), size, seed), size)
    chips = draw_chips(chip, max(size, MIN_ACCEPTED), seed)
    uncertain = [
        name
        for name in chip.parameters
        if isinstance(chips.value(name), np.ndarray) and np.ndim(chips.value(name))
    ]
    found = []
    for number in range(size):
        values = {name: chips.value(name)[number].item() for name in uncertain}
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
