"""The measured vLLM runs as a file: how rows and their loads are made."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from hardwire.experiments.validation.vllm_runs import offered_load, predict, read_rows
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer

VLLM = BatchServer.open("vllm-h100")
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
    ran, failed = read_rows(path)
    assert ran.keeps_up and not ran.out_of_memory and failed.out_of_memory
    assert np.unique(ran.rates, return_counts=True)[1].tolist() == [2, 3, 3]
    assert (ran.prompt_mean, ran.output_mean) == (225, 195)
    assert math.isnan(predict(VLLM, failed).tpot_s)


def test_drawn_lengths_have_the_rows_means_within_the_limits(tmp_path: Path) -> None:
    row = read_rows(
        write(
            tmp_path / "runs.csv",
            ["rates_1.6_0.8", "8", "4", "16", "", "4.8", "1080", "940", "44", "19"],
        )
    )[0]
    work = offered_load(row, 0)
    assert len(work) == pytest.approx(row.offered * 3600, rel=0.05)
    assert work.prompt.mean() == pytest.approx(row.prompt_mean, rel=0.03)
    assert work.output.mean() == pytest.approx(row.output_mean, rel=0.03)
    assert work.prompt.max() <= 1024 and (work.prompt + work.output).max() <= 2048


def test_a_broken_validation_file_names_its_line(tmp_path: Path) -> None:
    row = ["rates_1.6", "8", "4", "16", "", "x", "1", "1", "1", "1"]
    with pytest.raises(InputError, match=r"runs\.csv: line 2 lacks a number"):
        read_rows(write(tmp_path / "runs.csv", row))
