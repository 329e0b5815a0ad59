"""Closed loops on both kinds of server: how many are in flight, Little's law, both engines."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from serving_runs import machine, machines, policies, serve, workloads

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.simulator.serving.closed_loop import arrived, with_refused
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog, Status
from hardwire.simulator.serving.policies.policy import Policy

VLLM = BatchServer.open("vllm-h100")
ADAPTER = Adapter.from_shape("r16:all-linear", VLLM.model)
FEW_SEATS = dataclasses.replace(
    VLLM, batching=dataclasses.replace(VLLM.batching, max_seqs=5, max_batched_tokens=64)
)
UNTIL = st.sampled_from([None, None, 0.02, 0.5])
cards = st.tuples(machines, workloads(), policies().filter(lambda p: p.schedule != "slo"))


def on_gpu(workload: Workload, **options: Any) -> ServingLog:
    adapters = [ADAPTER] * len(workload.adapters)
    return simulate_batch(FEW_SEATS, workload, adapters, rank=16, **options)


def keeps_so_many_in_flight(places: int, asked: Workload, log: ServingLog) -> None:
    """While requests are left, each end is an arrival; so Little's law holds to the last one."""
    load, log = arrived(asked, log)
    served = np.isin(log.status, (Status.COMPLETED, Status.UNFINISHED))
    came, ended = load.arrival_s[served], log.finish_s[served]
    assert (np.diff(load.arrival_s) >= 0).all()
    assert (came[:places] == 0).all()
    ends = np.sort(ended[np.isfinite(ended)])
    later = came[places:]
    np.testing.assert_array_equal(later, ends[: len(later)])
    if len(later):
        # The mean number in flight, rate times time: L = λ·W up to the last arrival.
        last = later[-1]
        spent = np.minimum(np.nan_to_num(ended, nan=np.inf), last) - np.minimum(came, last)
        assert spent.sum() == pytest.approx(places * last, rel=1e-9, abs=1e-9)


@examples(30)
@given(workloads(), st.integers(1, 9), UNTIL)
def test_a_gpu_server_keeps_so_many_in_flight(workload, places, until) -> None:
    closed = workload.closed(places)
    keeps_so_many_in_flight(places, closed, on_gpu(closed, until_s=until))


@examples(30)
@given(workloads(), st.integers(1, 9), UNTIL)
def test_both_gpu_engines_see_the_same_arrivals_and_ends(workload, places, until) -> None:
    closed = workload.closed(places)
    one, two = (on_gpu(closed, until_s=until, engine=name) for name in ("compiled", "reference"))
    assert one.arrival_s.tobytes() == two.arrival_s.tobytes()
    for name, values in one.to_arrays().items():
        assert values.tobytes() == two.to_arrays()[name].tobytes(), name


@examples(30, HealthCheck.filter_too_much)
@given(cards, st.integers(1, 9), UNTIL)
def test_cards_keep_so_many_in_flight(run, places, until) -> None:
    server, workload, policy = run
    closed = workload.closed(places)
    keeps_so_many_in_flight(places, closed, serve((server, closed, policy), until_s=until))


@examples(8, HealthCheck.filter_too_much)
@given(st.tuples(machines, workloads(most=10), policies()), st.integers(1, 4))
def test_both_engines_of_cards_see_the_same_arrivals_and_ends(run, places) -> None:
    server, workload, policy = run
    policy = dataclasses.replace(policy, schedule="fcfs")
    run = server, workload.closed(places), policy
    one, two = serve(run), serve(run, engine="reference")
    assert one.arrival_s.tobytes() == two.arrival_s.tobytes()
    assert one.finish_s.tobytes() == two.finish_s.tobytes()


@examples(20)
@given(workloads())
def test_more_places_than_requests_are_all_requests_at_once(workload) -> None:
    at_once = dataclasses.replace(workload, arrival_s=np.zeros(len(workload)), duration_s=0.0)
    closed, opened = on_gpu(workload.closed(1000)), on_gpu(at_once)
    assert closed.finish_s.tobytes() == opened.finish_s.tobytes()
    assert (closed.arrival_s == 0).all()


def test_one_place_serves_one_after_the_other() -> None:
    load = Workload(
        "two",
        np.array([0.0, 5.0]),
        np.array([10, 10]),
        np.array([3, 3]),
        np.full(2, -1, np.int32),
        (),
        5.0,
    )
    log = on_gpu(load.closed(1))
    assert log.arrival_s[1] == log.finish_s[0]
    # Alone both take the same, but for the begin of the second, on the server's clock.
    assert log.finish_s[1] == pytest.approx(2 * log.finish_s[0], abs=1e-8)


def test_what_can_never_be_served_takes_no_place() -> None:
    came = with_refused(np.array([1, 3]), np.array([0.0, 7.0]), 5)
    np.testing.assert_array_equal(came, [0, 0, 0, 7, 7])


def test_deadlines_that_nobody_knows_rank_nobody() -> None:
    load = Workload(
        "one", np.zeros(1), np.ones(1, int), np.ones(1, int), np.full(1, -1, np.int32), (), 0.0
    )
    with pytest.raises(InputError, match="--schedule slo"):
        serve((machine(1, 1, "serial", "each"), load.closed(1), Policy(schedule="slo")))
