"""One parameter alone: from where to where a goal holds, and what fails beyond.

Nothing is taken for monotone: the legal bounds are scanned, and between two neighbours of which one
holds and the other does not the border is found by halving.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.search.goal import Goal
from hardwire.experiments.sweep.design import NUMERIC, Design, evaluate, varies_freely
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.brief import one_line
from hardwire.models.catalogue import did_you_mean
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import TARGETS
from hardwire.models.parameters import Quantity
from hardwire.simulator.belief.draws import draw_chips, interval
from hardwire.simulator.obstacles import OBSTACLES, fits_die

WHOLE = 4096
"""A parameter of at most so many whole values is looked at in every one of them."""
SCAN = 2048
"""Values of other parameters, evenly over the legal bounds, or evenly over their logarithm."""
DIGITS = 5
"""Significant digits of an answer that is no whole number."""
HALVINGS = 60
SAME = 1e-9
"""Metrics are the same number where they differ by less, relative to themselves."""
MOST_SPANS = 8
"""So many stretches are told; where a goal holds in more, the others are counted."""

_NEEDED = (
    "area_mm2.total", "die_area_mm2", "die_cost_usd", "power_throttle", "prefill_power_throttle",
)  # fmt: skip


OBSTACLE_CONDITIONS = ("die", "decode power", "prefill power")
"""What a design may have in its way that runs its load."""


@dataclass(frozen=True)
class Looked:
    """The goal and all that may stand in its way, at some values of the parameter.

    Attributes
    ----------
    values, metric : shape ``(values,)``.
    failed : by condition, where it fails; ``goal`` is the first, the others are obstacles.
    obstacle : index into ``OBSTACLES``, of those that let no load run.
    found : the metrics behind the conditions.
    """

    values: NDArray[Any]
    metric: NDArray[np.float64]
    failed: Mapping[str, NDArray[np.bool_]]
    obstacle: NDArray[np.int8]
    found: Mapping[str, NDArray[np.float64]]

    def holds(self, aside: tuple[str, ...]) -> NDArray[np.bool_]:
        """Where nothing fails but what is set aside."""
        kept = [fails for name, fails in self.failed.items() if name not in aside]
        return ~np.logical_or.reduce(kept)


@dataclass(frozen=True)
class Point:
    """The design with one value of the parameter.

    Attributes
    ----------
    interval, share : 90 % interval of the metric there, and the share of the draws in which the
        goal holds and nothing is in the way; None where they were not asked for.
    reasons : what fails there, a sentence each.
    """

    value: float
    metric: float
    reasons: tuple[str, ...] = ()
    interval: tuple[float, float] | None = None
    share: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The point as plain values."""
        found = {"value": self.value, "metric": self.metric, "reasons": list(self.reasons)}
        if self.interval is not None:
            found |= {"interval": list(self.interval), "share": self.share}
        return found


@dataclass(frozen=True)
class End:
    """The last value on one side at which all holds, and the next one outside.

    ``beyond`` is None where ``last`` is the last that is allowed.
    """

    last: Point
    beyond: Point | None

    def to_dict(self) -> dict[str, Any]:
        """The end as plain values."""
        beyond = None if self.beyond is None else self.beyond.to_dict()
        return {**self.last.to_dict(), "beyond": beyond}


@dataclass(frozen=True)
class Solution:
    """Where a goal holds.

    Attributes
    ----------
    design : all but the parameter.
    name, spec : the parameter.
    filed : as the design has it.
    spans : smallest and largest value of each stretch in which all holds, rising; empty where
        nothing does. Of many the first ones and the last.
    more : stretches that are not among ``spans``.
    anyway : obstacles that are there whatever the value, which are set aside.
    nearest : where nothing holds, the value without obstacles, or else one that runs, at which the
        metric is nearest to the goal; None where no value runs.
    alone : where nothing holds, the value nearest to the filed one at which the goal is reached by
        a design that has an obstacle; None where there is none.
    constant : whether the metric is the same at all values without an obstacle.
    looked_at : how many values were scanned, and whether these are all.
    """

    design: Design
    name: str
    spec: Quantity
    goal: Goal
    filed: Point
    spans: tuple[tuple[End, End], ...]
    more: int
    anyway: tuple[str, ...]
    nearest: Point | None
    alone: Point | None
    constant: bool
    looked_at: tuple[int, bool]

    def __repr__(self) -> str:
        spans = [f"{low.last.value:g} to {high.last.value:g}" for low, high in self.spans]
        aim = f"{self.goal.metric} {self.goal.side} {self.goal.limit:g}"
        return one_line(self, self.design.chip.name, self.name, aim, *(spans or ["nowhere"]))

    @property
    def smallest(self) -> float | None:
        """The smallest value at which all holds, or None."""
        return self.spans[0][0].last.value if self.spans else None

    @property
    def largest(self) -> float | None:
        """The largest value at which all holds, or None."""
        return self.spans[-1][1].last.value if self.spans else None

    def to_dict(self) -> dict[str, Any]:
        """The object of ``--json``; the parameter in the unit of the chip file, the metric in SI
        units."""
        design = self.design
        return {
            "chip": design.chip.name,
            "model": design.model.name,
            "adapter": adapter_name(design),
            "prompt": design.prompt,
            "output": design.output,
            "users": design.users,
            "settings": dict(design.chip.overrides),
            "vary": self.name,
            "unit": self.spec.unit,
            "allowed": [self.spec.low, self.spec.high],
            "metric": self.goal.metric,
            self.goal.side.replace(" ", "_"): self.goal.limit,
            "smallest": self.smallest,
            "largest": self.largest,
            "spans": [{"from": a.to_dict(), "to": b.to_dict()} for a, b in self.spans],
            "more_spans": self.more,
            "obstacles_anyway": list(self.anyway),
            "filed": self.filed.to_dict(),
            "nearest": self.nearest and self.nearest.to_dict(),
            "alone": self.alone and self.alone.to_dict(),
            "constant": self.constant,
            "scanned": self.looked_at[0],
            "scanned_all": self.looked_at[1],
        }


def solve(design: Design, name: str, goal: Goal) -> Solution:
    """Find where a goal holds over one parameter, everything else as it is.

    Parameters
    ----------
    design : one design with its load.
    name : a numeric parameter of chip or process, ``adapter.rank`` or one of ``workload``.

    Raises
    ------
    InputError
        If there is no such parameter, or it cannot be varied.
    """
    spec = _spec(design, name)
    search = _Search(design, name, spec, goal)
    filed = float(design.resolved()[name])
    if math.isnan(filed):
        raise InputError(f"{name}: {design.chip.name} states none, so there is none to vary")
    scanned, whole = _scan(spec, filed, design, name)
    seen = search.look(scanned)
    # What is there whatever the value is said and set aside; without a load there is nothing.
    anyway = tuple(k for k in OBSTACLE_CONDITIONS if seen.failed[k].all())
    stretches = _stretches(seen.holds(anyway))
    more = max(len(stretches) - MOST_SPANS, 0)
    if more:
        stretches = [*stretches[: MOST_SPANS - 1], stretches[-1]]
    spans = tuple(
        (search.end(scanned, first, -1, anyway), search.end(scanned, last, 1, anyway))
        for first, last in stretches
    )
    at_filed = search.look(np.array([filed]))
    return Solution(
        design=design,
        name=name,
        spec=spec,
        goal=goal,
        filed=search.point(filed, anyway, with_draws=True),
        spans=spans,
        more=more,
        anyway=tuple(_words(at_filed, condition, goal) for condition in anyway),
        nearest=None if spans else search.nearest(seen, filed, anyway),
        alone=None if spans else search.alone(seen, filed, anyway),
        constant=_is_constant(seen.metric[seen.holds((*anyway, "goal"))]),
        looked_at=(len(scanned), whole),
    )


def _spec(design: Design, name: str) -> Quantity:
    """What is declared of a parameter that can be varied."""
    free = [known for known in NUMERIC if varies_freely(known)]
    if name not in free:
        if name in DECLARED:
            raise InputError(f"--vary {name}: is a word ({DECLARED[name].allowed()}), no number")
        raise InputError(f"--vary {name}: no such parameter{did_you_mean(name, free)}")
    if name.startswith(("adapter.", "workload.adapters")) and design.adapter is None:
        raise InputError(f"--vary {name}: there is no adapter")
    if name not in design.resolved():
        raise InputError(
            f"--vary {name}: the adapter has modules of several ranks; give a shape such as "
            "r16:all-linear"
        )
    return NUMERIC[name]


def _scan(
    spec: Quantity, filed: float, design: Design, name: str
) -> tuple[NDArray[np.float64], bool]:
    """Values of a parameter to look at, rising, and whether these are all that are allowed."""
    low, high = spec.low, spec.high
    if spec.numbers:
        return np.array(spec.numbers, dtype=np.float64), True
    if spec.integer and high - low < WHOLE:
        return np.arange(low, high + 1, dtype=np.float64), True
    wide = low >= 0 and high > 100 * max(low, 1e-12)
    least = low if low > 0 else (1.0 if spec.integer else high / 1e9)
    values = np.geomspace(least, high, SCAN) if wide else np.linspace(low, high, SCAN)
    own = design.chip.parameters.get(name)
    ends = () if own is None or own.range is None else own.range
    values = np.concatenate((values, [low, high, filed, *ends]))
    values = np.rint(values) if spec.integer else values
    return np.unique(np.clip(values[np.isfinite(values)], low, high)), False


def _looked(
    chip: Chip, goal: Goal, values: NDArray[Any], found: Mapping[str, NDArray[Any]]
) -> Looked:
    stated = chip.with_values({"die.area_mm2": found["die_area_mm2"]})
    failed = {
        "goal": ~goal.holds(found[goal.metric]),
        "load": found["obstacle"] > 0,
        # A die that no reticle prints, as stated or as the blocks need it, has no price.
        "die": ~fits_die(stated, {"total": found["area_mm2.total"]})
        | np.isinf(found["die_cost_usd"]),
        "decode power": ~(found["power_throttle"] >= 1),
        "prefill power": ~(found["prefill_power_throttle"] >= 1),
    }
    return Looked(values, found[goal.metric], failed, found["obstacle"], found)


def _stretches(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of each run of truths."""
    steps = np.diff(np.concatenate(([False], holds, [False])).astype(np.int8))
    edges = np.flatnonzero(steps)
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _is_constant(metric: NDArray[np.float64]) -> bool:
    """Whether several numbers are one."""
    return metric.size > 1 and bool(np.isclose(metric, metric[0], rtol=SAME, atol=0.0).all())


@dataclass(frozen=True)
class _Search:
    """A design, a parameter and a goal: what holds at which value."""

    design: Design
    name: str
    spec: Quantity
    goal: Goal

    def look(self, values: NDArray[np.float64]) -> Looked:
        """Evaluate the design at some values."""
        typed = values.astype(np.int64) if self.spec.integer else values
        found = evaluate(self.design, {self.name: typed}, self.metrics)
        return _looked(self.design.chip, self.goal, values, found)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is evaluated."""
        return tuple(dict.fromkeys((self.goal.metric, *_NEEDED)))

    def point(self, value: float, anyway: tuple[str, ...], *, with_draws: bool = False) -> Point:
        """One value, with what fails there but for what is set aside."""
        seen = self.look(np.array([value]))
        span, share = self._belief(self._at(value), anyway) if with_draws else (None, None)
        value = int(value) if self.spec.integer else value
        return Point(value, float(seen.metric[0]), _reasons(seen, self.goal, anyway), span, share)

    def end(
        self, scanned: NDArray[np.float64], place: int, step: int, anyway: tuple[str, ...]
    ) -> End:
        """The border beyond a scanned value that holds, towards its neighbour, which does not."""
        inside = float(scanned[place])
        if not 0 <= place + step < len(scanned):
            return End(self.point(inside, anyway, with_draws=True), None)
        inside, outside = self._border(inside, float(scanned[place + step]), anyway)
        return End(self.point(inside, anyway, with_draws=True), self.point(outside, anyway))

    def nearest(self, seen: Looked, filed: float, anyway: tuple[str, ...]) -> Point | None:
        """The value whose metric is nearest to the goal, without obstacles if that can be had; of
        several the one nearest to the filed one."""
        for allowed in (seen.holds((*anyway, "goal")), ~seen.failed["load"]):
            metric = np.where(allowed, seen.metric, np.nan)
            if not np.isnan(metric).all():
                better = np.nanmax if self.goal.side == "at least" else np.nanmin
                equal = np.flatnonzero(np.isclose(metric, better(metric), rtol=SAME, atol=0.0))
                place = min(equal, key=lambda one: abs(float(seen.values[one]) - filed))
                return self.point(float(seen.values[place]), anyway, with_draws=True)
        return None

    def alone(self, seen: Looked, filed: float, anyway: tuple[str, ...]) -> Point | None:
        """The value nearest to the filed one at which the goal alone is reached."""
        ends = [
            (place, step)
            for first, last in _stretches(seen.holds(OBSTACLE_CONDITIONS))
            for place, step in ((first, -1), (last, 1))
        ]
        if not ends:
            return None
        place, step = min(ends, key=lambda end: abs(float(seen.values[end[0]]) - filed))
        value = float(seen.values[place])
        if 0 <= place + step < len(seen.values):
            outside = float(seen.values[place + step])
            value, _ = self._border(value, outside, OBSTACLE_CONDITIONS)
        return self.point(value, anyway)

    def _border(self, inside: float, outside: float, aside: tuple[str, ...]) -> tuple[float, float]:
        """The last value that holds and the next that does not: whole, or in ``DIGITS`` digits."""

        def holds(value: float) -> bool:
            return bool(self.look(np.array([value])).holds(aside)[0])

        if self.spec.numbers:
            return inside, outside
        log = not self.spec.integer and min(inside, outside) > 0
        for _ in range(HALVINGS):
            middle = math.sqrt(inside * outside) if log else (inside + outside) / 2
            middle = float(math.floor(middle)) if self.spec.integer else middle
            if middle in (inside, outside):
                break
            if holds(middle):
                inside = middle
            else:
                outside = middle
        if self.spec.integer:
            return inside, outside
        up = inside > outside
        written = _written(inside, up=up)
        if not holds(written):
            return inside, outside
        return written, _written(written, up=not up, next_one=True)

    def _at(self, value: float) -> Design:
        """The design with a value of the parameter; as it is, with all that is open of it."""
        if value == float(self.design.resolved()[self.name]):
            return self.design
        whole = int(value) if self.spec.integer else value
        if self.name in DECLARED:
            chip = self.design.chip.with_values({self.name: whole})
            return dataclasses.replace(self.design, chip=chip)
        return self.design.with_settings({self.name: whole})

    def _belief(self, design: Design, anyway: tuple[str, ...]) -> tuple[tuple[float, float], float]:
        """The metric's 90 % interval, and the share of the draws in which all holds."""
        drawn = draw_chips(design.chip)
        arrays = {
            known: array
            for known in DECLARED
            if np.ndim(array := drawn.value(known)) and varies_freely(known)
        }
        found = evaluate(design, arrays, self.metrics)
        seen = _looked(self.design.chip, self.goal, np.empty(0), found)
        metric = seen.metric[~np.isnan(seen.metric)]
        low, high = interval(metric) if metric.size else (math.nan, math.nan)
        return (low, high), float(seen.holds(anyway).mean())


def _written(value: float, *, up: bool, next_one: bool = False) -> float:
    """A number of ``DIGITS`` significant digits, rounded up or down; or the next one."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    whole = math.ceil(value / unit - 1e-9) if up else math.floor(value / unit + 1e-9)
    whole += next_one * (1 if up else -1)
    return float(f"{whole * unit:.{DIGITS}g}")


def _reasons(seen: Looked, goal: Goal, anyway: tuple[str, ...]) -> tuple[str, ...]:
    """What fails at the one value looked at."""
    return tuple(
        _words(seen, condition, goal)
        for condition, fails in seen.failed.items()
        if fails[0]
        and condition not in anyway
        # A design that cannot run its load has no rate to speak of.
        and not (condition != "load" and seen.failed["load"][0])
    )


def _words(seen: Looked, condition: str, goal: Goal) -> str:
    """A condition that fails, with by how much."""
    found = {name: float(values[0]) for name, values in seen.found.items()}
    if condition == "goal":
        over = "below" if goal.side == "at least" else "above"
        return f"{goal.metric} is {found[goal.metric]:,.6g}, {over} {goal.limit:,.6g}"
    if condition == "load":
        return OBSTACLES[int(seen.obstacle[0])]
    if condition == "die":
        total, die = found["area_mm2.total"], found["die_area_mm2"]
        if total <= die:
            return f"a die of {die:,g} mm² is too large to be made"
        digits = 1 if total - die >= 0.05 else 4
        return f"the blocks take {total:,.{digits}f} mm² of a die of {die:,g} mm²"
    what, key = {
        "decode power": ("decode", "power_throttle"),
        "prefill power": ("prefill", "prefill_power_throttle"),
    }[condition]
    share = found[key]
    return f"the power limit holds {what} at {share:.{0 if share < 0.995 else 3}%} of its rate"


def adapter_name(design: Design) -> str | None:
    """What the design's adapter is called, or None without one."""
    adapter = design.adapter
    if not isinstance(adapter, AdapterShape):
        return None if adapter is None else adapter.name
    targets = "all-linear" if adapter.targets == TARGETS else "+".join(adapter.targets)
    form = f":{adapter.adapter_format}" if adapter.adapter_format else ""
    return f"r{adapter.rank}:{targets}{form}"
