"""Laws of systems: links, the order of dies, collectives, energy, experts, closed forms."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from systems import DENSE, MODELS, adapters, asked, collectives, routings, systems

from hardwire.models import Chip, LanguageModel
from hardwire.models.errors import InputError
from hardwire.models.system.contents import contents
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import Stage, evenly
from hardwire.models.system.system import System
from hardwire.models.system.topology import SWITCH
from hardwire.simulator.program import build_program as of_chip
from hardwire.simulator.requests import Requests
from hardwire.simulator.system import compiled
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.closed_form import rates
from hardwire.simulator.system.collectives import Layout, cut, ways
from hardwire.simulator.system.links import link_bytes, step_among_others, waited
from hardwire.simulator.system.measured import chosen_experts, measure
from hardwire.simulator.system.program import LINK
from hardwire.simulator.system.routing import Routing
from hardwire.simulator.system.walk import walk_of

law = examples(15, HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
HC1 = Chip.open("hc1")
BOARD = LinkKind.open("board")


def timed(system: System) -> bool:
    """Whether a system's splits are among those that are timed."""
    try:
        walk_of(system)
    except InputError:
        return False
    return True


def with_links(system: System, **sheet: float) -> System:
    links = tuple(
        replace(link, kind=replace(link.kind, sheet=replace(link.kind.sheet, **sheet)))
        for link in system.links
    )
    return replace(system, links=links)


# --- links ----------------------------------------------------------------------------------------


@law
@given(systems(), st.sampled_from([{"lane_gb_per_s": 100.0}, {"latency_ns": 0.0}]))
def test_law_a_faster_or_shorter_link_never_slows_a_user(system: System, better: dict) -> None:
    """Of one user who decodes, in the engine; of any number in closed form."""
    assume(len(system.dies) > 1 and timed(system))
    other = with_links(system, **better)
    times = []
    for one in (system, other):
        program = build_program(one)
        requests = Requests.uniform(1, 1, 4)
        choices = chosen_experts(one, program, requests, Routing())
        times.append(compiled.simulate(program, requests, choices=choices).done / program.hz)
    assert (times[1] <= times[0]).all()
    for users in (1, 3):
        slow, fast = (rates(one, prompt=2, output=4, users=users) for one in (system, other))
        assert fast.decode_tokens_per_s_user >= slow.decode_tokens_per_s_user
        assert fast.ttft_s <= slow.ttft_s


@law
@given(systems())
def test_law_all_bytes_put_on_links_are_taken_off(system: System) -> None:
    """What comes into a switch goes out of it; all that is sent is received."""
    assume(timed(system))
    for part in walk_of(system).parts:
        for step in part.steps:
            assert ((step.cause == LINK) == bool(step.sends) and step.works) or step.sends
            passed: Counter[str] = Counter()
            for send in step.sends:
                if not send.is_port:
                    _, number, sender, _, receiver = send.unit.split()
                    assert {sender, receiver} == set(system.links[int(number)].ends)
                    passed[sender] -= send.bytes
                    passed[receiver] += send.bytes
            assert passed[SWITCH] == 0
            assert sum(passed.values()) == 0


@law
@given(systems(), st.data())
def test_law_links_carry_what_the_walk_says(system: System, data: st.DataObject) -> None:
    """A link is held for all visits of all tokens, and each visit ends before its token does."""
    assume(len(system.dies) > 1 and timed(system))
    program = build_program(system)
    requests = data.draw(asked(0))
    choices = chosen_experts(system, program, requests, Routing())
    times = compiled.simulate(program, requests, choices=choices, record=True)
    assert times.start is not None and times.end is not None
    assert ((times.start >= 0) == (times.end >= 0)).all()
    assert (times.end <= times.done[:, None]).all()
    for visit in np.flatnonzero(program.cause[program.step_of] == LINK):
        slot = program.slot[visit]
        held = (times.end - times.start)[:, slot]
        assert (held[times.start[:, slot] >= 0] == program.ticks[0, visit]).all()


@law
@given(systems(), st.randoms(use_true_random=False), st.data())
def test_law_the_order_of_dies_and_links_changes_nothing(
    system: System, random: object, data: st.DataObject
) -> None:
    assume(timed(system))
    dies, links = list(system.dies), list(system.links)
    random.shuffle(dies)  # type: ignore[attr-defined]
    random.shuffle(links)  # type: ignore[attr-defined]
    other = replace(system, dies=tuple(dies), links=tuple(links))
    requests = data.draw(asked(0))
    done = []
    for one in (system, other):
        program = build_program(one)
        choices = chosen_experts(one, program, requests, Routing())
        done.append(compiled.simulate(program, requests, choices=choices).done)
    np.testing.assert_array_equal(*done)
    assert sum(link_bytes(walk_of(system)).values()) == pytest.approx(
        sum(link_bytes(walk_of(other)).values())
    )


def test_hops_are_counted_one_by_one() -> None:
    """82.7 ns more on each of 29 hops: 2.4 µs more for a token (a published rack's figure)."""
    model = replace(LanguageModel.open("llama-3.1-8b"), layers=30)
    stages = [Stage(range(n, n + 1), (f"d{n}",)) for n in range(30)]
    system = System.pipeline("rack", HC1, model, BOARD, stages, embedding="host")
    longer = with_links(system, latency_ns=float(BOARD.sheet.latency_ns) + 82.7)
    near, far = (measure(one, prompt=4, output=8).token_s for one in (system, longer))
    assert far - near == pytest.approx(29 * 82.7e-9, abs=29 / HC1.datapath.clock_ghz / 1e9)


# --- collectives ----------------------------------------------------------------------------------


@law
@given(st.integers(1, 6), st.integers(1, 40), collectives)
def test_law_an_all_reduce_sends_what_its_algorithm_needs(
    dies: int, width: int, collective: str
) -> None:
    """Direct: all to all. Ring and scatter: each die sends 2 (m - 1) / m of the vector."""
    names = tuple(f"d{number}" for number in range(dies))
    stage = Stage(range(1), names)
    layout = Layout(((0, width),) * dies, tuple(frozenset({die}) for die in range(dies)))
    rounds = ways(stage, layout, layout.ranges, lambda a, b: 1, collective)
    total = sum(count for one in rounds for _, _, count in one)
    assert total == (dies * (dies - 1) if collective == "direct" else 2 * (dies - 1)) * width
    if dies > 1 and width >= dies:
        assert len(rounds) == {"direct": 1, "scatter": 2, "ring": 2 * (dies - 1)}[collective]


@law
@given(st.integers(2, 6), st.integers(6, 40), collectives)
def test_law_an_all_gather_brings_every_die_what_it_lacks(
    dies: int, width: int, collective: str
) -> None:
    stage = Stage(range(1), tuple(f"d{number}" for number in range(dies)))
    ranges = tuple(cut(width, die, dies) for die in range(dies))
    layout = Layout(ranges, (frozenset({0}),) * dies)
    rounds = ways(stage, layout, ((0, width),) * dies, lambda a, b: 1, collective)
    received: Counter[int] = Counter()
    for one in rounds:
        for _, receiver, count in one:
            received[receiver] += count
    assert all(received[die] == width - (end - begin) for die, (begin, end) in enumerate(ranges))


def test_a_grid_reduces_along_rows_and_then_along_columns() -> None:
    """HNLPU's: of 16 partial sums each chip hears three of its row and three of its column."""
    stage = Stage(range(1), tuple(f"d{number}" for number in range(16)), rows=4)
    layout = Layout(((0, 2880),) * 16, tuple(frozenset({die}) for die in range(16)))

    def hops(a: int, b: int) -> int:
        return (a // 4 != b // 4) + (a % 4 != b % 4)

    rounds = ways(stage, layout, layout.ranges, hops)
    assert [len(one) for one in rounds] == [48, 48]
    assert all(a // 4 == b // 4 for a, b, _ in rounds[0])
    assert all(a % 4 == b % 4 for a, b, _ in rounds[1])


# --- experts --------------------------------------------------------------------------------------


@law
@given(
    st.integers(0, 30), st.integers(1, 4), st.sampled_from([(2, 1), (5, 2), (16, 4)]), routings,
    st.integers(0, 9),
)  # fmt: skip
def test_law_experts_counts_sum_to_tokens_times_k(
    tokens: int, layers: int, experts: tuple[int, int], routing: Routing, seed: int
) -> None:
    count, chosen = experts
    found = routing.draw(tokens, layers, count, chosen, seed)
    assert (found.counts(count).sum(axis=1) == tokens * chosen).all()
    ordered = np.sort(found.of_token, axis=2)
    assert (np.diff(ordered, axis=2) > 0).all()
    assert ((ordered >= 0) & (ordered < count)).all()


# --- dies -----------------------------------------------------------------------------------------


@law
@given(st.integers(1, 3))
def test_law_more_dies_never_hold_less(dies: int) -> None:
    """A pipeline of more dies has no more weights on its fullest one."""
    model = replace(DENSE, layers=6)

    def fullest(count: int) -> int:
        parts = evenly([1] * model.layers, count)
        stages = [Stage(part, (f"d{n}",)) for n, part in enumerate(parts)]
        system = System.pipeline("p", HC1, model, BOARD, stages)
        return max(one.held for one in contents(system).values())

    assert fullest(dies + 1) <= fullest(dies)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_one_die_of_each_family_takes_the_cycles_of_its_chip(
    model: LanguageModel, issue: str
) -> None:
    """Experts of one die work at once, as on the chip alone."""
    from hardwire.simulator.engines import compiled as of_die

    chip = HC1._replaced({"datapath.issue": issue})
    requests = Requests.uniform(3, 5, 5)
    expected = of_die.simulate(of_chip(chip, model), requests)
    system = System.of_one(chip, model)
    program = build_program(system)
    choices = chosen_experts(system, program, requests, Routing())
    np.testing.assert_array_equal(
        expected.done, compiled.simulate(program, requests, choices=choices).done
    )


# --- closed forms ---------------------------------------------------------------------------------


@law
@given(systems(), st.data())
def test_the_closed_form_of_one_user_is_near_the_engine(
    system: System, data: st.DataObject
) -> None:
    """Means over a few contexts and experts, whole ticks of small systems: within 5%."""
    assume(len(system.dies) > 1 and timed(system))
    (adapter,) = data.draw(adapters(system.model))[:1] or [None]
    closed = rates(system, prompt=1, output=20, adapter=adapter)
    found = measure(system, prompt=1, output=20, adapter=adapter)
    assert closed.token_s == pytest.approx(found.token_s, rel=0.05)
    total = sum(found.latency_s.values())
    assert total == pytest.approx(found.token_s, rel=1e-9)
    assert sum(closed.latency_s.values()) == pytest.approx(closed.token_s, rel=1e-9)


def test_users_fill_a_pipeline_of_serial_dies() -> None:
    """Four dies, each with one token of theirs in flight: four users are nearly four times one."""
    model = replace(LanguageModel.open("llama-3.1-8b"), layers=8)
    stages = [Stage(range(2 * n, 2 * n + 2), (f"d{n}",)) for n in range(4)]
    system = System.pipeline("p", HC1, model, BOARD, stages)
    found = [measure(system, prompt=2, output=30, users=users) for users in (1, 4, 8)]
    rate = [one.decode_tokens_per_s_system for one in found]
    assert 2.5 * rate[0] < rate[1] < 4 * rate[0]
    assert rate[2] == pytest.approx(rate[1], rel=0.25)
    capped = measure(replace(system, places=1), prompt=2, output=30, users=4)
    assert capped.decode_tokens_per_s_system == pytest.approx(rate[0], rel=0.02)


@law
@given(
    st.integers(0, 20), st.integers(0, 20),
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(1, 9)), min_size=1, max_size=3),
)  # fmt: skip
def test_law_waiting_for_links_grows_with_tokens_and_solves_its_equation(
    few: int, more: int, links: list[tuple[float, float]]
) -> None:
    token = 2 * sum(held for held, _ in links)
    held = [one for one, _ in links]
    squares = [one * one / visits for one, visits in links]
    queues = held, squares, [(2.0, (0,)), (3.0, tuple(range(len(links))))]
    steps = [step_among_others(token, others, queues) for others in (0, few, few + more)]
    assert steps[0] == token <= steps[1] <= steps[2]
    for others, step in zip((few, few + more), steps[1:], strict=True):
        assert step == pytest.approx(token + waited(step, others, queues), rel=1e-6)
        assert step >= others * max(held)


def test_closed_forms_take_arrays_as_they_take_numbers() -> None:
    stages = [Stage(range(2), ("a", "b")), Stage(range(2, 3), ("c",))]
    system = System.pipeline("p", HC1, DENSE, BOARD, stages, shape="all")
    speeds, users = np.array([1.0, 5.0, 13.0]), np.array([1, 2, 40])
    prompts = np.array([3, 5, 7])
    found = rates(with_links(system, lane_gb_per_s=speeds), prompt=prompts, output=9, users=users)
    for point in range(3):
        one = with_links(system, lane_gb_per_s=float(speeds[point]))
        alone = rates(one, prompt=int(prompts[point]), output=9, users=int(users[point]))
        for name in ("decode_tokens_per_s_user", "ttft_s", "token_s"):
            assert getattr(found, name)[point] == getattr(alone, name)
        assert {cause: np.broadcast_to(s, 3)[point] for cause, s in found.latency_s.items()} == (
            pytest.approx(alone.latency_s)
        )


def test_a_group_must_have_one_kind_of_kv_memories() -> None:
    unlike = HC1._replaced({"attention.kv_memories": "separate"})
    system = System.pipeline("p", HC1, DENSE, BOARD, [Stage(range(3), ("a", "b"))])
    dies = (system.dies[0], replace(system.dies[1], chip=unlike))
    with pytest.raises(InputError, match="one group differ in attention"):
        walk_of(replace(system, dies=dies))
