"""The fit behind ``vllm-h100``: step times from component runs of vLLM, with residuals.

The component CSV has one row per run: kind, folder, num_prompts, in_tokens, out_tokens, duration_s,
mean_ttft_ms, mean_tpot_ms. Method and sources: docs/gpu-servers.md.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer

MODEL = "llama-3.1-8b-instruct"
SERVER = "vllm-h100"

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Run:
    """One component run. Lengths are means per request, times milliseconds."""

    kind: str
    numbers: tuple[int, ...]  # of the folder's name
    requests: int
    prompt: float
    output: float
    duration_ms: float
    ttft_ms: float
    tpot_ms: float

    @property
    def label(self) -> str:
        """For tables."""
        words = [word for word in self.kind.split("/") if word != MODEL]
        return f"{' '.join(words[-2:])} {'/'.join(map(str, self.numbers))}"

    def waves(self, limit: int) -> NDArray[np.float64]:
        """Batches of a run that offers all requests at once, with equal lengths."""
        full, rest = divmod(self.requests, limit)
        return np.array([limit] * full + [rest] * (rest > 0), float)


@dataclass(frozen=True)
class Point:
    """A measured time and what the fit gives for it, ms."""

    label: str
    measured: float
    fitted: float


@dataclass(frozen=True)
class Fit:
    """Coefficients by the name of the server's parameter, and the rows that they were fitted to."""

    values: dict[str, float]
    points: tuple[Point, ...]


def read_runs(path: Path) -> list[Run]:
    """Read the runs of Llama 3.1 8B that were measured; failed ones are left out.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a column or a number.
    """
    runs = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                if MODEL not in row["kind"] or not row["duration_s"]:
                    continue
                try:
                    requests = int(row["num_prompts"])
                    run = Run(
                        row["kind"],
                        tuple(map(int, _NUMBERS.findall(row["folder"]))),
                        requests,
                        int(row["in_tokens"]) / requests,
                        int(row["out_tokens"]) / requests,
                        float(row["duration_s"]) * 1e3,
                        float(row["mean_ttft_ms"]),
                        float(row["mean_tpot_ms"]),
                    )
                except (ValueError, ZeroDivisionError):
                    raise InputError(f"{path.name}: line {line} lacks a number") from None
                runs.append(run)
    except KeyError as error:
        raise InputError(f"{path.name}: column {error} is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    return runs


def _solve(features: Sequence[Sequence[float]], times: Sequence[float]) -> NDArray[np.float64]:
    """Least squares of relative errors."""
    x, y = np.array(features), np.array(times)
    return np.linalg.lstsq(x / y[:, None], np.ones(len(y)), rcond=None)[0]


def _of(runs: Iterable[Run], part: str, suffix: str = "") -> list[Run]:
    found = [run for run in runs if part in run.kind and run.kind.endswith(suffix)]
    if not found:
        raise InputError(f"the component file has no run of kind {part}")
    return found


def _distinct(batch: NDArray[np.float64], adapters: int) -> NDArray[np.float64]:
    """Expected distinct adapters in a batch that draws each request's uniformly."""
    return adapters * (1 - (1 - 1 / adapters) ** batch)


def fit(runs: Sequence[Run], server: BatchServer) -> Fit:
    """Fit the step model, one group of runs after the other.

    Parameters
    ----------
    runs : as read by `read_runs`.
    server : gives the token budget of a step and the KV capacity, which are not fitted here.

    Raises
    ------
    InputError
        If a group of runs is missing.
    """
    points: list[Point] = []
    budget, capacity = server.batching.max_batched_tokens, server.kv_tokens(0, 8)

    # Decoding without LoRA. Runs that outgrow the KV memory preempt, which the waves do not show.
    decode = [
        run
        for run in (*_of(runs, "predictor_default", "output"), *_of(runs, "initial_points"))
        if run.numbers[0] * (run.prompt + run.output) <= capacity
    ]

    def decoding(run: Run) -> list[float]:
        waves = run.waves(run.numbers[0])
        batch = float((waves**2).sum() / run.requests)
        return [1, batch, batch * (run.prompt + run.output / 2)]

    features = [decoding(run) for run in decode]
    step, sequence, kv = _solve(features, [run.tpot_ms for run in decode])
    base = np.array([step, sequence, kv])
    points += [
        Point(run.label, run.tpot_ms, float(row @ base))
        for run, row in zip(decode, np.array(features), strict=True)
    ]

    # Prompts without LoRA: duration beside the steps' own time.
    prompts = _of(runs, "predictor_default", "input")
    steps = [r.requests / min(r.numbers[0], budget / r.prompt) for r in prompts]
    x = np.array([[r.requests * r.prompt, r.requests] for r in prompts])
    y = np.array([r.duration_ms for r in prompts])
    rest = y - step * np.array(steps)
    prefill, request = np.linalg.lstsq(x / y[:, None], rest / y, rcond=None)[0]
    fitted = y - rest + x @ [prefill, request]
    points += [Point(r.label, t, float(f)) for r, t, f in zip(prompts, y, fitted, strict=True)]

    # One request alone, one adapter, by slots: what a slot costs.
    single = _of(runs, "find_available_gpu_memory")
    alone = np.array([1, 1, single[0].prompt + single[0].output / 2]) @ base
    low = [run for run in single if run.numbers[1] <= 16]
    slots = np.array([[1, run.numbers[0]] for run in low], float)
    excess = np.array([run.tpot_ms for run in low]) - alone
    lone, slot = np.linalg.lstsq(slots, excess, rcond=None)[0]
    high = [run for run in single if run.numbers[1] > 16]
    steeper = [(run.tpot_ms - alone - lone - slot * run.numbers[0]) for run in high]
    by_rank = np.array([run.numbers[0] * (run.numbers[1] - 16) for run in high], float)
    slot_rank = float(by_rank @ steeper / (by_rank @ by_rank))

    # Requests one after the other, each with an adapter to load, in one slot: the constant of
    # LoRA, with one distinct adapter and one LoRA sequence in it. A lone request's is smaller.
    turns = _of(runs, "predictor_loading")
    lora = float(
        np.mean(
            [
                run.tpot_ms
                - np.array([1, 1, run.prompt + run.output / 2]) @ base
                - slot
                - slot_rank * max(run.numbers[0] - 16, 0)
                for run in turns
            ]
        )
    )
    for run in turns:
        above = slot_rank * max(run.numbers[0] - 16, 0)
        fitted_ms = np.array([1, 1, run.prompt + run.output / 2]) @ base + lora + slot + above
        points.append(Point(run.label, run.tpot_ms, float(fitted_ms)))
    for run in single:
        above = slot_rank * run.numbers[0] * max(run.numbers[1] - 16, 0)
        points.append(
            Point(run.label, run.tpot_ms, float(alone + lora + slot * run.numbers[0] + above))
        )

    # Many requests of n adapters: batch limit, slots, rank, prompt, output, n.
    crowd = _of(runs, "overhead_small")
    features, rest_ms, known = [], [], []
    for run in crowd:
        waves = run.waves(run.numbers[0])
        distinct = (waves * _distinct(waves, run.numbers[5])).sum() / run.requests
        features.append([float(distinct) - 1, decoding(run)[1] - 1])
        known.append(float(np.array(decoding(run)) @ base + lora + slot * run.numbers[1]))
        rest_ms.append(run.tpot_ms - known[-1])
    weight = np.array([run.tpot_ms for run in crowd])
    x = np.array(features)
    distinct_ms, lora_sequence = np.linalg.lstsq(
        x / weight[:, None], np.array(rest_ms) / weight, rcond=None
    )[0]
    for run, offset, row in zip(crowd, known, x, strict=True):
        points.append(
            Point(run.label, run.tpot_ms, float(offset + row @ [distinct_ms, lora_sequence]))
        )
    lora -= distinct_ms + lora_sequence

    # Prompts with LoRA: what a saturated run of 300 adapters leaves per slot and prompt token.
    (full,) = _of(runs, "find_max_batch")
    count = full.numbers[0]
    batch = full.requests * full.output * full.tpot_ms / full.duration_ms  # Little
    decode_ms = (
        np.array([1, batch, batch * (full.prompt + full.output / 2)]) @ base
        + lora
        + slot * count
        + distinct_ms * float(_distinct(np.array([batch]), count)[0])
        + lora_sequence * batch
    )
    per_request = full.duration_ms / full.requests - decode_ms * (full.output - 1) / batch
    slot_prefill = (per_request - request - prefill * full.prompt) / (count * full.prompt)

    # What a lone request's first token takes beyond its step.
    model_ms = [step + lone + slot * r.numbers[0] + request + prefill * r.prompt for r in low]
    frontend = float(np.mean([r.ttft_ms - ms for r, ms in zip(low, model_ms, strict=True)]))
    values = {
        "step_us": step * 1e3,
        "sequence_us": sequence * 1e3,
        "kv_token_ns": kv * 1e6,
        "prefill_token_us": prefill * 1e3,
        "request_us": request * 1e3,
        "lora_step_us": lora * 1e3,
        "slot_us": slot * 1e3,
        "slot_rank_us": slot_rank * 1e3,
        "distinct_us": distinct_ms * 1e3,
        "lora_sequence_us": lora_sequence * 1e3,
        "slot_prefill_ns": slot_prefill * 1e6,
        "frontend_us": frontend * 1e3,
    }
    return Fit({name: float(value) for name, value in values.items()}, tuple(points))
