"""Which explanations of HC1's first tokens the data can tell apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hardwire.experiments.validation.prompt_tokens import (
    CHIP,
    HOST,
    OVERLAP,
    Hypothesis,
    first_tokens,
    hypotheses,
)
from hardwire.models import Chip, LanguageModel
from hardwire.models.published import PublishedRow
from hardwire.simulator.belief.draws import calibrate
from hardwire.simulator.closed_form import decode_token_s, predict


@pytest.fixture(scope="module")
def found() -> list[Hypothesis]:
    return hypotheses(first_tokens())


def test_the_rows_are_the_ten_samples_and_prove_nothing() -> None:
    rows = first_tokens()
    assert len(rows) == 10
    assert {row.role for row in rows} == {"in-sample"}


def test_ratios_of_the_chip_as_filed_by_hand(found: list[Hypothesis]) -> None:
    """The one sample of 21 tokens, 1.0984 ms, over 20 prompt tokens and a step of the demo."""
    chip, model = Chip.open(CHIP), LanguageModel.open("llama-3.1-8b")
    head = (56 + 280 + 1026 + 400) / (chip.datapath.clock_ghz * 1e9)  # docs/timing-model.md
    ttft = 21 * (decode_token_s(chip, model, 10, 2) - head) + head  # at its mean context of 11
    assert found[0].ratios["21 tokens"] == pytest.approx(1.0984e-3 / ttft, rel=1e-3)


def test_every_explanation_is_nested_and_none_can_fit_worse(found: list[Hypothesis]) -> None:
    assert found[0].log_likelihood == 0
    assert all(one.log_likelihood >= -0.1 for one in found)
    by_name = {one.name: one.log_likelihood for one in found}
    assert by_name["overlap, and a fixed time of a request"] >= by_name["overlap in a prompt"]
    for one in found:
        if one.evidence is not None:  # a mean is below the best
            assert one.evidence <= math.exp(one.log_likelihood + 1)
        for name, value in one.best.items():
            low, high = one.supported[name]
            assert low <= value <= high


def test_the_data_cannot_tell_loop_host_and_overlap_apart(found: list[Hypothesis]) -> None:
    """At one clock each is a line through a step at one token: half a point of likelihood."""
    alone = [one.log_likelihood for one in found[1:4]]
    assert np.ptp(alone) < 0.5
    assert min(alone) > 10


def test_a_chip_with_a_host_is_recognised() -> None:
    """First tokens that a chip with 6 µs of host would show: 6 µs are found, and ratios of 1."""
    model = LanguageModel.open("llama-3.1-8b")
    chip = Chip.open(CHIP)._replaced({HOST: 6.0, "power.limit_w": np.inf})
    clock, solved = calibrate(chip)
    assert solved
    made: list[PublishedRow] = []
    for row in first_tokens()[:9]:
        prompt = int(row.conditions["prompt"])
        at = chip._replaced({"datapath.clock_ghz": clock})
        value = float(predict(at, model, prompt=prompt, output=2).ttft_s)
        made.append(row.model_copy(update={"value": value}))
    by_name = {one.name: one for one in hypotheses(made)}
    host = by_name["a host for each sampled token"]
    assert host.best[HOST] == pytest.approx(6.0, abs=0.2)
    assert host.ratios["22 tokens"] == pytest.approx(1, abs=2e-3)
    assert by_name["overlap in a prompt"].best[OVERLAP] == pytest.approx(0.09, abs=0.03)
