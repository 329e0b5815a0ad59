"""How many of a server the same goodput takes, as ``hardwire compare`` says with goals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell import Shell

from hardwire.experiments.replay import fleet
from hardwire.experiments.replay.fleet import GOOD, deal, fleets
from hardwire.experiments.replay.replay import prepare, run
from hardwire.experiments.replay.setup import Setup
from hardwire.simulator.serving.load.workload import BASE, Workload

LOAD = ["azure-conv", "--requests", "600", "--adapters", "16", "--slo", "ttft=0.5,tpot=50ms"]


@given(
    wanted=st.lists(st.integers(BASE, 5), min_size=1, max_size=60),
    servers=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_every_request_is_dealt_once_and_adapters_stay_together(
    wanted: list[int], servers: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = len(wanted)
    load = Workload(
        "random",
        np.sort(rng.random(count)),
        rng.integers(1, 3000, count),
        rng.integers(1, 500, count),
        np.array(wanted, np.int32),
        tuple("abcdef"),
        1.0,
    )
    parts = deal(load, servers)
    assert len(parts) <= servers and all(len(part) for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert all((np.diff(part) > 0).all() for part in parts)
    adapters = {number for number in wanted if number != BASE}
    if len(adapters) >= servers:
        for number in adapters:
            assert sum(number in load.adapter[part] for part in parts) == 1


def test_the_fewest_are_found_one_fewer_does_not_do() -> None:
    """Against the count from 1 up, as notebook 06 does it."""
    setup = Setup(
        source="azure-conv", server="vllm-h100", adapters="16", requests=900, rate=60.0,
        slo={"ttft": 0.5, "tpot": 0.05},
    )  # fmt: skip
    ready = {name: prepare(setup.only(name)) for name in ("hc1x10-pipelined", "vllm-h100")}
    done = {name: run(one) for name, one in ready.items()}
    found = fleets(done, ready)
    best = done["hc1x10-pipelined"].summary["slo_met"]
    assert found["hc1x10-pipelined"] is not None
    assert found["hc1x10-pipelined"].servers == 1 and found["hc1x10-pipelined"].met == best
    gpus = found["vllm-h100"]
    assert gpus is not None and gpus.servers > 2 and gpus.units == gpus.servers
    assert gpus.met >= GOOD * best and gpus.price_usd == gpus.servers * 32_000
    assert 170 * gpus.servers < gpus.fleet_power_w < 1_000 * gpus.servers
    tried = [fleet._dealt(ready["vllm-h100"], k).met for k in range(2, gpus.servers + 1)]
    assert [met >= GOOD * best for met in tried] == [False] * (gpus.servers - 2) + [True]


@pytest.mark.slow
def test_compare_says_what_the_same_goodput_takes(hardwire: Shell) -> None:
    status, out, _ = hardwire("compare", *LOAD)
    rows = {line[:22].strip(): line[22:].split() for line in out.splitlines()}
    found = hardwire.answer("compare", *LOAD)["needed"]
    assert status == 0 and rows["Needed, units"] == [
        str(found[name]["units"]) for name in ("hc1x10", "vllm-h100")
    ]
    assert rows["Needed, price, USD"][0] == "35,000" and "needed" in out


def test_goals_that_no_number_of_a_server_meets_get_a_dash(hardwire: Shell) -> None:
    load = ["compare", "azure-conv", "--requests", "100", "--slo", "tpot=1ms"]
    found = hardwire.answer(*load)
    assert found["needed"]["vllm-h100"] is None and found["needed"]["hc1x10"]["units"] == 10
    rows = {line[:22].strip(): line[22:].split() for line in hardwire(*load)[1].splitlines()}
    assert rows["Needed, units"] == ["10", "–"]


@pytest.mark.parametrize("more", [(), ("--servers", "hc1x10", "--slo", "ttft=1")])
def test_without_goals_or_others_nothing_is_needed(hardwire: Shell, more: tuple[str, ...]) -> None:
    load = ["compare", "azure-conv", "--requests", "40", *more]
    assert hardwire.answer(*load)["needed"] == {}
    assert "eeded" not in hardwire(*load)[1]
