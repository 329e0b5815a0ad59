"""Cycles and energy of a token by adapter and context, as tables that serving sums up.

With serial issue a token's time is a function of context and adapter alone, so that a whole
request is a difference of two cumulative sums. With pipelined issue a token also has an initiation
interval: the cycles that it takes of the unit that is busiest with it. A power limit makes the
interval longer where the energy of a token, spread over it, would exceed what the limit leaves
for dynamic power.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.energy import static_power, token_energy
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.fit import check_clock
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.timing import Timing


@dataclass(frozen=True)
class TokenCosts:
    """Tables by row (0 for the base alone, then one per kind of adapter) and context.

    The context of a token is the tokens that it attends to, itself included; column 0 is unused.
    ``body`` is a prompt token before the last, ``whole`` one that is sampled from.

    Attributes
    ----------
    row : (adapters + 1,) list of int, the row of adapter ``a`` at ``a + 1``; of the base at 0.
    body, whole : (R, C + 1) int64, cycles from first to last unit; of ``body`` in serial issue
        those that the next token waits for.
    body_interval, whole_interval : (R, C + 1) int64, cycles until the next token can follow.
    body_sum, whole_sum, body_interval_sum, whole_interval_sum : (R, C + 1) int64, cumulative sums
        of those tables.
    rises : (R,) bool, whether ``whole`` and ``whole_interval`` never fall with the context.
    body_j, whole_j : (R, C + 1) float64, dynamic energy of the token in joules.
    idle_w : power of a card that computes nothing.
    budget_w : what the power limit leaves for dynamic power of the chip.
    regulator_efficiency : of the card; dynamic energy at the plug is this much more.
    serial : whether a token must end before the next can start.
    program : what the reference engine walks; None of a system, which it does not.
    """

    row: list[int]
    body: NDArray[np.int64]
    whole: NDArray[np.int64]
    body_interval: NDArray[np.int64]
    whole_interval: NDArray[np.int64]
    body_sum: NDArray[np.int64]
    whole_sum: NDArray[np.int64]
    body_interval_sum: NDArray[np.int64]
    whole_interval_sum: NDArray[np.int64]
    rises: NDArray[np.bool_]
    body_j: NDArray[np.float64]
    whole_j: NDArray[np.float64]
    idle_w: float
    budget_w: float
    regulator_efficiency: float
    serial: bool
    clock_hz: float
    program: TokenProgram | None


def token_costs(
    chip: Chip,
    model: LanguageModel,
    adapters: Sequence[Adapter],
    *,
    longest: int,
    issue: str | None = None,
    limit_w: float | None = None,
) -> TokenCosts:
    """Tabulate tokens of contexts 1 to ``longest``.

    Parameters
    ----------
    adapters : one per adapter of the workload; equal objects share a row.
    issue : overrides the chip's.
    limit_w : power limit of the card, if below the chip's own.

    Raises
    ------
    InputError
        If the limit is below what the card takes at rest, or the pipeline does not reach the clock.
    """
    check_clock(chip)
    kinds = list({id(adapter): adapter for adapter in adapters}.values())
    place = {id(adapter): number for number, adapter in enumerate(kinds, start=1)}
    timing = Timing.of(chip, model, kinds)
    program = build_program(chip, model, kinds, issue, timing=timing)
    static_w = float(static_power(chip, model))
    efficiency = float(chip.power.regulator_efficiency)
    idle_w = static_w / efficiency + float(chip.power.board_w)
    limit = min(float(chip.power.limit_w), np.inf if limit_w is None else limit_w)
    budget_w = (limit - idle_w) * efficiency
    if budget_w <= 0:
        raise InputError(
            f"{chip.name}: a power limit of {limit:.0f} W per card is below the {idle_w:.1f} W "
            "that it takes before it computes a token"
        )
    inside, with_head = timing.tables(longest)
    if program.serial:
        inside = inside - timing.ahead(longest)
    kinds_of_tokens = []
    for cycles, sampled in ((inside, False), (with_head, True)):
        interval = timing.intervals(longest, inside_prompt=not sampled)
        joules = dynamic_energy(timing, longest, sampled)
        capped = np.ceil(joules / budget_w * program.clock_hz).astype(np.int64)
        kinds_of_tokens.append((cycles, interval, capped, joules))
    return costs_of(
        kinds_of_tokens[0],
        kinds_of_tokens[1],
        row=[0, *(place[id(adapter)] for adapter in adapters)],
        idle_w=idle_w,
        budget_w=budget_w,
        regulator_efficiency=efficiency,
        serial=program.serial,
        clock_hz=program.clock_hz,
        program=program,
    )


Tokens = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Tables of one kind of token: its latency, its interval, the ticks over which a power limit
spreads its energy, and that energy."""


def costs_of(
    inside: Tokens,
    with_head: Tokens,
    *,
    row: list[int],
    idle_w: float,
    budget_w: float,
    regulator_efficiency: float,
    serial: bool,
    clock_hz: float,
    program: TokenProgram | None,
) -> TokenCosts:
    """The tables of tokens inside a prompt and of those that are sampled from, summed up."""
    tables = []
    for cycles, interval, capped, joules in (inside, with_head):
        latency = np.maximum(cycles, capped)
        gap = latency if serial else np.maximum(interval, capped)
        for table in (latency, gap, joules):
            table[:, 0] = 0
        tables.append((latency, gap, np.cumsum(latency, axis=1), joules))
    (body, body_gap, body_sum, body_j), (whole, whole_gap, whole_sum, whole_j) = tables
    return TokenCosts(
        row=row,
        body=body,
        whole=whole,
        body_interval=body_gap,
        whole_interval=whole_gap,
        body_sum=body_sum,
        whole_sum=whole_sum,
        body_interval_sum=np.cumsum(body_gap, axis=1),
        whole_interval_sum=np.cumsum(whole_gap, axis=1),
        rises=np.all((np.diff(whole) >= 0) & (np.diff(whole_gap) >= 0), axis=1),
        body_j=body_j,
        whole_j=whole_j,
        idle_w=idle_w,
        budget_w=budget_w,
        regulator_efficiency=regulator_efficiency,
        serial=serial,
        clock_hz=clock_hz,
        program=program,
    )


def dynamic_energy(timing: Timing, longest: int, sampled: bool) -> NDArray[np.float64]:
    """Dynamic energy of a token in joules, (adapters + 1, longest + 1)."""
    context = np.arange(longest + 1)
    rows = []
    for token in timing.tokens:
        activity = token.activity(context, sampled=sampled)
        blocks = token_energy(timing.chip, timing.model, activity)
        rows.append(np.broadcast_to(sum(blocks.values()), context.shape))
    return np.array(rows, dtype=np.float64)
