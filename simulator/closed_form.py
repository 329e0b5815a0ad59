"""Rates in closed form: the engines' cycles averaged over context, for numbers or arrays.

Exact but for two averages: a mean over contexts instead of a sum, and half a cycle for the
rounding up of each attention read. That is under 0.1 % of a decode step and 0.2 % of a time to
first token. Where several users' tokens queue on units that layers share, some of their steps are
followed and stand for all (``hardwire.simulator.queueing``): within 1 % on the catalogue's chips
and 3 % on random designs. ``hardwire validate`` measures all of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import area, transistors
from hardwire.models.brief import brief, one_line
from hardwire.models.chip import Chip
from hardwire.models.cost import die_cost_usd, usd_per_million_tokens
from hardwire.models.energy import PowerReport, idle_power, power
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.load import check_load
from hardwire.simulator.obstacles import fits_die, power_capped
from hardwire.simulator.pipelined import EXACT, error_bound, first_token_cycles, step_cycles
from hardwire.simulator.timing import Timing, TokenTiming, beside_stage, joined, mean


def token_cycles(token: TokenTiming, context: Any, spread: Any = 0) -> dict[str, Any]:
    """Cycles of one decoded token at a mean context, by operation (see ``OPERATIONS``).

    ``lora`` is what the low-rank product adds to the base: zero where it hides behind it.

    Parameters
    ----------
    context, spread : mean and width of the contexts, as ``hardwire.simulator.timing.mean``.
    """
    return token.by_operation(mean(context, spread))


def decode_context(prompt: Any, output: Any) -> Any:
    """Mean number of tokens that a decode step attends to, itself included."""
    return prompt + output / 2


def decode_spread(output: Any) -> Any:
    """Tokens between the shortest and the longest context of decode steps."""
    return output - 1


def decode_token_s(
    chip: Chip,
    model: LanguageModel,
    prompt: int,
    output: int,
    adapter: Adapter | AdapterShape | None = None,
) -> Any:
    """Mean seconds of one decode step with the chip to itself: the reciprocal decode rate."""
    timing = Timing.of(chip, model, () if adapter is None else (adapter,))
    cycles = token_cycles(timing.tokens[-1], decode_context(prompt, output), decode_spread(output))
    return sum(cycles.values()) / timing.hz


@dataclass(frozen=True)
class Prediction:
    """What the closed forms say of one chip, model, adapter and load. SI units, or arrays.

    ``breakdown_s`` divides a decode step of a user who has the chip to himself, by operation.
    Energies are the card's, of a decoded token, of one where the card waits between tokens (it
    decodes for ``cost.utilization`` of the time), and of a whole request with its prompt.
    ``idle_w`` is the card at rest. The cost of a token has the energy of waiting in it.
    ``fits_die`` says whether the blocks fit the die as stated, and that the reticle: rates of one
    that does not are on paper, and its cost is that of the die that the blocks need, or infinite.
    ``power_capped``: whether the card's limit slows decode or prefill.
    ``error_bound``: what step and first token are off by at most, relative to the engine, where
    users' tokens queue on units that layers share more than elsewhere.
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
    idle_w: Any
    energy_j_per_decode_token: Any
    energy_j_per_utilized_token: Any
    energy_j_per_request: Any
    area_mm2: dict[str, Any]
    transistors: dict[str, Any]
    die_cost_usd: Any
    usd_per_million_tokens: Any
    fits_die: Any
    power_capped: Any
    error_bound: Any

    def __repr__(self) -> str:
        designs = np.size(self.token_s)
        return one_line(
            self,
            "",
            f"{designs:,} designs" if designs > 1 else "",
            f"{brief(self.decode_tokens_per_s_user)} tokens/s for one user",
            f"{brief(self.power_w)} W",
            f"{brief(self.area_mm2['total'])} mm²",
            f"{brief(self.usd_per_million_tokens)} USD per million tokens",
        )


class ClosedForms:
    """The closed forms over one ``Timing``; what no token changes is counted once.

    Parameters
    ----------
    timing : its chip's numbers, and the rank of an adapter's shape, may be arrays ``(P,)``.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.transistors = transistors(timing.chip, timing.model)
        self.area_mm2 = area(timing.chip, timing.model, self.transistors)
        self.fits_die = fits_die(timing.chip, self.area_mm2)
        self.die_usd = die_cost_usd(timing.chip, self.area_mm2["total"])
        self.idle_w = idle_power(timing.chip, timing.model, self.area_mm2)

    def predict(self, number: int, *, prompt: Any, output: Any, users: Any = 1) -> Prediction:
        """``predict`` for an adapter of the timing by its number, 0 for none."""
        timing, token = self.timing, self.timing.tokens[number]
        hz, chip = timing.hz, timing.chip
        context, inside = decode_context(prompt, output), (prompt + 1) / 2
        decoded, read = decode_spread(output), prompt - 1
        cycles = token_cycles(token, context, decoded)
        bound: Any = EXACT
        if chip.datapath.issue == "serial":
            head = token.head / hz
            prefill = sum(token_cycles(token, inside, read).values()) / hz - head
            step = sum(cycles.values()) / hz * users
            early = (prompt - 1) * token.ahead(mean(prompt / 2, np.maximum(read - 1, 0))) / hz
            last_ttft = users * (prompt * prefill - early) + users * head
            ttft = last_ttft - (users - 1) / 2 * (prefill + head)
        else:
            step = step_cycles(token, prompt=prompt, output=output, users=users) / hz
            bound = error_bound(token, prompt=prompt, users=users)
            last, apart = first_token_cycles(token, prompt, users)
            last_ttft = last / hz
            ttft = last_ttft - (users - 1) / 2 * (apart / hz)
        report = self._power(token, context, decoded, users / step)
        rate_user = report.throttle / step
        rate_chip = users * rate_user
        read_rate = prompt * users / last_ttft
        prefill_power = self._power(token, inside, read, read_rate, sampled=False)
        with np.errstate(divide="ignore"):  # a design whose idle power is over the limit: never
            slowdown = np.divide(1.0, report.throttle)
            prefill_slowdown = np.divide(1.0, prefill_power.throttle)
            utilized_j = report.energy_j_at(chip.cost.utilization)
            token_usd = usd_per_million_tokens(chip, self.die_usd, rate_chip, utilized_j)
        return Prediction(
            token_s=step * slowdown,
            breakdown_s={operation: part / hz for operation, part in cycles.items()},
            decode_tokens_per_s_user=rate_user,
            decode_tokens_per_s_chip=rate_chip,
            ttft_s=ttft * prefill_slowdown,
            prefill_tokens_per_s=read_rate * prefill_power.throttle,
            power=report,
            prefill_power=prefill_power,
            power_w=report.card_w,
            idle_w=report.idle_w,
            energy_j_per_decode_token=report.energy_j_per_token,
            energy_j_per_utilized_token=utilized_j,
            energy_j_per_request=(
                prompt * prefill_power.energy_j_per_token + (output - 1) * report.energy_j_per_token
            ),
            area_mm2=self.area_mm2,
            transistors=self.transistors,
            die_cost_usd=self.die_usd,
            usd_per_million_tokens=token_usd,
            fits_die=self.fits_die,
            power_capped=power_capped(report, prefill_power),
            error_bound=bound,
        )

    def _power(
        self,
        token: TokenTiming,
        context: Any,
        spread: Any,
        tokens_per_s: Any,
        *,
        sampled: bool = True,
    ) -> PowerReport:
        """Power of tokens that follow each other; an adapter's weights are read once for each."""
        activity = token.activity(context, sampled=sampled, spread=spread)
        timing = self.timing
        return power(timing.chip, timing.model, activity, tokens_per_s, self.idle_w)


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

    Raises
    ------
    InputError
        If the load has no decode step or nobody, or is not in whole numbers, or as ``Timing.of``.
    """
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    adapters = () if adapter is None else (adapter,)
    closed = ClosedForms(Timing.of(chip, model, adapters))
    return closed.predict(len(adapters), prompt=prompt, output=output, users=users)


def free_rank(
    chip: Chip,
    model: LanguageModel,
    targets: tuple[str, ...],
    fmt: str,
    *,
    timing: Timing | None = None,
) -> Any:
    """The highest rank on ``targets`` that adds no cycle to any token; 0 where none is free.

    Searched up to the chip's ``formats.max_rank``; under sequential order no rank is free.

    Parameters
    ----------
    timing : of this chip and model, where it is at hand.
    """
    top = np.asarray(chip.formats.max_rank)
    if chip.lora.order == "sequential":
        return np.zeros(np.broadcast(chip.datapath.lanes, top).shape)[()]
    timing = timing or Timing.of(chip, model)
    stages = timing.tokens[0].stages
    of_layers = [stage for kind in stages.kinds for stage in kind.all]
    beside = [
        stage
        for stage in (*of_layers, *stages.head)
        if any(matrix.side_paths for matrix in stage.matrices)
    ]

    def free(rank: Any) -> Any:
        fits: Any = True
        for stage in beside:
            ranks = [[rank if t in targets else 0 for t in m.targets] for m in stage.matrices]
            side, _, _ = beside_stage(chip, model, stage, ranks, fmt)
            fits = fits & (joined(stage.cycles, side) == stage.cycles)
        return fits

    # A higher rank never takes fewer cycles: halve the interval [highest free, lowest that costs).
    low: Any = np.zeros(np.broadcast(chip.datapath.lanes, top).shape, dtype=np.int64)
    high: Any = low + top.astype(np.int64) + 1
    for _ in range(int(np.max(top)).bit_length()):
        middle = (low + high) // 2
        is_free = free(np.maximum(middle, 1)) & (middle >= 1)
        low, high = np.where(is_free, middle, low), np.where(is_free, high, middle)
    return low.astype(float)[()]
