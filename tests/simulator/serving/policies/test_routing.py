"""Laws of the routers, over random requests."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.simulator.serving.policies import policy
from hardwire.simulator.serving.policies.routing import make_router

ALL = get_args(policy.Routing)

cards_of = st.integers(1, 12)
arrivals = st.lists(st.tuples(st.integers(-1, 20), st.integers(0, 50)), max_size=80)
Arrivals = list[tuple[int, int]]


@given(cards_of, arrivals)
def test_round_robin_is_balanced_within_one(cards: int, requests: Arrivals) -> None:
    router = make_router("round_robin", cards)
    counts = [0] * cards
    for index, (adapter, estimate) in enumerate(requests):
        counts[router.route(index, adapter, estimate)] += 1
        assert max(counts) - min(counts) <= 1


@given(cards_of, arrivals)
def test_least_loaded_takes_the_first_of_the_least_backlog(cards: int, requests: Arrivals) -> None:
    router = make_router("least_loaded", cards)
    for index, (adapter, estimate) in enumerate(requests):
        before = list(router.backlog)
        assert router.route(index, adapter, estimate) == before.index(min(before))


@given(cards_of, arrivals)
def test_affine_sends_an_adapter_always_to_the_same_card(cards: int, requests: Arrivals) -> None:
    router, own = make_router("affine", cards), dict[int, int]()
    for index, (adapter, estimate) in enumerate(requests):
        before = list(router.backlog)
        card = router.route(index, adapter, estimate)
        if adapter < 0:
            assert before[card] == min(before)
        else:
            assert own.setdefault(adapter, card) == card


@given(cards_of, st.integers(1, 60))
def test_affine_spreads_adapters_evenly(cards: int, adapters: int) -> None:
    router = make_router("affine", cards)
    counts = Counter(router.route(i, i, 1) for i in range(adapters))
    assert max(counts.values()) - min(counts[card] for card in range(cards)) <= 1


@given(cards_of, arrivals, st.integers(0, 100))
def test_spill_never_picks_a_card_with_more_backlog_than_the_own(
    cards: int, requests: Arrivals, spill: int
) -> None:
    router, home = make_router("affine_spill", cards, spill=spill), make_router("affine", cards)
    for index, (adapter, estimate) in enumerate(requests):
        before = list(router.backlog)
        card = router.route(index, adapter, estimate)
        if adapter < 0:
            assert before[card] == min(before)
            continue
        own = home.route(index, adapter, 0)
        assert before[card] <= before[own]
        if card != own:
            assert before[own] > spill
            assert before[card] == min(before) < before[own]
        else:
            assert before[own] <= spill or before[own] == min(before)


@given(st.sampled_from(ALL), cards_of, arrivals, st.data())
def test_backlog_is_what_was_sent_and_is_not_done(
    name: policy.Routing, cards: int, requests: Arrivals, data: st.DataObject
) -> None:
    router = make_router(name, cards, spill=20)
    running: list[tuple[int, int]] = []
    for index, (adapter, estimate) in enumerate(requests):
        running.append((router.route(index, adapter, estimate), estimate))
        if data.draw(st.booleans()):
            router.done(*running.pop(data.draw(st.integers(0, len(running) - 1))))
        sums = Counter[int]()
        for card, work in running:
            sums[card] += work
        assert router.backlog == [sums[card] for card in range(cards)]
    for card, work in running:
        router.done(card, work)
    assert router.backlog == [0] * cards


@given(st.sampled_from(ALL), cards_of, arrivals)
def test_the_same_requests_go_the_same_way(
    name: policy.Routing, cards: int, requests: Arrivals
) -> None:
    one, two = make_router(name, cards, spill=9), make_router(name, cards, spill=9)
    for index, (adapter, estimate) in enumerate(requests):
        assert one.route(index, adapter, estimate) == two.route(index, adapter, estimate)


def test_more_cannot_be_done_than_was_sent() -> None:
    router = make_router("round_robin", 2)
    router.route(0, 0, 5)
    with pytest.raises(ValueError, match="card 0: more work is done than was sent"):
        router.done(0, 6)
    assert router.backlog == [5, 0]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="must be one of round_robin, least_loaded"):
        make_router("random", 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cards"):
        make_router("affine", 0)
    with pytest.raises(ValueError, match="spill"):
        make_router("affine_spill", 2, spill=-1)
