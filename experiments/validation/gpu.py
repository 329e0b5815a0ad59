"""GPU servers: saturated and single-user rates, runs with many adapters, S-LoRA's trends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from hardwire.experiments.shared.parallel import in_threads
from hardwire.experiments.validation import vllm_runs as vllm_validation
from hardwire.experiments.validation.bench import EXTRAPOLATED, Bench, Predicted
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.published import PublishedRow, published
from hardwire.simulator.belief.draws import DRAWS, interval
from hardwire.simulator.belief.servers import draw_gpu_servers
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.load.workload import BASE, Workload

REQUESTS = 8192
"""All at once, so many that the begin and the end of a run hardly count."""

SERVER_DRAWS = 64
"""Of a server, each of which serves a row's load."""

ACHIEVED = (0.6, 1.0)
"""Share of a GPU's memory bandwidth that reading weights and KV may reach."""

WEIGHT_BYTES = (1, 2)
"""Bytes of a weight and of a KV element, where the precision is not published."""

RUN_DRAWS, RUN_S = 19, 900.0
"""Draws of a server that serves an hour: their extremes hold nine in ten of further ones. And the
seconds of it that each serves where many runs are drawn."""

SLOW = "slow: run with --all"

LOAD_REQUESTS, SLOTS, RANK = 3000, 32, 16
SHORTEST, LONGEST = 8, 512
"""S-LoRA's synthetic lengths, uniform for prompts and outputs."""


def at_once(prompt: np.ndarray, output: np.ndarray, adapter: np.ndarray, adapters: int) -> Workload:
    """Requests that all wait from the begin."""
    names = tuple(f"a{number}" for number in range(adapters))
    return Workload("at once", np.zeros(len(prompt)), prompt, output, adapter, names, 0.0)


def saturated_rate(server: BatchServer, row: PublishedRow) -> tuple[float, tuple[str, ...]]:
    """Output tokens/s of a server with all requests of a row at once, and its warnings."""
    prompt, output = int(row.conditions["prompt"]), int(row.conditions["output"])
    load = at_once(
        np.full(REQUESTS, prompt),
        np.full(REQUESTS, output),
        np.full(REQUESTS, BASE, np.int32),
        0,
    )
    log = simulate_batch(server, load, [])
    return REQUESTS * output / log.end_s, log.warnings


def _saturated(bench: Bench, row: PublishedRow) -> Predicted:
    server = bench.gpu(str(row.conditions["server"]))
    drawn = draw_gpu_servers(server, SERVER_DRAWS, bench.seed)
    rates = in_threads(lambda one: saturated_rate(one, row)[0], drawn)
    value, warnings = saturated_rate(server, row)
    return Predicted(value, again(rates, bench.stream(row.id)), words=extrapolated(warnings))


def again(values: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Some draws as ``DRAWS``, so that the published figure's own error is drawn finely."""
    return rng.choice(np.asarray(values, float), DRAWS)


def _single_user(bench: Bench, row: PublishedRow) -> Predicted:
    """Weights and KV over the memory's bandwidth, plus what a step of the H200 takes beyond that.

    The draws are over the precision and the share of bandwidth reached; what would need a negative
    rest is left out. The prediction is their median.
    """
    anchor = next(r for r in published("gpu") if r.id == "single.h200")
    assert anchor.value is not None
    rng = bench.stream("single user")
    width = rng.choice(WEIGHT_BYTES, DRAWS)
    reached = rng.uniform(*ACHIEVED, DRAWS)
    rate = anchor.value * (1 + (anchor.relative_error or 0) * rng.standard_normal(DRAWS))
    rest = 1 / rate - _read_s(anchor, width, reached)
    kept = rest >= 0
    step = _read_s(row, width, reached) + rest
    draws = (1 / step)[kept]
    return Predicted(float(np.median(draws)), draws)


def _read_s(row: PublishedRow, width: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Seconds to read all weights and the KV of the mean context once."""
    model = LanguageModel.by_name("llama-3.1-8b")
    context = float(row.conditions["prompt"]) + float(row.conditions["output"]) / 2
    # One row of the embedding is read, not all of it.
    read = model.parameter_count - model.embedding_weights + context * model.kv_elements_per_token
    seconds: np.ndarray = read * width / (float(row.conditions["memory_tb_per_s"]) * 1e12 * reached)
    return seconds


def extrapolated(warnings: Iterable[str]) -> str:
    """What a prediction says that goes beyond what its server was measured on."""
    return "; ".join(f"{EXTRAPOLATED}: {sentence}" for sentence in warnings)


def _runs(bench: Bench, row: PublishedRow) -> list[vllm_validation.Row] | None:
    path = _data_file(bench, row)
    return None if path is None else vllm_validation.read_rows(path)


def _data_file(bench: Bench, row: PublishedRow) -> Path | None:
    if bench.data is None:
        return None
    path = bench.data / str(row.conditions["data"])
    return path if path.exists() else None


def absent(bench: Bench, row: PublishedRow) -> str:
    """Why a row over measured runs cannot be computed now; empty where it can."""
    if row.metric == "vllm_tpot" and not bench.slow:
        return SLOW
    if "data" not in row.conditions:
        return ""
    if _data_file(bench, row) is None:
        return "data not present"
    saturated = row.conditions.get("regime") == "saturated"
    if (saturated or row.metric == "vllm_runs_inside") and not bench.slow:
        return SLOW
    return ""


def _served(
    bench: Bench, row: PublishedRow
) -> list[tuple[vllm_validation.Row, vllm_validation.Predicted]]:
    """The measured runs of the row's regime with what the model says; made once for all rows."""
    server = bench.gpu(str(row.conditions["server"]))
    keeps_up = row.conditions["regime"] == "keeps_up"

    def make(_: str) -> list[tuple[vllm_validation.Row, vllm_validation.Predicted]]:
        runs = _runs(bench, row) or []
        chosen = [run for run in runs if not run.out_of_memory and run.keeps_up == keeps_up]
        return [(run, vllm_validation.predict(server, run)) for run in chosen]

    pairs: list[tuple[vllm_validation.Row, vllm_validation.Predicted]] = bench.once(
        "served", str(row.conditions["regime"]), make
    )
    return pairs


_NO_DIGITS = str.maketrans("", "", "0123456789,")

FIELDS = {"throughput": "output_tokens_per_s", "tpot": "tpot_s"}


def _errors(bench: Bench, row: PublishedRow) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    name = FIELDS[str(row.conditions["quantity"])]
    pairs = _served(bench, row)
    measured = np.array([getattr(run, name) for run, _ in pairs])
    found = np.array([getattr(predicted, name) for _, predicted in pairs])
    return measured, found, np.abs(found / measured - 1)


def _mean_error(bench: Bench, row: PublishedRow) -> Predicted:
    measured, found, errors = _errors(bench, row)
    # Runs differ in how far they go beyond: one sentence of each kind, that of the busiest run.
    kinds = {
        sentence.translate(_NO_DIGITS): sentence
        for _, one in sorted(_served(bench, row), key=lambda pair: pair[0].offered)
        for sentence in one.warnings
    }
    told = [f"mean of {len(errors)} runs; both values are means", extrapolated(kinds.values())]
    words = "; ".join(filter(None, told))
    return Predicted(
        float(found.mean()),
        published=float(measured.mean()),
        error=float(errors.mean()),
        words=words,
    )


def _worst_error(bench: Bench, row: PublishedRow) -> Predicted:
    measured, found, errors = _errors(bench, row)
    worst = int(errors.argmax())
    run = _served(bench, row)[worst][0]
    words = f"{run.slots} slots, {run.adapters} adapters, {run.offered:.1f} requests/s"
    return Predicted(
        float(found[worst]),
        published=float(measured[worst]),
        error=float(errors[worst]),
        words=words,
    )


def _hours(
    drawn: Sequence[BatchServer], run: vllm_validation.Row
) -> list[vllm_validation.Predicted]:
    """One hour of a run's load on each server, another one each."""

    def hour(number: int) -> vllm_validation.Predicted:
        return vllm_validation.predict(drawn[number], run, seed=number)

    return in_threads(hour, range(len(drawn)))


def _runs_inside(bench: Bench, row: PublishedRow) -> Predicted:
    """Measured runs that lie in the interval of their own prediction.

    Each draw of the server serves another hour of the same load, as the measured hour was one.
    """

    def make(_: str) -> list[list[vllm_validation.Predicted]]:
        server = bench.gpu(str(row.conditions["server"]))
        drawn = draw_gpu_servers(server, RUN_DRAWS, bench.seed)
        return [_hours(drawn, run) for run, _ in _served(bench, row)]

    found = bench.once("drawn runs", str(row.conditions["regime"]), make)
    name = FIELDS[str(row.conditions["quantity"])]
    inside, widths = 0, []
    for (run, predicted), draws in zip(_served(bench, row), found, strict=True):
        started = [getattr(one, name) for one in draws if not math.isnan(one.tpot_s)]
        low, high = interval(started)
        inside += low <= getattr(run, name) <= high
        widths.append((high - low) / getattr(predicted, name))
    words = (
        f"{inside} of {len(found)} runs inside the 90% interval of their own prediction, which is "
        f"{np.median(widths):.1%} of it wide at the median"
    )
    return Predicted(float(inside), published=float(len(found)), words=words)


def _out_of_memory(bench: Bench, row: PublishedRow) -> Predicted:
    """Runs that the model says do not start; one that started in truth counts against it."""
    server = bench.gpu(str(row.conditions["server"]))
    runs = _runs(bench, row) or []
    fails = [math.isnan(vllm_validation.predict(server, run).tpot_s)
             for run in runs if run.out_of_memory]  # fmt: skip
    wrong = sum(not _starts(bench, row, run) for run in runs if not run.out_of_memory)
    return Predicted(
        float(sum(fails) + wrong),
        published=float(len(fails)),
        words=f"{sum(fails)} of {len(fails)}, and {wrong} of the {len(runs) - len(fails)} that ran",
    )


def _starts(bench: Bench, row: PublishedRow, run: vllm_validation.Row) -> bool:
    try:
        bench.gpu(str(row.conditions["server"])).kv_tokens(run.slots, run.rank)
    except InputError:
        return False
    return True


def _tpot(bench: Bench, row: PublishedRow) -> Predicted:
    """Time per output token of one run of an hour; each draw of the server serves a part of it."""
    server, of = bench.gpu(str(row.conditions["server"])), row.conditions
    adapters = int(of["adapters"])
    rates = np.resize([float(word) for word in str(of["rates"]).split()], adapters)
    assert row.value is not None
    run = vllm_validation.Row(
        slots=int(of["slots"]),
        adapters=adapters,
        rank=int(of["rank"]),
        rates=rates,
        requests_per_s=float(rates.sum()),
        prompt_mean=float(of["prompt"]),
        output_mean=float(of["output"]),
        output_tokens_per_s=math.nan,
        ttft_s=math.nan,
        tpot_s=row.value,
    )
    found = vllm_validation.predict(server, run)
    drawn = draw_gpu_servers(server, RUN_DRAWS, bench.seed)
    tpot = in_threads(
        lambda one: vllm_validation.predict(one, run, until_s=RUN_S).tpot_s, [server, *drawn]
    )
    draws = found.tpot_s * again(tpot[1:], bench.stream(row.id)) / tpot[0]
    return Predicted(found.tpot_s, draws, words=extrapolated(found.warnings))


def _adapter_ratio(bench: Bench, row: PublishedRow) -> Predicted:
    """Requests/s of a full queue with some adapters over that with others, up to 32 slots."""
    server = bench.gpu(str(row.conditions["server"]))
    adapter = Adapter.from_shape(f"r{RANK}:all-linear", server.model)

    def rate(adapters: int) -> float:
        rng = bench.stream("s-lora")
        prompt = rng.integers(SHORTEST, LONGEST + 1, LOAD_REQUESTS)
        output = rng.integers(SHORTEST, LONGEST + 1, LOAD_REQUESTS)
        wanted = rng.integers(0, max(adapters, 1), LOAD_REQUESTS) if adapters else BASE
        chosen = np.broadcast_to(np.asarray(wanted, np.int32), (LOAD_REQUESTS,)).copy()
        log = simulate_batch(
            server,
            at_once(prompt, output, chosen, adapters),
            [adapter] * adapters,
            slots=min(adapters, SLOTS),
            rank=RANK,
        )
        return LOAD_REQUESTS / log.end_s

    before, after = (rate(int(row.conditions[key])) for key in ("from_adapters", "to_adapters"))
    ratio = after / before
    assert row.value is not None
    near = abs(ratio / row.value - 1) <= 0.15
    words = (
        f"{'holds' if near else 'does not hold'}: {before:.1f} requests/s with "
        f"{row.conditions['from_adapters']}, {after:.1f} with {row.conditions['to_adapters']}"
    )
    return Predicted(ratio, words=words)


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "saturated_output_tokens_per_s": _saturated,
    "single_user_tokens_per_s": _single_user,
    "vllm_tpot": _tpot,
    "vllm_mean_error": _mean_error,
    "vllm_worst_error": _worst_error,
    "vllm_runs_inside": _runs_inside,
    "vllm_out_of_memory": _out_of_memory,
    "adapter_throughput_ratio": _adapter_ratio,
}
