"""Run the low-rank kernels on an adapter's real weights, and hold them against the timing model."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.side_path import heads_of_pair
from hardwire.kernels.lowrank.lowrank import LowRankImage, Work, phase_work, reference
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.adapter.modules import LowRankModule
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import EXPERT, LanguageModel, of_any_expert
from hardwire.simulator.datapath import adapter_format
from hardwire.simulator.timing import Timing

SEED = 1


@dataclass(frozen=True)
class Execution:
    """What the kernels computed and counted over all modules of an adapter, one token.

    ``sqnr_db`` is the power of the float64 result over the power of the error, by target and,
    as ``all``, over everything. ``counted`` was observed in the kernels' loops, ``charged`` is
    what the timing model's side paths are charged for a token. Of experts, as many are counted in
    each layer as a token meets, those of the highest ranks.
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
    met = _met(adapter)
    for module in adapter.modules:
        target = of_any_expert(module.target)
        a, b = adapter.weights(module.layer, module.target)
        try:
            exact, result, work = _product(model, module, a, b, fmt, random)
        except ValueError as error:
            raise InputError(
                f"{adapter.source}: layer {module.layer} {module.target}: {error}"
            ) from None
        if (module.layer, module.target) in met:
            counted = counted + work
        error_power = float(np.square(result - exact).sum())
        power = float(np.square(exact).sum())
        signal[target] = signal.get(target, 0.0) + power
        noise[target] = noise.get(target, 0.0) + error_power
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


def _met(adapter: Adapter) -> set[tuple[int, str]]:
    """Places whose pairs a token meets: of experts as many as are active, by falling rank."""
    experts = adapter.base.experts
    met, by_kind = set(), defaultdict(list)
    for module in adapter.modules:
        if module.target.startswith(EXPERT):
            by_kind[module.layer, of_any_expert(module.target)].append(module)
        else:
            met.add((module.layer, module.target))
    for modules in by_kind.values():
        assert experts is not None
        chosen = sorted(modules, key=lambda module: -module.rank)[: experts.active]
        met |= {(module.layer, module.target) for module in chosen}
    return met


def _product(
    model: LanguageModel,
    module: LowRankModule,
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    fmt: str,
    random: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float32], Work]:
    """A module's product in float64 and in the kernels, and the work that these counted.

    An expert's gate and up may be one module: on the chip one side path has both.

    Raises
    ------
    ValueError
        If the format cannot hold a weight.
    """

    def one(
        image: LowRankImage, down: NDArray[np.float32], up: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], Work]:
        x = random.standard_normal((down.shape[1],)).astype(np.float32)
        result = np.zeros(len(up), dtype=np.float32)
        work = image.apply_counted(x, result)
        return reference(down, up, module.scale, x), result, work

    if module.target != "kv_b_proj" or model.latent is None:
        return one(LowRankImage.pack(a, b, module.scale, fmt), a, b)
    # In the absorbed form there is a product beside each head's matrices; A is read once for all.
    exact, results, total = [], [], Work(0, 0)
    for pairs, of_a in zip(heads_of_pair(a, b, model.latent), (1, 0), strict=True):
        for head, (down, up) in enumerate(pairs):
            wide, result, work = one(LowRankImage.pack(down, up, module.scale, fmt), down, up)
            again = phase_work(len(a), (down.shape[1], len(up))[of_a], fmt).bytes if head else 0
            exact.append(wide)
            results.append(result)
            total = total + Work(work.macs, work.bytes - int(again))
    return np.concatenate(exact), np.concatenate(results), total


def decibels(signal: float, noise: float) -> float:
    """Signal over noise power in dB: infinite without noise, else minus infinity without signal."""
    if noise == 0 or signal == 0:
        return math.inf if noise == 0 else -math.inf
    return 10 * math.log10(signal / noise)
