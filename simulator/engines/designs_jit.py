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
    """Tokens in order through two units per layer; see ``hardwire.simulator.engines.designs``.

    Users' tokens follow each other in turn: prompt tokens leave the embedding so, and decode
    tokens the last unit.
    """
    layers, stages = len(kinds), attention.shape[1]
    block_max = np.empty(layers + 1, np.int64)
    block_rest = np.empty(layers + 1, np.int64)
    block_free = np.empty(layers + 1, np.int64)
    keys_free = np.empty(layers, np.int64)
    for p in range(len(embedding)):
        users = place[p + 1] - place[p]
        num, den = rate[p]
        keys = attention[p, 0]
        values = attention[p, 1] if stages == 2 else 0
        slowest, total = embedding[p], embedding[p]
        fixed = head_sum[p] + layers * (keys + values)
        busiest = head_max[p]
        for block in range(layers + 1):
            if block < layers:
                slowest = max(slowest, pre_max[p, kinds[block]])
                total += pre_sum[p, kinds[block]]
            block_max[block], block_rest[block] = slowest, total - slowest
            fixed += total
            busiest = max(busiest, slowest)
            if block < layers:
                slowest, total = post_max[p, kinds[block]], post_sum[p, kinds[block]]
        block_free[:] = 0
        keys_free[:] = 0
        head_free = 0
        tokens = prompt[p] + output[p] - 1
        done = last[place[p] : place[p + 1]]
        for i in range(tokens):
            added = grown(i + 1, num, den)
            keys_now = keys + added
            values_now = values + added if stages == 2 else 0
            for u in range(users):
                ready = done[u] if i >= prompt[p] else 0
                for layer in range(layers):
                    end = max(ready, block_free[layer]) + block_max[layer]
                    block_free[layer] = end
                    end = max(end + block_rest[layer], keys_free[layer]) + keys_now
                    keys_free[layer] = end
                    # The values never wait: the keys, which take no less, are served in order.
                    ready = end + values_now
                end = max(ready, block_free[layers]) + block_max[layers]
                block_free[layers] = end
                if i >= prompt[p] - 1:
                    end = max(end + block_rest[layers], head_free) + head_max[p]
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
