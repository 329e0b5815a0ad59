"""The fit of the GPU server recovers what made the data; the validation reads and counts rows."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from hardwire.experiments.calibration import gpu_server as fit_batch_server
from hardwire.experiments.calibration.gpu_server import Run
from hardwire.experiments.validation import vllm_runs as vllm_validation
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer

SERVER = BatchServer.open("vllm-h100")
B = SERVER.batching


def made_runs() -> list[Run]:
    """Component runs whose times follow the server's own coefficients exactly, in ms."""
    step, sequence, kv = B.step_us / 1e3, B.sequence_us / 1e3, B.kv_token_ns / 1e6
    slot, rank_ms = B.slot_us / 1e3, B.slot_rank_us / 1e3
    one = (B.distinct_us + B.lora_sequence_us) / 1e3  # one adapter and sequence in the batch
    lone, turns = 1.0, B.lora_step_us / 1e3 + one

    def decode(batch: float, prompt: float, output: float) -> float:
        return step + sequence * batch + kv * batch * (prompt + output / 2)

    runs = []
    for limit in (50, 200, 800):
        for output in (100, 200):
            run = Run("predictor_default/output", (limit, 1, output), 1600, 5, output, 1, 0, 0)
            waves = run.waves(limit)
            batch = float((waves**2).sum() / run.requests)
            runs.append(dataclasses.replace(run, tpot_ms=decode(batch, 5, output)))
    runs.append(dataclasses.replace(runs[0], kind="initial_points/output"))
    for prompt in (100, 200, 400):
        steps = 4096 / min(100, B.max_batched_tokens / prompt)
        ms = step * steps + 4096 * (B.prefill_token_us * prompt + B.request_us) / 1e3
        runs.append(Run("predictor_default/input", (100, prompt, 1), 4096, prompt, 1, ms, 0, 0))
    for slots, rank in ((8, 8), (64, 16), (300, 8), (64, 32)):
        ms = decode(1, 13, 120) + lone + slots * (slot + rank_ms * max(rank - 16, 0))
        ttft = step + lone + slot * slots + (B.request_us + 13 * B.prefill_token_us) / 1e3
        ttft += B.frontend_us / 1e3
        kind = "find_available_gpu_memory"
        runs.append(Run(kind, (slots, rank), 1, 13, 120, 2000, ttft, ms))
    ms = decode(1, 111, 50) + turns + slot
    runs.append(Run("predictor_loading/rank_8", (8,), 50, 111, 50, 2000, 0, ms))
    distinct_ms, lora_sequence = B.distinct_us / 1e3, B.lora_sequence_us / 1e3
    for count in (1, 50, 300):
        distinct = count * (1 - (1 - 1 / count) ** 220)
        ms = decode(220, 5, 100) + turns + slot * 300
        ms += distinct_ms * (distinct - 1) + lora_sequence * 219
        runs.append(Run("overhead_small", (220, 300, 8, 1, 100, count), 4400, 5, 100, 1, 0, ms))
    return [*runs, full_run(B.lora_step_us / 1e3)]


def full_run(lora_ms: float) -> Run:
    """A saturated run of 248 requests at a time, 300 slots and adapters."""
    batch, count, prompt, output = 248.0, 300, 407.0, 200.0
    decode_ms = (
        B.step_us / 1e3
        + lora_ms
        + B.slot_us / 1e3 * count
        + (B.sequence_us + B.lora_sequence_us) / 1e3 * batch
        + B.kv_token_ns / 1e6 * batch * (prompt + output / 2)
        + B.distinct_us / 1e3 * count * (1 - (1 - 1 / count) ** batch)
    )
    per_prompt_token = B.prefill_token_us / 1e3 + B.slot_prefill_ns / 1e6 * count
    each = decode_ms * (output - 1) / batch + B.request_us / 1e3 + per_prompt_token * prompt
    tpot = batch * each / output  # so that Little's law gives the batch
    numbers = (300, 8, 200, 200)
    return Run("find_max_batch", numbers, 4096, prompt, output, 4096 * each, 0, tpot)


def test_the_fit_recovers_the_coefficients() -> None:
    values = fit_batch_server.fit(made_runs(), SERVER).values
    for name, value in values.items():
        assert value == pytest.approx(getattr(B, name), rel=2e-3), name


def test_every_fitted_row_has_a_residual() -> None:
    result = fit_batch_server.fit(made_runs(), SERVER)
    off = [abs(point.fitted / point.measured - 1) for point in result.points]
    assert len(off) == len(made_runs()) - 1  # the saturated run is solved, not fitted
    # Only a lone request's smaller constant is not followed.
    lone = (B.lora_step_us + B.distinct_us + B.lora_sequence_us) / 1e3 - 1.0
    assert max(off) < lone / 12


def test_a_component_file_without_a_group_is_refused() -> None:
    with pytest.raises(InputError, match="no run of kind predictor_loading"):
        fit_batch_server.fit([run for run in made_runs() if "loading" not in run.kind], SERVER)


HEADER = [
    "config", "gpu_slots(max_loras)", "served_adapters(max_cpu_loras)", "max_rank", "rate_counts",
    "req_s", "in_tok_s", "out_tok_s", "ttft_ms", "tpot_ms",
]  # fmt: skip


def write(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def test_validation_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "runs.csv",
        ["rank_16_rates_1.6_0.8_0.4", "8", "8", "16", "[2 3 3]", "8", "1800", "1560", "44", "19"],
        ["rank_16_rates_1.6_0.8_0.4", "256", "256", "16", "", "", "", "", "", ""],
    )
    ran, failed = vllm_validation.read_rows(path)
    assert ran.keeps_up and not ran.out_of_memory and failed.out_of_memory
    assert np.unique(ran.rates, return_counts=True)[1].tolist() == [2, 3, 3]
    assert (ran.prompt_mean, ran.output_mean) == (225, 195)
    assert math.isnan(vllm_validation.predict(SERVER, failed).tpot_s)


def test_drawn_lengths_have_the_rows_means_within_the_limits(tmp_path: Path) -> None:
    row = vllm_validation.read_rows(
        write(
            tmp_path / "runs.csv",
            ["rates_1.6_0.8", "8", "4", "16", "", "4.8", "1080", "940", "44", "19"],
        )
    )[0]
    work = vllm_validation.offered_load(row, 0)
    assert len(work) == pytest.approx(row.offered * 3600, rel=0.05)
    assert work.prompt.mean() == pytest.approx(row.prompt_mean, rel=0.03)
    assert work.output.mean() == pytest.approx(row.output_mean, rel=0.03)
    assert work.prompt.max() <= 1024 and (work.prompt + work.output).max() <= 2048


def test_a_broken_validation_file_names_its_line(tmp_path: Path) -> None:
    row = ["rates_1.6", "8", "4", "16", "", "x", "1", "1", "1", "1"]
    with pytest.raises(InputError, match=r"runs\.csv: line 2 lacks a number"):
        vllm_validation.read_rows(write(tmp_path / "runs.csv", row))
