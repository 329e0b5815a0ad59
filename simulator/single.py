"""One question to the simulator: this chip, this model, this adapter, this load. And its answer."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.brief import one_line
from hardwire.models.chip import Chip
from hardwire.models.energy import card_power_by_part, pj_per_weight_use, swap_energy
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Quantity, check_value
from hardwire.models.peak import peak_power
from hardwire.models.sram import SramBudget
from hardwire.simulator.belief.spread import Load, intervals
from hardwire.simulator.closed_form import (
    ClosedForms,
    Prediction,
    decode_context,
    decode_spread,
    free_rank,
)
from hardwire.simulator.datapath import (
    BYPASS_CYCLES,
    OPERATIONS,
    adapter_bytes,
    adapter_format,
    adapter_room,
)
from hardwire.simulator.fit import check_fit
from hardwire.simulator.load import check_load
from hardwire.simulator.obstacles import Obstacle, obstacles, too_large_for_one
from hardwire.simulator.pipelined import initiation_cycles
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import Requests, Timeline
from hardwire.simulator.supply import supply
from hardwire.simulator.swap import SwapLatency, swap_latency
from hardwire.simulator.timing import Timing, joined

if TYPE_CHECKING:
    import pandas as pd

Engine = Literal["compiled", "reference"]

TARGET = Quantity("tokens/s", 1e-3, 1e9, "decode rate of one user to reach")


@dataclass(frozen=True)
class Rates:
    """Rates and times of one simulated run, in seconds and tokens per second.

    ``breakdown_s`` divides ``token_s`` by operation; ``waiting`` is time behind other users'
    tokens, ``power_cap`` what the card's power limit adds.
    """

    decode_tokens_per_s_user: float
    decode_tokens_per_s_chip: float
    token_s: float
    ttft_s: float
    prefill_tokens_per_s: float
    breakdown_s: dict[str, float]


@dataclass(frozen=True)
class AdapterReport:
    """An adapter on the chip: sizes in SRAM and on disk, rate with it, free rank, and its swap.

    ``bytes`` are those of its image, ``room_bytes`` what it takes from the KV cache, see
    ``hardwire.simulator.datapath.adapter_room``; ``swap_j`` is energy of the card, host link
    included, to load it from host memory.
    """

    adapter: Adapter
    adapter_format: str
    bytes: int
    room_bytes: int
    file_bytes: int
    rates: Rates
    prediction: Prediction
    free_rank: int
    swap: SwapLatency
    swap_j: float


@dataclass(frozen=True)
class Result:
    """The answer to one question. ``to_dict`` gives it as plain JSON-able values in SI units.

    Attributes
    ----------
    base, prediction : without the adapter; ``asked`` and ``asked_prediction`` are with it, where
        there is one.
    target_tokens_per_s : that was set, or announced of this chip with this model; else None.
    obstacles : what stands in the way of the design, the worst first.
    interval : 5th and 95th percentile over the draws that can run at all.
    running_share : of the draws; the others' idle power alone is above the card's limit.
    """

    chip: Chip
    model: LanguageModel
    prompt: int
    output: int
    users: int
    engine: Engine
    base: Rates
    prediction: Prediction
    adapter: AdapterReport | None
    sram: SramBudget
    critical_unit: str
    critical_cycles: float
    interval: dict[str, list[float]]
    running_share: float
    target_tokens_per_s: float | None
    obstacles: tuple[Obstacle, ...]

    def __repr__(self) -> str:
        rate = f"{self.base.decode_tokens_per_s_user:,.0f} tokens/s for one user"
        beside = ""
        if self.adapter is not None:
            loaded = self.adapter.rates.decode_tokens_per_s_user
            beside = f"{loaded:,.0f} with {self.adapter.adapter.name}"
        load = f"{self.prompt:,} + {self.output:,} tokens"
        users = f"{self.users:,} user{'s' * (self.users != 1)}"
        wrong = "held by the power limit" if self.power_capped else ""
        wrong = wrong if self.fits_die else "does not fit the die"
        return one_line(self, self.chip.name, wrong, rate, beside, self.model.name, load, users)

    @property
    def asked(self) -> Rates:
        """What the question was about: with the adapter, where there is one."""
        return self.base if self.adapter is None else self.adapter.rates

    @property
    def asked_prediction(self) -> Prediction:
        """The closed forms' answer to the same."""
        return self.prediction if self.adapter is None else self.adapter.prediction

    @property
    def power_by_part_w(self) -> dict[str, Any]:
        """Card power without the adapter by where it goes; the sum is ``prediction.power_w``."""
        return card_power_by_part(self.chip, self.prediction.power)

    @property
    def full_activity_w(self) -> float:
        """Card power if every unit worked in every cycle, whatever its limit."""
        return float(sum(peak_power(self.chip, self.model, self.prediction.area_mm2).values()))

    @property
    def fits_die(self) -> bool:
        """Whether all blocks fit the die: a design that they do not fit cannot be made."""
        return bool(self.prediction.fits_die)

    @property
    def power_capped(self) -> bool:
        """Whether the card's power limit slows decode or prefill."""
        return bool(self.asked_prediction.power_capped)

    @property
    def target_met(self) -> bool | None:
        """Whether the target is reached, which obstacles rule out; None without either."""
        if self.obstacles:
            return False
        if self.target_tokens_per_s is None:
            return None
        return self.asked.decode_tokens_per_s_user >= self.target_tokens_per_s

    @property
    def costs(self) -> dict[str, float | None]:
        """Cost of the die and of a million tokens in USD, by name; None where no die can be made.

        Where the blocks do not fit the die as stated, of one that is as large as they are.
        """
        names = ("die_cost_usd", "usd_per_million_tokens")
        found = {name: float(getattr(self.prediction, name)) for name in names}
        return {name: usd if math.isfinite(usd) else None for name, usd in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """The result as one object of plain values, in SI units."""
        prediction, base = self.prediction, self.base
        detail = None
        if self.adapter is not None:
            report = self.adapter
            detail = {
                "parameters": report.adapter.parameters,
                "adapter_format": report.adapter_format,
                "bytes": report.bytes,
                "room_bytes": report.room_bytes,
                "file_bytes": report.file_bytes,
                "decode_tokens_per_s_user": report.rates.decode_tokens_per_s_user,
                "decode_tokens_per_s_chip": report.rates.decode_tokens_per_s_chip,
                "token_s": report.rates.token_s,
                "ttft_s": report.rates.ttft_s,
                "breakdown_s": report.rates.breakdown_s,
                "power_w": float(report.prediction.power_w),
                "energy_j_per_decode_token": float(report.prediction.energy_j_per_decode_token),
                "energy_j_per_request": float(report.prediction.energy_j_per_request),
                "power_throttle": float(report.prediction.power.throttle),
                "prefill_power_throttle": float(report.prediction.prefill_power.throttle),
                "free_rank": report.free_rank,
                "swap_s": dataclasses.asdict(report.swap),
                "swap_j": report.swap_j,
            }
        return {
            "chip": self.chip.name,
            "model": self.model.name,
            "adapter": self.adapter.adapter.name if self.adapter else None,
            "issue": self.chip.datapath.issue,
            "engine": self.engine,
            "prompt": self.prompt,
            "output": self.output,
            "users": self.users,
            "settings": dict(self.chip.overrides),
            "own": {k: p.model_dump(exclude_none=True) for k, p in self.chip.own.items()},
            "fits_die": self.fits_die,
            "power_capped": self.power_capped,
            "obstacles": [str(one) for one in self.obstacles],
            "target_tokens_per_s": self.target_tokens_per_s,
            "target_met": self.target_met,
            "decode_tokens_per_s_user": base.decode_tokens_per_s_user,
            "decode_tokens_per_s_chip": base.decode_tokens_per_s_chip,
            "token_s": base.token_s,
            "ttft_s": base.ttft_s,
            "prefill_tokens_per_s": base.prefill_tokens_per_s,
            "interval": self.interval,
            "interval_draws_share": self.running_share,
            "breakdown_s": base.breakdown_s,
            "critical_unit": self.critical_unit,
            "critical_unit_s": self.critical_cycles / (self.chip.datapath.clock_ghz * 1e9),
            "adapter_detail": detail,
            "sram": {key: _plain(value) for key, value in dataclasses.asdict(self.sram).items()},
            "area_mm2": {key: float(value) for key, value in prediction.area_mm2.items()},
            "die_area_mm2": self.chip.die.area_mm2,
            "transistors": float(prediction.transistors["total"]),
            "power_w": float(prediction.power_w),
            "power_by_part_w": {key: float(value) for key, value in self.power_by_part_w.items()},
            "idle_w": float(prediction.idle_w),
            "full_activity_w": self.full_activity_w,
            "pj_per_weight_use": float(pj_per_weight_use(prediction.power, self.model)),
            "energy_j_per_decode_token": float(prediction.energy_j_per_decode_token),
            "energy_j_per_utilized_token": float(prediction.energy_j_per_utilized_token),
            "energy_j_per_request": float(prediction.energy_j_per_request),
            "power_limit_w": float(self.chip.power.limit_w),
            "power_throttle": float(prediction.power.throttle),
            "prefill_power_throttle": float(prediction.prefill_power.throttle),
            **self.costs,
            "published_transistors": self.chip.published_transistors(self.model),
        }


def _plain(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def run(
    chip: Chip,
    model: LanguageModel,
    adapter: Adapter | None = None,
    *,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    engine: Engine = "compiled",
    target: float | None = None,
) -> Result:
    """Simulate ``users`` equal requests, without and then with ``adapter``.

    Parameters
    ----------
    prompt, output : tokens of each request; ``output`` at least 2, so that there is a decode step.
    target : tokens/s for one user to reach, by default what was announced of chip and model.

    Raises
    ------
    InputError
        If the load or the engine is none, the KV cache and the adapter do not fit the SRAM, the
        adapter's rank exceeds the chip's, or the request exceeds the model's context.
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine: '{engine}' is not one of {', '.join(get_args(Engine))}")
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    wanted = chip.target_for(model) if target is None else check_value("target", target, TARGET)
    budget = check_fit(chip, model, adapter, prompt=prompt, output=output, users=users)
    adapters = [] if adapter is None else [adapter]
    timing = Timing.of(chip, model, adapters)
    program = build_program(chip, model, adapters, timing=timing)
    load = Load(prompt, output, users)
    closed = ClosedForms(timing)
    prediction = load.of(closed, 0)
    if not prediction.power.throttle:
        raise InputError(
            f"{chip.name}: {too_large_for_one(chip, model, prediction.area_mm2)}power.limit_w: "
            f"{chip.power.limit_w:g} W is below the {prediction.idle_w:.1f} W that the card takes "
            "before it decodes a token"
        )
    base = _rates(program, 0, engine, prediction, load)
    report = None
    if adapter is not None:
        with_adapter = load.of(closed, 1)
        fmt = adapter_format(chip, adapter)
        report = AdapterReport(
            adapter=adapter,
            adapter_format=fmt,
            bytes=adapter_bytes(chip, adapter),
            room_bytes=adapter_room(chip, model, adapter),
            file_bytes=int(supply(chip, model, adapter).file_bytes),
            rates=_rates(program, 1, engine, with_adapter, load),
            prediction=with_adapter,
            free_rank=int(free_rank(chip, model, adapter.targets, fmt, timing=timing)),
            swap=swap_latency(chip, model, adapter, program=program),
            swap_j=float(swap_energy(chip, adapter_bytes(chip, adapter))),
        )
    asked = prediction if report is None else report.prediction
    drawn, running = intervals(chip, model, adapter, load)
    if not np.isfinite(prediction.die_cost_usd):  # what cannot be made has no cost
        drawn = {key: ends for key, ends in drawn.items() if "usd" not in key}
    cycles, unit = initiation_cycles(
        timing.tokens[-1], decode_context(prompt, output), decode_spread(output)
    )
    return Result(
        chip=chip,
        model=model,
        prompt=prompt,
        output=output,
        users=users,
        engine=engine,
        base=base,
        prediction=prediction,
        adapter=report,
        sram=budget,
        critical_unit=unit,
        critical_cycles=float(cycles),
        interval=drawn,
        running_share=running,
        target_tokens_per_s=wanted,
        obstacles=obstacles(
            chip,
            model,
            prediction.area_mm2,
            asked.power,
            asked.prefill_power,
            sram_bytes=float(budget.kv_bytes) + float(budget.adapter_bytes),
        ),
    )


def timeline(program: TokenProgram, requests: Requests, engine: Engine) -> Timeline:
    """Run the token program on the engine asked for."""
    if engine == "reference":
        from hardwire.simulator.engines import reference  # noqa: PLC0415 - SimPy only where it is asked for

        return reference.simulate(program, requests)
    from hardwire.simulator.engines import compiled  # noqa: PLC0415 - numba only where it is needed

    return compiled.simulate(program, requests)


def _rates(
    program: TokenProgram,
    adapter: int,
    engine: Engine,
    prediction: Prediction,
    load: Load,
) -> Rates:
    """Simulate and measure. Times are stretched by what the power limit leaves of the rates."""
    prompt, output, users = load.prompt, load.output, load.users
    requests = Requests.uniform(users, prompt, output, adapter)
    times = timeline(program, requests, engine)
    throttle = float(prediction.power.throttle)
    outputs = np.stack([times.output_times(requests, user) for user in range(users)])
    first_s = outputs[:, 0] / (program.clock_hz * float(prediction.prefill_power.throttle))
    rates = (output - 1) / (outputs[:, -1] - outputs[:, 0]) * program.clock_hz * throttle
    token_s = 1 / float(rates.mean())
    main, side = program.mean_cycles(adapter, np.arange(prompt + 1, prompt + output))
    breakdown = dict.fromkeys(OPERATIONS, 0.0)
    added = joined(main, side) - main
    before = ""
    for operation, cycles, beside in zip(program.operations, main, added, strict=True):
        # A path behind a matrix passes what it has nothing for in the matrix's last cycle.
        passed = operation == "lora" and cycles == BYPASS_CYCLES
        breakdown[before if passed else operation] += float(cycles) / program.clock_hz
        before = operation
        breakdown["lora"] += float(beside) / program.clock_hz
    capped = token_s * (1 - throttle)
    waited = token_s - capped - sum(breakdown.values())
    breakdown["waiting"] = waited if waited > 1e-12 * token_s else 0.0
    breakdown["power_cap"] = capped
    return Rates(
        decode_tokens_per_s_user=float(rates.mean()),
        decode_tokens_per_s_chip=float(rates.sum()),
        token_s=token_s,
        ttft_s=float(first_s.mean()),
        prefill_tokens_per_s=users * prompt / float(np.max(first_s)),
        breakdown_s=breakdown,
    )


PHASES = ("prefill", "decode")
"""Of a token, by its number in ``token_columns``."""


def tokens_frame(result: Result) -> pd.DataFrame:
    """``token_columns`` as a frame, the phases by name."""
    import pandas as pd  # noqa: PLC0415 - slow to import, and most runs print no frame

    columns = token_columns(result)
    return pd.DataFrame({**columns, "phase": np.array(PHASES)[columns["phase"]]})


def token_columns(result: Result) -> dict[str, np.ndarray]:
    """Times of every token of the run (with the adapter, where there is one), in seconds.

    Columns ``user, token, phase, issued_s, done_s``; tokens count from 1, prompt included.
    """
    adapters = [] if result.adapter is None else [result.adapter.adapter]
    program = build_program(result.chip, result.model, adapters)
    requests = Requests.uniform(result.users, result.prompt, result.output, len(adapters))
    times = timeline(program, requests, result.engine)
    prediction = result.prediction if result.adapter is None else result.adapter.prediction
    prefill_hz = program.clock_hz * float(prediction.prefill_power.throttle)
    decode_hz = program.clock_hz * float(prediction.power.throttle)
    # The power limit slows prefill and decode by different factors; the last first token parts
    # them.
    parting = times.done[times.first[:-1] + requests.prompt - 1].max()

    def seconds(cycles: np.ndarray) -> np.ndarray:
        late = np.maximum(cycles - parting, 0)
        return (cycles - late) / prefill_hz + late / decode_hz

    token = np.tile(np.arange(1, requests.tokens[0] + 1), result.users)
    return {
        "user": np.repeat(np.arange(result.users), requests.tokens),
        "token": token,
        "phase": (token > result.prompt).astype(np.int8),
        "issued_s": seconds(times.issued),
        "done_s": seconds(times.done),
    }
