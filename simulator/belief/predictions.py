"""What a chip, or the draws of one, comes to: rates with adapters, free rank, swaps, room, power.

All in closed form, for numbers or arrays with one element per draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.sram import sram_budget
from hardwire.simulator.closed_form import ClosedForms, free_rank, token_cycles
from hardwire.simulator.datapath import adapter_format, shape_bytes
from hardwire.simulator.supply import supply
from hardwire.simulator.timing import Timing

PROMPT = OUTPUT = 1024
"""The load of the vendor's chart."""
CONTEXT = 2 * 1024
"""Tokens of a user, for what fits."""


@dataclass(frozen=True)
class Quantity:
    """A predicted quantity: its key in JSON, its name in tables, unit and values."""

    key: str
    name: str
    unit: str
    values: Any


def swap_times(timing: Timing, number: int) -> dict[str, Any]:
    """Seconds that a swap to an adapter adds to a token, by where it is; see ``simulator.swap``.

    The link fills the SRAM layer by layer. A streamed swap holds the token up where a layer's
    slice comes latest after the token would have reached the layer alone: both grow evenly with
    the layer, so that it is the first layer or the last. Bursts that wait for the KV port are left
    out: 0.01 % of a swap of rank 16 on all linear layers, up to 4 % of a streamed one of rank 1.
    """
    chip, hz, token = timing.chip, timing.hz, timing.tokens[number]
    shape = timing.adapters[number - 1]
    assert isinstance(shape, AdapterShape)
    way = supply(chip, timing.model, shape)
    latency = chip.link.latency_us * 1e-6
    moved = way.image_bytes / way.bytes_per_s
    switch = chip.lora.switch_cycles / hz
    cycles = token_cycles(token, 1)
    entered = token.stages.embedding.cycles / hz
    body = (sum(cycles.values()) - cycles["lm_head_sampling"]) / hz - entered
    last = latency + moved - (entered + body * (token.layers - 1) / token.layers)
    first = latency + moved / token.layers - entered
    warm = latency + moved + switch
    return {
        "cold": way.disk_s + warm,
        "warm": warm,
        "streamed": np.maximum(np.maximum(first, last), 0) + switch,
        "resident": switch,
    }


def predictions(
    chip: Chip, model: LanguageModel, shapes: Sequence[tuple[str, AdapterShape]]
) -> list[Quantity]:
    """What follows from a chip's parameters, in the order of the tables.

    Parameters
    ----------
    chip : its parameters may be arrays, shape ``(N,)``.
    shapes : adapters by name, such as ``("r16:all-linear", …)``.

    Returns
    -------
    list of Quantity
        Values are numbers or ``(N,)``, in SI units except for areas in mm².
    """
    timing = Timing.of(chip, model, [shape for _, shape in shapes])
    closed = ClosedForms(timing)
    base = closed.predict(0, prompt=PROMPT, output=OUTPUT)
    step = base.token_s
    found = [
        Quantity("decode", "Decode, no adapter", "tokens/s", base.decode_tokens_per_s_user),
    ]
    later: list[Quantity] = []
    for number, (name, shape) in enumerate(shapes, start=1):
        loaded = closed.predict(number, prompt=PROMPT, output=OUTPUT)
        rate = loaded.decode_tokens_per_s_user
        found.append(Quantity(f"decode.{name}", f"Decode, {name}", "tokens/s", rate))
        loss = 1 - rate / base.decode_tokens_per_s_user
        found.append(Quantity(f"loss.{name}", f"Rate lost to {name}", "%", 100 * loss))
        for state, seconds in swap_times(timing, number).items():
            later.append(Quantity(f"swap.{state}.{name}", f"Swap {state}, {name}", "s", seconds))
        size = shape_bytes(chip, model, shape)
        room = sram_budget(
            chip, model, users=1, context_tokens=CONTEXT, adapter_bytes=size
        ).max_users
        later.append(Quantity(f"users.{name}", f"Users of 2k beside {name}", "users", room))
    free = []
    if shapes:
        shape = shapes[0][1]
        fmt = adapter_format(chip, shape)
        ranks = free_rank(chip, model, shape.targets, fmt, timing=timing)
        free = [Quantity("free_rank", "Free rank", "rank", ranks)]
    alone = sram_budget(chip, model, users=1, context_tokens=CONTEXT)
    grown = closed.predict(0, prompt=2 * PROMPT, output=OUTPUT)
    return [
        *found,
        *free,
        *later,
        Quantity("users", "Users of 2k, no adapter", "users", alone.max_users),
        Quantity("ttft", "Time to first token, prompt of 1k", "s", base.ttft_s),
        Quantity("slope", "Step per token of context", "s", (grown.token_s - step) / PROMPT),
        Quantity(
            "head", "LM head, sampling, of a step", "%",
            100 * base.breakdown_s["lm_head_sampling"] / sum(base.breakdown_s.values()),
        ),
        Quantity("power", "Card power", "W", base.power_w),
        Quantity("energy", "Energy a decode token", "J", base.energy_j_per_decode_token),
        Quantity("area", "Blocks of the die", "mm²", base.area_mm2["total"]),
        Quantity("rom_area", "ROM", "mm²", base.area_mm2["rom"]),
        Quantity("transistors", "Transistors of the blocks", "", base.transistors["total"]),
        Quantity("usd", "Per million tokens", "USD", base.usd_per_million_tokens),
    ]  # fmt: skip
