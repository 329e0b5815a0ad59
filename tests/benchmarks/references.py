"""Fixed work to hold benchmarks against: their times over its time travel between machines.

Each loop stresses one thing, and a benchmark names the one that it is bound by, with
``@pytest.mark.reference(NAME)``. None of them calls the project's code.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

DEFAULT = "loop"
LEAST_CALLS, SPAN_S = 15, 0.08
STAGES, TOKENS = 421, 4000
STREAM_BYTES = 128 << 20
ELEMENTS = 1_000_000
CACHE_LINE = 64


@numba.njit(cache=True)
def _recurrence(free: NDArray[np.float64], cycles: NDArray[np.float64], tokens: int) -> float:
    """Additions and maxima, each waiting for the one before, in the first-level cache."""
    ready = 0.0
    for token in range(tokens):
        ready = float(token)
        for stage in range(len(free)):
            ready = max(ready, free[stage]) + cycles[stage]
            free[stage] = ready
    return ready


@numba.njit(cache=True, fastmath=True)
def _dot_products(matrix: NDArray[np.float32], x: NDArray[np.float32], times: int) -> float:
    """Vectorised multiply-adds on 64 KiB, in the nearest caches."""
    total = np.float32(0)
    for _ in range(times):
        for row in range(matrix.shape[0]):
            part = np.float32(0)
            for column in range(matrix.shape[1]):
                part += matrix[row, column] * x[column]
            total += part
    return total


@numba.njit(cache=True)
def _sum(values: NDArray[np.int64]) -> int:
    total = np.int64(0)
    for value in values:
        total += value
    return total


def _objects() -> int:
    """Interpreted Python: small objects, a dictionary, method calls."""
    queue: list[tuple[int, int]] = []
    seen: dict[int, int] = {}
    state = 1
    for number in range(20_000):
        state = state * 48271 % 2147483647
        queue.append((state, number))
        seen[state % 997] = seen.get(state % 997, 0) + len(queue)
        if len(queue) > 64:
            queue.pop()
    return len(seen)


def _aligned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that begins at a cache line: elsewhere the vector loop takes up to twice as long."""
    memory = np.empty(values.nbytes + CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    copy = memory[begin : begin + values.nbytes].view(np.float32).reshape(values.shape)
    copy[:] = values
    return copy


def make() -> dict[str, Callable[[], object]]:
    """The loops by name, with their arrays, compiled. One call takes 0.1 to 6 ms.

    ``loop``: scalar compiled code; ``vector``: vector arithmetic in cache; ``stream``: reading
    memory; ``arrays``: NumPy on arrays of a million, temporaries included; ``python``: the
    interpreter.
    """
    rng = np.random.default_rng(0)
    cycles = rng.uniform(1, 50, STAGES)
    matrix = _aligned(rng.standard_normal((4, 4096)).astype(np.float32))
    x = _aligned(rng.standard_normal(4096).astype(np.float32))
    stream = np.ones(STREAM_BYTES // 8, np.int64)
    values = rng.uniform(1, 2, ELEMENTS)
    loops: dict[str, Callable[[], object]] = {
        "loop": lambda: _recurrence(np.zeros(STAGES), cycles, TOKENS),
        "vector": lambda: _dot_products(matrix, x, 100),
        "stream": lambda: _sum(stream),
        "arrays": lambda: np.ceil(values * 3.0 + values / 1.5).sum(),
        "python": _objects,
    }
    for loop in loops.values():
        loop()
    return loops


def seconds(loop: Callable[[], object]) -> list[float]:
    """Times of the calls of a loop that fit into ``SPAN_S``, and of ``LEAST_CALLS`` at least."""
    times: list[float] = []
    end = time.perf_counter() + SPAN_S
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        begin = time.perf_counter()
        loop()
        times.append(time.perf_counter() - begin)
    return times
