"""Every table of every command at 80, 100 and 160 columns: nothing but words is folded or cut."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from rich.console import RenderableType
from shell import Shell, printed

from hardwire.experiments.cli import list_view, view
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel

pytestmark = pytest.mark.slow

CUT = re.compile(r"[^\s…]…|± ?…|…[^\s…]")
"""An ellipsis that stands for the rest of something; that of an interval has blanks around it."""


def run_tables() -> RenderableType:
    from hardwire.experiments.run.view import render
    from hardwire.simulator.single import run

    chip = Chip.open("hc1")
    model = LanguageModel.open(chip.model)
    return render(
        run(chip, model, Adapter.from_shape("r64:all-linear", model), prompt=64, output=8)
    )


def adapter_table() -> RenderableType:
    chip = Chip.open("hc1")
    model = LanguageModel.open(chip.model)
    return view.adapter_table(chip, model, Adapter.from_shape("r16:qv", model), None)


def replay_tables() -> RenderableType:
    from hardwire.experiments.replay.replay import prepare, run
    from hardwire.experiments.replay.setup import Setup
    from hardwire.experiments.replay.view import render

    done = run(
        prepare(Setup(source="sharegpt", server="hc1x10", requests=20, rate=5, adapters="3"))
    )
    return render(done.summary, done.title, done.memory, done.words())


def compare_tables() -> RenderableType:
    from hardwire.experiments.replay.compare import compare
    from hardwire.experiments.replay.compare_view import render
    from hardwire.experiments.replay.setup import Setup

    servers = ["hc1x10", "vllm-h100", "hc1x10-pipelined", "trtllm-h100", "trtllm-h200"]
    setup = Setup(source="sharegpt", server="hc1x10", requests=10, rate=5)
    return render(compare(setup, servers, lambda name, total_s: None))


def sensitivity_tables() -> RenderableType:
    from hardwire.experiments.sensitivity.sobol import analyse
    from hardwire.experiments.sensitivity.view import render
    from hardwire.experiments.sweep import Design

    design = Design.open("hc1", {"workload.prompt": 64, "workload.output": 8})
    return render(analyse(design, ("power_w", "token_s"), samples=64))


def calibration_tables() -> RenderableType:
    from hardwire.experiments.calibration.calibrate import calibrate
    from hardwire.experiments.calibration.view import render

    return render(calibrate("hc1"))


def validation_tables() -> RenderableType:
    from hardwire.experiments.validation.committed import read_table
    from hardwire.experiments.validation.view import render

    return render(read_table())


def results_tables() -> RenderableType:
    from hardwire.experiments.sweep.view import results_table

    names = [f"a_metric.of_some_length_{chr(97 + place)}" for place in range(26)]
    return results_table(pd.DataFrame([[place / 7e3 for place in range(26)]] * 2, columns=names))


def narrow_results() -> RenderableType:
    from hardwire.experiments.sweep.view import results_table

    row = {"datapath.lanes": 12, "decode_tokens_per_s_user": 16961.23, "power_w": 1 / 3}
    return results_table(pd.DataFrame([row] * 50))


def shown(name: str) -> Callable[[], RenderableType]:
    return lambda: view.show_tables(name)


def machine_table() -> RenderableType:
    from hardwire.experiments.shared.machine import examine

    return view.machine_tables(examine(Path("hardwire-store")))


TABLES: dict[str, Callable[[], RenderableType]] = {
    "run": run_tables,
    "adapter inspect": adapter_table,
    "replay": replay_tables,
    "compare": compare_tables,
    "sensitivity": sensitivity_tables,
    "calibrate": calibration_tables,
    "validate": validation_tables,
    "results, wide": results_tables,
    "results": narrow_results,
    "list": list_view.overview,
    "list metrics": list_view.LISTS["metrics"],
    "list parameters": list_view.LISTS["parameters"],
    "doctor": machine_table,
    **{f"show {name}": shown(name) for name in ("hc1", "roma", "hc1x10", "vllm-h100", "n6")},
    **{f"show {name}": shown(name) for name in ("qwen3-8b", "node-die")},
}


@cache
def table(name: str) -> RenderableType:
    return TABLES[name]()


@pytest.mark.parametrize("name", TABLES)
def test_no_number_is_cut_and_no_line_too_long(name: str) -> None:
    for width in (80, 100, 160):
        out = printed(table(name), width)
        assert not [line for line in out.splitlines() if CUT.search(line)], (name, width)
        assert max(len(line) for line in out.splitlines()) <= width


@pytest.mark.parametrize("name", TABLES)
def test_every_word_with_a_digit_is_there_at_every_width(name: str) -> None:
    """Folding may break the words of a sentence, not a number of a table."""
    words = set(re.findall(r"(?<!\S)[\d,.]*\d[\d,.]*(?!\S)", printed(table(name), 400)))
    for width in (80, 100, 160):
        assert words - set(printed(table(name), width).replace("│", " ").split()) == set()


@pytest.mark.parametrize("cut", ["0.241 ± …", "at low 5…", "90.…", "0.…"])
def test_what_was_seen_would_be_found(cut: str) -> None:
    assert CUT.search(cut)


@pytest.mark.parametrize("columns", ["80", "132"])
def test_a_pipe_is_as_wide_as_columns_says_and_its_lines_end_without_blanks(
    hardwire: Shell, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    status, out, _ = hardwire("show", "hc1x10")
    lines = out.splitlines()
    assert status == 0 and 70 < max(map(len, lines)) <= int(columns)
    assert not [line for line in lines if line != line.rstrip()]
