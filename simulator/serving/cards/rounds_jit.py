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

from typing import Any

from numba import njit

REQUEST, ROW, CONTEXT, PROMPT, OUTPUT, PAGES, FIRST = range(7)
"""Columns of the table of active users: the request; its row of the cost tables; tokens in the KV
cache; prompt and output tokens left; KV pages held; tick of the first output token, -1 before."""

COLUMNS = 7

FINISHED, OUT_OF_PAGES, STOPPED = range(3)
"""Why ``advance`` returned: a user is done, no page is free for the next round, time is up."""

# Here, where the compiled code reads them: numba renews its cache when this file changes.
_NOW = -2  # the first token comes out at the end of this round


_options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_inner = njit(**_options)

_WORTH_A_SEARCH = 16
"""Tokens in a round beyond which searching for their number takes less time than counting them:
a search among a thousand takes ten steps."""


@_inner
def _least(sums, row, context, most, ticks):  # type: ignore[no-untyped-def]
    """How many tokens after ``context`` take ``ticks`` or more together; ``most`` where none do."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if sums[row, context + middle] - sums[row, context] < ticks:
            low = middle + 1
        else:
            high = middle
    return low


@_inner
def _prefill(users, body, body_interval, held, now, until):  # type: ignore[no-untyped-def]
    """Rounds of one user's prompt tokens under pipelined issue, until the last or ``until``."""
    row, context, left = users[0, ROW], users[0, CONTEXT], users[0, PROMPT]
    held = max(held, now)
    while left > 1 and now < until:
        end = now + body[row, context + 1]
        if held >= end:  # it takes one, however late
            end = held
            context, left = context + 1, left - 1
            held += body_interval[row, context]
        while held < end and left > 1:
            context, left = context + 1, left - 1
            held += body_interval[row, context]
        now = min(end, held)
    users[0, CONTEXT], users[0, PROMPT] = context, left
    return now, held


@_inner
def _lasts(users, count, longest, rounds, whole_sum, interval_sum):  # type: ignore[no-untyped-def]
    """Ticks of so many rounds of tokens: of ``longest`` alone, or -1: of all intervals in sum."""
    if longest >= 0:
        row, context = users[longest, ROW], users[longest, CONTEXT]
        return whole_sum[row, context + rounds] - whole_sum[row, context]
    ticks = 0
    for i in range(count):
        row, context = users[i, ROW], users[i, CONTEXT]
        ticks += interval_sum[row, context + rounds] - interval_sum[row, context]
    return ticks


@_inner
def _alike(  # type: ignore[no-untyped-def]
    users, count, whole, whole_interval, whole_sum, interval_sum, rises, page_tokens, free, ticks
):
    """How many rounds of users who all decode are alike, and which token decides how long they
    take: that of the user with the longest context, or (-1) that the busiest unit is held by all.
    """
    most, longest = users[0, OUTPUT], 0
    for i in range(count):
        row = users[i, ROW]
        if users[i, PROMPT] > 0 or row != users[0, ROW] or not rises[row]:
            return 0, 0
        most = min(most, users[i, OUTPUT])
        if users[i, CONTEXT] > users[longest, CONTEXT]:
            longest = i
    row = users[0, ROW]
    pages, least_work, most_work = 0, 0, 0
    for i in range(count):
        context = users[i, CONTEXT]
        pages += max(-(-(context + most) // page_tokens) - users[i, PAGES], 0)
        least_work += whole_interval[row, context + 1]
        most_work += whole_interval[row, context + most]
    if pages > free:
        return 0, 0
    context = users[longest, CONTEXT]
    if least_work >= whole[row, context + most]:
        longest = -1
    elif most_work > whole[row, context + 1]:
        return 0, 0
    if _lasts(users, count, longest, most, whole_sum, interval_sum) < ticks:
        return most, longest
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if _lasts(users, count, longest, middle, whole_sum, interval_sum) < ticks:
            low = middle + 1
        else:
            high = middle
    return low, longest


@njit(cache=True)
def advance(  # type: ignore[no-untyped-def]
    users, count, body, whole, body_interval, whole_interval, body_sum, whole_sum,
    body_interval_sum, whole_interval_sum, rises, serial, in_turn, page_tokens, free, held, begin,
    until,
):  # fmt: skip
    """Run rounds from tick ``begin`` until something happens; see ``rounds.Advance``."""
    now = begin
    while now < until:
        # What is known without stepping through all users' tokens.
        if count == 1 and users[0, PROMPT] > 1:
            row, context, left = users[0, ROW], users[0, CONTEXT], users[0, PROMPT]
            if not serial:
                now, held = _prefill(users, body, body_interval, held, now, until)
                continue
            if held <= now:  # intervals are latencies
                ticks = body_sum[row, context + left - 1] - body_sum[row, context]
                taken = left - 1
                if ticks >= until - now:
                    taken = _least(body_sum, row, context, left - 1, until - now)
                    ticks = body_sum[row, context + taken] - body_sum[row, context]
                users[0, CONTEXT], users[0, PROMPT] = context + taken, left - taken
                now += ticks
                held = now
                continue
        rounds = 0
        if held <= now and count > 0:
            rounds, longest = _alike(
                users, count, whole, whole_interval, whole_sum, whole_interval_sum, rises,
                page_tokens, free, until - now,
            )  # fmt: skip
        if rounds > 0:
            now += _lasts(users, count, longest, rounds, whole_sum, whole_interval_sum)
            row = users[0, ROW]
            begun = now
            if longest >= 0:
                begun -= whole[row, users[longest, CONTEXT] + rounds]
            held, finished = 0, False
            for i in range(count):
                users[i, CONTEXT] += rounds
                users[i, OUTPUT] -= rounds
                held += whole_interval[row, users[i, CONTEXT]]
                pages = max(-(-users[i, CONTEXT] // page_tokens), users[i, PAGES])
                free -= pages - users[i, PAGES]
                users[i, PAGES] = pages
                finished = finished or users[i, OUTPUT] == 0
            held = begun + held if longest >= 0 else now
            if finished:
                return FINISHED, now, free, held
            continue
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
                many = end - work > _WORTH_A_SEARCH * body_interval[row, context + 1]
                if many and left > _WORTH_A_SEARCH and not serial and not in_turn:
                    # As many as begin before the round's end.
                    taken = _least(body_interval_sum, row, context, left - 1, end - work)
                    work += body_interval_sum[row, context + taken]
                    work -= body_interval_sum[row, context]
                    context += taken
                    left -= taken
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
