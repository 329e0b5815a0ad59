"""Rates in closed form: the engines' cycles averaged over context, for numbers or arrays.

Exact but for two averages: a mean over contexts instead of a sum, and half a cycle for the
rounding up of each attention read. On the catalogue chips that is under 0.1 % of a decode step;
the time to first token under pipelined issue, where the busiest unit can change along the prompt,
is within 1 %, and within 3 % for short prompts on random designs. Where several users' tokens queue
on units that layers share, it is a lower bound: up to 22 % off on random designs. ``hardwire
validate`` measures all of these.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import area, transistors
from hardwire.models.chip import Chip
from hardwire.models.cost import die_cost_usd, usd_per_million_tokens
from hardwire.models.energy import Activity, PowerReport, power
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.datapath import (
    OPERATIONS,
    Stage,
    adapter_format,
    adapter_work,
    first_stage,
    head_stages,
    layer_kinds,
    layer_stages,
    side_cycles,
)

MEAN_ROUNDING = 0.5
"""Mean of ``⌈x⌉ − x`` over many contexts."""


def stage_cycles(stage: Stage, context: Any) -> Any:
    """Mean cycles of a stage at a mean context; 0 context means a stage without attention."""
    if not stage.rates:
        return stage.cycles
    slowest: Any = 0
    for numerator, denominator in stage.rates:
        slowest = np.maximum(slowest, numerator / denominator)
    return stage.cycles + slowest * context + MEAN_ROUNDING


def token_cycles(
    chip: Chip, model: LanguageModel, context: Any, adapter: Adapter | AdapterShape | None = None
) -> dict[str, Any]:
    """Cycles of one decoded token at a mean context, by operation (see ``OPERATIONS``).

    ``lora`` is what the low-rank product adds to the base: zero where it hides behind it.
    """
    cycles: dict[str, Any] = dict.fromkeys(OPERATIONS, 0)
    fmt = adapter_format(chip, adapter) if adapter is not None else ""
    stages = layer_stages(chip, model)
    cycles["rom"] = cycles["rom"] + first_stage(chip).cycles
    for kind, count in layer_kinds(adapter, model):
        ranks = iter(kind)
        for stage in stages:
            main = stage_cycles(stage, context)
            cycles[stage.operation] = cycles[stage.operation] + count * main
            if stage.matrix is None:
                continue
            group = next(ranks)
            side = side_cycles(chip, model, stage.matrix, group, fmt)
            if chip.lora.order == "sequential":
                cycles["lora"] = cycles["lora"] + count * side
            else:
                cycles["lora"] = cycles["lora"] + count * np.maximum(side - main, 0)
    for stage in head_stages(chip, model):
        cycles[stage.operation] = cycles[stage.operation] + stage.cycles
    return cycles


def initiation_cycles(
    chip: Chip,
    model: LanguageModel,
    context: Any,
    adapter: Adapter | AdapterShape | None = None,
    *,
    inside_prompt: bool = False,
) -> tuple[Any, str]:
    """Cycles per token of the busiest unit, which bounds pipelined issue, and its name.

    A token ``inside_prompt`` does not visit the LM head. With arrays the name is that of the unit
    which is busiest at the first point.
    """
    busy: dict[str, Any] = {}
    shared = chip.datapath.layers == "shared"
    fmt = adapter_format(chip, adapter) if adapter is not None else ""

    def visit(unit: str, cycles: Any, count: int) -> None:
        if shared:
            busy[unit] = busy.get(unit, 0) + count * cycles
        else:
            busy[unit] = np.maximum(busy.get(unit, 0), cycles)

    visit("embedding", first_stage(chip).cycles, 1)
    for kind, count in layer_kinds(adapter, model):
        ranks = iter(kind)
        for stage in layer_stages(chip, model):
            name = stage.unit if shared else f"{stage.unit}.{stage.name}"
            visit(name, stage_cycles(stage, context), count)
            if stage.matrix is not None:
                group = next(ranks)
                lora = "lora" if shared else f"lora.{stage.name}"
                visit(lora, side_cycles(chip, model, stage.matrix, group, fmt), count)
    for stage in () if inside_prompt else head_stages(chip, model):
        visit(stage.unit if shared else f"{stage.unit}.{stage.name}", stage.cycles, 1)
    name = max(busy, key=lambda unit: np.ravel(busy[unit])[0])
    worst: Any = 0
    for cycles in busy.values():
        worst = np.maximum(worst, cycles)
    return worst, name


def decode_context(prompt: Any, output: Any) -> Any:
    """Mean number of tokens that a decode step attends to, itself included."""
    return prompt + output / 2


def decode_token_s(
    chip: Chip,
    model: LanguageModel,
    prompt: int,
    output: int,
    adapter: Adapter | AdapterShape | None = None,
) -> Any:
    """Mean seconds of one decode step with the chip to itself: the reciprocal decode rate."""
    cycles = token_cycles(chip, model, decode_context(prompt, output), adapter)
    return sum(cycles.values()) / (chip.datapath.clock_ghz * 1e9)


@dataclass(frozen=True)
class Prediction:
    """What the closed forms say of one chip, model, adapter and load. SI units, or arrays.

    ``breakdown_s`` divides a decode step of a user who has the chip to himself, by operation.
    """

    token_s: Any
    breakdown_s: dict[str, Any]
    decode_tokens_per_s_user: Any
    decode_tokens_per_s_chip: Any
    ttft_s: Any
    prefill_tokens_per_s: Any
    power: PowerReport
    prefill_power: PowerReport
    power_w: Any
    energy_j_per_token: Any
    area_mm2: dict[str, Any]
    transistors: dict[str, Any]
    die_cost_usd: Any
    usd_per_million_tokens: Any


def predict(
    chip: Chip,
    model: LanguageModel,
    *,
    adapter: Adapter | AdapterShape | None = None,
    prompt: Any,
    output: Any,
    users: Any = 1,
) -> Prediction:
    """Rates, power, area and cost for ``users`` equal requests that arrive together.

    Every number may be an array with one element per design: parameters of the chip, the load,
    and the rank of an ``AdapterShape``.

    Serial issue: users share one token in flight. Pipelined issue: each has a token in flight,
    bounded by the busiest unit. A rate that the card's power limit does not allow is scaled down
    with its times; ``power.throttle`` and ``prefill_power.throttle`` say by how much.
    """
    hz = chip.datapath.clock_ghz * 1e9
    context = decode_context(prompt, output)
    cycles = token_cycles(chip, model, context, adapter)
    token = sum(cycles.values()) / hz
    inside = token_cycles(chip, model, (prompt + 1) / 2, adapter)
    head = sum(stage.cycles for stage in head_stages(chip, model)) / hz
    prefill = sum(inside.values()) / hz - head
    if chip.datapath.issue == "serial":
        step = token * users
        last_ttft = prompt * users * prefill + users * head
        ttft = last_ttft - (users - 1) / 2 * (prefill + head)
    else:
        interval = initiation_cycles(chip, model, context, adapter)[0] / hz
        step = np.maximum(token, users * interval)
        inner = initiation_cycles(chip, model, (prompt + 1) / 2, adapter, inside_prompt=True)
        fill = inner[0] / hz
        last_ttft = (prompt * users - 1) * fill + prefill + head
        ttft = last_ttft - (users - 1) / 2 * fill
    activity = token_activity(chip, model, context, adapter)
    report = power(chip, model, activity, users / step)
    rate_user = report.throttle / step
    rate_chip = users * rate_user
    prompt_activity = dataclasses.replace(
        token_activity(chip, model, (prompt + 1) / 2, adapter), sampled=False
    )
    prefill_power = power(chip, model, prompt_activity, prompt * users / last_ttft)
    with np.errstate(divide="ignore"):  # a design whose idle power is over the limit: never
        slowdown = np.divide(1.0, report.throttle)
        prefill_slowdown = np.divide(1.0, prefill_power.throttle)
        token_usd = usd_per_million_tokens(chip, rate_chip, report.energy_j_per_token)
    return Prediction(
        token_s=step * slowdown,
        breakdown_s={operation: part / hz for operation, part in cycles.items()},
        decode_tokens_per_s_user=rate_user,
        decode_tokens_per_s_chip=rate_chip,
        ttft_s=ttft * prefill_slowdown,
        prefill_tokens_per_s=prompt * users / last_ttft * prefill_power.throttle,
        power=report,
        prefill_power=prefill_power,
        power_w=report.card_w,
        energy_j_per_token=report.energy_j_per_token,
        area_mm2=area(chip, model),
        transistors=transistors(chip, model),
        die_cost_usd=die_cost_usd(chip),
        usd_per_million_tokens=token_usd,
    )


def token_activity(
    chip: Chip, model: LanguageModel, context: Any, adapter: Adapter | AdapterShape | None
) -> Activity:
    """What a decoded token makes the chip do: an adapter's weights are read once per token."""
    if adapter is None:
        return Activity(context)
    work = adapter_work(chip, model, adapter)
    return Activity(context, work.macs, work.bytes)


def free_rank(chip: Chip, model: LanguageModel, targets: tuple[str, ...], fmt: str) -> Any:
    """The highest rank on ``targets`` that adds no cycle to any token; 0 where none is free.

    Searched up to the chip's ``lora.max_rank``; under sequential order no rank is free.
    """
    top = np.asarray(chip.lora.max_rank)
    if chip.lora.order == "sequential":
        return np.zeros(np.broadcast(chip.datapath.lanes, top).shape)[()]
    stages = [stage for stage in layer_stages(chip, model) if stage.matrix is not None]

    def free(rank: Any) -> Any:
        fits: Any = True
        for stage in stages:
            assert stage.matrix is not None
            ranks = [rank if target in targets else 0 for target in stage.matrix.targets]
            side = side_cycles(chip, model, stage.matrix, ranks, fmt)
            fits = fits & (side <= stage.cycles)
        return fits

    # A higher rank never takes fewer cycles: halve the interval [highest free, lowest that costs).
    low: Any = np.zeros(np.broadcast(chip.datapath.lanes, top).shape, dtype=np.int64)
    high: Any = low + top.astype(np.int64) + 1
    for _ in range(int(np.max(top)).bit_length()):
        middle = (low + high) // 2
        is_free = free(np.maximum(middle, 1)) & (middle >= 1)
        low, high = np.where(is_free, middle, low), np.where(is_free, high, middle)
    return low.astype(float)[()]
