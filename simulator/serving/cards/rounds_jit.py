"""What a card does between two control events, compiled: rounds of tokens of its active users.

A round begins with the tokens that others wait for, one of every user who decodes and the last of
every prompt that has come to it. Prompt tokens before the last follow: as many as can begin in the
round, one at least of each user; user by user in the order in which they were let in, or in turn,
token by token, from the user on whose prompt is least far. A round lasts until its
first tokens have ended, and no shorter than the sum of their initiation intervals; of prompt tokens
alone, until as many have begun as can in the time of one.

Under pipelined issue the last prompt token that begins in a round can hold the busiest unit, or the
card's power, beyond the round's end: the next round's tokens come behind it, so that no time of the
unit and no power is left unused. Under serial issue intervals are latencies and no token outlasts
its round, so users take turns token by token.
"""

from __future__ import annotations

from numba import njit

REQUEST, ROW, CONTEXT, PROMPT, OUTPUT, PAGES, FIRST = range(7)
"""Columns of the table of active users: the request; its row of the cost tables; tokens in the KV
cache; prompt and output tokens left; KV pages held; tick of the first output token, -1 before."""

COLUMNS = 7

FINISHED, OUT_OF_PAGES, STOPPED = range(3)
"""Why ``advance`` returned: a user is done, no page is free for the next round, time is up."""

# Here, where the compiled code reads them: numba renews its cache when this file changes.
_NOW = -2  # the first token comes out at the end of this round


@njit(cache=True)
def advance(  # type: ignore[no-untyped-def]
    users, count, body, whole, body_interval, whole_interval, serial, in_turn, page_tokens,
    free, held, begin, until,
):  # fmt: skip
    """Run rounds from tick ``begin`` until something happens; see ``rounds.Advance``."""
    now = begin
    while now < until:
        wanted = 0
        for i in range(count):
            if users[i, PROMPT] == 0 and users[i, CONTEXT] == users[i, PAGES] * page_tokens:
                wanted += 1
        if wanted > free:
            return OUT_OF_PAGES, now, free, held
        free -= wanted
        work = max(held - now, 0)
        length, alone = 0, 0
        for i in range(count):
            row, context = users[i, ROW], users[i, CONTEXT] + 1
            if users[i, PROMPT] > 1:
                alone = max(alone, body[row, context])
                continue
            if users[i, PROMPT] == 1:
                users[i, PROMPT] = 0
                if users[i, FIRST] < 0:
                    users[i, FIRST] = _NOW
            elif users[i, CONTEXT] == users[i, PAGES] * page_tokens:
                users[i, PAGES] += 1
            users[i, CONTEXT] = context
            users[i, OUTPUT] -= 1
            length = max(length, whole[row, context])
            work += whole_interval[row, context]
        waited = length > 0
        end = max(length + max(held - now, 0), work) if waited else alone
        start = 0
        if in_turn:
            for i in range(count):
                if users[i, PROMPT] > 1 and (
                    users[start, PROMPT] <= 1 or users[i, CONTEXT] < users[start, CONTEXT]
                ):
                    start = i
        going, first_pass = True, True
        while going:
            going = False
            for j in range(count):
                i = (start + j) % count
                row, context, left = users[i, ROW], users[i, CONTEXT], users[i, PROMPT]
                taken = 0
                while left > 1 and not (in_turn and taken):
                    cost = body_interval[row, context + 1]
                    late = work + cost > end if serial else work >= end
                    if late and (taken or not first_pass):
                        break
                    end = max(end, work + cost if serial else work)
                    work += cost
                    context += 1
                    left -= 1
                    taken += 1
                users[i, CONTEXT] = context
                users[i, PROMPT] = left
                going = going or (in_turn and taken > 0)
            first_pass = False
        held = now + work
        now += end if waited else min(end, work)
        finished = False
        for i in range(count):
            if users[i, FIRST] == _NOW:
                users[i, FIRST] = now
            if users[i, OUTPUT] == 0:
                finished = True
        if finished:
            return FINISHED, now, free, held
    return STOPPED, now, free, held
