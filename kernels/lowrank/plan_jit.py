"""Which tasks a batch of low-rank products is cut into, compiled; and the table of images."""

from __future__ import annotations

import numpy as np
from numba import njit

from hardwire.kernels.lowrank.formats import DOWN_ROWS, UP_GROUPS
from hardwire.kernels.lowrank.lowrank_jit import LANES

WIDE = 4  # blocks of 4 rows of A that a task takes if there are tasks enough for all threads
TILES, TILE = 8, UP_GROUPS * LANES  # tiles of B that a task takes, columns of a tile

# Columns of the table of images.
A_CODES, A_SCALES, B_CODES, B_SCALES, RANK = range(5)


@njit
def plan_of(table, adapter, n_out, threads):  # type: ignore[no-untyped-def]
    """Tokens in order of adapter, the begin of each adapter's, and the tasks, as the rows
    [adapter, first row of A or first tile of B], and how many rows a task of A takes.
    """
    begins = np.zeros(table.shape[0] + 1, np.int64)
    for a in adapter:
        if a >= 0:
            begins[a + 1] += 1
    downs, ups, tiles, step = 0, 0, -(-n_out // TILE), WIDE * DOWN_ROWS
    for a in range(table.shape[0]):
        if begins[a + 1] and table[a, RANK]:
            downs += -(-table[a, RANK] // step)
    if downs < 4 * threads and threads > 1:  # else a thread would wait for the last task's end
        step = DOWN_ROWS
    downs = 0
    for a in range(table.shape[0]):
        if begins[a + 1] and table[a, RANK]:
            downs += -(-table[a, RANK] // step)
            ups += -(-tiles // TILES)
        begins[a + 1] += begins[a]
    order, place = np.empty(begins[-1], np.int64), begins.copy()
    for t in range(adapter.shape[0]):
        a = adapter[t]
        if a >= 0:
            order[place[a]] = t
            place[a] += 1
    tasks = np.empty((downs + ups, 2), np.int64)
    down, up = 0, downs
    for a in range(table.shape[0]):
        if begins[a + 1] > begins[a] and table[a, RANK]:
            for first in range(0, table[a, RANK], step):
                tasks[down, 0], tasks[down, 1] = a, first
                down += 1
            for first in range(0, tiles, TILES):
                tasks[up, 0], tasks[up, 1] = a, first
                up += 1
    return order, begins, tasks, downs, step


@njit
def unknown(adapter, images):  # type: ignore[no-untyped-def]
    """The first token whose adapter is not there, or -1."""
    for t in range(adapter.shape[0]):
        if adapter[t] < -1 or adapter[t] >= images:
            return t
    return -1
