"""What if: the closed forms' answer for a design and its load, as quick as a slider moves.

``hardwire.experiments.run.whatif_widget`` has the sliders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.experiments.shared.tables import mib
from hardwire.experiments.sweep.design import Design, evaluate
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.energy import card_power_by_part
from hardwire.models.language_model import TARGETS
from hardwire.models.sram import SramBudget, sram_budget
from hardwire.simulator.closed_form import Prediction, free_rank, predict
from hardwire.simulator.datapath import shape_bytes
from hardwire.simulator.obstacles import OBSTACLES, clock_obstacle, obstacles


@dataclass(frozen=True)
class Answer:
    """What the closed forms say of one position of the sliders.

    Attributes
    ----------
    free_rank : highest rank at no cost on all linear layers.
    obstacle : why the design cannot run its load, in one sentence; empty where it can.
    warning : what is wrong with a design that runs; empty where nothing is.
    """

    design: Design
    prediction: Prediction
    sram: SramBudget
    free_rank: int
    obstacle: str
    warning: str

    @property
    def breakdown_s(self) -> dict[str, float]:
        """The mean decode step of a user by operation, waiting and power cap included."""
        parts = {name: float(part) for name, part in self.prediction.breakdown_s.items()}
        step, throttle = float(self.prediction.token_s), float(self.prediction.power.throttle)
        if throttle:
            waiting = step * throttle - sum(parts.values())
            parts["waiting"] = waiting if waiting > 1e-9 * step else 0.0
            parts["power_cap"] = step * (1 - throttle)
        return parts

    @property
    def power_by_part_w(self) -> dict[str, float]:
        """Card power by where it goes, in watts; the sum is ``power_w``."""
        parts = card_power_by_part(self.design.chip, self.prediction.power)
        watts = {name: float(part) for name, part in parts.items()}

        def take(*names: str) -> float:
            return sum(watts.pop(name, 0.0) for name in names)

        registers = [name for name in watts if name.startswith("waiting_")]
        return {
            "Leakage": take("logic_leakage", "sram_leakage", "rom_leakage"),
            "Clock": take("clock_spine", "working_registers", *registers),
            "ROM read": take("rom_read", "select", "multiply"),
            "Adders": take("accumulate", "rescale", "toggling_adders"),
            "Wires": take("broadcast", "die_wires", "lora_bus"),
            "Regulators": take("regulators"),
            "Board": take("board"),
            "KV, LoRA, vector": sum(watts.values()),
        }

    def rate_by_rank(self) -> tuple[np.ndarray, np.ndarray]:
        """Ranks up to the chip's highest, and decode rates of a user with adapters of that rank.

        On all linear layers; NaN where the adapters do not fit beside the KV cache.
        """
        design = self.design
        ranks = np.arange(1, int(design.chip.formats.max_rank) + 1)
        fmt = design.adapter.adapter_format if isinstance(design.adapter, AdapterShape) else None
        shape = AdapterShape(design.model, ranks, TARGETS, fmt)
        room = self.sram.capacity_bytes - self.sram.kv_bytes
        fits = design.adapters * shape_bytes(design.chip, design.model, shape) <= room
        rates = _predict(dataclasses.replace(design, adapter=shape)).decode_tokens_per_s_user
        return ranks, np.where(fits, rates, np.nan)


def what_if(base: Design, settings: Mapping[str, Any]) -> Answer:
    """The answer for one set of settings.

    Parameters
    ----------
    base : what is not set.
    settings : by the names that studies use; ``adapter.rank`` 0 stands for no adapter.

    Raises
    ------
    InputError
        If a word among the settings cannot be used.
    ValueError
        If the adapter is not one of equal modules.
    """
    chosen = dict(settings)
    if chosen.get("adapter.rank") == 0:
        chosen = {k: v for k, v in chosen.items() if not k.startswith("adapter.")}
        chosen["adapter"] = "none"
    design = base.with_settings(chosen)
    chip, model, adapter = design.chip, design.model, design.adapter
    if not isinstance(adapter, AdapterShape | None):
        raise ValueError("what-if takes adapters of one rank on the same targets of every layer")
    size: Any = 0 if adapter is None else design.adapters * shape_bytes(chip, model, adapter)
    context = design.prompt + design.output
    budget = sram_budget(
        chip, model, users=design.users, context_tokens=context, adapter_bytes=size
    )
    prediction = _predict(design)
    fmt = str((adapter.adapter_format if adapter else None) or chip.formats.adapter_format)
    code = int(evaluate(design, {}, ())["obstacle"][0])
    return Answer(
        design=design,
        prediction=prediction,
        sram=budget,
        free_rank=int(free_rank(chip, model, TARGETS, fmt)),
        obstacle=_obstacle(code, design, budget),
        warning="" if code else _warning(design, prediction, budget),
    )


def _predict(design: Design) -> Prediction:
    with np.errstate(divide="ignore", invalid="ignore"):
        return predict(
            design.chip,
            design.model,
            adapter=design.adapter,
            prompt=design.prompt,
            output=design.output,
            users=design.users,
        )


def _obstacle(code: int, design: Design, budget: SramBudget) -> str:
    if code == 0:
        return ""
    if budget.free_bytes >= 0:
        if too_fast := clock_obstacle(design.chip):
            return str(too_fast)
        text = OBSTACLES[code]
        return f"{text[0].upper()}{text[1:]}."
    lacking = -float(budget.free_bytes)
    context = design.prompt + design.output
    return (
        f"KV cache and adapters lack {mib(lacking)} of {design.chip.sram.capacity_mib:,.0f} MiB. "
        f"What fits is {int(budget.max_users)} of {design.users} users with {context:,} tokens, or "
        f"{int(budget.max_context_tokens):,} tokens for each."
    )


def _warning(design: Design, prediction: Prediction, budget: SramBudget) -> str:
    found = obstacles(
        design.chip,
        design.model,
        prediction.area_mm2,
        prediction.power,
        prediction.prefill_power,
        sram_bytes=float(budget.kv_bytes) + float(budget.adapter_bytes),
    )
    return " ".join(map(str, found))
