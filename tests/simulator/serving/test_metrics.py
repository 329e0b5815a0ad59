"""From a log to numbers: exact on logs made by hand, and laws on random ones."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from serving_logs import (
    ADAPTER_BYTES,
    KV_BYTES,
    LOAD_S,
    OUTPUT_TOKEN_S,
    PROMPT_TOKEN_S,
    made_log,
    made_workload,
)

from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import Occupancy, Status
from hardwire.simulator.serving.metrics import Slo, summarize

PROMISED = set(
    "server requests completed refused generated_tokens prompt_tokens duration_s "  # noqa: SIM905
    "output_tokens_per_s ttft_s tpot_s e2e_s goodput swaps adapter_hit_rate swap_wait_s "
    "peak_sram_bytes server_energy_j_per_output_token usd_per_million_tokens".split()
)


def three() -> Workload:
    """Two requests of one adapter, the second of one token, and a third of the base alone."""
    return Workload(
        name="three",
        arrival_s=np.array([0.0, 1.0, 2.0]),
        prompt=np.array([1000, 100, 10]),
        output=np.array([101, 1, 11]),
        adapter=np.array([0, 0, BASE], dtype=np.int32),
        adapters=("mine",),
        duration_s=4.0,
    )


def test_three_requests_by_hand() -> None:
    workload = three()
    data = summarize(workload, made_log(workload, cards=1), server="simple")
    assert data.keys() >= PROMISED and data["server"] == "simple"
    ttft = [LOAD_S + 1000 * PROMPT_TOKEN_S, 100 * PROMPT_TOKEN_S, 10 * PROMPT_TOKEN_S]
    decode = [100 * OUTPUT_TOKEN_S, 0, 10 * OUTPUT_TOKEN_S]
    e2e = np.add(ttft, decode)
    assert data["ttft_s"]["mean"] == pytest.approx(np.mean(ttft))
    assert data["ttft_s"]["p50"] == pytest.approx(np.median(ttft))
    assert data["e2e_s"]["p90"] == pytest.approx(np.percentile(e2e, 90))
    # The request of one token has no time per output token.
    assert data["tpot_s"]["mean"] == pytest.approx(OUTPUT_TOKEN_S)
    end = 2 + e2e[2]
    assert data["duration_s"] == pytest.approx(end)
    assert (data["requests"], data["completed"], data["refused"]) == (3, 3, 0)
    assert (data["generated_tokens"], data["prompt_tokens"]) == (113, 1110)
    assert data["output_tokens_per_s"] == pytest.approx(113 / end)
    assert data["offered"]["output_tokens_per_s"] == pytest.approx(113 / 4)
    assert data["served"]["requests_per_s"] == pytest.approx(3 / end)
    assert data["swaps"] == 1 and data["adapter_hit_rate"] == 0.5
    assert data["swap_wait_s"] == pytest.approx(LOAD_S)
    assert data["swap_wait_share"] == pytest.approx(LOAD_S / e2e.sum())
    busy = e2e.sum() - LOAD_S
    assert data["utilization"]["compute"]["mean"] == pytest.approx(busy / end)
    assert data["peak_sram_bytes"] == 1101 * KV_BYTES + ADAPTER_BYTES
    assert data["sram"]["peak_adapter_bytes"] == ADAPTER_BYTES
    kv_seconds = 1101 * e2e[0] + 101 * e2e[1] + 21 * e2e[2]
    assert data["sram"]["mean_kv_bytes"] == pytest.approx(KV_BYTES * kv_seconds / end)
    assert data["sram"]["mean_adapter_bytes"] == pytest.approx(ADAPTER_BYTES)
    assert data["server_power_w"] == pytest.approx(250)
    assert data["server_energy_j_per_output_token"] == pytest.approx(250 * end / 113)
    usd = end * (1e-4 + 250 * 3e-8)
    assert data["usd_per_million_tokens"] == pytest.approx(1e6 * usd / 113)
    assert data["definitions"]["swap"] == "adapter copied into a card's SRAM"
    assert "arrival" in data["definitions"]["TTFT"]


def test_goodput_counts_what_met_every_goal() -> None:
    workload = three()
    log = made_log(workload, cards=1)
    duration = log.end_s
    for slo, good in (
        (Slo(), 3),
        (Slo(ttft_s=0.01), 2),
        (Slo(tpot_s=OUTPUT_TOKEN_S / 2), 1),  # only the request that has no such time
        (Slo(ttft_s=0.001, tpot_s=1), 1),
        (Slo(ttft_s=1e-9, tpot_s=1), 0),
    ):
        data = summarize(workload, log, slo)
        assert data["goodput"] == pytest.approx(good / duration)
        assert data["slo_met"] == pytest.approx(good / 3)


def test_undefined_is_none() -> None:
    """No requests, none served, no adapters: no number is made up."""
    empty = made_workload(0)
    data = summarize(empty, made_log(empty))
    assert data["requests"] == data["completed"] == data["generated_tokens"] == 0
    for key in ("output_tokens_per_s", "goodput", "adapter_hit_rate", "slo_met",
                "server_energy_j_per_output_token", "usd_per_million_tokens"):  # fmt: skip
        assert data[key] is None, key
    assert data["ttft_s"] == {"mean": None, "p50": None, "p90": None, "p99": None}
    workload = three()
    refused = {0: Status.TOO_LONG, 1: Status.ADAPTER_TOO_BIG, 2: Status.TOO_LONG}
    data = summarize(workload, made_log(workload, refused=refused))
    assert data["refused"] == 3 and data["refusals"] == {"too_long": 2, "adapter_too_big": 1}
    assert data["e2e_s"]["p99"] is None and data["tpot_s"]["mean"] is None
    bases = dataclasses.replace(workload, adapter=np.full(3, BASE, dtype=np.int32))
    assert summarize(bases, made_log(bases))["adapter_hit_rate"] is None


@examples(60)
@given(
    requests=st.integers(1, 60),
    adapters=st.integers(0, 8),
    seed=st.integers(0, 2**20),
    cards=st.integers(1, 4),
    until=st.one_of(st.just(math.inf), st.floats(0.2, 3)),
    refused=st.sets(st.integers(0, 59), max_size=5),
)
def test_laws(
    requests: int, adapters: int, seed: int, cards: int, until: float, refused: set[int]
) -> None:
    """Every request counts once; percentiles rise; memory has a mean below its peak."""
    workload = made_workload(requests, adapters, seed)
    reasons = dict.fromkeys(refused, Status.TOO_LONG)
    log = made_log(workload, cards=cards, until_s=until, refused=reasons)
    data = summarize(workload, log, Slo(ttft_s=0.1))
    assert data["completed"] + data["refused"] + data["unfinished"] == data["requests"]
    assert data["refused"] == sum(data["refusals"].values())
    for key in ("ttft_s", "tpot_s", "e2e_s"):
        levels = [data[key][name] for name in ("p50", "p90", "p99")]
        assert levels == [None] * 3 or levels == sorted(levels)
    if log.end_s > 0:
        assert data["goodput"] <= data["served"]["requests_per_s"]
    assert data["prompt_tokens"] <= workload.prompt.sum()
    sram = data["sram"]
    for part in ("", "kv_", "adapter_"):
        if log.end_s > 0:
            assert 0 <= sram[f"mean_{part}bytes"] <= sram[f"peak_{part}bytes"] + 1e-6
    for share in data["utilization"].values():
        if log.end_s > 0:
            assert 0 <= share["mean"] <= share["max"] * (1 + 1e-9) <= 1 + 1e-6
    if data["adapter_hit_rate"] is not None:
        wanted = int((log.adapter_hit >= 0).sum())
        assert data["adapter_hit_rate"] == pytest.approx(1 - data["swaps"] / wanted)


def test_memory_does_not_depend_on_the_order_of_samples() -> None:
    workload = made_workload(50)
    log = made_log(workload)
    used = log.occupancy
    mixed = np.random.default_rng(1).permutation(len(used.time_s))
    # Samples of one card at one time keep their order, which says which came last.
    mixed = mixed[np.lexsort((mixed, used.time_s[mixed], -used.unit[mixed]))]
    shuffled = Occupancy(
        used.unit[mixed], used.time_s[mixed], used.kv_bytes[mixed], used.adapter_bytes[mixed]
    )
    other = dataclasses.replace(log, occupancy=shuffled)
    assert summarize(workload, log)["sram"] == summarize(workload, other)["sram"]


def test_wrong_arguments() -> None:
    workload = three()
    with pytest.raises(ValueError, match="another number of requests"):
        summarize(made_workload(4), made_log(workload))
    for value in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive number"):
            Slo(ttft_s=value)
