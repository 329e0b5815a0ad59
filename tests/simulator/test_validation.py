"""The simulator against what is published of and measured on HC1: rows V1 to V7.

Two numbers are fitted, one per chip file: the clock of ``hc1`` to row V1, and the clock of
``hc1-demo`` to the mean step of row V2. Every other comparison is a prediction. A row that is
missed is marked as a strict expected failure with its reason: nothing is tuned to meet it, and a
change that meets it by accident fails the test, so that the docs are corrected.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from models import Chip, LanguageModel
from models.memory import sram_budget
from models.server import Server
from simulator.closed_form import Prediction, predict
from simulator.datapath import TokenProgram, build_program
from simulator.engine import simulate
from simulator.run import run
from simulator.workload import Requests

VENDOR_TOKENS_PER_S = 16_960
"""Launch chart of the vendor: Llama 3.1 8B, 1k in, 1k out, one user per chip."""

DEMO_SINCE = "2026-09"
"""From here on the public demo runs at one speed; the sample of March 2026 was 12 % faster."""


@dataclass(frozen=True)
class Sample:
    """One answer of the public demo, as its server reported it."""

    prompt: int
    ttft_s: float
    tokens: int
    reported_rate: float
    step_s: float
    date: str

    def __str__(self) -> str:
        return f"{self.prompt}-prompt-{self.tokens}-tokens-{self.date}"


def read_samples() -> list[Sample]:
    path = Path(__file__).resolve().parents[1] / "data" / "hc1_telemetry.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Sample(
                prompt=int(row["prompt"]),
                ttft_s=float(row["ttft_ms"]) * 1e-3,
                tokens=int(row["decode_tokens"]),
                reported_rate=float(row["decode_rate"]),
                step_s=float(row["corrected_step_us"]) * 1e-6,
                date=row["date"],
            )
            for row in csv.DictReader(file)
        ]


SAMPLES = read_samples()
DEMO = [sample for sample in SAMPLES if sample.date >= DEMO_SINCE]

TTFT_MISS = pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="V4: predicted 1.418 ms, 29 % over the measured 1.098 ms. A prompt token is predicted "
    "to take 68 us (a decode step without LM head and sampling), the nine samples took 52 to 64 "
    "us: all are predicted 5 to 29 % too high, and this one lies lowest",
)
POWER_MISS = pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="V6: predicted 76 W against about 200 W, 2.6 times too low. The energies of a mask-ROM "
    "fabric at 6 nm are not published; with their ranges the interval is 57 to 155 W, which does "
    "not reach the figure either",
)
SERVER_MISS = pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="V7: predicted 1.36 kW against 2.5 kW, 45 % too low: the card power of V6, ten times",
)


@functools.cache
def demo_program() -> TokenProgram:
    chip = Chip.open("hc1-demo")
    return build_program(chip, LanguageModel.by_name(chip.model))


@functools.cache
def simulated(prompt: int, tokens: int) -> tuple[float, float]:
    """TTFT and mean decode step of one answer of the demo, in seconds."""
    program = demo_program()
    requests = Requests.uniform(1, prompt, tokens)
    done = simulate(program, requests).output_times(requests, 0) / program.clock_hz
    return float(done[0]), float((done[-1] - done[0]) / (tokens - 1))


@functools.cache
def hc1_at_1k_1k() -> Prediction:
    chip = Chip.open("hc1")
    return predict(chip, LanguageModel.by_name(chip.model), prompt=1024, output=1024)


def test_the_corrected_step_of_a_sample_is_its_arithmetic() -> None:
    """The server divides n tokens by the time of n − 1 steps: the first falls into the TTFT."""
    for sample in SAMPLES:
        step = sample.tokens / sample.reported_rate / (sample.tokens - 1)
        assert step == pytest.approx(sample.step_s, abs=0.06e-6), sample


def test_the_demo_is_calibrated_on_the_mean_of_its_samples() -> None:
    chip = Chip.open("hc1-demo")
    assert chip.calibration is not None
    assert len(DEMO) == 9
    mean = np.mean([sample.step_s for sample in DEMO])
    assert chip.calibration.value == pytest.approx(mean, rel=chip.calibration.relative_error)


def test_v1_decode_rate_at_1k_1k() -> None:
    """Calibrated: within 2 % of 16,960 tokens/s."""
    chip = Chip.open("hc1")
    result = run(chip, LanguageModel.by_name(chip.model), prompt=1024, output=1024, users=1)
    assert result.base.decode_tokens_per_s_user == pytest.approx(VENDOR_TOKENS_PER_S, rel=0.02)


@pytest.mark.parametrize("sample", DEMO, ids=str)
def test_v2_decode_step_of_the_demo(sample: Sample) -> None:
    """Calibrated on the mean of these; each sample, at its own context, within 15 %."""
    assert simulated(sample.prompt, sample.tokens)[1] == pytest.approx(sample.step_s, rel=0.15)


@pytest.mark.parametrize("sample", DEMO, ids=str)
def test_v3_decode_rate_as_the_server_reports_it(sample: Sample) -> None:
    """Predicted: n tokens over the time of n − 1 steps, within 5 %."""
    step_s = simulated(sample.prompt, sample.tokens)[1]
    reported = sample.tokens / ((sample.tokens - 1) * step_s)
    assert reported == pytest.approx(sample.reported_rate, rel=0.05)


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(sample, id=str(sample), marks=[TTFT_MISS] if sample.prompt == 21 else [])
        for sample in DEMO
    ],
)
def test_v4_time_to_first_token(sample: Sample) -> None:
    """Predicted: a prompt of 18 to 22 tokens, within 25 %."""
    assert simulated(sample.prompt, sample.tokens)[0] == pytest.approx(sample.ttft_s, rel=0.25)


def test_v5_the_chip_can_exist() -> None:
    """Predicted: the model and 6,144 tokens of KV cache on 815 mm2 and at most 53e9 transistors."""
    chip = Chip.open("hc1")
    model = LanguageModel.by_name(chip.model)
    assert hc1_at_1k_1k().area_mm2["total"] <= chip.die.area_mm2 == 815
    assert hc1_at_1k_1k().transistors["total"] <= chip.die.transistors == 53e9
    budget = sram_budget(chip, model, users=1, context_tokens=6144)
    assert budget.kv_bytes == pytest.approx(403e6, rel=0.001)
    assert budget.free_bytes >= 0


@POWER_MISS
def test_v6_card_power() -> None:
    """Predicted: about 200 W, within a factor of two."""
    assert 100 <= hc1_at_1k_1k().power_w <= 400


@SERVER_MISS
def test_v7_server_power() -> None:
    """Predicted: ten cards and their host at 2.5 kW, within 30 %."""
    assert Server.open("hc1x10").power_w(hc1_at_1k_1k().power_w) == pytest.approx(2500, rel=0.30)


def test_v7_server_rate() -> None:
    """Ten cards serve ten users: 169,600 tokens/s."""
    rate = Server.open("hc1x10").cards * hc1_at_1k_1k().decode_tokens_per_s_chip
    assert rate == pytest.approx(10 * VENDOR_TOKENS_PER_S, rel=0.02)
