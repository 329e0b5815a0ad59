"""Workloads and logs made by a server simple enough to check by hand, for tests of what reads them.

Cards serve one request at a time, in order of arrival, each on the card that is free first. An
adapter that is not among the card's last few is loaded before the prefill.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans, Status

PROMPT_TOKEN_S, OUTPUT_TOKEN_S, LOAD_S = 50e-6, 60e-6, 2e-3
KV_BYTES, ADAPTER_BYTES, CAPACITY = 65536, 42_500_000, 480 * 2**20
POWER_W, LONGEST = 250.0, 6000


def made_workload(requests: int = 200, adapters: int = 6, seed: int = 0) -> Workload:
    """Poisson arrivals at 20 a second; a tenth of the requests want the base alone."""
    random = np.random.default_rng(seed)
    arrival = np.cumsum(random.exponential(0.05, requests))
    return Workload(
        name="made",
        arrival_s=arrival,
        prompt=random.integers(1, 2000, requests),
        output=random.integers(1, 600, requests),
        adapter=np.where(
            random.random(requests) < 0.1, BASE, random.integers(0, max(adapters, 1), requests)
        ).astype(np.int32)
        if adapters
        else np.full(requests, BASE, dtype=np.int32),
        adapters=tuple(f"a{i:03}" for i in range(adapters)),
        duration_s=float(arrival[-1]) + 0.01 if requests else 1.0,
    )


def made_log(
    workload: Workload,
    *,
    cards: int = 2,
    slots: int = 3,
    until_s: float = np.inf,
    refused: Mapping[int, Status] | None = None,
    speed: float = 1.0,
) -> ServingLog:
    """The log of the simple server; ``refused`` says which requests it never lets in, and why."""
    count = len(workload)
    status = np.full(count, Status.COMPLETED, dtype=np.int8)
    unit = np.full(count, -1, dtype=np.int32)
    start, first, finish = (np.full(count, np.nan) for _ in range(3))
    generated = np.zeros(count, dtype=np.int64)
    hit = np.full(count, -1, dtype=np.int8)
    wait = np.zeros(count)
    free, busy, link = np.zeros(cards), np.zeros(cards), np.zeros(cards)
    resident: list[list[int]] = [[] for _ in range(cards)]
    loads, evictions, memory = [], [], []
    for i in range(count):
        if i in (refused or {}):
            status[i] = refused[i]
            continue
        card = int(free.argmin())
        begin = max(free[card], workload.arrival_s[i])
        if begin >= until_s:
            status[i] = Status.UNFINISHED
            continue
        unit[i], start[i] = card, begin
        wanted, held = int(workload.adapter[i]), resident[card]
        if wanted != BASE:
            hit[i] = wanted in held
            if wanted in held:
                held.remove(wanted)
            else:
                if len(held) == slots:
                    evictions.append((card, held.pop(0), begin, begin, ADAPTER_BYTES))
                loads.append((card, wanted, begin, begin + LOAD_S, ADAPTER_BYTES))
                wait[i], link[card] = LOAD_S, link[card] + LOAD_S
                begin += LOAD_S
            held.append(wanted)
        first[i] = begin + PROMPT_TOKEN_S * workload.prompt[i] / speed
        finish[i] = first[i] + OUTPUT_TOKEN_S * (workload.output[i] - 1) / speed
        generated[i] = workload.output[i]
        if finish[i] > until_s:
            status[i], finish[i] = Status.UNFINISHED, np.nan
            first[i] = first[i] if first[i] <= until_s else np.nan
            generated[i] = int(np.isfinite(first[i]))
        end = finish[i] if np.isfinite(finish[i]) else until_s
        busy[card] += end - start[i] - wait[i]
        free[card] = end
        kv = int(workload.prompt[i] + workload.output[i]) * KV_BYTES
        memory += [
            (card, start[i], kv, len(held) * ADAPTER_BYTES),
            (card, end, 0, len(held) * ADAPTER_BYTES),
        ]
    table = np.array(memory).reshape(len(memory), 4)
    table = table[np.argsort(table[:, 1], kind="stable")]
    end_s = float(until_s) if np.isfinite(until_s) else float(free.max())
    return ServingLog(
        status=status,
        unit=unit,
        start_s=start,
        first_token_s=first,
        finish_s=finish,
        generated=generated,
        adapter_hit=hit,
        swap_wait_s=wait,
        preemptions=np.zeros(count, dtype=np.int32),
        reused_tokens=np.zeros(count, dtype=np.int64),
        units=tuple(f"card {card}" for card in range(cards)),
        busy_s={"compute": busy, "link": link},
        capacity_bytes=CAPACITY,
        spans=(
            Spans.of("adapter load", sorted(loads, key=lambda row: row[2])),
            Spans.of("evict", sorted(evictions, key=lambda row: row[2])),
        ),
        occupancy=Occupancy(
            table[:, 0].astype(np.int32),
            table[:, 1],
            table[:, 2].astype(np.int64),
            table[:, 3].astype(np.int64),
        ),
        end_s=end_s,
        energy_j=POWER_W * cards * end_s,
        energy_by_j={"cards": POWER_W * cards * end_s},
        capex_usd_per_s=1e-4,
        energy_usd_per_j=3e-8,
        swaps=len(loads),
        definitions={"swap": "adapter copied into a card's SRAM"},
    )
