"""Several servers behind a router: each does what it would alone with the requests that it gets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from serving_runs import SHAPES, SMALL, differences, machine, machines, policies, serve, workloads

from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.simulator.serving.cards.compiled import engine
from hardwire.simulator.serving.cards.hardware import Card
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.fleet import FleetLog, replay_fleet
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import ServingLog, Status
from hardwire.simulator.serving.policies.policy import CHOICES, Policy
from hardwire.simulator.serving.policies.routing import choose
from hardwire.simulator.serving.replay import replay

pytestmark = pytest.mark.slow  # the compiled loop takes 20 s to compile at first

FEW = examples(12, HealthCheck.filter_too_much)
ROUTINGS = CHOICES["routing"]


def together(run, servers, routing, **options) -> FleetLog:
    return serve(run, replay_fleet, servers=servers, routing=routing, **options)


def alone(run, places, **options) -> ServingLog:
    server, workload, policy = run
    return serve((server, workload.take(places), policy), **options)


@st.composite
def fleets(draw):
    """What may run on several servers: no expected output is in error, nobody looks ahead."""
    workload = draw(workloads())
    changes = {"estimate_error": 0.0, "residency": draw(st.sampled_from(["lru", "lfu", "cost"]))}
    policy = dataclasses.replace(draw(policies()), **changes)
    run = draw(machines), workload, policy
    return run, draw(st.integers(2, 4))


@pytest.mark.parametrize("routing", ROUTINGS)
@examples(6, HealthCheck.filter_too_much)
@given(case=fleets(), window=st.integers(1, 30))
def test_each_server_does_what_it_would_alone(case, window, routing):
    run, servers = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_WINDOW", window)
        fleet = together(run, servers, routing)
    assert len(fleet.logs) == servers
    for number, log in enumerate(fleet.logs):
        mine = np.flatnonzero(fleet.sent == number)
        expected = alone(run, mine, engine="events").lasting(log.end_s)
        assert not differences(log, expected)
        assert fleet.whole.finish_s[mine].tobytes() == log.finish_s.tobytes()
    assert fleet.whole.energy_j == pytest.approx(sum(log.energy_j for log in fleet.logs))
    assert (fleet.whole.status[fleet.sent < 0] != Status.COMPLETED).all()


@FEW
@given(fleets(), st.sampled_from(["least_loaded", "affine_spill"]))
def test_the_router_sends_by_the_backlog_that_the_logs_show(case, routing):
    run, servers = case
    server, workload, policy = run
    assume((workload.adapter >= 0).any())
    fleet = together(run, servers, routing)
    shapes = [SHAPES[number % len(SHAPES)] for number in range(len(workload.adapters))]
    plan = CardServer(
        server, Card(server, SMALL, shapes), workload, shapes, policy, 0, "compiled"
    ).plan
    hertz = plan.costs.clock_hz
    came = np.flatnonzero(fleet.sent >= 0)
    finish = np.rint(fleet.whole.finish_s * hertz)
    for count, request in enumerate(came.tolist()):
        now, before = plan.arrival[request], came[:count]
        if (finish[before] == now).any():  # whether it has ended for the router, the server decides
            continue
        there = before[finish[before] > now]
        backlog = [
            int(plan.estimate[there[fleet.sent[there] == number]].sum())
            for number in range(servers)
        ]
        number = ROUTINGS.index(routing)
        expected = choose(number, backlog, int(workload.adapter[request]), count, plan.spill)
        assert fleet.sent[request] == expected


@FEW
@given(fleets(), st.sampled_from(ROUTINGS))
def test_one_server_is_a_replay(case, routing):
    run, _ = case
    fleet = together(run, 1, routing)
    log = alone(run, np.arange(len(run[1])), engine="compiled")
    mine = np.flatnonzero(fleet.sent == 0)
    assert fleet.logs[0].finish_s.tobytes() == log.finish_s[mine].tobytes()
    assert fleet.whole.status.tobytes() == log.status.tobytes()
    assert fleet.whole.energy_j == pytest.approx(log.energy_j, rel=1e-12)


def few(adapter: int = BASE, count: int = 6) -> Workload:
    return Workload(
        "few",
        np.linspace(0, 0.01, count),
        np.full(count, 9),
        np.full(count, 3),
        np.full(count, adapter, np.int32),
        ("a",) if adapter >= 0 else (),
        0.01,
    )


def test_a_cut_is_at_one_time_for_all():
    run = machine(1, 2, "serial", "each"), few(count=50), Policy()
    for routing in ("round_robin", "least_loaded"):
        fleet = together(run, 3, routing, until_s=0.005)
        assert {log.end_s for log in fleet.logs} == {fleet.whole.end_s}
        assert (fleet.whole.status == Status.UNFINISHED).any()


def test_what_servers_on_one_clock_cannot_do_is_said():
    run = machine(1, 2, "serial", "each"), few(), Policy()
    with pytest.raises(InputError, match="engine events"):
        together(run, 2, "least_loaded", engine="events")
    with pytest.raises(InputError, match="belady"):
        together((run[0], run[1], Policy(residency="belady")), 2, "least_loaded")
    with pytest.raises(InputError, match="servers: must be 1 to"):
        together(run, 0, "round_robin")
    with pytest.raises(InputError, match="closed loop"):
        together((run[0], run[1].closed(2), Policy()), 2, "round_robin")
    gpu = BatchServer.open("vllm-h100")
    with pytest.raises(InputError, match="does not tell"):
        replay_fleet(gpu, few(), [], servers=2, routing="affine")


def test_gpu_servers_share_a_load_that_is_dealt_out_beforehand():
    gpu, load = BatchServer.open("vllm-h100"), few(count=20)
    fleet = replay_fleet(gpu, load, [], servers=2)
    assert fleet.sent.tolist() == [0, 1] * 10
    for number, log in enumerate(fleet.logs):
        mine = load.take(np.flatnonzero(fleet.sent == number))
        assert log.finish_s.tobytes() == replay(gpu, mine, []).finish_s.tobytes()
    assert fleet.whole.units == ("server 0 gpu 0", "server 1 gpu 0")
