"""What a metric depends on: Sobol indices over the ranges of a chip file, and one at a time.

First-order index: the share of a metric's variance that a parameter causes by itself. Total index:
the share that it takes part in. I. M. Sobol', Mathematics and Computers in Simulation 55 (2001);
sampling and estimators of A. Saltelli et al., Computer Physics Communications 181 (2010), in SALib.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from hardwire.experiments.shared.extras import needs
from hardwire.experiments.sweep import Design
from hardwire.experiments.sweep.design import BLOCK, evaluate
from hardwire.experiments.sweep.metrics import CLOSED_FORM, check_metrics
from hardwire.models.brief import one_line
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.errors import InputError
from hardwire.models.parameters import Parameter, at_quantiles
from hardwire.simulator.belief.draws import calibrate
from hardwire.simulator.obstacles import OBSTACLES

SAMPLES = 1024
RESAMPLES = 100
"""Of the bootstrap, for the confidence of an index."""
CONFIDENCE = 0.95
MATTERS = 0.01
"""A total index below this share of the variance is not shown."""
LIMIT = "power.limit_w"
LOOSE = 0.5
"""Half-width of an interval of an index, which lies between 0 and 1, that says nothing of it."""
RETICLE = "process.reticle_mm2"
MEASUREMENT = "measurement"
"""Name of the calibration's own error among the inputs."""


@dataclass(frozen=True)
class Input:
    """One uncertain number.

    Attributes
    ----------
    name : of the parameter, or ``MEASUREMENT``.
    value, low, high : as the chip file states them.
    parameter : whose range it is, from which the intervals of ``hardwire run`` draw, too; None of
        what is normal.
    integer : whether values are rounded.
    normal : standard deviation, for a normal distribution around the value; otherwise 0.
    """

    name: str
    value: float
    low: float
    high: float
    parameter: Parameter | None = None
    integer: bool = False
    normal: float = 0.0

    @classmethod
    def of(cls, name: str, parameter: Parameter) -> Input:
        """The input of a parameter that has a range."""
        assert parameter.range is not None
        low, high = parameter.range
        return cls(
            name,
            float(parameter.value),
            low,
            high,
            parameter=parameter,
            integer=DECLARED[name].integer,
        )

    def at(self, quantiles: np.ndarray) -> np.ndarray:
        """Values at quantiles in [0, 1], distributed as by ``hardwire.models.parameters.draw``."""
        if self.normal:
            inverse = np.vectorize(NormalDist(self.value, self.normal).inv_cdf)
            return np.asarray(inverse(np.clip(quantiles, 1e-12, 1 - 1e-12)))
        assert self.parameter is not None
        found = at_quantiles(self.parameter, quantiles)
        return np.rint(found) if self.integer else found


@dataclass(frozen=True)
class Effect:
    """What one input does to one metric.

    Attributes
    ----------
    first, total : Sobol indices; ``first_error`` and ``total_error`` are half-widths of their 95 %
        confidence intervals by bootstrap.
    at_low, at_high : the metric with the input at the ends of its range, all others as filed; NaN
        where the calibration cannot be met there.
    """

    input: Input
    first: float
    first_error: float
    total: float
    total_error: float
    at_low: float
    at_high: float

    @property
    def swing(self) -> float:
        """How far the metric moves from one end of the range to the other."""
        return float(np.nan_to_num(abs(self.at_high - self.at_low)))


@dataclass(frozen=True)
class Sensitivity:
    """The effects of all inputs on one metric, largest total index first.

    Attributes
    ----------
    filed : the metric of the chip as filed.
    mean, deviation : of the metric over the samples.
    left_out : samples without a finite metric, or which no fit reproduces.
    cannot_run : share of the samples whose chip could not run the load at all.
    """

    metric: str
    filed: float
    mean: float
    deviation: float
    effects: tuple[Effect, ...]
    left_out: int
    cannot_run: float

    @property
    def that_matter(self) -> tuple[Effect, ...]:
        """Effects that cause at least a hundredth of the variance, with others."""
        return tuple(effect for effect in self.effects if effect.total >= MATTERS)

    @property
    def of_a_few(self) -> bool:
        """Whether so few samples have the variance that the indices tell nothing.

        As of a cost, or of a time, where the power limit nearly stops a chip: without end.
        """
        return max(effect.total_error for effect in self.effects) > LOOSE


@dataclass(frozen=True)
class Report:
    """Sensitivities of some metrics, and how they were found.

    Attributes
    ----------
    calibrated : whether the calibrated parameter was fitted again for every sample.
    samples, evaluations : the base samples, and the designs that were computed for them.
    """

    design: Design
    calibrated: bool
    samples: int
    evaluations: int
    seed: int
    metrics: tuple[Sensitivity, ...]

    def __repr__(self) -> str:
        first = [f"{one.metric} by {one.effects[0].input.name}" for one in self.metrics]
        return one_line(self, self.design.chip.name, f"{self.samples:,} samples", *first)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with all inputs."""
        return {
            "chip": self.design.chip.name,
            "calibrated": self.calibrated,
            "samples": self.samples,
            "evaluations": self.evaluations,
            "seed": self.seed,
            "metrics": {
                one.metric: {
                    "unit": CLOSED_FORM[one.metric].unit,
                    "filed": one.filed,
                    "mean": one.mean,
                    "standard_deviation": one.deviation,
                    "samples_left_out": one.left_out,
                    "share_that_cannot_run": one.cannot_run,
                    "indices_tell": not one.of_a_few,
                    "inputs": {
                        effect.input.name: {
                            "value": effect.input.value,
                            "range": [effect.input.low, effect.input.high],
                            "first": effect.first,
                            "first_error": effect.first_error,
                            "total": effect.total,
                            "total_error": effect.total_error,
                            "at_low": effect.at_low,
                            "at_high": effect.at_high,
                        }
                        for effect in one.effects
                    },
                }
                for one in self.metrics
            },
        }


def inputs_of(chip: Chip, calibrated: bool = False) -> tuple[Input, ...]:
    """Everything that a chip file leaves open, parameters of its process too.

    Parameters
    ----------
    calibrated : leave out the calibrated parameter, which is then fitted, and take in the error of
        the measurement that it is fitted to.

    Raises
    ------
    InputError
        If nothing has a range, or ``calibrated`` is asked of a chip without a calibration.
    """
    measured = chip.as_filed or chip
    fitted = measured.calibration if calibrated else None
    if calibrated and fitted is None:
        raise InputError(f"{chip.name}: --calibrated: the chip has no calibration")
    if calibrated and (chip.overrides or chip.as_filed is not None):
        raise InputError(
            f"{chip.name}: --calibrated: is for a chip as measured, without settings over it"
        )
    found = [
        Input.of(name, parameter)
        for name, parameter in {**measured.parameters, **chip.own}.items()
        if parameter.range is not None
        and parameter.range[0] < parameter.range[1]
        and (name not in chip.overrides or name in chip.own)
        and not (fitted is not None and name in (fitted.parameter, LIMIT))
    ]
    if fitted is not None:
        sd = fitted.value * fitted.relative_error
        low, high = fitted.value - 1.645 * sd, fitted.value + 1.645 * sd
        found.append(Input(MEASUREMENT, fitted.value, low, high, normal=sd))
    if not found:
        raise InputError(f"{chip.name}: no parameter has a range: nothing to vary")
    return tuple(found)


def analyse(
    design: Design,
    metrics: Sequence[str],
    *,
    calibrated: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Report:
    """Sobol indices and one-at-a-time effects of all inputs on some metrics.

    Parameters
    ----------
    design : chip, adapter and load.
    metrics : names from ``CLOSED_FORM``.
    calibrated : False asks what moves a design: every parameter is free. True asks what is open
        about the measured chip: the calibrated parameter follows the others, and the measurement's
        error, so that each sample reproduces the measurement.
    samples : base samples, rounded up to a power of two; each takes two evaluations more than there
        are inputs.

    Raises
    ------
    InputError
        On an unknown metric, nothing to vary, a metric that is the same everywhere or not a number
        for the chip as filed, or ranges in which the calibration cannot be met.
    """
    needs("SALib", "hardwire sensitivity")
    names = check_metrics(metrics, CLOSED_FORM, "--metric")
    inputs = inputs_of(design.chip, calibrated)
    count = 1 << max(samples - 1, 1).bit_length()

    def values(points: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return _metrics(design, inputs, points, names, calibrated)

    filed = values(np.array([[each.value for each in inputs]]))[0]
    if filed["obstacle"][0]:
        raise InputError(
            f"{design.chip.name}: as filed it cannot run this load: "
            f"{OBSTACLES[int(filed['obstacle'][0])]}"
        )
    for name in names:
        if not np.isfinite(filed[name][0]):
            raise InputError(f"--metric {name}: the chip has none without an adapter")
    quantiles = sobol_sample(len(inputs), count, seed)
    points = np.stack([each.at(quantiles[:, j]) for j, each in enumerate(inputs)], axis=1)
    found, solved = values(points)
    single = np.tile([each.value for each in inputs], (2 * len(inputs), 1))
    for j, each in enumerate(inputs):
        single[2 * j, j], single[2 * j + 1, j] = each.low, each.high
    alone, reached = values(single)
    # An end of a range that no fit reproduces is no design that could be the measured chip.
    alone = {name: np.where(reached, alone[name], np.nan) for name in names}
    parts = []
    for name in names:
        first, total, left_out, used = _indices(found[name], solved, len(inputs), seed, name)
        effects = [
            Effect(
                input=each,
                first=float(first[0, j]),
                first_error=float(first[1, j]),
                total=float(total[0, j]),
                total_error=float(total[1, j]),
                at_low=float(alone[name][2 * j]),
                at_high=float(alone[name][2 * j + 1]),
            )
            for j, each in enumerate(inputs)
        ]
        parts.append(
            Sensitivity(
                metric=name,
                filed=float(filed[name][0]),
                mean=float(used.mean()),
                deviation=float(used.std()),
                effects=tuple(sorted(effects, key=lambda e: (-e.total, -e.swing, e.input.name))),
                left_out=left_out,
                cannot_run=float(np.mean(found["obstacle"] != 0)),
            )
        )
    return Report(design, calibrated, count, len(points), seed, tuple(parts))


def sobol_sample(inputs: int, samples: int, seed: int) -> np.ndarray:
    """Quantiles in Saltelli's scheme, without second-order columns.

    Returns
    -------
    Shape ``(samples * (inputs + 2), inputs)``: for each base sample a row of matrix A, A with one
    column from B in turn, and B; what ``sobol_indices`` expects.

    Notes
    -----
    The rows are SALib's, ``SALib.sample.sobol.sample``, which fills them one number at a time.
    """
    # SciPy, which SALib needs, has no stubs.
    from scipy.stats import qmc  # type: ignore[import-untyped]  # noqa: PLC0415

    generator = np.random.default_rng(seed)
    base = qmc.Sobol(d=2 * inputs, scramble=True, rng=generator).random(samples)
    a, b = base[:, :inputs], base[:, inputs:]
    rows = np.repeat(a[:, None, :], inputs + 2, axis=1)
    for column in range(inputs):
        rows[:, column + 1, column] = b[:, column]
    rows[:, -1, :] = b
    return rows.reshape(-1, inputs)


def sobol_indices(values: np.ndarray, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """First and total Sobol indices by SALib.

    Parameters
    ----------
    values : of a function at the rows of ``sobol_sample``.

    Returns
    -------
    first, total : each of shape ``(2, inputs)``: the index, and the half-width of its 95 %
        confidence interval by bootstrap.
    """
    analyze = needs("SALib.analyze.sobol", "hardwire sensitivity")
    problem = {"num_vars": inputs, "names": [str(n) for n in range(inputs)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = analyze.analyze(
            problem, values, calc_second_order=False, num_resamples=RESAMPLES,
            conf_level=CONFIDENCE, seed=seed + 1,
        )  # fmt: skip
    return (
        np.array([found["S1"], found["S1_conf"]]),
        np.array([found["ST"], found["ST_conf"]]),
    )


def _indices(
    values: np.ndarray, solved: np.ndarray, inputs: int, seed: int, name: str
) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Indices over the base samples all of whose rows have a number."""
    rows = values.reshape(-1, inputs + 2)
    whole = (np.isfinite(values) & solved).reshape(rows.shape).all(axis=1)
    used = rows[whole].ravel()
    left_out = int((~whole).sum())
    if left_out > 0.5 * len(rows):
        raise InputError(
            f"--metric {name}: {left_out:,} of {len(rows):,} samples have no value, too many"
        )
    if np.ptp(used) <= 1e-12 * abs(used[0]):
        raise InputError(f"--metric {name}: is {used[0]:g} everywhere in these ranges")
    first, total = sobol_indices(used, inputs, seed)
    return first, total, left_out, used


def _metrics(
    design: Design,
    inputs: Sequence[Input],
    points: np.ndarray,
    names: tuple[str, ...],
    calibrated: bool,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Metrics at rows of input values, and which rows the calibration can meet."""
    settings = {
        each.name: points[:, j] for j, each in enumerate(inputs) if each.name != MEASUREMENT
    }
    solved = np.ones(len(points), bool)
    if calibrated:
        calibration = design.chip.calibration
        assert calibration is not None
        target = points[:, [each.name for each in inputs].index(MEASUREMENT)]
        fitted = np.empty(len(points))
        for begin in range(0, len(points), BLOCK):
            part = slice(begin, begin + BLOCK)
            chip = design.chip._replaced({k: v[part] for k, v in settings.items()})
            fitted[part], solved[part] = calibrate(chip, target[part])
        settings[calibration.parameter] = fitted
        # The measured chip reaches its rate: no limit holds it. Draws of intervals leave out what a
        # limit would hold (simulator.belief.possible). Indices are of independent inputs, which
        # such a rule would tie, so that here the limit itself is lifted.
        settings[LIMIT] = np.full(len(points), DECLARED[LIMIT].high)
    # Half of the designs between the ranges' ends exceed a reticle. What moves a cost is asked of
    # dies of any size: an infinite one has no variance.
    settings[RETICLE] = np.full(len(points), DECLARED[RETICLE].high)
    return evaluate(design, settings, names), solved
