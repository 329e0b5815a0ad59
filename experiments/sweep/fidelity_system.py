"""Points that are systems of several dies, in closed form: one walk for all that differ in numbers
of their links and in users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.experiments.sweep.design import Design, groups
from hardwire.experiments.sweep.system_settings import DEFAULTS, LINK, LINK_NUMBERS
from hardwire.experiments.system.many import ManyAnswers, ask_many
from hardwire.experiments.system.plan import Load, arranged, fewest_stages
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.system.link import LinkKind
from hardwire.models.system.system import System
from hardwire.simulator.obstacles import AREA, NO_LAYOUT, OBSTACLES, POSITIONS, SRAM

if TYPE_CHECKING:
    from hardwire.experiments.sweep.study import Study

USERS = "workload.users"


def evaluate_systems(study: Study, settings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics of points, see ``hardwire.experiments.sweep.fidelity.evaluate``.

    Metrics are NaN where there is no such system; where a die overflows they are those on paper.

    Raises
    ------
    InputError
        If a word among the settings cannot be used, or a chip's clock is out of its reach.
    """
    points = len(next(iter(settings.values())))
    result = {name: np.full(points, np.nan) for name in study.columns}
    result["obstacle"] = np.full(points, OBSTACLES.index(NO_LAYOUT), np.int8)
    for group, members in groups(settings, points, _varies):
        free = {name: values[members] for name, values in settings.items() if name not in group}
        design = study.base.with_settings(group)
        for design_of, chosen in _by_size(design, free, len(members)):
            numbers = {name: values[chosen] for name, values in free.items()}
            system, users = _system(design_of, numbers), numbers.get(USERS, design_of.users)
            if system is None:
                continue
            places = members[chosen]
            for name, values in _metrics(design_of, system, users).items():
                if name in result:
                    result[name][places] = values
    return result


def _varies(name: str) -> bool:
    return name in LINK_NUMBERS or name == USERS


def _by_size(
    design: Design, free: Mapping[str, np.ndarray], points: int
) -> Iterator[tuple[Design, np.ndarray]]:
    """Points of a group by the users whose number decides how many dies there are, if it does."""
    if design.system.get("system.dies", 0) or USERS not in free:
        yield design, np.arange(points)
        return
    for users in np.unique(free[USERS]):
        yield design.with_settings({USERS: int(users)}), np.flatnonzero(free[USERS] == users)


def _system(design: Design, numbers: Mapping[str, np.ndarray]) -> System | None:
    """The placement of a design, on links whose numbers are arrays; None where there is none."""
    chosen = {**DEFAULTS, **design.system}
    kind = LinkKind.open(str(chosen[LINK]))
    own = {**{k: v for k, v in chosen.items() if k in LINK_NUMBERS}, **numbers}
    sheet = kind.sheet
    if "system.link_gb_per_s" in own:
        rate = own["system.link_gb_per_s"] / sheet.lanes
        sheet = dataclasses.replace(sheet, lane_gb_per_s=rate)
    if "system.link_latency_ns" in own:
        sheet = dataclasses.replace(sheet, latency_ns=own["system.link_latency_ns"])
    kind = dataclasses.replace(kind, sheet=sheet)
    dies, split = int(chosen["system.dies"]), int(chosen["system.split"])
    if dies == 0:
        users = int(design.users)
        adapter = adapter_of(design)
        load = Load(int(design.prompt), int(design.output), users, adapter, int(design.adapters))
        stages = fewest_stages(design.model, design.chip, kind, load, split)
    else:
        stages = None if dies % split else dies // split
    if stages is None or stages > design.model.layers:
        return None
    return arranged(design.model, design.chip, kind, stages, split)


def adapter_of(design: Design) -> Adapter | None:
    """The adapter of a design, a shape with all of its modules."""
    adapter = design.adapter
    if not isinstance(adapter, AdapterShape):
        return adapter
    text = f"r{int(adapter.rank)}:{'+'.join(adapter.targets)}"
    if adapter.adapter_format is not None:
        text += f":{adapter.adapter_format}"
    return Adapter.from_shape(text, design.model)


def _metrics(design: Design, system: System, users: Any) -> dict[str, Any]:
    """Metrics of points, and what stands in their way."""
    adapter = adapter_of(design)
    found = ask_many(
        system, prompt=int(design.prompt), output=int(design.output), users=users,
        adapter=adapter, adapters=int(design.adapters),
    )  # fmt: skip
    one, power = found.one, found.one.power
    rate = found.decode_tokens_per_s_system
    with np.errstate(divide="ignore"):
        step = users / np.asarray(rate, float)
    return {
        "decode_tokens_per_s_user": found.decode_tokens_per_s_user,
        "decode_tokens_per_s_system": rate,
        "token_s": step,
        "ttft_s": one.unlimited.ttft_s,
        **{f"latency_s.{cause}": seconds for cause, seconds in one.unlimited.latency_s.items()},
        "power_throttle": rate / one.unlimited.decode_tokens_per_s_system,
        "power_w": found.power_w,
        "idle_w": power.idle_w,
        "tokens_per_j": rate / found.power_w,
        "dies": one.dies,
        "variants": one.variants,
        "cards_usd": one.cards_usd,
        "masks_usd": one.masks_usd["total"],
        "usd_per_million_tokens": found.usd_per_million_tokens,
        "max_users": one.max_users,
        "obstacle": _obstacle(design, found, users),
    }


def _obstacle(design: Design, found: ManyAnswers, users: Any) -> Any:
    """The first thing in the way of each point, as an index."""
    over = any(
        budget.over_mm2 > 0 or budget.die_mm2 > budget.reticle_mm2
        for budget in found.one.found.values()
    )
    code = np.where(np.less_equal(users, found.one.max_users), 0, OBSTACLES.index(SRAM))
    code = np.where(over, OBSTACLES.index(AREA), code)
    long = design.prompt + design.output > design.model.max_position
    return np.where(long, OBSTACLES.index(POSITIONS), code)
