"""Numba kernels of the compiled engine. Integer cycles in, integer cycles out."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from hardwire.simulator.engines.heap_jit import pop as _pop
from hardwire.simulator.engines.heap_jit import push as _push

# --- one token in flight -------------------------------------------------------------------------


@nb.njit(cache=True, nogil=True)
def serial(
    arrival: Any, prompt: Any, tokens: Any, adapter: Any, first: Any,
    body: Any, whole: Any, issued: Any, done: Any,
) -> None:  # fmt: skip
    """Users offer a token each; the earliest offer (then the lowest user) runs alone."""
    users = len(arrival)
    times = np.empty(users + 1, np.int64)
    items = np.empty(users + 1, np.int64)
    size = 0
    for user in range(users):
        size = _push(times, items, size, arrival[user], user)
    index = np.zeros(users, np.int64)
    free = np.int64(0)
    while size > 0:
        ready, user = times[0], items[0]
        size = _pop(times, items, size)
        i = index[user]
        cycles = (
            whole[adapter[user], i + 1] if i >= prompt[user] - 1 else body[adapter[user], i + 1]
        )
        begin = max(ready, free)
        free = begin + cycles
        issued[first[user] + i] = begin
        done[first[user] + i] = free
        index[user] = i + 1
        if i + 1 < tokens[user]:
            size = _push(times, items, size, free, user)


# --- tokens in order -----------------------------------------------------------------------------


@nb.njit(cache=True, nogil=True)
def max_plus(
    arrival: Any, prompt: Any, tokens: Any, adapter: Any, first: Any,
    main_cycles: Any, side_cycles: Any, rate_of: Any, grown: Any, has_side: Any,
    body_stages: int, held_stages: int, one_in_flight: bool, record: bool,
    issued: Any, done: Any, start: Any, end: Any,
) -> None:  # fmt: skip
    """Each unit is one stage's, so ``main_free`` and ``side_free`` are indexed by stage.

    A stage adds ``grown[rate_of[stage], context]``. With one token in flight a unit that stages
    share is always free when it is reached; tokens overlap only where none is shared.
    """
    users, stages = len(arrival), len(rate_of)
    times = np.empty(users + 1, np.int64)
    items = np.empty(users + 1, np.int64)
    size = 0
    for user in range(users):
        size = _push(times, items, size, arrival[user], user)
    index = np.zeros(users, np.int64)
    main_free = np.zeros(stages, np.int64)
    side_free = np.zeros(stages, np.int64)
    added = np.zeros(len(grown), np.int64)
    chip_free = np.int64(0)
    while size > 0:
        offered, user = times[0], items[0]
        size = _pop(times, items, size)
        i = index[user]
        row = adapter[user]
        inside_prompt = i < prompt[user] - 1
        last = body_stages if inside_prompt else stages
        for k in range(len(grown)):
            added[k] = grown[k, i + 1]
        number = first[user] + i
        ready = max(offered, chip_free) if one_in_flight else offered
        held = held_stages if inside_prompt else stages
        issued[number] = max(ready, main_free[0])
        if record:
            for s in range(last):
                begin = max(ready, main_free[s])
                finish = begin + main_cycles[row, s] + added[rate_of[s]]
                main_free[s] = finish
                start[number, s, 0] = begin
                end[number, s, 0] = finish
                if has_side[s]:
                    begin = max(ready, side_free[s])
                    beside = begin + side_cycles[row, s]
                    side_free[s] = beside
                    start[number, s, 1] = begin
                    end[number, s, 1] = beside
                    finish = max(finish, beside)
                ready = finish
                if s + 1 == held:
                    chip_free = finish
        else:
            main_row, side_row = main_cycles[row], side_cycles[row]
            for s in range(last):
                finish = max(ready, main_free[s]) + (main_row[s] + added[rate_of[s]])
                main_free[s] = finish
                if has_side[s]:
                    beside = max(ready, side_free[s]) + side_row[s]
                    side_free[s] = beside
                    finish = max(finish, beside)
                ready = finish
                if s + 1 == held:
                    chip_free = finish
        done[number] = ready
        index[user] = i + 1
        if i + 1 < tokens[user]:
            following = ready
            if inside_prompt:
                following = chip_free if one_in_flight else main_free[0]
            size = _push(times, items, size, following, user)
