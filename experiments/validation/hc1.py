"""HC1: rate, what its demo reported, die and context, power of card and server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.chip import Chip
from hardwire.models.published import PublishedRow, published
from hardwire.models.server import Server
from hardwire.models.sram import sram_budget
from hardwire.simulator.closed_form import Prediction, predict
from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests


def _of_prediction(
    take: Callable[[Prediction, PublishedRow], Any],
) -> Callable[[Bench, PublishedRow], Predicted]:
    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        one, many = bench.predictions(row.conditions)
        return Predicted(float(take(one, row)), np.asarray(take(many, row), dtype=float))

    return predictor


def _server_rate(prediction: Prediction, row: PublishedRow) -> Any:
    cards = Server.open(str(row.conditions["server"])).cards
    return cards * prediction.decode_tokens_per_s_chip


def _server_power(bench: Bench, row: PublishedRow) -> Predicted:
    """Cards and host; the host's range is drawn beside the chips'."""
    server = Server.open(str(row.conditions["server"]))
    one, many = bench.predictions(row.conditions)
    limits = server.parameters["host_w"].range
    assert limits is not None
    watts = np.asarray(many.power_w, dtype=float)
    host = bench.stream(f"{row.id}.host").uniform(*limits, len(watts))
    return Predicted(float(server.power_w(one.power_w)), server.cards * watts + host)


def _of_answer(
    take: Callable[[float, float, int], float],
) -> Callable[[Bench, PublishedRow], Predicted]:
    """A predictor from TTFT, mean decode step and output tokens of one answer.

    The prediction is the engine's, to the cycle; the draws are the closed form's.
    """

    def predictor(bench: Bench, row: PublishedRow) -> Predicted:
        prompt, output = int(row.conditions["prompt"]), int(row.conditions["output"])
        name = str(row.conditions["chip"])
        chip = bench.chip(name)
        program = bench.once("program", name, lambda _: build_program(chip, bench.model(name)))
        requests = Requests.uniform(1, prompt, output)
        done = simulate(program, requests).output_times(requests, 0) / program.clock_hz
        step = float(done[-1] - done[0]) / (output - 1)
        many = predict(bench.drawn(name), bench.model(name), prompt=prompt, output=output)
        draws = take(many.ttft_s, many.token_s, output)
        return Predicted(take(float(done[0]), step, output), np.asarray(draws, dtype=float))

    return predictor


def _reported(ttft_s: float, step_s: float, tokens: int) -> float:
    """What the demo's server reports: n tokens over the time of n − 1 steps."""
    return tokens / ((tokens - 1) * step_s)


def _samples(row: PublishedRow, metric: str) -> list[PublishedRow]:
    """The telemetry samples that a mean is over."""
    return [
        sample
        for sample in published("hc1")
        if sample.metric == metric
        and str(sample.conditions["date"]) >= str(row.conditions["since"])
    ]


def _mean_step(bench: Bench, row: PublishedRow) -> Predicted:
    samples = _samples(row, "reported_tokens_per_s")
    return _mean([_of_answer(lambda ttft, step, n: step)(bench, sample) for sample in samples])


def _mean_prefill(bench: Bench, row: PublishedRow) -> Predicted:
    """Time to first token over prompt tokens; the published mean is that of the samples."""
    samples = _samples(row, "ttft_s")
    found = []
    measured = []
    for sample in samples:
        tokens = float(sample.conditions["prompt"])
        assert sample.value is not None
        measured.append(sample.value / tokens)
        one = _of_answer(lambda ttft, step, n, tokens=tokens: ttft / tokens)  # type: ignore[misc]
        found.append(one(bench, sample))
    mean = _mean(found)
    return Predicted(mean.value, mean.draws, published=float(np.mean(measured)))


def _mean(found: list[Predicted]) -> Predicted:
    values = [p.value for p in found if p.value is not None]
    draws = [p.draws for p in found if p.draws is not None]
    return Predicted(float(np.mean(values)), np.mean(draws, axis=0))


def _context(bench: Bench, row: PublishedRow) -> Predicted:
    """Tokens of one user without an adapter; the draws are over capacity and KV format."""
    name = str(row.conditions["chip"])

    def longest(chip: Chip) -> Any:
        budget = sram_budget(chip, bench.model(name), users=1, context_tokens=1)
        return budget.max_context_tokens

    return Predicted(
        float(longest(bench.chip(name))), np.asarray(longest(bench.drawn(name)), dtype=float)
    )


def _die_area(bench: Bench, row: PublishedRow) -> Predicted:
    one, many = bench.predictions({**row.conditions, "prompt": 1, "output": 2})
    return Predicted(float(one.area_mm2["total"]), np.asarray(many.area_mm2["total"], dtype=float))


def _transistors(bench: Bench, row: PublishedRow) -> Predicted:
    one, many = bench.predictions({**row.conditions, "prompt": 1, "output": 2})
    counted = np.asarray(many.transistors["total"], dtype=float)
    return Predicted(float(one.transistors["total"]), counted)


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "decode_tokens_per_s": _of_prediction(lambda p, row: p.decode_tokens_per_s_user),
    "card_power_w": _of_prediction(lambda p, row: p.power_w),
    "server_tokens_per_s": _of_prediction(_server_rate),
    "server_power_w": _server_power,
    "mean_decode_step_s": _mean_step,
    "mean_prefill_token_s": _mean_prefill,
    "reported_tokens_per_s": _of_answer(_reported),
    "ttft_s": _of_answer(lambda ttft, step, n: ttft),
    "context_tokens": _context,
    "die_area_mm2": _die_area,
    "transistors": _transistors,
}
