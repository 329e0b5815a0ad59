"""GPU servers made from parts: saturated and single-user rates, with draws over every range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.experiments.validation.gpu import at_once
from hardwire.models.gpu_make import parts_server
from hardwire.models.gpu_server import BatchServer
from hardwire.models.parameters import draw
from hardwire.models.published import PublishedRow
from hardwire.simulator.belief.draws import DRAWS
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.gpu.steady import saturated_tokens_per_s
from hardwire.simulator.serving.load.workload import BASE

UNSAID = tuple(
    (precision, engine) for precision in ("bf16", "fp8") for engine in ("vllm", "trtllm")
)
"""What a single-user rate may have been taken with where its source says neither."""


def _made(bench: Bench, row: PublishedRow, precision: str, engine: str) -> BatchServer:
    c = row.conditions
    gpu, model, tp = str(c["gpu"]), str(c["model"]), int(c.get("tp", 1))

    def make(_: str) -> BatchServer:
        return parts_server(gpu, model, precision, tp, engine)

    server: BatchServer = bench.once("parts", f"{gpu} {model} {precision} {tp} {engine}", make)
    return server


def _drawn(bench: Bench, server: BatchServer, share: float | None = None) -> BatchServer:
    """The server with everything that has a range drawn from it, as arrays.

    ``share`` is the largest share of memory that its source says some of the rows were taken with.
    """

    def make(_: str) -> BatchServer:
        open_ones = {k: p for k, p in server.parameters.items() if p.range is not None}
        declared = server.declared
        values = {k: draw(p, declared[k], DRAWS, bench.stream(k)) for k, p in open_ones.items()}
        if share is not None:
            usual = server.value("memory_share")
            values["memory_share"] = bench.stream("memory share").uniform(usual, share, DRAWS)
        return server.changed(values)

    drawn: BatchServer = bench.once("drawn parts", f"{server.title} {share}", make)
    return drawn


def _saturated(bench: Bench, row: PublishedRow) -> Predicted:
    """The engine's rate, and its spread by the closed form."""
    c = row.conditions
    server = _made(bench, row, str(c["precision"]), str(c["engine"]))
    prompt, output, count = (int(c[key]) for key in ("prompt", "output", "requests"))
    load = at_once(
        np.full(count, prompt), np.full(count, output), np.full(count, BASE, np.int32), 0
    )
    value = count * output / simulate_batch(server, load, []).end_s
    usual = saturated_tokens_per_s(server, prompt, output)
    drawn = saturated_tokens_per_s(
        _drawn(bench, server, float(c["memory_share_to"])), prompt, output
    )
    return Predicted(value, _with_form(bench, row, server, value * drawn / usual))


def _single_user(bench: Bench, row: PublishedRow) -> Predicted:
    """The rate of a lone request's decode, over what its source leaves open; the median."""
    context = float(row.conditions["prompt"]) + float(row.conditions["output"]) / 2
    asked = bench.stream(row.id).integers(0, len(UNSAID), DRAWS)
    rates = np.array(
        [1e6 / _decode_us(_drawn(bench, _made(bench, row, *unsaid)), context) for unsaid in UNSAID]
    )
    draws = rates[asked, np.arange(DRAWS)]
    one = _made(bench, row, *UNSAID[0])
    return Predicted(float(np.median(draws)), _with_form(bench, row, one, draws))


def _with_form(
    bench: Bench, row: PublishedRow, server: BatchServer, draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """With the error of the form of a step's time, beside those of its parameters."""
    error: NDArray[np.float64] = bench.stream(f"{row.id}.form").standard_normal(DRAWS)
    return draws * (1 + server.form_error * error)


def _decode_us(server: BatchServer, context: float) -> NDArray[np.float64]:
    """A step with one decoding request."""
    b = server.batching
    linear = np.maximum(b.weights_us, b.token_us + b.head_us)
    return np.asarray(b.step_us + linear + b.sequence_us + b.kv_token_ns / 1e3 * context)


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "parts_output_tokens_per_s": _saturated,
    "parts_single_user_tokens_per_s": _single_user,
}
