"""Laws of the eviction policies, over random request sequences."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardwire.simulator.serving.policies import policy
from hardwire.simulator.serving.policies.residency import (
    Future,
    Residency,
    hit_rate,
    lru_hit_rates,
    make_residency,
    next_use,
)

ALL = get_args(policy.Residency)
ONLINE = tuple(name for name in ALL if name != "belady")

sequences = st.lists(st.integers(0, 9), min_size=1, max_size=120)
names = st.sampled_from(ALL)


@given(sequences)
def test_more_slots_never_lower_the_lru_hit_rate(sequence: list[int]) -> None:
    assert (np.diff(lru_hit_rates(sequence, 12)) >= 0).all()


@given(sequences, st.integers(1, 12))
def test_lru_simulation_equals_stack_distances(sequence: list[int], slots: int) -> None:
    assert hit_rate(sequence, slots, "lru") == lru_hit_rates(sequence, 12)[slots]
    assert lru_hit_rates(sequence, slots)[-1] == lru_hit_rates(sequence, 12)[slots]


@given(sequences, st.integers(1, 12), st.sampled_from(ONLINE))
def test_belady_is_at_least_as_good_as_every_online_policy(
    sequence: list[int], slots: int, name: policy.Residency
) -> None:
    assert hit_rate(sequence, slots, "belady") >= hit_rate(sequence, slots, name)


def most_hits(sequence: list[int], slots: int) -> int:
    """By trying every victim at every miss."""
    reached = {frozenset[int](): 0}
    for adapter in sequence:
        after: dict[frozenset[int], int] = {}
        for held, hits in reached.items():
            if adapter in held:
                nexts = [held]
            elif len(held) < slots:
                nexts = [held | {adapter}]
            else:
                nexts = [held - {out} | {adapter} for out in held]
            for one in nexts:
                after[one] = max(after.get(one, 0), hits + (adapter in held))
        reached = after
    return max(reached.values())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=25), st.integers(1, 4))
def test_belady_is_the_best_of_all_choices(sequence: list[int], slots: int) -> None:
    assert hit_rate(sequence, slots, "belady") == most_hits(sequence, slots) / len(sequence)


@given(sequences, st.integers(10, 15), names)
def test_with_room_for_all_only_first_requests_miss(
    sequence: list[int], slots: int, name: policy.Residency
) -> None:
    hits = len(sequence) - len(set(sequence))
    assert hit_rate(sequence, slots, name) == hits / len(sequence)


@given(sequences, st.integers(1, 12), names, st.integers(0, 120))
def test_requests_without_an_adapter_change_nothing(
    sequence: list[int], slots: int, name: policy.Residency, where: int
) -> None:
    mixed = [*sequence[:where], -1, *sequence[where:]]
    assert hit_rate(mixed, slots, name) == hit_rate(sequence, slots, name)
    assert np.array_equal(lru_hit_rates(mixed, slots), lru_hit_rates(sequence, slots))


@given(sequences)
def test_next_use_is_the_next_place_of_the_same_adapter(sequence: list[int]) -> None:
    count = len(sequence)
    expected = [
        next((j for j in range(i + 1, count) if sequence[j] == sequence[i]), count)
        for i in range(count)
    ]
    assert next_use(sequence).tolist() == expected


@given(sequences, st.randoms(use_true_random=False))
def test_the_future_is_the_first_request_not_begun_in_any_order(
    sequence: list[int], random: Random
) -> None:
    order = list(range(len(sequence)))
    random.shuffle(order)
    future, left = Future(sequence), set(order)
    for place in order:
        future.begin(sequence[place], place)
        future.begin(sequence[place], place)  # let in again after a preemption
        left.remove(place)
        for adapter in range(10):
            assert future.next(adapter) == min(
                (p for p in left if sequence[p] == adapter), default=len(sequence)
            )


@given(
    names,
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 9)), min_size=2, max_size=8),
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 3), st.sets(st.integers(0, 7)), st.booleans()),
        max_size=60,
    ),
)
def test_victims_are_candidates_and_the_same_every_time(
    name: policy.Residency,
    shapes: list[tuple[int, float]],
    steps: list[tuple[int, int, set[int], bool]],
) -> None:
    wanted = [step[0] % len(shapes) for step in steps]

    def play(order: int) -> list[int]:
        rule = make_residency(
            name,
            sizes=[size for size, _ in shapes],
            load_time=[time for _, time in shapes],
            future=Future(wanted),
        )
        resident: set[int] = set()
        victims, now = [], 0
        for place, (adapter, (_, wait, busy, first)) in enumerate(zip(wanted, steps, strict=True)):
            now += wait
            candidates = sorted(resident - busy - {adapter})[::order]
            if candidates:
                victim = rule.victim(candidates)
                assert victim in candidates
                assert rule.victim(dict.fromkeys(candidates)) == victim
                victims.append(victim)
                rule.evicted(victim)
                resident.remove(victim)
            # A request may be let in before its adapter is there, or after.
            if first:
                rule.use(adapter, now, place)
            if adapter not in resident:
                rule.loaded(adapter, now)
                resident.add(adapter)
            if not first:
                rule.use(adapter, now, place)
        return victims

    assert play(1) == play(-1)


@pytest.mark.parametrize("name", ALL)
def test_without_a_candidate_there_is_no_victim(name: policy.Residency) -> None:
    rule = make_residency(name, sizes=[1], load_time=[1.0], future=Future([0]))
    rule.loaded(0, 0)
    with pytest.raises(ValueError):
        rule.victim([])


def ready(name: policy.Residency, **given_: object) -> Residency:
    options = {"sizes": [1] * 3, "load_time": [1.0] * 3, "future": Future([2, 1, 0])} | given_
    return make_residency(name, **options)  # type: ignore[arg-type]


def test_lru_by_hand() -> None:
    rule = ready("lru")
    for tick, adapter in enumerate((0, 1, 2, 0)):
        rule.use(adapter, tick, tick)
    assert rule.victim({0, 1, 2}) == 1
    assert rule.victim({0, 2}) == 2


@pytest.mark.parametrize("name", ["lru", "lfu", "cost"])
def test_of_equal_ones_the_smallest_index_goes(name: policy.Residency) -> None:
    rule = ready(name)
    for adapter in (2, 0, 1):
        rule.use(adapter, 5, 0)
    assert rule.victim([1, 2, 0]) == 0
    assert rule.victim([2, 1]) == 1


def test_lfu_counts_and_ages_by_hand() -> None:
    rule = ready("lfu")
    for adapter in (0, 0, 0, 1, 1, 2):
        rule.use(adapter, 0, 0)
    assert rule.victim({0, 1, 2}) == 2
    rule.evicted(2)  # L = 1
    rule.evicted(1)  # L = 2
    rule.use(2, 0, 0)  # 2 + 1, as much as the three uses of 0
    assert rule.victim({0, 2}) == 0
    rule.use(2, 0, 0)
    assert rule.victim({0, 2}) == 0


def test_cost_aware_by_hand() -> None:
    # Uses × seconds / bytes: 2 × 3 / 6, 1 × 4 / 2, 3 × 1 / 4.
    rule = ready("cost", sizes=[6, 2, 4], load_time=[3.0, 4.0, 1.0])
    for adapter in (0, 0, 1, 2, 2, 2):
        rule.use(adapter, 0, 0)
    assert rule.victim({0, 1, 2}) == 2
    assert rule.victim({0, 1}) == 0


@pytest.mark.parametrize("name", ["lru", "lfu", "cost", "belady"])
def test_a_prefetched_adapter_is_not_the_next_to_go(name: policy.Residency) -> None:
    rule = ready(name, future=Future([0, 1, 2, 2]))
    rule.use(0, 0, 0)
    rule.use(1, 1, 1)
    rule.evicted(1)  # what came later starts from its worth
    rule.loaded(2, 2)  # for requests 2 and 3
    assert rule.victim({0, 2}) == 0


@given(sequences, st.integers(2, 5), st.data())
def test_cards_share_one_future(sequence: list[int], cards: int, data: st.DataObject) -> None:
    future = Future(sequence)
    rules = [
        make_residency("belady", sizes=[1] * 10, load_time=[1.0] * 10, future=future)
        for _ in range(cards)
    ]
    for place, adapter in enumerate(sequence):
        card = data.draw(st.integers(0, cards - 1))
        rules[card].use(adapter, place, place)
        left = sequence[place + 1 :]
        candidates = sorted(set(sequence))
        wait = {a: left.index(a) if a in left else len(sequence) for a in candidates}
        expected = max(candidates, key=lambda a: (wait[a], -a))
        assert {rule.victim(candidates) for rule in rules} == {expected}


def test_nobody_wants_an_adapter() -> None:
    assert np.isnan(hit_rate([-1, -1], 2, "lru"))
    assert np.isnan(hit_rate([], 2, "belady"))
    assert np.isnan(lru_hit_rates([], 3)).all() and lru_hit_rates([], 3).shape == (4,)
    assert next_use([]).shape == (0,)


@pytest.mark.parametrize("name, slots", list(product(ALL, (0, -1))))
def test_no_slots(name: policy.Residency, slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        hit_rate([1], slots, name)
    with pytest.raises(ValueError, match="slots"):
        lru_hit_rates([1], slots)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="must be one of lru, lfu, cost, belady"):
        make_residency("fifo", sizes=[], load_time=[])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="future"):
        make_residency("belady", sizes=[1], load_time=[1.0])
    with pytest.raises(ValueError, match="every adapter"):
        make_residency("lru", sizes=[1], load_time=[])
    with pytest.raises(ValueError, match="positive"):
        make_residency("cost", sizes=[0], load_time=[1.0])
