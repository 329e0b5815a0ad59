"""Laws of a hardwired server, over random workloads, policies and machines."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from serving_runs import (
    LAWS,
    SHAPES,
    SMALL,
    columns,
    machine,
    machines,
    policies,
    runs,
    serve,
    workloads,
)

from hardwire.models import Chip
from hardwire.simulator.serving.cards.card import Card
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import ServingLog, Status
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.policies.residency import hit_rate
from hardwire.simulator.serving.replay import replay


def every_request_ends_exactly_once(workload: Workload, log: ServingLog) -> None:
    assert set(log.status.tolist()) <= {
        Status.COMPLETED,
        Status.TOO_LONG,
        Status.ADAPTER_TOO_BIG,
    }
    done = log.status == Status.COMPLETED
    assert (log.generated[done] == workload.output[done]).all()
    assert (log.generated[~done] == 0).all()
    assert np.isfinite(log.finish_s).all()
    assert np.isnan(log.start_s[~done]).all()


def no_token_is_before_its_request_and_the_clock_never_goes_back(
    workload: Workload, log: ServingLog
) -> None:
    done = log.status == Status.COMPLETED
    assert (log.start_s[done] >= workload.arrival_s[done]).all()
    assert (log.first_token_s[done] > log.start_s[done]).all()
    assert (log.finish_s[done] >= log.first_token_s[done]).all()
    assert ((log.finish_s > log.first_token_s) == (workload.output > 1))[done].all()
    assert (log.swap_wait_s >= 0).all()
    for unit in range(len(log.units)):
        assert (np.diff(log.occupancy.time_s[log.occupancy.unit == unit]) >= 0).all()
    for spans in log.spans:
        assert (spans.end_s >= spans.begin_s).all()


def sram_is_never_over_capacity_and_kv_empty_at_the_end(
    workload: Workload, log: ServingLog
) -> None:
    used = log.occupancy.kv_bytes + log.occupancy.adapter_bytes
    assert (used <= log.capacity_bytes).all()
    assert (log.occupancy.kv_bytes >= 0).all() and (log.occupancy.adapter_bytes >= 0).all()
    for unit in range(len(log.units)):
        mine = log.occupancy.kv_bytes[log.occupancy.unit == unit]
        assert len(mine) == 0 or mine[-1] == 0


def a_card_computes_no_longer_than_there_is_time(workload: Workload, log: ServingLog) -> None:
    assert (log.busy_s["compute"] <= log.end_s * (1 + 1e-9)).all()
    assert log.energy_j == pytest.approx(sum(log.energy_by_j.values()))


OF_ONE_LOG = (
    every_request_ends_exactly_once,
    no_token_is_before_its_request_and_the_clock_never_goes_back,
    sram_is_never_over_capacity_and_kv_empty_at_the_end,
    a_card_computes_no_longer_than_there_is_time,
)


@examples(100, HealthCheck.filter_too_much)
@given(runs)
def test_a_log_keeps_the_laws(run):
    """Each of them asked of the same run."""
    log = serve(run)
    for law in OF_ONE_LOG:
        law(run[1], log)


@LAWS
@given(runs)
def test_no_place_is_left_free_while_an_admissible_request_waits(run):
    """Work conservation, asked of each card after each of its events.

    A place may stay free for a request that has waited as long as the policy's reservation says.
    """
    go = Card._go

    def checked(card: Card, now: int) -> None:
        go(card, now)
        if card._has_place() and not card._holding:
            queue = card.queue
            waiting = list(queue._arrivals.members) + queue._returned
            kept = queue._reserve is not None and any(
                queue._arrival[request] <= queue._reserved and not card._admissible(request)
                for request in waiting
            )
            assert kept or not any(card._admissible(request) for request in waiting)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Card, "_go", checked)
        serve(run)


@LAWS
@given(runs)
def test_c1_a_link_carries_one_adapter_at_a_time_and_none_before_the_disk_has_read_it(run):
    server, workload, policy = run
    log = serve((server, workload, dataclasses.replace(policy, host_warm=False)))
    loads, link = log.spans[0], SMALL.link
    last = -np.ones(len(log.units))
    for at in np.argsort(loads.begin_s, kind="stable"):
        line = 0 if server.machine.links == "shared" else loads.unit[at]
        assert loads.begin_s[at] >= last[line] - 1e-12
        last[line] = loads.begin_s[at] + loads.bytes[at] / (float(link.bandwidth_gb_per_s) * 1e9)
    read_s = [
        float(link.disk_latency_us) * 1e-6
        # The file that PEFT writes, not the image in SRAM.
        + SHAPES[adapter % len(SHAPES)].checkpoint_bytes("F32") / (float(link.disk_gb_per_s) * 1e9)
        for adapter in loads.adapter
    ]
    assert (loads.begin_s >= np.array(read_s) - 1e-9).all()


@LAWS
@given(runs)
def test_same_seed_same_bytes(run):
    assert columns(serve(run, seed=3)) == columns(serve(run, seed=3))


@LAWS
@given(st.tuples(machines, workloads(), policies()))
def test_adapters_that_nobody_wants_change_nothing(run):
    server, workload, policy = run
    off = dataclasses.replace(workload, adapter=np.full(len(workload), BASE, np.int32), adapters=())
    unused = dataclasses.replace(off, adapters=("x", "y"))
    policy = dataclasses.replace(policy, slots=None)
    assert columns(serve((server, off, policy))) == columns(serve((server, unused, policy)))


@examples(10, HealthCheck.filter_too_much)
@given(st.tuples(machines, workloads(most=10), policies()))
def test_reference_engine_equals_compiled_engine(run):
    assert columns(serve(run)) == columns(serve(run, engine="reference"))


@LAWS
@given(workloads(), st.integers(1, 4), st.sampled_from(["lru", "lfu", "belady"]))
def test_one_card_that_serves_by_arrival_is_a_cache(workload, slots, residency):
    """One user, one card, fixed slots: its hit rate is that of the policy alone."""
    assume(len(workload.adapters) > 0 and (workload.adapter >= 0).any())
    policy = Policy(slots=slots, residency=residency, prefetch=0, swap="double_buffered")
    chip = Chip.open("hc1")
    shapes = [SHAPES[0]] * len(workload.adapters)
    server = machine(1, 1, "serial", "each")
    log = replay(server, workload, shapes, policy, chip=chip)
    wanted = log.adapter_hit >= 0
    expected = hit_rate(workload.adapter, slots, residency)
    assert (log.adapter_hit[wanted] == 1).mean() == pytest.approx(expected)


@LAWS
@given(runs, st.sampled_from([0.0, 1e-3, 1e-2]))
def test_nobody_passes_by_one_for_whom_memory_is_reserved(run, reserve_s):
    """Of two at a card, the later is let in first only while the earlier has not waited so long."""
    server, workload, policy = run
    log = serve((server, workload, dataclasses.replace(policy, reserve_s=reserve_s)))
    tick = 1e-8
    for unit in np.unique(log.unit[log.unit >= 0]):
        (here,) = np.nonzero((log.unit == unit) & (log.status == Status.COMPLETED))
        for place, earlier in enumerate(here):
            due = workload.arrival_s[earlier] + reserve_s + tick
            for later in here[place + 1 :]:
                passed = log.start_s[later] < log.start_s[earlier]
                assert not passed or log.start_s[later] < due


def overload(reserve_s: float | None) -> float:
    """Seconds that one long prompt waits at a card that short ones keep full."""
    rng = np.random.default_rng(0)
    arrival = np.sort(rng.uniform(0, 0.5, 4000))
    prompt = np.full(4000, 16)
    prompt[400] = 320  # of the 384 tokens that there is room for
    workload = Workload(
        name="overload",
        arrival_s=arrival,
        prompt=prompt,
        output=np.full(4000, 24),
        adapter=np.full(4000, BASE, np.int32),
        adapters=(),
        duration_s=0.5,
    )
    server = machine(1, 16, "pipelined", "each")
    policy = Policy(reserve_s=reserve_s, power_limit_w=1e5)
    chip = SMALL.with_values({"power.limit_w": 10_000})  # what is short is room, not power
    log = replay(server, workload, [], policy, chip=chip)
    assert (log.status == Status.COMPLETED).all()
    return float(log.start_s[400] - arrival[400])


def test_a_long_prompt_starved_in_lasting_overload_under_fcfs() -> None:
    """It was passed by as long as shorter ones filled what fell free, though first in line."""
    starved, bounded = overload(None), overload(0.05)
    assert 0.05 < bounded < 0.06 and starved > 0.4
