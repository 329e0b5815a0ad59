"""The tables of docs/timing-model.md, which are written by hand, against what the model says."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import hardwire as hw
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.area import area, transistors
from hardwire.simulator.program import build_program
from hardwire.simulator.swap import swap_latency
from hardwire.simulator.timing import Timing, at, mean

PAGE = Path(__file__).resolve().parents[3] / "docs" / "timing-model.md"
LINES = PAGE.read_text(encoding="utf-8").splitlines()
CHIP, MODEL = Chip.open("hc1"), LanguageModel.open("llama-3.1-8b")
HERTZ = float(CHIP.datapath.clock_ghz) * 1e9


def table(first: str) -> list[list[str]]:
    """The rows below the heading that begins with a cell, as text without emphasis."""
    begin = next(place for place, line in enumerate(LINES) if line.startswith(f"| {first}"))
    rows = []
    for line in [LINES[begin], *LINES[begin + 2 :]]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip(" *`") for cell in line.strip("|").split("|")])
    return rows


def number(cell: str) -> float:
    """The number that a cell begins with."""
    found = re.match(r"[\d,.]+(e\d+)?", cell)
    assert found is not None, cell
    return float(found.group().replace(",", ""))


def rounded(value: float, cell: str) -> bool:
    """Whether a cell shows a value to as many digits as it has."""
    shown = re.match(r"[\d,]+\.?(\d*)", cell)
    assert shown is not None, cell
    half = 0.5 * 10.0 ** -len(shown[1])
    return abs(value - float(shown[0].replace(",", ""))) <= half * (1 + 1e-6)


def test_the_stages_of_a_token() -> None:
    program = build_program(CHIP, MODEL)
    main, _ = program.mean_cycles(0, np.array([1536]))
    cycles = dict(zip(program.stage_names, main.astype(int).tolist(), strict=True))
    shown = table("Stage | Formula")[1:]
    for name, _, count, time in shown:
        if name in ("one layer", "head, once per token"):
            continue
        stage = name.replace("`", "").split(",")[0].split(" at ")[0]
        expected = cycles.get(stage)
        if name.startswith("layer"):  # the first of all, between the embedding and the head
            expected = sum(main[1 : 1 + program.stage_names[1:].index("norm_attention", 1)])
        elif name == "token":
            expected = sum(main)
        assert number(count) == expected, name
        assert rounded(expected / HERTZ * 1e6, time), name
    assert len(shown) == len(cycles) + 4


def test_the_time_of_a_token_by_context() -> None:
    contexts, times = table("Context | 128")
    program = build_program(CHIP, MODEL)
    for context, shown in zip(contexts[1:], times[1:], strict=True):
        main, _ = program.mean_cycles(0, np.array([int(number(context))]))
        assert rounded(main.sum() / HERTZ * 1e6, shown), context


@pytest.mark.parametrize("row", table("HC1, 1,024")[1:], ids=lambda row: f"{row[0]}-{row[1]}")
def test_c7_rates_and_first_tokens_by_issue_and_users(row: list[str]) -> None:
    found = hw.run("hc1", users=int(row[1]), prompt=1024, output=1024, issue=row[0]).base
    assert rounded(found.decode_tokens_per_s_user, row[2])
    assert rounded(found.decode_tokens_per_s_chip, row[3])
    assert rounded(found.ttft_s * 1e3, row[4])


def test_what_the_side_paths_add_at_rank_16() -> None:
    present = CHIP.with_values({"lora.head": "present"})
    for row in table("Group | Broadcast")[1:]:
        name = row[0].split("`")[0]
        target = "lm_head" if name == "lm_head" else "all-linear"
        chip = present if name == "lm_head" else CHIP
        program = build_program(chip, MODEL, [Adapter.from_shape(f"r16:{target}", MODEL)])
        main, side = program.mean_cycles(1, np.array([1536]))
        place = program.stage_names.index(name)
        base, beside = int(main[place]), int(side[place])
        assert [number(cell) for cell in row[4:]] == [beside, base, beside - base], name


def test_the_rate_by_rank() -> None:
    ranks, rates = table("Adapter, all-linear")
    for rank, rate in zip(ranks[1:], rates[1:], strict=True):
        settings = {"lora.order": "sequential"} if "sequential" in rank else {}
        adapter = None if rank == "none" else f"{rank.split()[0]}:all-linear"
        found = hw.predict("hc1", adapter=adapter, prompt=1024, output=1024, settings=settings)
        assert rounded(float(found.decode_tokens_per_s_user), rate), rank


def test_the_area_of_a_bus() -> None:
    for row in table("`lora.activations_per_cycle`")[1:]:
        chip = CHIP.with_values({"lora.activations_per_cycle": number(row[0])})
        blocks = area(chip, MODEL)
        assert rounded(float(blocks["total"]), row[2]), row
        assert rounded(float(blocks["lora_bus"]), row[1]), row


def test_the_ways_of_a_swap() -> None:
    swap = swap_latency(CHIP, MODEL, Adapter.from_shape("r16:all-linear:int8", MODEL))
    for row in table("Path | Arithmetic")[1:]:
        seconds = getattr(swap, row[0].split(",")[0])
        assert rounded(seconds * {"ns": 1e9, "ms": 1e3}[row[2].split()[1]], row[2]), row[0]


def test_the_clock_that_each_number_of_lanes_needs() -> None:
    """Cycles of a token times the rate of 58.96 µs: by the definition, not by the fit."""
    blocks = partial(area, model=MODEL)
    for row in table("Lanes | Clock")[1:-1]:
        chip = CHIP.with_values({"datapath.lanes": int(row[0])})
        tokens = Timing.of(chip, MODEL, []).tables(2048)[1][0]
        cycles = tokens[1025:2049].mean()
        assert rounded(cycles / 58.96e-6 / 1e9, row[1]), row
        assert rounded(float(blocks(chip)["total"]), row[2]), row
        assert rounded(float(transistors(chip, MODEL)["total"]) / 1e9, row[3]), row


def test_models_on_paper() -> None:
    shown = table("Model | Token at")[1:]
    assert len(shown) == 8
    for name, token, attention, blocks, dies in shown:
        model = LanguageModel.open(name)
        cycles = Timing.of(CHIP, model).tokens[0].by_operation(mean(1536))
        assert rounded(sum(cycles.values()) / HERTZ * 1e6, token), name
        assert rounded(cycles["attention"] / HERTZ * 1e6, attention), name
        total = area(CHIP, model)["total"]
        assert rounded(total, blocks) and rounded(total / CHIP.die.area_mm2, dies), name


def test_latent_stages() -> None:
    timing = Timing.of(CHIP, LanguageModel.open("deepseek-v3"))
    stages = {stage.name: stage for stage in timing.tokens[0].stages.kinds[1].all}
    shown = table("Stage | Formula, cycles | V3")[1:]
    assert len(shown) == 7
    for cell, _, cycles in shown:
        stage = stages[cell.replace("`", "").split(",")[0].split(" at ")[0]]
        assert number(cycles) == (at(1536)(stage) if stage.rates else stage.cycles), cell
