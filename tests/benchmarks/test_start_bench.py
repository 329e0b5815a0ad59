"""What a command takes as a process of its own, in units of a bare start of Python."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

BARE = ("-c", "pass")
ROUNDS = 5
COMMANDS = (
    "--help",
    "run",
    "replay azure-conv --adapters 64",
    "replay azure-conv --adapters 64 --engine compiled",
)


def cpu_s(arguments: tuple[str, ...], folder: Path) -> float:
    """Processor time of a process, which does not count what runs beside it."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.slow
@pytest.mark.benchmark(group="commands as processes, in turn with python -c pass")
@pytest.mark.parametrize("line", COMMANDS)
def test_start(benchmark: BenchmarkFixture, tmp_path: Path, line: str) -> None:
    if benchmark.disabled:
        pytest.skip("a benchmark of whole processes")
    command = ("-m", "hardwire", *line.split())
    cpu_s(command, tmp_path)  # compiles, where nothing is kept yet
    bare, own = [], []

    def both() -> None:
        bare.append(cpu_s(BARE, tmp_path))
        own.append(cpu_s(command, tmp_path))

    benchmark.pedantic(both, rounds=ROUNDS)
    benchmark.extra_info["processor time, s"] = round(min(own), 3)
    benchmark.extra_info["in bare starts"] = round(min(own) / min(bare), 1)
