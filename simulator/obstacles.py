"""What stands in the way of a design: that it cannot run its load, be made, or run at its clock."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.area import area
from hardwire.models.chip import Chip
from hardwire.models.energy import PowerReport, static_power
from hardwire.models.language_model import LanguageModel
from hardwire.models.pipeline import clock_reached, largest_clock_ghz, lowest_supply_v
from hardwire.models.server import Server

SRAM = "KV cache and adapters exceed the SRAM"
POSITIONS = "prompt and output exceed the model's positions"
NO_LAYOUT = "no such number of dies, split so, holds the model's layers"
AREA = "the blocks of a die exceed it"

OBSTACLES = (
    "",
    SRAM,
    "the adapter's rank exceeds formats.max_rank",
    POSITIONS,
    "the power limit is below what the idle card takes",
    "formats.kv_bits is not one of 4, 8, 16",
    "the replay cannot be set up so",
    "the adapter is on lm_head, beside which lora.head is absent",
    "the clock is above the largest of the pipeline at its voltage",
    NO_LAYOUT,
    AREA,
)
"""Why a design cannot run its load; the first that holds is stated. What follows below is milder:
such a design has numbers, but they are on paper (``fits_die``) or throttled (``power_capped``)."""


@dataclass(frozen=True)
class Obstacle:
    """One thing in the way: ``what``, by how much, and what would help. Sentences."""

    what: str
    help: str

    def __str__(self) -> str:
        return f"{self.what} {self.help}".rstrip()


def fits_die(chip: Chip, area_mm2: Mapping[str, Any]) -> Any:
    """Whether all blocks fit the die as stated, and that the reticle; bool, or an array."""
    fits = np.less_equal(area_mm2["total"], chip.die.area_mm2)
    return (fits & np.less_equal(chip.die.area_mm2, chip.process.reticle_mm2))[()]


def too_large_for_one(chip: Chip, model: LanguageModel, area_mm2: Mapping[str, Any]) -> str:
    """The begin of a sentence: that a model does not fit one die of a chip; empty where it does."""
    total, die = float(area_mm2["total"]), float(chip.die.area_mm2)
    if total <= die:
        return ""
    return (
        f"{model.name} does not fit one die: its blocks take {total:,.0f} mm² of {die:,g} mm² "
        f"({total / die:.1f} dies' worth); and "
    )


def power_capped(report: PowerReport, prefill: PowerReport) -> Any:
    """Whether the card's power limit slows decode or prefill; bool, or an array of them."""
    return (np.less(report.throttle, 1) | np.less(prefill.throttle, 1))[()]


def obstacles(
    chip: Chip,
    model: LanguageModel,
    area_mm2: Mapping[str, Any],
    report: PowerReport,
    prefill: PowerReport,
    *,
    sram_bytes: float,
    server: Server | None = None,
) -> tuple[Obstacle, ...]:
    """What stands in the way of one design that can run its load, the worst first.

    Parameters
    ----------
    area_mm2 : by block, as ``hardwire.models.area.area`` gives it.
    report, prefill : power while decoding and while reading prompts, at the clock as stated.
    sram_bytes : what the load takes of the SRAM, so that no smaller one is proposed.
    server : that the card is in, where its share of the server's limit is what holds it.
    """
    found = []
    if too_fast := clock_obstacle(chip):
        found.append(too_fast)
    if not fits_die(chip, area_mm2):
        found.append(_of_die(chip, model, area_mm2, sram_bytes))
    held = {
        what: one for what, one in (("decode", report), ("prefill", prefill)) if one.throttle < 1
    }
    if held:
        found.append(_of_power(chip, model, held, server))
    return tuple(found)


def clock_obstacle(chip: Chip) -> Obstacle | None:
    """Why one chip cannot run at its clock, and what would help; None where it can."""
    if clock_reached(chip):
        return None
    path, process = chip.datapath, chip.process
    clock, largest = float(path.clock_ghz), float(largest_clock_ghz(chip))
    what = (
        f"{clock:g} GHz is above the {largest:.4g} GHz that the pipeline reaches at "
        f"{path.supply_v:g} V."
    )
    ways = [f"datapath.clock_ghz of at most {math.floor(1000 * largest) / 1000:g}"]
    if volts := lowest_supply_v(chip):
        ways.append(f"datapath.supply_v of at least {volts:g}")
    cut_for = min(float(path.pipeline_ghz), float(process.max_clock_ghz))
    needed = math.ceil(1000 * clock * cut_for / largest) / 1000 if largest else math.inf
    if needed <= process.max_clock_ghz:
        ways.append(f"datapath.pipeline_ghz of at least {needed:g}, whose fill takes longer")
    return Obstacle(what, f"It would run with {_either(ways)}.")


def _of_die(
    chip: Chip, model: LanguageModel, area_mm2: Mapping[str, Any], sram_bytes: float
) -> Obstacle:
    total, die = float(area_mm2["total"]), float(chip.die.area_mm2)
    reticle = float(chip.process.reticle_mm2)
    if total <= die:
        most = f"die.area_mm2 of at most {reticle:g}"
        return Obstacle(
            f"A die of {die:,g} mm² exceeds the reticle of {reticle:g} mm²: cannot be made.",
            f"It could be with {most}." if total <= reticle else "Several dies would be needed.",
        )
    over = total - die
    share = f"{total / die:.1f} dies" if total > 1.5 * die else f"{total / die:.1%}"
    what = (
        f"The blocks take {total:,.1f} mm² of a die of {die:,g} mm² ({share}): does not fit, "
        f"{over:,.1f} mm² too large."
    )
    if total > reticle:
        what += f" A reticle prints at most {reticle:g} mm²: cannot be made."
    ways = []
    if total <= reticle:
        ways.append(f"die.area_mm2 of at least {math.ceil(total):,}")
    smaller = _most_that_fits(chip, model, "sram.capacity_mib")
    if smaller >= max(1, sram_bytes / 2**20):
        ways.append(f"sram.capacity_mib of at most {smaller:,}")
    fewer = _most_that_fits(chip, model, "datapath.lanes")
    if fewer >= 1:
        ways.append(f"datapath.lanes of at most {fewer:,}")
    if ways:
        return Obstacle(what, f"It would fit with {_either(ways)}.")
    rom = float(area_mm2["rom"])
    alone = f"ROM alone takes {rom:,.0f} mm²" if rom > die else "No single block is to blame"
    return Obstacle(what, f"{alone}: a smaller model, a denser process or a larger die would help.")


def _most_that_fits(chip: Chip, model: LanguageModel, name: str) -> int:
    """The largest whole number below a parameter's value with which the blocks fit; 0 for none."""
    fits, too_many = 0, math.ceil(chip.value(name))
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        changed = chip._replaced({name: middle})
        if fits_die(changed, area(changed, model)):
            fits = middle
        else:
            too_many = middle
    return fits


def _of_power(
    chip: Chip,
    model: LanguageModel,
    held: Mapping[str, PowerReport],
    server: Server | None,
) -> Obstacle:
    """Watts that the full rates would take, and the clock that the limit allows.

    The clock tree and the rates are in proportion to the clock; leakage is not.
    """
    clock, efficiency = float(chip.datapath.clock_ghz), float(chip.power.regulator_efficiency)
    limit, board = float(chip.power.limit_w), float(chip.power.board_w)
    shares = " and ".join(f"{what} at {one.throttle:.0%}" for what, one in held.items())
    said = f"The power limit of {limit:g} W holds {shares} of its rate"
    if server:
        said = (
            f"The server's power limit leaves a card {limit:g} W, which holds {shares} of its rate"
        )
    worst = min(held.values(), key=lambda one: float(one.throttle))
    static, throttle = float(worst.static_w), float(worst.throttle)
    if throttle == 0:
        return Obstacle(f"{said}.", "Idle power alone is above the limit.")
    budget = (limit - board) * efficiency
    full = static + (budget - static) / throttle
    needed = full / efficiency + board
    ways = [f"power.limit_w of at least {math.ceil(needed):,}"]
    if server:
        ways = [f"limit_w of the server of at least {math.ceil(server.power_w(needed)):,}"]
    halved = dataclasses.replace(chip.datapath, clock_ghz=clock / 2)
    slower = static_power(dataclasses.replace(chip, datapath=halved), model)
    leakage = 2 * float(slower) - static
    allowed = math.floor(1000 * clock * (budget - leakage) / (full - leakage)) / 1000
    if allowed > 0:
        ways.append(f"datapath.clock_ghz of at most {allowed:g}")
    return Obstacle(
        f"{said}; in full it would take {needed:,.0f} W.",
        f"It would run in full with {_either(ways)}.",
    )


def _either(ways: list[str]) -> str:
    return " or ".join([", ".join(ways[:-1]), ways[-1]] if len(ways) > 1 else ways)
