"""Where a run is cut off, and what its tokens took: each counts once, and only if it was there."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from serving_runs import LAWS, MODEL, SHAPES, SMALL, machine, runs, serve

from hardwire.models.server import Server
from hardwire.simulator.serving.cards.costs import TokenCosts, token_costs
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import ServingLog, Status
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import replay

COMPUTED = ("prefill", "decode", "recomputation")
LONGEST = 400  # tokens of a random request at most, and some


def costs_of(server: Server, adapters: int, limit_w: float | None = None) -> TokenCosts:
    shapes = [SHAPES[number % len(SHAPES)] for number in range(adapters)]
    limit = server.card_limit_w(limit_w)
    return token_costs(SMALL, MODEL, shapes, longest=LONGEST, issue=server.issue, limit_w=limit)


def computed_j(log: ServingLog) -> float:
    """Of tokens, at the plug."""
    return sum(log.energy_by_j[part] for part in COMPUTED)


def test_a_measured_run_is_cut_off_where_it_ends():
    rng = np.random.default_rng(0)
    workload = Workload(
        "cut",
        np.sort(rng.uniform(0, 1, 50)),
        np.full(50, 100),
        np.full(50, 1000),
        np.full(50, BASE, np.int32),
        (),
        1.0,
    )
    server = machine(1, 1, "serial", "each")
    log = replay(server, workload, (), Policy(), until_s=0.5)
    assert {Status.COMPLETED, Status.UNFINISHED} == set(log.status.tolist())
    assert np.nanmax(log.finish_s) <= 0.5 and log.end_s == pytest.approx(0.5)


@LAWS
@given(runs, st.floats(0, 1))
def test_what_is_cut_off_is_the_begin_of_the_whole(run: Any, share: float) -> None:
    whole = serve(run)
    assume(whole.end_s > 0 and (whole.status == Status.COMPLETED).any())
    until_s = share * whole.end_s
    cut = serve(run, until_s=until_s)
    served = whole.status == Status.COMPLETED
    tick = 1e-9
    early = served & (whole.finish_s < until_s - tick)
    assert (cut.status[early] == Status.COMPLETED).all()
    assert (cut.finish_s[early] == whole.finish_s[early]).all()
    late = served & (whole.finish_s > until_s + tick)
    assert (cut.status[late] == Status.UNFINISHED).all()
    assert (cut.generated[late] < whole.generated[late]).all()
    begun = whole.first_token_s < until_s - tick
    assert (cut.first_token_s[begun] == whole.first_token_s[begun]).all()
    assert (cut.generated[begun] > 0).all()
    unborn = served & (whole.first_token_s > until_s + tick)
    assert (cut.generated[unborn] == 0).all() and np.isnan(cut.first_token_s[unborn]).all()
    assert (cut.busy_s["compute"] <= whole.busy_s["compute"] + tick).all()
    assert (cut.busy_s["compute"] <= until_s + tick).all()
    for part in COMPUTED:
        assert -1e-9 <= cut.energy_by_j[part] <= whole.energy_by_j[part] + 1e-9


@LAWS
@given(runs)
def test_c3_cut_off_before_its_last_tokens_a_run_lacks_their_energy(run: Any) -> None:
    """Whatever came before: adapters loaded, prompts shared, requests preempted and begun again."""
    server, workload, _ = run
    whole = serve(run)
    last = (whole.finish_s == whole.end_s) & (whole.status == Status.COMPLETED)
    assume(last.any() and not whole.preemptions[last].any() and (workload.output[last] > 1).all())
    cut = serve(run, until_s=whole.end_s)
    assert (cut.generated == whole.generated - last).all()
    costs = costs_of(server, len(workload.adapters))
    row = np.array(costs.row)[workload.adapter[last] + 1]
    tokens_j = costs.whole_j[row, workload.prompt[last] + workload.output[last] - 1].sum()
    lacking = (computed_j(whole) - computed_j(cut)) * costs.regulator_efficiency
    assert lacking == pytest.approx(tokens_j, rel=1e-6)


@LAWS
@given(runs)
def test_c1_energy_of_a_replay_is_that_of_its_tokens(run: Any) -> None:
    """One after the other: prompts' up to the last, then what is sampled from."""
    server, workload, policy = run
    log = serve((server, workload, dataclasses.replace(policy, prefix_reuse=False)))
    assume(not log.preemptions.any())
    costs = costs_of(server, len(workload.adapters))
    total = 0.0
    for request in np.flatnonzero(log.status == Status.COMPLETED):
        row = costs.row[workload.adapter[request] + 1]
        prompt, output = int(workload.prompt[request]), int(workload.output[request])
        for context in range(1, prompt + output):
            table = costs.body_j if context < prompt else costs.whole_j
            total += float(table[row, context])
    assert computed_j(log) * costs.regulator_efficiency == pytest.approx(total)


@LAWS
@given(runs, st.sampled_from([100.0, 130.0, 190.0]), st.floats(0, 1), st.floats(0, 1))
def test_c1_power_over_a_time_is_within_the_limit(
    run: Any, limit_w: float, one: float, other: float
) -> None:
    """Over any time, but for the round that was on its way as it began."""
    server, workload, policy = run
    run = (server, workload, dataclasses.replace(policy, power_limit_w=limit_w * 10))
    end_s = serve(run).end_s
    first, second = (serve(run, until_s=share * end_s) for share in sorted((one, other)))
    costs = costs_of(server, len(workload.adapters), limit_w * 10)
    users = int(server.machine.users_per_card)
    round_s = (1 + users) * costs.whole.max() / costs.clock_hz
    took_j = (computed_j(second) - computed_j(first)) * costs.regulator_efficiency
    span_s = (second.end_s - first.end_s + round_s) * server.cards
    assert took_j <= costs.budget_w * span_s


@pytest.mark.parametrize("users", [1, 2])
def test_a_request_alone_has_the_tokens_of_the_time_it_had(users: int) -> None:
    prompt, output = 5, 4
    server = machine(1, users, "serial", "each")
    workload = Workload(
        "one",
        np.zeros(1),
        np.array([prompt]),
        np.array([output]),
        np.full(1, BASE, np.int32),
        (),
        1.0,
    )
    costs = costs_of(server, 0)
    tick, joule, made = 0, 0.0, 0
    for context in range(1, prompt + output):
        sampled = context >= prompt
        took = int((costs.whole if sampled else costs.body)[0, context])
        for until in (tick + 1, tick + took):  # within a token nothing of it counts
            log = replay(server, workload, (), Policy(), chip=SMALL, until_s=until / costs.clock_hz)
            assert log.status[0] == Status.UNFINISHED and log.generated[0] == made
            assert log.busy_s["compute"][0] == pytest.approx(until / costs.clock_hz)
            assert computed_j(log) * costs.regulator_efficiency == pytest.approx(joule)
        tick += took
        made += sampled
        joule += float((costs.whole_j if sampled else costs.body_j)[0, context])
