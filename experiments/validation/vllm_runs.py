"""``vllm-h100`` against measured serving runs, none of which its numbers were fitted to.

``python -m hardwire.experiments.validation.vllm_runs PATH`` reads the CSV of runs (slots, adapters,
rates per adapter, tokens/s, time per output token), serves the same load, and prints every row with
its errors; ``--markdown`` prints the table of docs/gpu-servers.md.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from hardwire.experiments.shared.tables import plain_table
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
) -> Predicted:
    """Serve the row's load for the measured hour and take the measured run's averages.

    They are over the requests that are done within the hour, as in the measured runs.
    """
    try:
        server.kv_tokens(row.slots, row.rank)
    except InputError:
        return Predicted(math.nan, math.nan, math.nan)
    # A row that was not measured has no lengths; the load does not matter for what cannot start.
    load = offered_load(row, seed, prompt_cv, output_cv)
    adapter = Adapter.from_shape(f"r{row.rank}:all-linear", server.model)
    log = simulate_batch(
        server,
        load,
        [adapter] * row.adapters,
        slots=row.slots,
        rank=row.rank,
        until_s=DURATION_S,
    )
    done = log.status == Status.COMPLETED
    timed = done & (load.output > 1)
    tpot = (log.finish_s - log.first_token_s)[timed] / (load.output[timed] - 1)
    return Predicted(
        float(load.output[done].sum()) / DURATION_S,
        float((log.first_token_s - load.arrival_s)[done].mean()),
        float(tpot.mean()),
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


HEADINGS = (
    "slots", "adapters", "offered req/s", "load",
    "tok/s", "model", "error", "TPOT ms", "model", "error", "TTFT s", "model",
)  # fmt: skip


def table_row(row: Row, predicted: Predicted) -> list[str]:
    """One row of the table, as text."""
    head = [str(row.slots), str(row.adapters), f"{row.offered:.2f}"]
    if row.out_of_memory:
        starts = not math.isnan(predicted.output_tokens_per_s)
        verdict = "starts" if starts else "out of memory"
        return [*head, "out of memory", "", verdict, "", "", "", "", "", ""]
    error = predicted.output_tokens_per_s / row.output_tokens_per_s - 1
    slower = predicted.tpot_s / row.tpot_s - 1
    return [
        *head,
        "keeps up" if row.keeps_up else "saturated",
        f"{row.output_tokens_per_s:.0f}",
        f"{predicted.output_tokens_per_s:.0f}",
        f"{error:+.1%}",
        f"{row.tpot_s * 1e3:.1f}",
        f"{predicted.tpot_s * 1e3:.1f}",
        f"{slower:+.1%}",
        f"{row.ttft_s:.3g}",
        f"{predicted.ttft_s:.3g}",
    ]


def report(pairs: Sequence[tuple[Row, Predicted]]) -> list[str]:
    """Sentences that sum up the errors."""
    lines = []
    measured = [pair for pair in pairs if not pair[0].out_of_memory]
    for title, chosen in (
        ("keeps up", [pair for pair in measured if pair[0].keeps_up]),
        ("saturated", [pair for pair in measured if not pair[0].keeps_up]),
    ):
        if chosen:
            s = summarize(chosen)
            lines.append(
                f"{title}, {s.rows} rows: output tokens/s off by {s.throughput[0]:.1%} on average "
                f"(most {s.throughput[1]:.1%}), TPOT by {s.tpot[0]:.1%} (most {s.tpot[1]:.1%})"
            )
    failed = [pair for pair in pairs if pair[0].out_of_memory]
    caught = sum(math.isnan(p.output_tokens_per_s) for _, p in failed)
    wrong = sum(math.isnan(p.output_tokens_per_s) for _, p in measured)
    lines.append(
        f"out of memory: {caught} of {len(failed)} rows predicted, "
        f"{wrong} of {len(measured)} that ran said to fail"
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="CSV of the measured runs")
    parser.add_argument("--markdown", action="store_true", help="the table of the manual")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt-cv", type=float, default=PROMPT_CV)
    parser.add_argument("--output-cv", type=float, default=OUTPUT_CV)
    options = parser.parse_args(arguments)
    try:
        server = BatchServer.open(SERVER)
        rows = read_rows(options.path)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    pairs = [
        (
            row,
            predict(
                server,
                row,
                seed=options.seed,
                prompt_cv=options.prompt_cv,
                output_cv=options.output_cv,
            ),
        )
        for row in rows
    ]
    if options.markdown:
        print("| " + " | ".join(HEADINGS) + " |")
        print("|" + "---|" * len(HEADINGS))
        for pair in pairs:
            print("| " + " | ".join(table_row(*pair)) + " |")
    else:
        table = plain_table("Measured runs", *HEADINGS)
        for pair in pairs:
            table.add_row(*table_row(*pair))
        Console(width=140).print(table)
    print()
    for line in report(pairs):
        print(line)


if __name__ == "__main__":
    main()
