"""What measurements say of uncertain parameters: importance weights, and draws by those weights.

Candidates come from the ranges. A measurement of a *time* says ``cycles / clock``, and in some of
it no clock counts, which is taken off; the clock of each operating point is a parameter with a flat
prior of its logarithm between two bounds, and is solved in closed form per candidate, together with
what the model may leave out of all times of one metric: both are linear in the logarithm of a time,
and all errors are normal in it. A *level* is a quantity with a normal error of its logarithm. A
*limit* is a quantity that must not pass a value, with an edge as soft as the model is uncertain.
The rest is sampling importance resampling (Rubin 1987): weight candidates by the likelihood, then
draw from them by weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["time", "level", "at most", "at least"]


@dataclass(frozen=True)
class Measurement:
    """One measured value and how far a right model may be from it.

    Attributes
    ----------
    id : names the modelled quantity.
    value : seconds of a time, else in ``unit``.
    error : standard deviation of the measurement's logarithm.
    discrepancy : the same of what the model leaves out.
    discrepancy_source : why it is that large.
    shared : the discrepancy is one unknown common to all measurements of ``metric``; otherwise
        each has its own.
    point : operating point whose clock a time or a level depends on; "" where none.
    """

    id: str
    metric: str
    kind: Kind
    value: float
    unit: str
    error: float
    discrepancy: float = 0.0
    discrepancy_source: str = ""
    shared: bool = False
    point: str = ""

    @property
    def own_sigma(self) -> float:
        """Standard deviation of all that is this measurement's own."""
        return self.error if self.shared else math.hypot(self.error, self.discrepancy)

    @property
    def informative(self) -> bool:
        """Whether it can tell candidates apart at all."""
        return math.isfinite(self.own_sigma)


@dataclass(frozen=True)
class Modelled:
    """What the model says of each measurement, for ``N`` candidates.

    Attributes
    ----------
    size : N.
    log_s : by id of a time, (N,): the logarithm of its seconds at 1 GHz.
    fixed : by id of a level or limit that no clock changes, (N,).
    clocked : levels by id from the clocks in GHz by operating point, each (N,).
    bounds_ghz : range of the clock of each operating point.
    apart_s : by id of a time, (N,): seconds in it that no clock changes; 0 where not given.
    possible : from the clocks, (N,) bool: whether a candidate could have done what was timed.
    """

    size: int
    log_s: Mapping[str, Array]
    fixed: Mapping[str, Array]
    clocked: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    bounds_ghz: Mapping[str, tuple[float, float]]
    apart_s: Mapping[str, Array] = field(default_factory=dict)
    possible: Callable[[Mapping[str, Array]], Any] = lambda clocks: True

    def clocked_share(self, measurement: Measurement) -> Any:
        """Share of a measured time that goes by the clock, (N,) or 1."""
        # Of a time that is all apart, a millionth: no candidate is that far off for nothing.
        share = 1 - np.asarray(self.apart_s.get(measurement.id, 0.0)) / measurement.value
        return np.maximum(share, 1e-6)


@dataclass(frozen=True)
class Weighed:
    """Candidates after some measurements.

    Attributes
    ----------
    weights : (N,), sum 1.
    clocks_ghz : by operating point, (N,): one draw per candidate, given the candidate.
    offsets : by metric with a shared discrepancy, (N,): its draw, in logarithms.
    levels : by id, (N,): levels and limits as modelled, at those clocks.
    """

    weights: Array
    clocks_ghz: dict[str, Array]
    offsets: dict[str, Array]
    levels: dict[str, Array] = field(repr=False)

    @property
    def ess(self) -> float:
        """Effective sample size (Kish): N for equal weights, 1 if one candidate has it all."""
        return effective_sample_size(self.weights)


def effective_sample_size(weights: Array) -> float:
    """``(Σ w)² / Σ w²`` (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def weigh(
    modelled: Modelled,
    measurements: Sequence[Measurement],
    stream: Callable[[str], np.random.Generator],
) -> Weighed:
    """Weights of the candidates given some measurements, and the clocks that go with them.

    Parameters
    ----------
    stream : gives each consumer, by name, a random stream of its own, the same each time: two
        calls with other measurements differ by the measurements only.

    Raises
    ------
    ValueError
        If no candidate has any weight.
    """
    used = [m for m in measurements if m.informative]
    times = sorted((m for m in used if m.kind == "time"), key=lambda m: m.id)
    log_weight, log_clocks, offsets = _timed(modelled, times, stream)
    clocks = {point: np.exp(values) for point, values in log_clocks.items()}
    for point, (low, high) in modelled.bounds_ghz.items():
        inside = (low <= clocks[point]) & (clocks[point] <= high)
        log_weight = np.where(inside, log_weight, -np.inf)
    levels = {**modelled.fixed, **modelled.clocked(clocks)}
    if times:
        log_weight = np.where(modelled.possible(clocks), log_weight, -np.inf)
    for m in sorted((m for m in used if m.kind != "time"), key=lambda m: m.id):
        log_weight = log_weight + _log_likelihood(m, levels[m.id])
    top = log_weight.max()
    if not np.isfinite(top):
        raise ValueError("no candidate agrees with the measurements")
    weights = np.exp(log_weight - top)
    return Weighed(weights / weights.sum(), clocks, offsets, levels)


def _timed(
    modelled: Modelled,
    times: Sequence[Measurement],
    stream: Callable[[str], np.random.Generator],
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Log-likelihood of the times without clocks and offsets, and a draw of these.

    With ``r = log time - log_s``, ``r = B u + noise`` where ``u`` holds the log-clocks, which
    are flat, and the offsets, which are normal: a linear regression with the same matrix for all
    candidates. The relative error of what goes by the clock is taken as that of the whole time: too
    small by the share that is apart, a sixth at most on HC1.
    """
    log_clocks = {}
    seen = sorted({m.point for m in times})
    for point, (low, high) in modelled.bounds_ghz.items():
        if point not in seen:  # nothing measured there: its prior
            uniform = stream(f"clock {point}").random(modelled.size)
            log_clocks[point] = math.log(low) + uniform * math.log(high / low)
    shared = sorted({m.metric for m in times if m.shared and m.discrepancy})
    if not times:
        return np.zeros(modelled.size), log_clocks, {}
    unknowns = [*seen, *shared]
    design = np.zeros((len(times), len(unknowns)))
    for row, m in enumerate(times):
        design[row, seen.index(m.point)] = -1
        if m.metric in shared:
            design[row, len(seen) + shared.index(m.metric)] = 1
    # Relative to one unknown's scale, a millionth stands for an exact measurement.
    inverse = np.array([max(m.own_sigma, 1e-6) ** -2 for m in times])
    prior = [0.0] * len(seen)
    prior += [next(m.discrepancy for m in times if m.metric == name) ** -2 for name in shared]
    precision = design.T @ (inverse[:, None] * design) + np.diag(prior)
    covariance = np.linalg.inv(precision)
    residual = np.stack(
        [
            math.log(m.value) + np.log(modelled.clocked_share(m)) - modelled.log_s[m.id]
            for m in times
        ]
    )
    mean = covariance @ design.T @ (inverse[:, None] * residual)
    scaled = residual * np.sqrt(inverse)[:, None]
    log_weight = -0.5 * ((scaled**2).sum(axis=0) - (mean * (precision @ mean)).sum(axis=0))
    noise = np.stack([stream(f"clock {u}").standard_normal(modelled.size) for u in unknowns])
    drawn = mean + np.linalg.cholesky(covariance) @ noise
    log_clocks |= dict(zip(seen, drawn, strict=False))
    return log_weight, log_clocks, dict(zip(shared, drawn[len(seen) :], strict=True))


def _log_likelihood(measurement: Measurement, level: Array) -> Array:
    """Log-likelihood of a level or a limit, up to a constant."""
    with np.errstate(divide="ignore"):
        distance = math.log(measurement.value) - np.log(level)
    sigma = measurement.own_sigma
    if measurement.kind == "level":
        return np.asarray(-0.5 * (distance / sigma) ** 2)
    side = distance if measurement.kind == "at most" else -distance
    if sigma == 0:
        return np.where(side >= 0, 0.0, -np.inf)
    # A logistic edge of that standard deviation: as a normal one, in closed form.
    return np.asarray(-np.logaddexp(0, -math.pi / math.sqrt(3) * side / sigma))


def resample(weights: Array, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of ``size`` candidates by weight, shape ``(size,)``, in random order.

    Systematic resampling (Kitagawa 1996): candidate ``i`` comes ``size · w_i`` times, rounded up
    or down.
    """
    edges = np.cumsum(weights)
    places = (rng.random() + np.arange(size)) / size * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, places, side="right"), len(weights) - 1)
    return np.asarray(rng.permutation(chosen), dtype=np.int64)


def predictive(
    measurement: Measurement,
    modelled: Modelled,
    weighed: Weighed,
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> Array:
    """Draws of what would be measured, its error and the model's discrepancy included.

    Shape ``(len(chosen),)``. Of a limit: draws of the limited quantity, with the discrepancy.
    """
    log_value: Any
    if measurement.kind == "time":
        clock = weighed.clocks_ghz[measurement.point][chosen]
        apart = np.broadcast_to(modelled.apart_s.get(measurement.id, 0.0), modelled.size)[chosen]
        log_value = np.log(np.exp(modelled.log_s[measurement.id][chosen]) / clock + apart)
    else:
        log_value = np.log(weighed.levels[measurement.id][chosen])
    if measurement.shared and measurement.discrepancy:
        offset = weighed.offsets.get(measurement.metric)
        if offset is None:  # no other measurement of the metric: its prior
            log_value = log_value + measurement.discrepancy * rng.standard_normal(len(chosen))
        else:
            log_value = log_value + offset[chosen]
    noise = measurement.own_sigma * rng.standard_normal(len(chosen))
    return np.asarray(np.exp(log_value + noise), dtype=float)
