"""``vllm-h100`` against measured serving runs, none of which its numbers were fitted to.

The CSV of runs has slots, adapters, rates per adapter, tokens/s and time per output token; the same
load is served and its figures stand beside the measured ones.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.load.synthetic import stream
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Status

SERVER = "vllm-h100"
DURATION_S = 3600.0
KEEPS_UP = 0.97
"""Share of the expected requests above which a run counts as keeping up, after two standard
deviations of the Poisson count."""

CONNECTIONS = 28_232
"""Requests that the client could have open: the ports 32768 to 60999 that Linux gives to outgoing
connections. The logs of the runs at high rates are full of what follows: ``[Errno 99] Cannot assign
requested address`` (FerranAgulloLopez/GPULLMAdapterOptimization, real_results, log_*.out)."""

RANKS = (8, 16, 32)
"""Ranks of the adapters of those runs, in turn, up to that of the slots (their launchers)."""

PROMPT_CV, OUTPUT_CV = 1.4, 0.85
"""Coefficients of variation of the lognormal lengths, before the limits below; assumed."""

LONGEST_PROMPT, LONGEST_REQUEST, SHORTEST = 1024, 2048, 4
"""What the measured runs took from ShareGPT: the limits of vLLM's benchmark."""


@dataclass(frozen=True)
class Row:
    """One measured run; the measurements are NaN where the server ran out of memory."""

    slots: int
    adapters: int
    rank: int
    rates: NDArray[np.float64]  # requests/s of each adapter
    requests_per_s: float
    prompt_mean: float
    output_mean: float
    output_tokens_per_s: float
    ttft_s: float
    tpot_s: float

    @property
    def out_of_memory(self) -> bool:
        """Whether the server did not start."""
        return math.isnan(self.output_tokens_per_s)

    @property
    def offered(self) -> float:
        """Requests/s on average."""
        return float(self.rates.sum())

    @property
    def keeps_up(self) -> bool:
        """Whether the measured server served what it was offered."""
        noise = 2 * math.sqrt(self.offered / DURATION_S)
        return self.requests_per_s >= KEEPS_UP * self.offered - noise


@dataclass(frozen=True)
class Predicted:
    """What the simulated server did; NaN where it cannot start."""

    output_tokens_per_s: float
    ttft_s: float
    tpot_s: float
    warnings: tuple[str, ...] = ()


def read_rows(path: Path) -> list[Row]:
    """Read the measured runs.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column or a number.
    """
    rows: list[Row] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, cells in enumerate(csv.DictReader(file), start=2):
                try:
                    rows.append(_row(cells))
                except (ValueError, ZeroDivisionError, IndexError):
                    raise InputError(f"{path.name}: line {line} lacks a number") from None
    except KeyError as error:
        raise InputError(f"{path.name}: column {error} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    return rows


def _row(cells: dict[str, str]) -> Row:
    names = cells["config"].split("rates_")[1].split("_")
    adapters = int(cells["served_adapters(max_cpu_loras)"])
    # The benchmark deals the rates to the adapters in turn; the order does not matter.
    rates = np.resize([float(name) for name in names], adapters)
    measured = [
        float(cells[name] or "nan")
        for name in ("req_s", "in_tok_s", "out_tok_s", "ttft_ms", "tpot_ms")
    ]
    requests, prompt, output, ttft, tpot = measured
    return Row(
        int(cells["gpu_slots(max_loras)"]),
        adapters,
        int(cells["max_rank"]),
        rates,
        requests,
        prompt / requests,
        output / requests,
        output,
        ttft / 1e3,
        tpot / 1e3,
    )


def lengths(
    row: Row, count: int, rng: np.random.Generator, prompt_cv: float, output_cv: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw prompts and outputs of the row's means within the benchmark's limits.

    The medians are set by a few rounds of drawing, so that the means hold after the limits.
    """
    sigmas = [math.sqrt(math.log1p(cv**2)) for cv in (prompt_cv, output_cv)]
    normal = rng.standard_normal((2, 2 * count))
    wanted = np.array([row.prompt_mean, row.output_mean])
    medians = wanted * [math.exp(-(sigma**2) / 2) for sigma in sigmas]
    drawn = np.zeros((2, 0))
    for _ in range(20):
        drawn = np.rint(medians[:, None] * np.exp(np.array(sigmas)[:, None] * normal))
        fits = (
            (drawn.min(axis=0) >= SHORTEST)
            & (drawn[0] <= LONGEST_PROMPT)
            & (drawn.sum(axis=0) <= LONGEST_REQUEST)
        )
        drawn = drawn[:, fits]
        medians *= wanted / drawn.mean(axis=1)
    prompt, output = drawn[:, :count].astype(np.int64)
    if len(prompt) < count:
        raise ValueError("too few drawn lengths lie within the limits")
    return prompt, output


def offered_load(
    row: Row, seed: int, prompt_cv: float = PROMPT_CV, output_cv: float = OUTPUT_CV
) -> Workload:
    """The row's load: a Poisson stream for each adapter, for the measured hour."""
    rng = stream(seed, "arrivals")
    counts = rng.poisson(row.rates * DURATION_S)
    adapter = np.repeat(np.arange(row.adapters, dtype=np.int32), counts)
    arrival = rng.uniform(0, DURATION_S, len(adapter))
    order = np.argsort(arrival, kind="stable")
    prompt, output = lengths(
        row,
        len(adapter),
        stream(seed, "lengths"),
        prompt_cv,
        output_cv,
    )
    names = tuple(f"adapter-{number}" for number in range(row.adapters))
    return Workload(
        "measured run", arrival[order], prompt, output, adapter[order], names, DURATION_S
    )


def predict(
    server: BatchServer,
    row: Row,
    *,
    seed: int = 0,
    prompt_cv: float = PROMPT_CV,
    output_cv: float = OUTPUT_CV,
    until_s: float = DURATION_S,
) -> Predicted:
    """Serve the row's load for the measured hour and take the measured run's averages.

    They are over the requests that are done within the hour, as in the measured runs.

    Parameters
    ----------
    until_s : a shorter part of the hour.
    """
    try:
        server.kv_tokens(row.slots, row.rank)
    except InputError:
        return Predicted(math.nan, math.nan, math.nan)
    # A row that was not measured has no lengths; the load does not matter for what cannot start.
    load = offered_load(row, seed, prompt_cv, output_cv)
    shapes = [f"r{rank}:all-linear" for rank in RANKS if rank <= row.rank]
    kinds = [Adapter.from_shape(shape, server.model) for shape in shapes]
    log = simulate_batch(
        server,
        load,
        [kinds[number % len(kinds)] for number in range(row.adapters)],
        slots=row.slots,
        rank=row.rank,
        until_s=until_s,
        connections=CONNECTIONS,
    )
    done = log.status == Status.COMPLETED
    timed = done & (load.output > 1)
    tpot = (log.finish_s - log.first_token_s)[timed] / (load.output[timed] - 1)
    return Predicted(
        float(load.output[done].sum()) / until_s,
        float((log.first_token_s - load.arrival_s)[done].mean()),
        float(tpot.mean()),
        log.warnings,
    )


@dataclass(frozen=True)
class Summary:
    """Mean and largest absolute relative errors."""

    rows: int
    throughput: tuple[float, float]
    tpot: tuple[float, float]


def summarize(pairs: Sequence[tuple[Row, Predicted]]) -> Summary:
    """Errors over some rows."""

    def errors(name: str) -> tuple[float, float]:
        relative = [
            abs(getattr(predicted, name) / getattr(row, name) - 1) for row, predicted in pairs
        ]
        return float(np.mean(relative)), float(np.max(relative))

    return Summary(len(pairs), errors("output_tokens_per_s"), errors("tpot_s"))
