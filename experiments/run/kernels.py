"""Run the low-rank kernels on an adapter's real weights, and hold them against the timing model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.kernels.lowrank.lowrank import LowRankImage, Work, reference
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.datapath import adapter_format
from hardwire.simulator.timing import Timing

SEED = 1


@dataclass(frozen=True)
class Execution:
    """What the kernels computed and counted over all modules of an adapter, one token.

    ``sqnr_db`` is the power of the float64 result over the power of the error, by target and,
    as ``all``, over everything. ``counted`` was observed in the kernels' loops, ``charged`` is
    what the timing model's side paths are charged for a token.
    """

    adapter_format: str
    modules: int
    sqnr_db: dict[str, float]
    max_relative_error: float
    counted: Work
    charged: Work

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "agrees": self.agrees}

    @property
    def agrees(self) -> bool:
        return self.counted == self.charged


def execute(chip: Chip, model: LanguageModel, adapter: Adapter) -> Execution:
    """Compute ``s · B (A x)`` of every module in the chip's SRAM format and in float64.

    The input is standard normal with a fixed seed: an RMS-normed activation has unit power.
    ``max_relative_error`` is the worst module's error norm over its result's norm.

    Raises
    ------
    InputError
        If the adapter is a shape without weights, or was made for a model of other dimensions.
    """
    check_base(adapter, model)
    if adapter.source is None:
        raise InputError(
            f"--execute: '{adapter.name}' is a shape without weights; give a PEFT folder or a "
            "GGUF file (hardwire adapter make writes one)"
        )
    fmt = adapter_format(chip, adapter)
    random = np.random.default_rng(SEED)
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    counted = Work(0, 0)
    worst = 0.0
    for module in adapter.modules:
        a, b = adapter.weights(module.layer, module.target)
        x = random.standard_normal(module.in_features).astype(np.float32)
        exact = reference(a, b, module.scale, x)
        result = np.zeros(module.out_features, dtype=np.float32)
        try:
            image = LowRankImage.pack(a, b, module.scale, fmt)
        except ValueError as error:
            raise InputError(
                f"{adapter.source}: layer {module.layer} {module.target}: {error}"
            ) from None
        counted = counted + image.apply_counted(x, result)
        error_power = float(np.square(result - exact).sum())
        power = float(np.square(exact).sum())
        signal[module.target] = signal.get(module.target, 0.0) + power
        noise[module.target] = noise.get(module.target, 0.0) + error_power
        if power > 0:
            worst = max(worst, math.sqrt(error_power / power))
    ratios = {target: decibels(signal[target], noise[target]) for target in signal}
    ratios["all"] = decibels(sum(signal.values()), sum(noise.values()))
    token = Timing.of(chip, model, [adapter]).tokens[1]
    return Execution(
        adapter_format=fmt,
        modules=len(adapter.modules),
        sqnr_db=ratios,
        max_relative_error=worst,
        counted=counted,
        charged=token.work + token.head_work,
    )


def decibels(signal: float, noise: float) -> float:
    """Signal over noise power in dB: infinite without noise, else minus infinity without signal."""
    if noise == 0 or signal == 0:
        return math.inf if noise == 0 else -math.inf
    return 10 * math.log10(signal / noise)
