"""What a card does between two control events, compiled: rounds of tokens of its active users.

A round gives every active user who decodes one token, and those who prefill as many tokens as fit,
one at least. Its length is the longest latency of a token in it, or the sum of the tokens'
initiation intervals where that is more. Under serial issue intervals are latencies, so users take
turns token by token; under pipelined issue tokens follow each other, and prompt tokens fill the
places that decoding leaves.
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
    users, count, body, whole, body_interval, whole_interval, page_tokens, free, begin, until
):
    """Run rounds from tick ``begin`` until something happens; see ``rounds.Advance``."""
    now = begin
    while now < until:
        wanted = 0
        for i in range(count):
            if users[i, PROMPT] == 0 and users[i, CONTEXT] == users[i, PAGES] * page_tokens:
                wanted += 1
        if wanted > free:
            return OUT_OF_PAGES, now, free
        free -= wanted
        length, work = 0, 0
        for i in range(count):
            row, context = users[i, ROW], users[i, CONTEXT] + 1
            if users[i, PROMPT] == 0:
                if users[i, CONTEXT] == users[i, PAGES] * page_tokens:
                    users[i, PAGES] += 1
                users[i, CONTEXT] = context
                users[i, OUTPUT] -= 1
                length = max(length, whole[row, context])
                work += whole_interval[row, context]
            elif users[i, PROMPT] == 1:
                length = max(length, whole[row, context])
            else:
                length = max(length, body[row, context])
        for i in range(count):
            left = users[i, PROMPT]
            if left == 0:
                continue
            row, context = users[i, ROW], users[i, CONTEXT]
            first = True
            while left > 0:
                table = whole_interval if left == 1 else body_interval
                cost = table[row, context + 1]
                if not first and work + cost > length:
                    break
                first = False
                work += cost
                context += 1
                left -= 1
            users[i, CONTEXT] = context
            users[i, PROMPT] = left
            if left == 0:
                users[i, OUTPUT] -= 1
                if users[i, FIRST] < 0:
                    users[i, FIRST] = _NOW
        now += max(length, work)
        finished = False
        for i in range(count):
            if users[i, FIRST] == _NOW:
                users[i, FIRST] = now
            if users[i, OUTPUT] == 0:
                finished = True
        if finished:
            return FINISHED, now, free
    return STOPPED, now, free
