"""Tokens over time: the engine's own visits, in order, one token at a unit at a time."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

import hardwire as hw
from hardwire.experiments.run.timeline import Bars, Timeline, timeline
from hardwire.experiments.run.trace import trace_events
from hardwire.experiments.shared.folder import to_json
from hardwire.experiments.shared.words_plot import finding_of
from hardwire.simulator.timing import Timing

CASES: dict[str, dict[str, Any]] = {
    "one user": {"adapter": "r16:all-linear", "settings": {"lora.activations_per_cycle": 256}},
    "slow adapter": {"adapter": "r64:all-linear", "issue": "pipelined"},
    "three users": {"adapter": "none", "users": 3, "issue": "pipelined"},
    "shared units": {"chip": "roma", "adapter": "r16:all-linear", "users": 2},
    "adapter behind the base": {
        "adapter": "r16:all-linear", "settings": {"lora.order": "sequential"},
    },
}  # fmt: skip


@cache
def result(case: str) -> Any:
    return hw.run(**{"chip": "hc1", "prompt": 40, "output": 8, **CASES[case]})


@cache
def found(case: str) -> Timeline:
    return timeline(result(case))


@pytest.mark.parametrize("case", CASES)
def test_a_token_alone_takes_what_the_timing_says(case: str) -> None:
    one = result(case)
    adapters = [] if one.adapter is None else [one.adapter.adapter]
    for number, token in enumerate(found(case).tokens):
        chosen = adapters[:number]
        timing = Timing.of(one.chip, one.model, chosen)
        _, whole = timing.tables(token.context + 1)
        assert token.token_s == pytest.approx(whole[number][token.context] / timing.hz)


@pytest.mark.parametrize("case", CASES)
def test_a_token_is_at_one_stage_after_the_other(case: str) -> None:
    for token in found(case).tokens:
        main = np.array([operation != "lora" for operation in token.operation])
        if "behind" in case:
            main[:] = True
        starts, ends = token.start_s[main], token.end_s[main]
        assert (np.diff(starts) >= 0).all() and (starts[1:] >= ends[:-1] - 1e-12).all()
        assert (np.diff(token.layer) >= 0).all()
        assert set(token.layer.tolist()) == {*range(-1, token.layers + 1)}


def apart(bars: Bars) -> None:
    """Nothing is at work on two tokens at a time."""
    for place in np.unique(bars.place):
        at = np.argsort(bars.start_s[bars.place == place])
        starts = bars.start_s[bars.place == place][at]
        ends = bars.end_s[bars.place == place][at]
        assert (starts[1:] >= ends[:-1] - 1e-12).all()


@pytest.mark.parametrize("case", CASES)
def test_a_unit_has_one_token_at_a_time(case: str) -> None:
    for flight in found(case).flights:
        apart(flight.visits)
    serial, pipelined = found(case).flights
    apart(serial.spans)
    assert serial.tokens == pipelined.tokens
    assert pipelined.span_s <= serial.span_s * (1 + 1e-9)


def test_serial_tokens_follow_each_other_without_a_pause() -> None:
    serial, _ = found("one user").flights
    busy = (serial.spans.end_s - serial.spans.start_s).sum()
    assert busy == pytest.approx(serial.span_s, rel=1e-9)
    assert serial.tokens == 8 and int(serial.spans.prompt.sum()) == 6 * 33 + 1


def test_it_shows_the_visits_of_the_trace() -> None:
    """One recording for both: the first decode token of the trace, unit by unit."""
    events = [e for e in trace_events(result("one user"))["traceEvents"] if e["ph"] == "X"]
    last = f"user 0 token {found('one user').tokens[1].context}"
    durations = [event["dur"] for event in events if event["name"] == last]
    token = found("one user").tokens[1]
    assert sorted(durations) == pytest.approx(sorted(1e6 * (token.end_s - token.start_s)), abs=2e-6)


def test_prompt_tokens_end_at_the_interval_of_the_busiest_unit() -> None:
    _, pipelined = found("one user").flights
    _, asked = found("one user").tokens
    inside = asked.layer == 0
    longest = float((asked.end_s - asked.start_s)[inside].max())
    assert pipelined.prompt_interval_s == pytest.approx(longest)


def test_findings_say_what_the_adapter_costs_and_what_pipelining_gains() -> None:
    assert "no side path of r16:all-linear ends after the ROM" in found("one user").token_finding
    slow = found("slow adapter")
    more = 1e6 * (slow.tokens[1].token_s - slow.tokens[0].token_s)
    assert f"r64:all-linear adds {more:.3g} µs, in which ROM waits for" in slow.token_finding
    assert "gate up LoRA" in slow.token_finding
    assert "a decode token waits for the one before" in slow.flight_finding
    assert "tokens of different users follow each other" in found("three users").flight_finding
    behind = found("adapter behind the base").token_finding
    assert behind.endswith("waits for qkv LoRA, o LoRA, gate up LoRA and down LoRA.")
    alone = timeline(hw.run("roma", adapter="none", prompt=8, output=4))
    assert "after the prompt, pipelined issue gains one user nothing" in alone.flight_finding


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_is_what_was_found(case: str) -> None:
    data = to_json(found(case).to_dict())
    again = Timeline.from_dict(json.loads(data))
    assert to_json(again.to_dict()) == data
    assert again.token_finding == found(case).token_finding
    assert again.flight_finding == found(case).flight_finding


@pytest.mark.parametrize("case", CASES)
def test_figures_name_their_units_and_say_the_finding(case: str) -> None:
    one = result(case)
    for what, finding in (
        ("timeline", found(case).token_finding),
        ("pipeline", found(case).flight_finding),
    ):
        figure = one.plot(what)
        assert finding_of(figure) == finding
        names = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
        if what == "pipeline":
            assert names == list(found(case).flights[1].units)
        assert all(axes.get_title(loc="left") for axes in figure.axes)
