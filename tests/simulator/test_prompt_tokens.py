"""A prompt token against a decode step: what the host takes, and what the next token overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from strategies import chips, language_models

from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.simulator.belief.draws import calibrate, draw_chips
from hardwire.simulator.closed_form import decode_token_s, predict
from hardwire.simulator.engines import compiled, reference
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.serving.cards.costs import token_costs
from hardwire.simulator.single import run
from hardwire.simulator.timing import Timing

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")


def test_what_the_host_takes_is_in_every_decode_step_and_once_in_a_prompt() -> None:
    """By hand: 5 µs at 1 GHz are 5,000 cycles, and more at a higher clock."""
    requests = Requests.uniform(1, 4, 3)
    at_1 = HC1._replaced({"datapath.clock_ghz": 1.0})
    plain = reference.simulate(build_program(at_1, LLAMA), requests).done
    for clock, more in ((1.0, 5000), (1.5, 7500)):
        chip = HC1._replaced({"datapath.clock_ghz": clock, "sampling.host_us": 5.0})
        done = reference.simulate(build_program(chip, LLAMA), requests).done
        assert (done - plain).tolist() == [0, 0, 0, more, 2 * more, 3 * more]


def test_prompt_tokens_overlap_by_the_last_layers() -> None:
    """By hand: with a quarter, a token does not wait for 8 of 32 layers, and the last for all."""
    prompt, output = 5, 4
    requests = Requests.uniform(1, prompt, output)
    chip = HC1._replaced({"datapath.prompt_overlap": 0.25})
    layer = 56 + 280 + 44 + 280 + 56 + 280 + 80 + 920  # docs/timing-model.md, without attention
    found = reference.simulate(build_program(chip, LLAMA), requests).done
    plain = reference.simulate(build_program(HC1, LLAMA), requests).done
    attention = [2 * 5 + 3 * 24 + int(np.ceil(c * 2 * 1088 / 8192)) for c in range(1, prompt)]
    ahead = [8 * (layer + read) for read in attention]
    assert (plain - found)[0] == 0
    np.testing.assert_array_equal((plain - found)[1:prompt], np.cumsum(ahead))
    assert (np.diff(plain[prompt - 1 :]) == np.diff(found[prompt - 1 :])).all()


@examples(40)
@given(st.data(), chips(), language_models())
def test_law_overlap_saves_what_the_timing_says(
    data: st.DataObject, chip: Chip, model: LanguageModel
) -> None:
    """One user, any adapter: closed sum, engine and reference have the same last cycle."""
    adapter = Adapter.from_shape(data.draw(st.sampled_from(["r2:qv", "r3:all-linear"])), model)
    prompt = data.draw(st.integers(1, 6))
    requests = Requests.uniform(1, prompt, 2, 1)
    timing = Timing.of(chip, model, [adapter])
    program = build_program(chip, model, [adapter], issue="serial", timing=timing)
    found = compiled.simulate(program, requests).done
    np.testing.assert_array_equal(found, reference.simulate(program, requests).done)
    body, whole = (table[1] for table in timing.tables(prompt + 1))
    ahead = timing.ahead(prompt + 1)[1]
    first = (body - ahead)[1:prompt].sum() + whole[prompt]
    assert found[prompt - 1 :].tolist() == [first, first + whole[prompt + 1]]


def test_layers_that_tokens_share_do_not_overlap() -> None:
    roma = Chip.open("roma").with_values({"datapath.issue": "serial"})
    model = LanguageModel.open("llama-3.2-3b")
    asked = {"prompt": 40, "output": 10}
    plain = predict(roma, model, **asked).ttft_s
    assert predict(roma.with_values({"datapath.prompt_overlap": 0.5}), model, **asked).ttft_s == (
        plain
    )


@pytest.mark.parametrize(
    ("name", "value"), [("sampling.host_us", -1), ("datapath.prompt_overlap", 0.6)]
)
def test_values_outside_their_bounds_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        HC1.with_values({name: value})


def test_run_times_the_first_token_as_the_closed_form_does() -> None:
    chip = HC1.with_values({"datapath.prompt_overlap": 0.3, "sampling.host_us": 6.0})
    for users in (1, 3):
        asked = {"prompt": 200, "output": 50, "users": users}
        predicted = predict(chip, LLAMA, **asked)
        found = run(chip, LLAMA, **asked).base
        assert found.ttft_s == pytest.approx(float(predicted.ttft_s), rel=1e-3)
        assert found.token_s == pytest.approx(float(predicted.token_s), rel=1e-3)


def test_the_calibration_holds_with_a_host_in_the_loop() -> None:
    """The clock is solved with the host's time beside it: 1/16,960 s a token, whoever takes it."""
    assert HC1.calibration is not None
    slow = HC1._replaced({"sampling.host_us": 8.0})
    clock, solved = calibrate(slow)
    assert solved and clock > HC1.datapath.clock_ghz
    again = slow._replaced({"datapath.clock_ghz": clock})
    assert decode_token_s(again, LLAMA, 1024, 1024) == pytest.approx(1 / 16960, rel=2e-5)


def test_draws_reproduce_the_rate_whatever_the_host_takes() -> None:
    drawn = draw_chips(HC1, 300)
    assert np.ptp(drawn.sampling.host_us) > 5
    rate = 1 / decode_token_s(drawn, LLAMA, 1024, 1024)
    assert np.median(rate) == pytest.approx(16960, rel=0.01)
    assert np.std(rate) / 16960 == pytest.approx(0.03, rel=0.2)


def test_what_is_not_there_as_filed_is_not_there_in_half_of_the_draws() -> None:
    drawn = draw_chips(HC1, 2000)
    for values, high in ((drawn.sampling.host_us, 10), (drawn.datapath.prompt_overlap, 0.5)):
        there = values[values > 0]
        assert len(there) / len(values) == pytest.approx(0.5, abs=0.06)
        assert there.max() <= high and np.median(there) == pytest.approx(high / 2, rel=0.15)


def test_a_card_of_a_server_serves_a_prompt_in_the_engines_time() -> None:
    """The tables that serving sums up have the overlap in serial issue, and none in pipelined."""
    chip = HC1._replaced({"datapath.prompt_overlap": 0.25, "sampling.host_us": 4.0})
    prompt = 60
    done = compiled.simulate(build_program(chip, LLAMA), Requests.uniform(1, prompt, 2)).done
    costs = token_costs(chip, LLAMA, [], longest=prompt + 1)
    first = costs.body_sum[0, prompt - 1] + costs.whole[0, prompt]
    assert done[prompt - 1 :].tolist() == [first, first + costs.whole[0, prompt + 1]]
    pipelined = token_costs(chip, LLAMA, [], longest=prompt + 1, issue="pipelined")
    none = token_costs(
        chip._replaced({"datapath.prompt_overlap": 0}), LLAMA, [], longest=prompt + 1,
        issue="pipelined",
    )  # fmt: skip
    np.testing.assert_array_equal(pipelined.body, none.body)
