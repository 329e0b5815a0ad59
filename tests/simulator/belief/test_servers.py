"""Draws of servers: ranges, what was fitted together, what an operator sets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardwire.models.chip import Chip
from hardwire.models.gpu_fit import Fitted
from hardwire.models.gpu_server import STEP_TERMS, Batching, BatchServer
from hardwire.models.parameters import quantities
from hardwire.models.server import Server
from hardwire.simulator.belief.draws import at_measured_rate
from hardwire.simulator.belief.servers import draw_gpu_servers, draw_servers

VLLM = BatchServer.open("vllm-h100")
EXACT = dataclasses.replace(VLLM, fit=None)
FIXED = dataclasses.replace(EXACT, parameters={})


def column(servers: list[BatchServer], name: str) -> np.ndarray:
    return np.array([getattr(one.batching, name) for one in servers])


def test_draws_lie_in_their_ranges_and_choices_stay() -> None:
    drawn = draw_gpu_servers(EXACT, 50)
    for name, parameter in EXACT.parameters.items():
        if parameter.range is None or quantities(Batching)[name].integer:
            continue
        values = column(drawn, name)
        low, high = parameter.range
        assert (values >= low).all() and (values <= high).all() and len(set(values)) == 50
    for name in ("slots", "host_adapters", "max_batched_tokens", "max_seqs", "memory_share"):
        assert {getattr(one.batching, name) for one in drawn} == {getattr(VLLM.batching, name)}


def test_what_was_fitted_together_is_drawn_together() -> None:
    covariance = ((400.0, -9.0), (-9.0, 0.25))
    fit = Fitted(names=("step_us", "sequence_us"), covariance=covariance, rows=9, residual=0.0)
    drawn = draw_gpu_servers(dataclasses.replace(FIXED, fit=fit), 4000)
    values = np.array([column(drawn, name) for name in fit.names])
    np.testing.assert_allclose(np.cov(values), covariance, rtol=0.1)
    mean = [getattr(VLLM.batching, name) for name in fit.names]
    np.testing.assert_allclose(values.mean(axis=1), mean, rtol=0.002)


def test_what_a_fit_leaves_is_one_factor_of_every_term() -> None:
    fit = Fitted(names=("step_us",), covariance=((0.0,),), rows=9, residual=0.1)
    drawn = draw_gpu_servers(dataclasses.replace(FIXED, fit=fit), 500)
    factors = column(drawn, "step_us") / VLLM.batching.step_us
    assert factors.std() == pytest.approx(0.1, rel=0.1)
    for name in STEP_TERMS:
        np.testing.assert_allclose(column(drawn, name), factors * getattr(VLLM.batching, name))
    assert set(column(drawn, "load_us")) == {VLLM.batching.load_us}


def test_nothing_unknown_is_nothing_drawn() -> None:
    assert {one.batching for one in draw_gpu_servers(FIXED, 5)} == {FIXED.batching}


def test_few_draws_are_the_first_of_many() -> None:
    few, many = draw_gpu_servers(VLLM, 3), draw_gpu_servers(VLLM, 30)
    assert [one.batching for one in few] == [one.batching for one in many[:3]]
    assert few != draw_gpu_servers(VLLM, 3, seed=1)


def test_cards_have_the_chips_that_run_draws() -> None:
    server, chip = Server.open("hc1x10"), Chip.open("hc1")
    drawn = draw_servers(server, chip, 5)
    clocks = {float(one.datapath.clock_ghz) for _, one in drawn}
    assert len(clocks) == 5 and all(np.ndim(one.datapath.lanes) == 0 for _, one in drawn)
    low, high = server.parameters["host_w"].range
    assert all(low <= one.machine.host_w <= high for one, _ in drawn)
    assert {one.machine.cards for one, _ in drawn} == {10}
    assert {one.machine.limit_w for one, _ in drawn} == {server.machine.limit_w}


def test_a_published_power_limit_leaves_out_chips_that_it_would_slow() -> None:
    """HC1 decodes at its published rate in a server of published power: both hold in each draw."""
    server, chip = Server.open("hc1x10"), Chip.open("hc1")
    for one, card in draw_servers(server, chip, 8):
        limit = one.card_limit_w()
        assert at_measured_rate(card, chip.calibration, limit)
    assumed = server.parameters["limit_w"].model_copy(update={"kind": "set"})
    free = dataclasses.replace(server, parameters={**server.parameters, "limit_w": assumed})
    slowed = [
        not at_measured_rate(card, chip.calibration, one.card_limit_w())
        for one, card in draw_servers(free, chip, 30)
    ]
    assert any(slowed)
