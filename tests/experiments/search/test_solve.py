"""``hardwire solve``: from where to where a goal holds, exactly, and what fails beyond."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from shell import Shell, printed

import hardwire as hw
from hardwire.experiments.search import solve as solving
from hardwire.experiments.search.goal import Goal, make_goal
from hardwire.experiments.search.solve import Solution, solve
from hardwire.experiments.search.solve_view import render
from hardwire.experiments.sweep import Design
from hardwire.experiments.sweep.design import NUMERIC, evaluate, varies_freely
from hardwire.models.errors import InputError
from hardwire.simulator.belief.draws import draw_chips

RATE = "decode_tokens_per_s_user"
ALL = (RATE, "area_mm2.total", "die_area_mm2", "power_throttle", "prefill_power_throttle")


def holds(design: Design, name: str, goal: Goal, values: Any) -> np.ndarray:
    """By hand: the goal, and nothing in the way."""
    found = evaluate(design, {name: np.asarray(values)}, (*ALL, goal.metric))
    sound = (found["obstacle"] == 0) & (found["area_mm2.total"] <= found["die_area_mm2"])
    sound &= (found["power_throttle"] >= 1) & (found["prefill_power_throttle"] >= 1)
    return sound & np.asarray(goal.holds(found[goal.metric]))


@examples(8)
@given(limit=st.floats(9_000, 21_000), capacity=st.integers(200, 460))
def test_of_whole_numbers_every_one_is_right(limit: float, capacity: int) -> None:
    """Law: within a stretch all hold, outside none, whatever the goal."""
    design = Design.open("hc1", {"sram.capacity_mib": capacity})
    goal = make_goal(limit, None, None, None)
    found = solve(design, "datapath.lanes", goal)
    lanes = np.arange(1, 4097)
    inside = np.zeros(len(lanes), bool)
    for low, high in found.spans:
        inside |= (lanes >= low.last.value) & (lanes <= high.last.value)
    assert found.more == 0
    assert (inside == holds(design, "datapath.lanes", goal, lanes)).all()
    assert found.looked_at == (4096, True)
    if found.spans:
        assert (found.smallest, found.largest) == (lanes[inside].min(), lanes[inside].max())
        assert found.nearest is None and found.alone is None


@examples(8)
@given(
    name=st.sampled_from(["sram.capacity_mib", "datapath.clock_ghz", "rom.density_mbit_per_mm2"]),
    limit=st.floats(12_000, 25_000),
)
def test_ends_of_other_numbers_hold_and_the_next_of_five_digits_does_not(
    name: str, limit: float
) -> None:
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    goal = make_goal(limit, None, None, None)
    found = solve(design, name, goal)
    spec = NUMERIC[name]
    for span in found.spans:
        for end in span:
            assert holds(design, name, goal, [end.last.value]).all()
            assert not end.last.reasons
            assert math.isclose(float(f"{end.last.value:.5g}"), end.last.value, rel_tol=1e-12)
            if end.beyond is None:
                assert end.last.value in (spec.low, spec.high)
                continue
            assert not holds(design, name, goal, [end.beyond.value]).any()
            assert end.beyond.reasons
            step = abs(end.beyond.value - end.last.value)
            assert 0 < step <= 1.01 * 10 ** (math.floor(math.log10(end.last.value)) - 4)


def test_a_large_whole_number_is_found_between_what_is_scanned() -> None:
    """By hand: the KV port whose read of the longest context fits beside the multipliers."""
    design, name = Design.open("hc1"), "attention.kv_read_bytes_per_cycle"
    found = solve(design, name, make_goal(16_000, None, None, None))
    assert found.looked_at[1] is False and found.smallest is not None
    around = np.array([found.smallest - 1, found.smallest])
    assert holds(design, name, found.goal, around).tolist() == [False, True]
    ports = np.arange(2000, 9000)
    assert found.smallest == ports[holds(design, name, found.goal, ports)].min()


def test_the_ends_say_what_fails_beyond() -> None:
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    found = solve(design, "sram.capacity_mib", make_goal(15_000, None, None, None))
    ((low, high),) = found.spans
    # 2,048 tokens of 68 KiB and an adapter of 42.5 MiB.
    assert low.last.value == 136 + 42.5
    assert low.beyond and low.beyond.reasons == ("KV cache and adapters exceed the SRAM",)
    assert high.beyond and high.beyond.reasons[0].startswith("the blocks take 815.0")
    area = hw.predict("hc1", settings={"sram.capacity_mib": high.beyond.value}).area_mm2["total"]
    assert (
        area
        > 815
        >= hw.predict("hc1", settings={"sram.capacity_mib": high.last.value}).area_mm2["total"]
    )


def test_where_nothing_holds_it_says_what_is_nearest_and_what_stands_in_the_way() -> None:
    design = Design.open("hc1")
    found = solve(design, "datapath.lanes", make_goal(17_000, None, None, None))
    assert found.spans == () and found.smallest is None and found.largest is None
    assert found.nearest is not None and found.nearest.value == 16
    assert found.alone is not None and found.alone.value == 17
    assert found.alone.reasons == ("the blocks take 819.8 mm² of a die of 815 mm²",)
    text = " ".join(printed(render(found), 100).split())
    assert "no value from 1 to 4,096" in text and "The goal alone, at 17: the blocks take" in text


def test_a_metric_that_does_not_depend_on_the_parameter_says_so() -> None:
    found = solve(Design.open("hc1"), "sram.capacity_mib", make_goal(17_000, None, None, None))
    assert found.constant and not found.spans
    assert found.nearest is not None and found.nearest.value == found.filed.value == 448
    text = " ".join(printed(render(found), 140).split())
    assert "below 17,000 whatever the sram.capacity_mib" in text


def test_an_obstacle_that_is_there_anyway_is_set_aside_and_said() -> None:
    """Llama 70B takes six dies, whatever the number of lanes."""
    settings_ = {"model": "llama-3.1-70b", "workload.prompt": 64, "workload.output": 32}
    settings_["power.limit_w"] = 2000
    design = Design.open("hc1", settings_)
    found = solve(design, "datapath.lanes", make_goal(4_300, None, None, None))
    assert found.spans and len(found.anyway) == 1
    assert found.anyway[0].startswith("the blocks take 5,0")
    assert "Whatever the value: the blocks take" in printed(render(found), 100)


def test_a_load_that_never_runs_is_not_set_aside() -> None:
    design = Design.open("hc1", {"workload.prompt": 200_000})
    found = solve(design, "datapath.lanes", make_goal(1, None, None, None))
    assert not found.spans and found.nearest is None and found.alone is None
    assert "exceed" in found.filed.reasons[0] and len(found.filed.reasons) == 1


def test_stretches_with_a_gap_between_them_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Monotone is not given: here the rate holds at even numbers of lanes only."""
    real = evaluate

    def comb(base: Design, given: Any, metrics: tuple[str, ...]) -> dict[str, np.ndarray]:
        found = real(base, given, metrics)
        if "datapath.lanes" in given and len(given) == 1:
            odd = np.asarray(given["datapath.lanes"]) % 2 == 1
            found[RATE] = np.where(odd, 0.0, found[RATE])
        return found

    monkeypatch.setattr(solving, "evaluate", comb)
    found = solve(Design.open("hc1"), "datapath.lanes", make_goal(9_000, None, None, None))
    assert [(low.last.value, high.last.value) for low, high in found.spans] == [
        (8, 8), (10, 10), (12, 12), (14, 14), (16, 16)
    ]  # fmt: skip
    monkeypatch.setattr(solving, "MOST_SPANS", 3)
    few = solve(Design.open("hc1"), "datapath.lanes", make_goal(9_000, None, None, None))
    assert [low.last.value for low, _ in few.spans] == [8, 10, 16] and few.more == 2


@pytest.mark.parametrize("name", ["workload.users", "workload.prompt", "workload.output"])
def test_the_load_can_be_varied(name: str) -> None:
    goal = make_goal(None, "sram.free_bytes", 0, None)
    design = Design.open("hc1", {"workload.prompt": 64, "workload.output": 64})
    found = solve(design, name, goal)
    assert found.largest is not None and found.smallest == NUMERIC[name].low
    assert holds(design, name, goal, [found.largest, found.largest + 1]).tolist() == [True, False]


def test_the_rank_can_be_varied_and_free_ones_are_those_that_cost_nothing() -> None:
    # A bus beside the broadcast, and the die that it takes.
    wide = {"lora.activations_per_cycle": 256, "die.area_mm2": 900}
    design = Design.open("hc1", {"adapter": "r16:all-linear", **wide})
    base = hw.predict("hc1", settings=wide).decode_tokens_per_s_user
    found = solve(design, "adapter.rank", Goal(RATE, "at least", float(base)))
    told = hw.run("hc1", adapter="r16:all-linear", settings=wide)
    assert found.largest == told.adapter.free_rank == 25  # type: ignore[union-attr]


def test_every_number_that_sweeps_vary_can_be_solved_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With borders and shares that are only near: all other tests here say what they are."""
    monkeypatch.setattr(solving, "HALVINGS", 2)
    monkeypatch.setattr(solving, "draw_chips", functools.partial(draw_chips, size=100))
    design = Design.open("hc1", {"adapter": "r16:all-linear"})
    goal = make_goal(1_000, None, None, None)
    for name in (name for name in NUMERIC if varies_freely(name)):
        if name == "datapath.outputs_per_pass":  # which HC1 has not
            continue
        if name == "rom.head_bits":
            with pytest.raises(InputError, match=r"rom.head_bits: hc1 states none"):
                solve(design, name, goal)
            continue
        found = solve(design, name, goal)
        assert found.spans, name
        assert found.filed.metric == pytest.approx(15_365, rel=1e-3), name
        assert found.filed.interval is not None


def test_the_interval_as_it_is_is_the_one_of_run() -> None:
    """One quantity has one interval: also where the parameter that varies is an uncertain one."""
    told = hw.run("hc1", adapter="r16:all-linear").interval["adapter_decode_tokens_per_s_user"]
    for name in ("datapath.clock_ghz", "sram.capacity_mib"):
        found = hw.solve(name, 16_000, adapter="r16:all-linear")
        assert list(found.filed.interval or ()) == pytest.approx(told)


def test_the_share_of_draws_counts_those_in_which_all_holds() -> None:
    found = hw.solve("sram.capacity_mib", 16_000)
    large = {"die.area_mm2": 5_000, "process.reticle_mm2": 5_000, "power.limit_w": 10_000}
    easy = hw.solve("sram.capacity_mib", 1_000, settings=large)
    assert easy.filed.share == 1.0  # every draw reaches its clock, as the measured chip did
    assert 0 < (found.filed.share or 0) < 0.5  # the blocks of most draws outgrow the die


def test_json_has_ends_and_reasons(hardwire: Shell) -> None:
    found = hardwire.answer("solve", "--target", 15000, "--vary", "sram.capacity_mib")
    assert (found["smallest"], found["vary"], found["unit"]) == (178.5, "sram.capacity_mib", "MiB")
    assert (found["metric"], found["at_least"], found["adapter"]) == (
        RATE, 15000, "r16:all-linear",
    )  # fmt: skip
    (span,) = found["spans"]
    assert span["from"]["beyond"]["reasons"] == ["KV cache and adapters exceed the SRAM"]
    assert span["to"]["value"] == found["largest"] and 0 < span["to"]["share"] < 1


def test_a_goal_may_be_a_limit_of_any_metric(hardwire: Shell) -> None:
    found = hardwire.answer(
        "solve", "--metric", "ttft_s", "--at-most", 0.05, "--vary", "workload.prompt"
    )
    ttft = [
        hw.predict("hc1", adapter="r16:all-linear", prompt=found["largest"] + more).ttft_s
        for more in (0, 1)
    ]
    assert ttft[0] <= 0.05 < ttft[1]
    assert found["at_most"] == 0.05 and found["smallest"] == 1


def test_nothing_found_is_exit_status_1(hardwire: Shell) -> None:
    assert hardwire("solve", "--target", 17000, "--vary", "datapath.lanes")[0] == 1
    assert hardwire("solve", "--target", 15000, "--vary", "datapath.lanes")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--vary", "clock", "--target", 1), "--vary clock: no such parameter; did you mean"),
        (("--vary", "lora.head", "--target", 1), "--vary lora.head: is a word"),
        (("--vary", "datapath.lanes"), "--target: a decode rate is expected, or --metric"),
        (("--vary", "datapath.lanes", "--metric", "power_w"), "one of --at-least and --at-most"),
        (("--vary", "datapath.lanes", "--metric", "power", "--at-most", 1), "did you mean power_w"),
        (("--vary", "datapath.lanes", "--target", 1, "--at-most", 1), "is a goal of its own"),
        (("--vary", "datapath.lanes", "--target", "nan"), "a number is expected as its limit"),
        (("--vary", "adapter.rank", "--target", 1, "--adapter", "none"), "there is no adapter"),
        (("--vary", "datapath.lanes", "--target", 1, "--set", "x=1"), "--set x: no such"),
        (("--target", 1), "missing option '--vary'"),
    ],
)
def test_what_cannot_be_solved_is_one_sentence(
    hardwire: Shell, arguments: tuple[object, ...], words: str
) -> None:
    assert words.lower() in hardwire.refused("solve", *arguments).lower()


def test_python_speaks_of_arguments() -> None:
    with pytest.raises(InputError, match=r"^vary clock: no such"):
        hw.solve("clock", 17_000)
    with pytest.raises(InputError, match=r"^target: a decode rate is expected, or metric NAME"):
        hw.solve("datapath.lanes")


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(width: int) -> None:
    found: list[Solution] = [
        hw.solve("process.wafer_usd", metric="die_cost_usd", at_most=300),
        hw.solve("datapath.lanes", 17_000),
        hw.solve("formats.kv_bits", 14_000),
    ]
    for one in found:
        assert max(map(len, printed(render(one), width).splitlines())) <= width
