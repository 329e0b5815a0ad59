"""The table of a card's active users and how it moves on, in plain Python, for reading.

``advance`` is the reference of ``rounds_jit.advance``: the same rounds, each token's cycles found
by walking the token program, as the reference engine does, instead of looking them up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.engines.reference import visits
from hardwire.simulator.serving.cards.costs import TokenCosts
from hardwire.simulator.serving.cards.rounds_jit import (
    CONTEXT,
    FINISHED,
    FIRST,
    OUT_OF_PAGES,
    OUTPUT,
    PAGES,
    PROMPT,
    ROW,
    STOPPED,
)
from hardwire.simulator.serving.cards.rounds_jit import advance as run

NEVER = 2**62
"""A tick that no run reaches."""

Advance = Callable[[NDArray[np.int64], int, int, int, int], tuple[int, int, int]]
"""Takes (users, count, free pages, begin, until), moves the first ``count`` users on in place in
whole rounds, the last of which begins before tick ``until``, and returns (why, tick, free pages).
"""


def compiled(costs: TokenCosts, page_tokens: int) -> Advance:
    """``rounds_jit.advance`` over the tables of ``costs``."""
    body, whole = costs.body, costs.whole
    body_interval, whole_interval = costs.body_interval, costs.whole_interval

    def advance(
        users: NDArray[np.int64], count: int, free: int, begin: int, until: int
    ) -> tuple[int, int, int]:
        why, now, left = run(
            users,
            count,
            body,
            whole,
            body_interval,
            whole_interval,
            page_tokens,
            free,
            begin,
            until,
        )
        return why, now, left

    return advance


def reference(costs: TokenCosts, page_tokens: int) -> Advance:
    """The rounds, token by token."""
    program = costs.program

    def latency(row: int, context: int, sampled: bool) -> int:
        """Cycles of a token from the first unit to the last; the power limit may ask for more."""
        total = 0
        for stage in range(program.stages if sampled else program.body_stages):
            total += max(cycles for _, cycles in visits(program, row, stage, context))
        return max(total, capped(row, context, sampled))

    def interval(row: int, context: int, sampled: bool) -> int:
        """Cycles that the busiest unit spends on a token."""
        if costs.serial:
            return latency(row, context, sampled)
        busy: dict[int, int] = {}
        for stage in range(program.stages if sampled else program.body_stages):
            for unit, cycles in visits(program, row, stage, context):
                busy[unit] = busy.get(unit, 0) + cycles
        return max(*busy.values(), capped(row, context, sampled))

    def capped(row: int, context: int, sampled: bool) -> int:
        """Cycles over which a token's energy has to be spread."""
        table = costs.whole_j if sampled else costs.body_j
        return int(np.ceil(table[row, context] / costs.budget_w * costs.clock_hz))

    def advance(
        users: NDArray[np.int64], count: int, free: int, begin: int, until: int
    ) -> tuple[int, int, int]:
        now = begin
        while now < until:
            decoding = [user for user in users[:count] if user[PROMPT] == 0]
            prefilling = [user for user in users[:count] if user[PROMPT] > 0]
            full = [user for user in decoding if user[CONTEXT] == user[PAGES] * page_tokens]
            if len(full) > free:
                return OUT_OF_PAGES, now, free
            free -= len(full)
            for user in full:
                user[PAGES] += 1
            length = work = 0
            for user in decoding:
                user[CONTEXT] += 1
                user[OUTPUT] -= 1
                length = max(length, latency(int(user[ROW]), int(user[CONTEXT]), True))
                work += interval(int(user[ROW]), int(user[CONTEXT]), True)
            for user in prefilling:
                sampled = user[PROMPT] == 1
                length = max(length, latency(int(user[ROW]), int(user[CONTEXT]) + 1, sampled))
            new = []
            for user in prefilling:
                taken = 0
                while user[PROMPT] > 0:
                    sampled = user[PROMPT] == 1
                    cost = interval(int(user[ROW]), int(user[CONTEXT]) + 1, sampled)
                    if taken and work + cost > length:
                        break
                    work += cost
                    user[CONTEXT] += 1
                    user[PROMPT] -= 1
                    taken += 1
                if user[PROMPT] == 0:
                    user[OUTPUT] -= 1
                    new.append(user)
            now += max(length, work)
            for user in new:
                if user[FIRST] < 0:
                    user[FIRST] = now
            if (users[:count, OUTPUT] == 0).any():
                return FINISHED, now, free
        return STOPPED, now, free

    return advance
