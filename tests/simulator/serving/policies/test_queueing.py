"""Laws of the queues: each against a list that is searched from end to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_args

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.simulator.serving.policies import policy
from hardwire.simulator.serving.policies.queueing import Queue, make_queues

ALL = get_args(policy.Schedule)
FAIRNESS = 10
BLOCKED = 1 << 40


@dataclass
class Load:
    """Requests, each with (ticks since the one before, adapter, estimate, slack, need)."""

    rows: list[tuple[int, int, int, int, int]]
    known: bool = True
    reserve: int | None = None
    arrival: list[int] = field(init=False)

    def __post_init__(self) -> None:
        tick = 0
        self.arrival = [tick := tick + row[0] for row in self.rows]
        self.adapter = [row[1] for row in self.rows]
        self.estimate = [row[2] for row in self.rows]
        self.deadline = [a + row[3] for a, row in zip(self.arrival, self.rows, strict=True)]
        self.need = [row[4] for row in self.rows]

    def queue(self, name: policy.Schedule) -> Queue:
        queue, _ = make_queues(
            name,
            2,
            arrival=self.arrival,
            adapter=self.adapter,
            estimate=self.estimate,
            deadline=self.deadline,
            fairness=FAIRNESS,
            reserve=self.reserve,
            need=self.need if self.known else None,
        )
        return queue

    def order(self, name: str, now: int, resident: set[int], request: int) -> tuple[int, ...]:
        """What a pushed request is ordered by, the least first."""
        late = now - self.arrival[request] >= FAIRNESS
        if name == "fcfs":
            return (request,)
        if name == "grouped":
            here = self.adapter[request] < 0 or self.adapter[request] in resident
            return (0, request) if late else (1 if here else 2, request)
        if name == "shortest":
            return (0, request) if late else (1, self.estimate[request], request)
        slack = self.deadline[request] - now - self.estimate[request]
        return (0, slack, request) if slack >= 0 else (1, request)


loads = st.builds(
    Load,
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.integers(-1, 4),
            st.integers(0, 12),
            st.integers(0, 30),
            st.integers(1, 8),
        ),
        min_size=1,
        max_size=40,
    ),
)
names = st.sampled_from(ALL)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """What happens at a card: (what, ticks later, free tokens, taken by adapter, resident)."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["push", "push", "push", "pop", "pop", "back", "any"]),
                st.integers(0, 5),
                st.integers(0, 10),
                st.lists(st.sampled_from([0, 1, 3, BLOCKED]), min_size=6, max_size=6),
                st.sets(st.integers(0, 4)),
            ),
            max_size=90,
        )
    )


def check(name: policy.Schedule, load: Load, happens: list[tuple[Any, ...]]) -> list[int | None]:
    """Play it, and compare every answer with that of a search through all that wait."""
    queue = load.queue(name)
    fresh, back, out = list[int](), list[int](), list[int]()
    pushed, now = 0, 0
    answers: list[int | None] = []

    for what, later, free, taken, resident in happens:
        now += later
        if what == "push":
            if pushed < len(load.rows):
                now = max(now, load.arrival[pushed])
                queue.push(pushed)
                fresh.append(pushed)
                pushed += 1
        elif what == "back":
            if out:
                request = out.pop(later % len(out))
                queue.push_front(request)
                back = sorted([*back, request])
        else:

            def fits(
                request: int, taken: list[int] = taken, free: int = free, what: str = what
            ) -> bool:
                if what == "any" and not load.known:
                    return (request * 2654435761 >> 7) % 11 < free
                return load.need[request] + taken[load.adapter[request]] <= free

            waiting = [
                *back,
                *sorted(fresh, key=lambda r: load.order(name, now, resident, r)),
            ]
            if load.reserve is not None:
                kept = [r for r in fresh if now - load.arrival[r] >= load.reserve]
                waiting = [*back, *kept, *(r for r in waiting if r not in (*back, *kept))]
            expected = next((r for r in waiting if fits(r)), None)
            if load.reserve is not None and expected is not None:
                passed = waiting[: waiting.index(expected)]
                if any(now - load.arrival[r] >= load.reserve for r in passed):
                    expected = None
            bound = (free,) if load.known and later % 2 else ()
            answer = queue.pop_next(now, fits, resident, *bound)
            assert answer == expected
            answers.append(answer)
            if answer is not None:
                (back if answer in back else fresh).remove(answer)
                out.append(answer)
        assert len(queue) == len(fresh) + len(back)
    # In the end everybody fits, once.
    rest = [queue.pop_next(now, lambda _: True, set()) for _ in range(len(queue))]
    assert sorted(r for r in rest if r is not None) == sorted(fresh + back)
    assert len(queue) == 0 and queue.pop_next(now, lambda _: True, set()) is None
    return answers + rest


@examples(100)
@given(names, loads, steps())
def test_the_first_admissible_in_the_policys_order_goes(
    name: policy.Schedule, load: Load, happens: list[tuple[Any, ...]]
) -> None:
    """Holds work conservation, the fairness bound, and that every request pops exactly once."""
    assert check(name, load, happens) == check(name, load, happens)


@examples(100)
@given(names, loads, steps(), st.integers(0, 15))
def test_memory_is_reserved_for_those_that_waited_long_enough(
    name: policy.Schedule, load: Load, happens: list[tuple[Any, ...]], reserve: int
) -> None:
    """Of those by arrival, and nobody else goes before one of them that does not fit."""
    load.reserve = reserve
    check(name, load, happens)


@given(names, loads, steps())
def test_the_same_where_needs_are_not_known(
    name: policy.Schedule, load: Load, happens: list[tuple[Any, ...]]
) -> None:
    load.known = False
    check(name, load, happens)


@given(st.sampled_from(["grouped", "shortest"]), loads, st.data())
def test_nobody_who_waited_long_enough_is_overtaken_by_a_later_one(
    name: policy.Schedule, load: Load, data: st.DataObject
) -> None:
    queue, waiting, now = load.queue(name), list[int](), 0
    for request, tick in enumerate(load.arrival):
        now = max(now, tick)
        queue.push(request)
        waiting.append(request)
        if data.draw(st.booleans()):
            now += data.draw(st.integers(0, 8))
            free = data.draw(st.integers(0, 9))
            resident = data.draw(st.sets(st.integers(0, 4)))
            taken = queue.pop_next(now, lambda r: load.need[r] <= free, resident)  # noqa: B023
            if taken is None:
                continue
            waiting.remove(taken)
            for other in waiting:
                if now - load.arrival[other] >= FAIRNESS and load.need[other] <= free:
                    assert taken < other


@given(loads)
def test_fcfs_is_the_order_of_arrival(load: Load) -> None:
    queue = load.queue("fcfs")
    for request in range(len(load.rows)):
        queue.push(request)
    popped = [queue.pop_next(0, lambda _: True, ()) for _ in load.rows]
    assert popped == list(range(len(load.rows)))


@given(names, loads, st.integers(0, 60), st.integers(1, 8), st.integers(0, 20))
def test_peeking_names_those_that_go_next_and_moves_nobody(
    name: policy.Schedule, load: Load, now: int, count: int, returned: int
) -> None:
    queue = load.queue(name)
    first = list(range(min(returned, len(load.rows))))
    for request in range(len(load.rows)):
        if request in first:
            queue.push_front(request)
        else:
            queue.push(request)
    assert queue.pop_next(now, lambda _: False, ()) is None
    ahead = queue.peek_ahead(count)
    assert ahead == queue.peek_ahead(count)
    everywhere = set(load.adapter)  # so that grouped is by arrival
    assert len(queue) == len(load.rows)
    popped = [queue.pop_next(now, lambda _: True, everywhere) for _ in load.rows]
    assert ahead == popped[:count]


def test_preempted_requests_come_first_by_arrival() -> None:
    load = Load([(0, 0, 1, 1, 1)] * 4)
    for name in ALL:
        queue = load.queue(name)
        queue.push(0)
        queue.push_front(3)
        queue.push_front(1)
        assert queue.peek_ahead(2) == [1, 3]
        assert [queue.pop_next(99, lambda _: True, ()) for _ in range(3)] == [1, 3, 0]


def test_a_full_card_that_says_so_is_not_searched() -> None:
    count = 500
    load = Load([(1, i % 5, i % 7, 9, 10 + i % 3) for i in range(count)])
    for name in ALL:
        queue = load.queue(name)
        for request in range(count):
            queue.push(request)
        asked: list[int] = []

        def no(request: int, asked: list[int] = asked) -> bool:
            asked.append(request)
            return False

        assert queue.pop_next(0, no, (), 9) is None
        assert not asked
        # A card that does not say it asks for the head and the least of each adapter.
        assert queue.pop_next(0, no, ()) is None
        assert len(asked) <= 2 * (2 * 5 + 1)


def test_the_search_goes_down_the_needs_only() -> None:
    """A head that never fits costs a question, however many thousand behind it are let in."""
    count = 2000
    load = Load([(1, 0, 1, 9, 100 if i < count // 2 else 10) for i in range(count)])
    queue = load.queue("fcfs")
    for request in range(count):
        queue.push(request)
    asked: list[int] = []

    def small(request: int) -> bool:
        asked.append(request)
        return load.need[request] <= 50

    popped = [queue.pop_next(0, small, ()) for _ in range(count // 2)]
    assert popped == list(range(count // 2, count))
    assert len(asked) <= 2 * len(popped)


def test_cards_do_not_share_who_waits() -> None:
    load = Load([(0, 0, 1, 1, 1)] * 3)
    one, two = make_queues(
        "shortest",
        2,
        arrival=load.arrival,
        adapter=load.adapter,
        estimate=load.estimate,
        deadline=load.deadline,
        fairness=1,
        need=load.need,
    )
    one.push(0)
    two.push(1)
    assert (len(one), len(two)) == (1, 1)
    assert two.pop_next(0, lambda _: True, ()) == 1
    assert one.pop_next(0, lambda _: True, ()) == 0


def test_equal_estimates_go_by_arrival() -> None:
    load = Load([(0, -1, 5, 99, 1), (0, -1, 2, 99, 1), (0, -1, 5, 99, 1), (0, -1, 2, 99, 1)])
    queue = load.queue("shortest")
    for request in (3, 2, 1, 0):
        queue.push(request)
    popped = [queue.pop_next(0, lambda _: True, ()) for _ in range(4)]
    assert popped == [1, 3, 0, 2]
    assert all(load.estimate[a] <= load.estimate[b] for a, b in pairwise(popped))  # type: ignore[index]


def test_wrong_arguments() -> None:
    options: dict[str, Any] = {"arrival": [0], "adapter": [0], "estimate": [1], "deadline": [1]}
    with pytest.raises(ValueError, match="must be one of fcfs, grouped, shortest, slo"):
        make_queues("lifo", 1, **options, fairness=0, need=[1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every request needs"):
        make_queues("fcfs", 1, **options | {"arrival": []}, fairness=0, need=[1])
    with pytest.raises(ValueError, match="every request needs"):
        make_queues("fcfs", 1, **options, fairness=0, need=[])
