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

Advance = Callable[[NDArray[np.int64], int, int, int, int, int], tuple[int, int, int, int]]
"""Takes (users, count, free pages, held, begin, until), moves the first ``count`` users on in place
in whole rounds, the last of which begins before tick ``until``, and returns (why, tick, free pages,
held). ``held`` is the tick until which prompt tokens that have begun hold the busiest unit.
"""


def compiled(costs: TokenCosts, page_tokens: int, *, in_turn: bool) -> Advance:
    """``rounds_jit.advance`` over the tables of ``costs``."""
    body, whole = costs.body, costs.whole
    body_interval, whole_interval = costs.body_interval, costs.whole_interval

    def advance(
        users: NDArray[np.int64], count: int, free: int, held: int, begin: int, until: int
    ) -> tuple[int, int, int, int]:
        why, now, left, held = run(
            users,
            count,
            body,
            whole,
            body_interval,
            whole_interval,
            costs.body_sum,
            costs.whole_sum,
            costs.body_interval_sum,
            costs.whole_interval_sum,
            costs.rises,
            costs.serial,
            in_turn,
            page_tokens,
            free,
            held,
            begin,
            until,
        )
        return why, now, left, held

    return advance


def reference(costs: TokenCosts, page_tokens: int, *, in_turn: bool) -> Advance:
    """The rounds, token by token, of a chip."""
    program = costs.program
    assert program is not None

    def latency(row: int, context: int, sampled: bool) -> int:
        """Cycles of a token from the first unit to the last that the next waits for.

        The power limit may ask for more.
        """
        total = 0
        last = program.held_stages if costs.serial else program.body_stages
        for stage in range(program.stages if sampled else last):
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
        users: NDArray[np.int64], count: int, free: int, held: int, begin: int, until: int
    ) -> tuple[int, int, int, int]:
        now = begin
        while now < until:
            first = [user for user in users[:count] if user[PROMPT] <= 1]
            prefilling = [user for user in users[:count] if user[PROMPT] > 1]
            decoding = [user for user in first if user[PROMPT] == 0]
            full = [user for user in decoding if user[CONTEXT] == user[PAGES] * page_tokens]
            if len(full) > free:
                return OUT_OF_PAGES, now, free, held
            free -= len(full)
            for user in full:
                user[PAGES] += 1
            before = work = max(held - now, 0)
            longest = 0
            for user in first:
                user[CONTEXT] += 1
                user[OUTPUT] -= 1
                longest = max(longest, latency(int(user[ROW]), int(user[CONTEXT]), True))
                work += interval(int(user[ROW]), int(user[CONTEXT]), True)
            if first:
                end = max(before + longest, work)
            else:
                end = max(
                    latency(int(user[ROW]), int(user[CONTEXT]) + 1, False) for user in prefilling
                )
            order = list(prefilling)
            if in_turn and order:
                least = min(order, key=lambda user: int(user[CONTEXT]))
                at = next(place for place, user in enumerate(order) if user is least)
                order = [*order[at:], *order[:at]]
            queue = [(user, True) for user in order]
            while queue:
                user, must = queue.pop(0)
                if user[PROMPT] == 1:
                    continue
                cost = interval(int(user[ROW]), int(user[CONTEXT]) + 1, False)
                ends = work + cost if costs.serial else work
                if not must and (ends > end or (ends == end and not costs.serial)):
                    continue
                end = max(end, ends)
                work += cost
                user[CONTEXT] += 1
                user[PROMPT] -= 1
                queue.insert(len(queue) if in_turn else 0, (user, False))
            held = now + work
            now += end if first else min(end, work)
            for user in first:
                user[PROMPT] = 0
                if user[FIRST] < 0:
                    user[FIRST] = now
            if (users[:count, OUTPUT] == 0).any():
                return FINISHED, now, free, held
        return STOPPED, now, free, held

    return advance
