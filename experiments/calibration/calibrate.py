"""What the published measurements say of a chip's unpublished parameters, and what follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.brief import one_line
from hardwire.models.chip import DECLARED
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import is_log
from hardwire.simulator.belief.chip import (
    CANDIDATES,
    EARLIER,
    VENDOR,
    Inference,
    Posterior,
    with_discrepancy,
)
from hardwire.simulator.belief.draws import SEED
from hardwire.simulator.belief.posterior import Array, Measurement, predictive
from hardwire.simulator.belief.predictions import predictions
from hardwire.simulator.timing import CLOCK

LANES = "datapath.lanes"
ADAPTERS = ("r16:all-linear", "r64:all-linear")
QUANTILES = (0.05, 0.5, 0.95)

PINNED, NARROWED, SHIFTED = 0.25, 0.85, 0.15
"""Width of the 90 % interval after, over before; and the move of the median, in widths before."""

OUTER, LEANING = 0.1, 2.0
"""A posterior leans on a bound where the outer tenth of the candidates holds twice its share."""

TIE = 0.2
"""Rank correlation from which two parameters are reported as tied by the measurements."""

DRIVERS = 3
"""Parameters named with a prediction."""

FACTORS = (0.5, 2.0)
"""By which each stated discrepancy is multiplied, to see what hangs on it."""


@dataclass(frozen=True)
class ParameterRow:
    """A parameter before and after: 5th, 50th and 95th percentile.

    Attributes
    ----------
    log : its range is even on a logarithmic scale, on which widths are compared.
    width : of the interval after, over that before.
    shift : of the median, in widths of the interval before; positive is up.
    bound : ``upper`` or ``lower`` where the posterior leans on the end of the range, else "".
    verdict : ``pinned``, ``narrowed``, ``shifted up``, ``shifted down`` or ``open``.
    """

    name: str
    unit: str
    log: bool
    prior: list[float]
    posterior: list[float]
    width: float
    shift: float
    bound: str
    verdict: str


@dataclass(frozen=True)
class PredictionRow:
    """A prediction as the chip is filed, from the rate alone, and from all measurements."""

    key: str
    name: str
    unit: str
    filed: float
    rate_alone: list[float]
    posterior: list[float]


@dataclass(frozen=True)
class LeftOut:
    """A measurement predicted from all the others.

    Attributes
    ----------
    interval : 5th, 50th and 95th percentile of what would be measured.
    measured : the measured value, or the limit.
    below : share of the predicted below the measured.
    inside : a measured value lies in the interval; a limit is kept by more than 5 %.
    """

    id: str
    kind: str
    unit: str
    interval: list[float]
    measured: float
    below: float
    inside: bool
    ess: float


@dataclass(frozen=True)
class Sensitivity:
    """The posterior with one discrepancy multiplied, or one kind of measurement left out."""

    change: str
    ess: float
    power_w: list[float]
    clock_ghz: list[float]
    loss_percent: list[float]


@dataclass(frozen=True)
class Report:
    """Everything that ``hardwire calibrate`` shows.

    Attributes
    ----------
    rate_alone : what the vendor's rate says by itself, as the intervals of ``hardwire run`` do.
    drivers : by prediction, the parameters with the highest rank correlations with it over the
        posterior: what would have to be known.
    left_out : each measurement predicted from the others.
    takes_rank : share of the draws whose side paths take the rank of an adapter, by its name.
    """

    inference: Inference
    posterior: Posterior
    rate_alone: Posterior
    shapes: list[tuple[str, AdapterShape]]
    parameters: list[ParameterRow]
    ties: list[tuple[str, str, float]]
    predictions: list[PredictionRow]
    drivers: dict[str, list[tuple[str, float]]]
    left_out: list[LeftOut]
    sensitivity: list[Sensitivity]
    takes_rank: dict[str, float]

    def __repr__(self) -> str:
        pinned = sum(row.verdict == "pinned" for row in self.parameters)
        return one_line(
            self,
            self.inference.chip.name,
            f"{len(self.inference.measurements)} measurements",
            f"{pinned} of {len(self.parameters)} parameters pinned",
            f"effective sample size {self.posterior.ess:,.0f}",
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, in SI units."""
        return {
            "chip": self.inference.chip.name,
            "candidates": self.inference.modelled.size,
            "effective_sample_size": self.posterior.ess,
            "draws": len(self.posterior.chosen),
            "seed": self.inference.seed,
            "measurements": [
                dataclasses.asdict(_as_published(self.inference, m))
                for m in self.inference.measurements
            ],
            "parameters": [dataclasses.asdict(row) for row in self.parameters],
            "ties": [{"one": a, "other": b, "rank_correlation": rho} for a, b, rho in self.ties],
            "predictions": [dataclasses.asdict(row) for row in self.predictions],
            "drivers": {
                key: [{"parameter": name, "rank_correlation": rho} for name, rho in found]
                for key, found in self.drivers.items()
            },
            "left_out": [dataclasses.asdict(row) for row in self.left_out],
            "sensitivity": [dataclasses.asdict(row) for row in self.sensitivity],
            "takes_rank": self.takes_rank,
        }


def calibrate(
    chip: str,
    adapters: Sequence[str] = ADAPTERS,
    *,
    seed: int = SEED,
    candidates: int = CANDIDATES,
) -> Report:
    """Infer the parameters of a chip from all that was published of it.

    Parameters
    ----------
    chip : name in the catalogue.
    adapters : shapes such as ``r64:all-linear``, whose cost is predicted.
    candidates : drawn from the ranges.

    Raises
    ------
    InputError
        If not enough is published of the chip, or a shape is none.
    """
    inference = Inference(chip, seed=seed, candidates=candidates)
    shapes = [(text, _shape(text, inference.model)) for text in adapters]
    posterior = inference.posterior()
    rate_alone = inference.posterior(
        [m for m in inference.measurements if m.point == VENDOR and m.kind == "time"]
    )
    return Report(
        inference=inference,
        posterior=posterior,
        rate_alone=rate_alone,
        shapes=shapes,
        parameters=_parameters(inference, posterior),
        ties=_ties(posterior),
        predictions=_predictions(inference, rate_alone, posterior, shapes),
        drivers=_drivers(inference, posterior, shapes),
        left_out=left_out(inference),
        sensitivity=_sensitivity(inference, posterior, shapes),
        takes_rank={
            name: float(np.mean(np.asarray(posterior.chip.formats.max_rank) >= shape.rank))
            for name, shape in shapes
        },
    )


def _shape(text: str, model: LanguageModel) -> AdapterShape:
    if ":" not in text:
        raise InputError(f"--adapter {text}: give a shape such as r64:all-linear")
    return AdapterShape.from_text(text, model)


def percentiles(values: Any) -> list[float]:
    """5th, 50th and 95th percentile; a cost is of the draws whose die can be made."""
    array = np.asarray(values, dtype=float)
    finite = np.isfinite(array)
    array = array[finite] if finite.any() else array
    return [float(x) for x in np.quantile(array, QUANTILES, method="inverted_cdf")]


def _parameters(inference: Inference, posterior: Posterior) -> list[ParameterRow]:
    """Parameters, those that the measurements changed most first."""
    spread = inference.stream("prior clock").random(inference.modelled.size)
    found: dict[str, tuple[str, Array, Array, bool]] = {}
    for point, (low, high) in inference.modelled.bounds_ghz.items():
        before = low * (high / low) ** spread
        after = posterior.clocks_ghz[point]
        found[f"{CLOCK}, {point}"] = ("GHz", before, after, True)
        if point == VENDOR:
            lanes = inference.drawn[LANES]
            product = lanes[posterior.chosen] * after
            found[f"{LANES} × clock"] = ("/ns", lanes * before, product, True)
    for name, values in inference.drawn.items():
        low, high = inference.chip.parameters[name].range or (0.0, 0.0)
        log = is_log(low, high)
        found[name] = (DECLARED[name].unit, values, values[posterior.chosen], log)
    rows = [_parameter(name, *data) for name, data in found.items()]
    return sorted(rows, key=lambda row: row.width - abs(row.shift))


def _parameter(name: str, unit: str, before: Array, after: Array, log: bool) -> ParameterRow:
    prior, posterior = percentiles(before), percentiles(after)
    b, a = (np.log(x) if log else np.asarray(x) for x in (prior, posterior))
    width = float((a[2] - a[0]) / (b[2] - b[0]))
    shift = float((a[1] - b[1]) / (b[2] - b[0]))
    bound = ""
    for end, side in (("lower", -1), ("upper", 1)):
        edge = np.quantile(side * before, 1 - OUTER)
        share, usual = np.mean(side * after >= edge), np.mean(side * before >= edge)
        if share >= LEANING * usual:
            bound = end
    return ParameterRow(
        name, unit, log, prior, posterior, width, shift, bound, _verdict(width, shift)
    )


def _verdict(width: float, shift: float) -> str:
    if width <= PINNED:
        return "pinned"
    if width <= NARROWED:
        return "narrowed"
    if abs(shift) >= SHIFTED:
        return "shifted up" if shift > 0 else "shifted down"
    return "open"


def _ties(posterior: Posterior) -> list[tuple[str, str, float]]:
    """Pairs of parameters that the measurements tie, by rank correlation, strongest first."""
    names, ranks = _ranked(posterior)
    matrix = np.atleast_2d(np.corrcoef(ranks))
    found = [
        (names[i], names[j], float(matrix[i, j]))
        for i in range(len(names))
        for j in range(i)
        if abs(matrix[i, j]) >= TIE
    ]
    return sorted(found, key=lambda tie: -abs(tie[2]))


def _drivers(
    inference: Inference, posterior: Posterior, shapes: list[tuple[str, AdapterShape]]
) -> dict[str, list[tuple[str, float]]]:
    names, ranks = _ranked(posterior)
    wanted = ["power", *(f"loss.{name}" for name, _ in shapes)]
    found = {}
    for one in predictions(posterior.chip, inference.model, shapes):
        values = np.asarray(one.values, dtype=float)
        if one.key not in wanted or np.ptp(values) == 0:
            continue
        rho = np.corrcoef(np.vstack([ranks, _ranks(values)]))[-1, :-1]
        best = np.argsort(-np.abs(rho))[:DRIVERS]
        found[one.key] = [(names[k], float(rho[k])) for k in best]
    return found


def _ranked(posterior: Posterior) -> tuple[list[str], Array]:
    """Names of the uncertain parameters, and the ranks of their draws, (parameters, size)."""
    names = [
        name
        for name, parameter in posterior.chip.parameters.items()
        if parameter.range is not None and np.ptp(posterior.chip.value(name)) > 0
    ]
    return names, np.stack([_ranks(posterior.chip.value(name)) for name in names])


def _ranks(values: Array) -> NDArray[np.float64]:
    """Ranks with ties at their mean."""
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - count / 2)[where], dtype=float)


def _predictions(
    inference: Inference,
    rate_alone: Posterior,
    posterior: Posterior,
    shapes: list[tuple[str, AdapterShape]],
) -> list[PredictionRow]:
    filed, before, after = (
        predictions(chip, inference.model, shapes)
        for chip in (inference.chip, rate_alone.chip, posterior.chip)
    )
    return [
        PredictionRow(
            one.key, one.name, one.unit, float(one.values),
            percentiles(old.values), percentiles(new.values),
        )
        for one, old, new in zip(filed, before, after, strict=True)
    ]  # fmt: skip


def left_out(inference: Inference) -> list[LeftOut]:
    """Each measurement predicted from all others; at the end all times to first token at once."""
    rows = []
    for m in inference.measurements:
        others = [other for other in inference.measurements if other.id != m.id]
        alone = m.kind == "time" and not any(other.point == m.point for other in others)
        rows.append(_predicted(inference, m, others, ", clock unknown" if alone else ""))
    ttft = [m for m in inference.measurements if m.metric == "ttft_s" and m.point != EARLIER]
    others = [m for m in inference.measurements if m.metric != "ttft_s"]
    if ttft:
        rows.append(_mean_ttft(inference, ttft, others))
    return rows


def _predicted(
    inference: Inference, m: Measurement, others: Sequence[Measurement], note: str
) -> LeftOut:
    found = inference.posterior(others)
    rng = inference.stream(f"predicted {m.id}")
    values = predictive(m, inference.modelled, found.weighed, found.chosen, rng)
    said = _as_published(inference, m)
    if said.unit != m.unit:
        values = said.value * m.value / values
    return _judged(m.id + note, said, values, said.value, found.ess)


def _as_published(inference: Inference, m: Measurement) -> Measurement:
    """A rate, which is inferred from as the time of a step, in tokens/s; all others as they are."""
    row = inference.rows[m.id]
    if row.unit == m.unit or row.value is None:
        return m
    return dataclasses.replace(m, value=row.value, unit=row.unit)


def _mean_ttft(
    inference: Inference, ttft: Sequence[Measurement], others: Sequence[Measurement]
) -> LeftOut:
    """All times to first token predicted from the rest, as their mean per prompt token."""
    found = inference.posterior(others)
    # One stream: the discrepancy is the same for all, and is drawn as such.
    shared = inference.stream("predicted ttft").standard_normal(len(found.chosen))
    predicted, measured = [], []
    for m in ttft:
        prompt = float(inference.rows[m.id].conditions["prompt"])
        own = dataclasses.replace(m, shared=False, discrepancy=0.0)
        rng = inference.stream(f"predicted {m.id}")
        values = predictive(own, inference.modelled, found.weighed, found.chosen, rng)
        predicted.append(values * np.exp(m.discrepancy * shared) / prompt)
        measured.append(m.value / prompt)
    mean = np.mean(predicted, axis=0)
    return _judged(
        f"demo TTFT a token, all {len(ttft)}", ttft[0], mean, float(np.mean(measured)), found.ess
    )


def _judged(name: str, m: Measurement, values: Array, measured: float, ess: float) -> LeftOut:
    low, middle, high = percentiles(values)
    below = float(np.mean(values <= measured))
    inside = {
        "at most": below > QUANTILES[0],
        "at least": below < QUANTILES[-1],
    }.get(m.kind, low <= measured <= high)
    return LeftOut(name, m.kind, m.unit, [low, middle, high], measured, below, inside, ess)


def _sensitivity(
    inference: Inference, posterior: Posterior, shapes: list[tuple[str, AdapterShape]]
) -> list[Sensitivity]:
    """What hangs on each stated discrepancy, and on each kind of measurement."""
    used = inference.measurements
    cases: list[tuple[str, Sequence[Measurement] | None]] = [("as stated", None)]
    metrics = sorted({m.metric for m in used if m.discrepancy})
    for metric in metrics:
        cases += [
            (f"{metric}: discrepancy × {factor:g}", with_discrepancy(used, metric, factor))
            for factor in FACTORS
        ]
        cases.append((f"{metric}: left out", [m for m in used if m.metric != metric]))
    rows = []
    for change, chosen in cases:
        found = posterior if chosen is None else inference.posterior(chosen)
        by_key = {q.key: q.values for q in predictions(found.chip, inference.model, shapes[-1:])}
        loss = by_key[f"loss.{shapes[-1][0]}"] if shapes else np.zeros(1)
        rows.append(
            Sensitivity(
                change,
                found.ess,
                percentiles(by_key["power"]),
                percentiles(found.clocks_ghz[VENDOR]),
                percentiles(loss),
            )
        )
    return rows
