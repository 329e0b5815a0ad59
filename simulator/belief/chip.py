"""The unpublished parameters of HC1, given all that was published of it and measured on it.

The measurements are rows of ``models/published/hc1.yaml``. One chip is behind all of them; its
clock may differ between what the vendor quotes, the public demo since September 2026 and the demo
before, so that each of these operating points has a clock of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.area import area, transistors
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.energy import Activity, power
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import draw
from hardwire.models.published import PublishedRow, published, systems
from hardwire.models.sram import sram_budget
from hardwire.simulator.belief.draws import SEED, stream
from hardwire.simulator.belief.possible import possible
from hardwire.simulator.belief.posterior import (
    Array,
    Kind,
    Measurement,
    Modelled,
    Weighed,
    resample,
    weigh,
)
from hardwire.simulator.closed_form import decode_context, token_cycles
from hardwire.simulator.timing import CLOCK, Timing, mean

CANDIDATES = 1 << 16
"""Candidates from the ranges: how many hold up is the effective sample size."""
SIZE = 4000
"""Draws from the posterior."""
BLOCK = 8192
"""Candidates at a time: their arrays stay in cache."""
MIN_ESS = 400
"""Below this the 5th and 95th percentiles themselves are not well known."""

LIMIT = "power.limit_w"
HOST = "sampling.host_us"

VENDOR, DEMO, EARLIER = "vendor", "demo", "earlier demo"
"""Operating points of the one chip."""

NEEDED = {"decode_tokens_per_s", "ttft_s", "die_area_mm2", "card_power_w"}
"""Metrics without which a posterior would be the ranges under another name."""

CALIBRATED_BY = {"hc1-demo": "hc1"}
"""Operating points of a measured chip that have a chip file of their own."""


@dataclass(frozen=True)
class Reading:
    """How a metric of the published rows is measured against the model.

    ``discrepancy`` is the standard deviation, in logarithms, of what a right set of parameters
    would still leave between model and chip. It is a judgement made before any comparison with the
    row itself; ``source`` says on what.
    """

    kind: Kind
    discrepancy: float
    source: str
    shared: bool = False


READINGS = {
    "decode_tokens_per_s": Reading("time", 0.0, "a common factor of all times is in the clock"),
    "reported_tokens_per_s": Reading("time", 0.0, "a common factor of all times is in the clock"),
    "ttft_s": Reading(
        "time",
        0.10,
        "prompts of 18 to 22 tokens cannot tell a fixed cost of a request from a cost per token; "
        "two tokens' time in twenty; one unknown for all samples",
        shared=True,
    ),
    "die_area_mm2": Reading(
        "at most",
        0.04,
        "logic, about a fifth of the die, is counted by hand from its arithmetic: 20%",
    ),
    "transistors": Reading("at most", 0.04, "as the die's area; periphery is in no block"),
    "context_tokens": Reading("at least", 0.0, "tokens are counted"),
    "card_power_w": Reading(
        "level",
        0.25,
        "between the 15% and the 56% by which ours exceeds the power of ROMA, at the two loads "
        "that it may be of",
    ),
}
"""Metrics that tell something of the parameters. Others repeat these: the server's rate is ten
times the card's, the server's power was said in the same breath as the card's, the mean step and
the mean prefill are means of the samples."""


def measurements(chip: str) -> tuple[Measurement, ...]:
    """The published rows of a chip that can be compared with the model, as measurements.

    Raises
    ------
    InputError
        If nothing, or not enough, is published of the chip.
    """
    if chip in CALIBRATED_BY:
        raise InputError(
            f"{chip}: is {CALIBRATED_BY[chip]} at another clock and calibrated with it: "
            f"hardwire calibrate {CALIBRATED_BY[chip]}"
        )
    rows = published(chip) if chip in systems() else ()
    if not _enough(rows):
        can = [name for name in systems() if _enough(published(name))]
        raise InputError(
            f"{chip}: cannot be calibrated: this takes a chip of the catalogue of which "
            f"{', '.join(sorted(NEEDED))} are published (there is {', '.join(can)})"
        )
    found = [_measurement(row, rows) for row in rows if row.metric in READINGS]
    return tuple(found)


def _enough(rows: Sequence[PublishedRow]) -> bool:
    return {row.metric for row in rows} >= NEEDED


def _measurement(row: PublishedRow, rows: Sequence[PublishedRow]) -> Measurement:
    reading = READINGS[row.metric]
    assert row.value is not None
    value, unit = row.value, row.unit
    if row.metric == "decode_tokens_per_s":
        value, unit = 1 / value, "s"
    elif row.metric == "reported_tokens_per_s":
        tokens = float(row.conditions["output"])
        value, unit = tokens / ((tokens - 1) * value), "s"
    return Measurement(
        id=row.id,
        metric=row.metric,
        kind=reading.kind,
        value=value,
        unit=unit,
        error=(row.sigma or 0.0) / row.value,
        discrepancy=reading.discrepancy,
        discrepancy_source=reading.source,
        shared=reading.shared,
        point=_point(row, rows) if reading.kind in ("time", "level") else "",
    )


def _point(row: PublishedRow, rows: Sequence[PublishedRow]) -> str:
    """The operating point of a row: the demo changed its speed once."""
    if row.conditions["chip"] not in CALIBRATED_BY:
        return VENDOR
    since = next(str(r.conditions["since"]) for r in rows if "since" in r.conditions)
    return DEMO if str(row.conditions["date"]) >= since else EARLIER


@dataclass(frozen=True)
class Posterior:
    """One chip after its measurements.

    Attributes
    ----------
    chip : its uncertain parameters are arrays, shape ``(size,)``, at the vendor's clock;
        ``predict(posterior.chip, …)`` carries them into any prediction.
    chosen : (size,) which candidates these are; repeats where the effective sample size is small.
    clocks_ghz : by operating point, (size,).
    weighed : all candidates.
    """

    chip: Chip
    chosen: NDArray[np.int64]
    clocks_ghz: dict[str, Array]
    weighed: Weighed

    @property
    def ess(self) -> float:
        return self.weighed.ess

    def at(self, point: str) -> Chip:
        """The chip at the clock of another operating point."""
        return self.chip._replaced({CLOCK: self.clocks_ghz[point]})


class Inference:
    """Candidates of one chip and what the model says of every measurement of it.

    Made once; ``posterior`` then asks what any choice of measurements leaves of the candidates.

    Parameters
    ----------
    name : a chip of the catalogue with published measurements.
    candidates : drawn from the ranges, as ``hardwire.simulator.belief.draws`` draws them.

    Raises
    ------
    InputError
        If not enough is published of the chip.
    """

    def __init__(self, name: str, *, candidates: int = CANDIDATES, seed: int = SEED) -> None:
        self.measurements = measurements(name)
        self.chip = Chip.open(name)
        self.model = LanguageModel.open(self.chip.model)
        self.seed = seed
        self.drawn = {
            key: draw(
                parameter, DECLARED[key], candidates, self.stream(DECLARED[key].stream or key)
            )
            for key, parameter in self.chip.parameters.items()
            if parameter.range is not None and key != CLOCK and len(set(parameter.range)) == 2
        }
        self.rows = {row.id: row for row in published(name)}
        host = self.drawn.get(HOST, np.full(candidates, self.chip.sampling.host_us))
        self._host_s = host * 1e-6
        self.modelled = self._modelled(candidates)

    def stream(self, name: str) -> np.random.Generator:
        """A random stream of its own for each consumer, by name."""
        return stream(self.seed, name)

    def posterior(
        self, used: Sequence[Measurement] | None = None, *, size: int = SIZE
    ) -> Posterior:
        """The chip given some measurements, by default all.

        Raises
        ------
        InputError
            If no candidate agrees with them.
        """
        chosen_measurements = self.measurements if used is None else used
        try:
            weighed = weigh(self.modelled, chosen_measurements, self.stream)
        except ValueError as error:
            raise InputError(f"{self.chip.name}: {error}") from None
        chosen = resample(weighed.weights, size, self.stream("resample"))
        clocks = {point: values[chosen] for point, values in weighed.clocks_ghz.items()}
        values = {key: array[chosen] for key, array in self.drawn.items()}
        chip = self.chip._replaced({**values, CLOCK: clocks[VENDOR]})
        return Posterior(chip, chosen, clocks, weighed)

    def _chips(self, size: int, clock: Array | None = None) -> Any:
        for start in range(0, size, BLOCK):
            part = slice(start, start + BLOCK)
            values = {key: array[part] for key, array in self.drawn.items()}
            if clock is not None:
                values[CLOCK] = clock[part]
            yield part, self.chip._replaced(values)

    def _modelled(self, size: int) -> Modelled:
        times = [m for m in self.measurements if m.kind == "time"]
        log_s = {m.id: np.empty(size) for m in times}
        self._step_cycles = {
            m.id: np.empty(size) for m in self.measurements if m.metric == "card_power_w"
        }
        self._activities: dict[tuple[str, int], Activity] = {}
        fixed = {
            m.id: np.empty(size)
            for m in self.measurements
            if m.kind != "time" and m.metric != "card_power_w"
        }
        for part, chip in self._chips(size):
            step = _Steps(chip, self.model)
            for m in times:
                log_s[m.id][part] = np.log(step.of(self.rows[m.id]) * 1e-9)
            for key, cycles in self._step_cycles.items():
                cycles[part] = step.of(self.rows[key])
                context = _mean_context(self.rows[key])
                self._activities[key, part.start] = step.token.activity(context, sampled=True)
            for key, values in fixed.items():
                values[part] = _level(self.rows[key], chip, self.model)
        low, high = self.chip.parameters[CLOCK].range or (np.nan, np.nan)
        bounds = {VENDOR: (low, high)}
        for other, name in CALIBRATED_BY.items():
            if name == self.chip.name:
                own = Chip.open(other).parameters[CLOCK].range
                assert own is not None
                bounds |= {DEMO: own, EARLIER: own}
        apart = {m.id: self._host_s for m in times}  # of a step, and once in a prompt
        return Modelled(size, log_s, fixed, self._clocked, bounds, apart, self._possible)

    def _decoding(
        self, key: str, clocks_ghz: Mapping[str, Array]
    ) -> Iterator[tuple[slice, Chip, Activity, Array]]:
        """Candidates at the vendor's clock and the measured rate: part, chips, token and rate."""
        cycles = self._step_cycles[key]
        for part, chip in self._chips(len(cycles), clocks_ghz[VENDOR]):
            step_s = cycles[part] / (chip.datapath.clock_ghz * 1e9) + self._host_s[part]
            yield part, chip, self._activities[key, part.start], 1 / step_s

    def _clocked(self, clocks_ghz: Mapping[str, Array]) -> dict[str, Array]:
        """Card power, limit or not."""
        found = {}
        for key, cycles in self._step_cycles.items():
            watts = np.empty(len(cycles))
            for part, chip, activity, rate in self._decoding(key, clocks_ghz):
                free = chip._replaced({LIMIT: np.inf})
                watts[part] = power(free, self.model, activity, rate).card_w
            found[key] = watts
        return found

    def _possible(self, clocks_ghz: Mapping[str, Array]) -> NDArray[np.bool_]:
        """Which candidates could have decoded as was measured."""
        found = np.ones(len(self._host_s), bool)
        for key in self._step_cycles:
            for part, chip, activity, rate in self._decoding(key, clocks_ghz):
                found[part] &= possible(chip, self.model, activity, rate)
        return found


def _mean_context(row: PublishedRow) -> float:
    return float(decode_context(int(row.conditions["prompt"]), int(row.conditions["output"])))


class _Steps:
    """Cycles of decode steps and prompts, without the host: linear in context."""

    def __init__(self, chip: Chip, model: LanguageModel) -> None:
        self.token = Timing.of(chip._replaced({HOST: 0.0}), model).tokens[0]
        near, far = (token_cycles(self.token, context) for context in (1, 1001))
        self.head = near["lm_head_sampling"]
        self.start: Any = sum(near.values())
        self.slope: Any = (far["attention"] - near["attention"]) / 1000

    def decode(self, context: Any) -> Any:
        return self.start + self.slope * (context - 1)

    def of(self, row: PublishedRow) -> Any:
        """Cycles of the time that a row is about: the mean decode step, or to the first token."""
        if row.metric != "ttft_s":
            return self.decode(_mean_context(row))
        prompt = int(row.conditions["prompt"])
        alone = prompt * (self.decode((prompt + 1) / 2) - self.head) + self.head
        return alone - (prompt - 1) * self.token.ahead(mean(prompt / 2))


def _level(row: PublishedRow, chip: Chip, model: LanguageModel) -> Any:
    if row.metric == "die_area_mm2":
        return area(chip, model)["total"]
    if row.metric == "transistors":
        return transistors(chip, model)["total"]
    return sram_budget(chip, model, users=1, context_tokens=1).max_context_tokens


def with_discrepancy(used: Sequence[Measurement], metric: str, factor: float) -> list[Measurement]:
    """The measurements with the discrepancy of one metric multiplied."""
    return [
        dataclasses.replace(m, discrepancy=m.discrepancy * factor) if m.metric == metric else m
        for m in used
    ]
