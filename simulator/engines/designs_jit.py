"""Numba kernels of the engine for many designs: integer cycles as in ``compiled_jit``."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np


@nb.njit(cache=True, inline="always")
def grown(context: int, numerator: int, denominator: int) -> int:
    """What attention adds to a stage: ``timing.grown`` where one rate decides, compiled."""
    return -(-context * numerator // denominator)


@nb.njit(cache=True)
def ceil_sum(count: int, numerator: int, denominator: int) -> int:
    """``Σ ⌈c · numerator / denominator⌉`` for ``c`` from 1 to ``count``, in O(log) steps.

    The lattice points under a line, by Euclid's algorithm on slope and height: Graham, Knuth,
    Patashnik, Concrete Mathematics, section 3.5.
    """
    # Σ ⌊(a i + b) / m⌋ for i from 0 to n - 1.
    n, m, a, b = count, denominator, numerator, numerator + denominator - 1
    total = 0
    while n > 0:
        total += (n - 1) * n // 2 * (a // m) + n * (b // m)
        a %= m
        b %= m
        top = a * n + b
        n = top // m
        b = top % m
        m, a = a, m
        if m == 0:
            break
    return total


@nb.njit(cache=True, nogil=True)
def serial(
    fixed: Any, growing: Any, ahead: Any, early: Any, rate: Any, prompt: Any, output: Any,
    place: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Users take turns with one token each: round ``i`` takes all users' token of context ``i``.

    Of a token inside a prompt, ``ahead`` cycles and ``early`` growing stages are not waited for.
    """
    for p in range(len(growing)):
        users = place[p + 1] - place[p]
        num, den = rate[p]
        body, head = fixed[p]
        inside, tokens = prompt[p] - 1, prompt[p] + output[p] - 1
        overlap = inside * ahead[p] + early[p] * ceil_sum(inside, num, den)
        before_first = users * (inside * body + growing[p] * ceil_sum(inside, num, den) - overlap)
        before_last = users * (
            (tokens - 1) * body
            + (tokens - 1 - inside) * head
            + growing[p] * ceil_sum(tokens - 1, num, den)
            - overlap
        )
        turn_first = body + head + growing[p] * grown(prompt[p], num, den)
        turn_last = body + head + growing[p] * grown(tokens, num, den)
        for u in range(users):
            first[place[p] + u] = before_first + (u + 1) * turn_first
            last[place[p] + u] = before_last + (u + 1) * turn_last


@nb.njit(cache=True, nogil=True)
def pipelined(
    kinds: Any, embedding: Any, head_max: Any, head_sum: Any,
    pre_max: Any, pre_sum: Any, post_max: Any, post_sum: Any, attention: Any, rate: Any,
    prompt: Any, output: Any, place: Any, first: Any, last: Any,
) -> None:  # fmt: skip
    """Tokens in order through a few units; see ``hardwire.simulator.engines.designs``.

    Users' tokens follow each other in turn: prompt tokens leave the embedding so, and decode
    tokens the last unit. Units are numbered along the way, blocks even and attentions odd, up to
    the last at which anybody waits.
    """
    layers, stages = len(kinds), attention.shape[1]
    cycles = np.empty(2 * layers + 1, np.int64)
    rest = np.empty(2 * layers + 1, np.int64)  # between a unit and the next, where nobody waits
    free = np.empty(2 * layers + 1, np.int64)
    stack = np.empty((2 * layers + 1, 3), np.int64)
    for p in range(len(embedding)):
        users = place[p + 1] - place[p]
        num, den = rate[p]
        keys = attention[p, 0]
        values = attention[p, 1] if stages == 2 else 0
        slowest, total = embedding[p], embedding[p]
        fixed = head_sum[p] + layers * (keys + values)
        widest = 0
        for block in range(layers + 1):
            if block < layers:
                slowest = max(slowest, pre_max[p, kinds[block]])
                total += pre_sum[p, kinds[block]]
                cycles[2 * block + 1] = keys
            cycles[2 * block], rest[2 * block] = slowest, total - slowest
            if slowest > cycles[2 * widest]:
                widest = block
            fixed += total
            if block < layers:
                slowest, total = post_max[p, kinds[block]], post_sum[p, kinds[block]]
        units = min(2 * widest + 2, 2 * layers + 1)
        # What is behind those units: blocks, and as many attentions.
        behind = 0
        for block in range(widest + 1, layers + 1):
            behind += cycles[2 * block] + rest[2 * block]
        passed = max(layers - 1 - widest, 0)
        behind += passed * (keys + values)
        busiest = max(head_max[p], cycles[2 * widest])
        tokens = prompt[p] + output[p] - 1
        free[:] = 0
        context = 1
        while context < prompt[p]:
            added = grown(context, num, den)
            until = min(prompt[p] - 1, added * den // num)  # the last one that adds no more
            _grow(cycles, rest, units, keys + added, values + added if stages == 2 else 0)
            _alike((until - context + 1) * users, units, cycles, rest, free, stack)
            context = until + 1
        done = last[place[p] : place[p + 1]]
        head_free = 0
        for i in range(prompt[p] - 1, tokens):
            added = grown(i + 1, num, den)
            _grow(cycles, rest, units, keys + added, values + added if stages == 2 else 0)
            later = behind + passed * stages * added
            for u in range(users):
                end = done[u] if i >= prompt[p] else 0
                for unit in range(units):
                    end = max(end, free[unit]) + cycles[unit]
                    free[unit] = end
                    end += rest[unit]
                end = max(end + later, head_free) + head_max[p]
                head_free = end
                done[u] = end + head_sum[p] - head_max[p]
            if i != prompt[p] - 1:
                continue
            for u in range(users):  # a slice takes numba two seconds more to compile
                first[place[p] + u] = done[u]
            longest = max(busiest, keys + grown(tokens, num, den))
            apart = True
            for u in range(1, users):
                apart = apart and done[u] - done[u - 1] >= longest
            if apart and fixed + layers * stages * added >= done[users - 1] - done[0] + longest:
                # No two tokens ever meet again: each takes its own cycles and no more.
                sums = ceil_sum(tokens, num, den) - ceil_sum(i + 1, num, den)
                done += (tokens - 1 - i) * fixed + layers * stages * sums
                break


@nb.njit(cache=True, inline="always")
def _grow(cycles: Any, rest: Any, units: int, keys: int, values: int) -> None:
    """Set what the attentions take. The values never wait: the keys, no faster, come in order."""
    for unit in range(1, units, 2):
        cycles[unit], rest[unit] = keys, values


@nb.njit(cache=True, inline="always")
def _alike(count: int, units: int, cycles: Any, rest: Any, free: Any, stack: Any) -> None:
    """Send ``count`` tokens that take the same cycles and come at once through the units.

    Token ``n`` leaves unit ``s`` at the longest way there from a unit ``t`` that the token before
    them left: once through the units from ``t`` to ``s``, and ``n - 1`` times more through the
    slowest of them. ``stack`` has those ``t`` that still matter: the way from its begin, the
    slowest unit since, and the best of all below it.
    """
    way = height = 0
    for unit in range(units):
        slowest = cycles[unit]
        best = free[unit] - way
        while height > 0 and stack[height - 1, 1] <= slowest:
            height -= 1
            best = max(best, stack[height, 0])
        longest = best + (count - 1) * slowest
        if height > 0:
            longest = max(longest, stack[height - 1, 2])
        stack[height, 0], stack[height, 1], stack[height, 2] = best, slowest, longest
        height += 1
        way += slowest
        free[unit] = longest + way
        way += rest[unit]


@nb.njit(cache=True, nogil=True)
def measure(
    prompt: Any, output: Any, place: Any, first: Any, last: Any, hz: Any, decode: Any,
    prefill: Any, rate: Any, rate_user: Any, rate_chip: Any, ttft: Any, latest: Any, added: Any,
) -> None:  # fmt: skip
    """Rates in tokens/s and times in s, in the order of operations of ``simulator.single``.

    ``latest`` is the last user's time to first token; ``added`` the mean of what attention adds
    for its context to one stage of a decoded token.
    """
    for p in range(len(hz)):
        rates, firsts, longest = 0.0, 0.0, 0.0
        for u in range(place[p], place[p + 1]):
            rates += (output[p] - 1) / (last[u] - first[u]) * hz[p] * decode[p]
            seconds = first[u] / (hz[p] * prefill[p])
            firsts += seconds
            longest = max(longest, seconds)
        users = place[p + 1] - place[p]
        rate_user[p], rate_chip[p] = rates / users, rates
        ttft[p], latest[p] = firsts / users, longest
        num, den = rate[p]
        sums = ceil_sum(prompt[p] + output[p] - 1, num, den) - ceil_sum(prompt[p], num, den)
        added[p] = sums / (output[p] - 1)
