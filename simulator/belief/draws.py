"""What the unpublished parameters leave open: draws from their ranges, tied by the calibration.

Each draw takes every parameter that has a range from that range (what is not there as filed, from 0
on, is not there in half of the draws), then solves the calibrated one so that the draw reproduces
the measurement it was fitted to, itself drawn within its error. Draws that would need the
calibrated parameter outside its range are rejected, and those that could not have done what was
measured (``hardwire.simulator.belief.possible``). What-if settings of a user are applied
afterwards: they change a chip, not what is believed of the measured one. So are the differences of
a file that extends a measured chip, drawn from the ranges that it gives them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.breakdown import DECLARED as OF_BREAKDOWN
from hardwire.models.breakdown import Breakdown
from hardwire.models.calibration import Calibration
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter, draw
from hardwire.simulator.belief.possible import possible
from hardwire.simulator.closed_form import decode_context, token_cycles
from hardwire.simulator.timing import Timing

DRAWS = 2000
SEED = 20260219
PERCENTILES = (5, 95)
MIN_ACCEPTED = 100
CANDIDATES = (2, 16)
"""Candidates per draw that are tried: mostly half are kept, and else more are worth the time."""
BISECTIONS = 40
"""Halvings of the calibrated parameter's range: to a 10^-12th of it."""


def calibrate(chip: Chip, target_s: Any | None = None) -> tuple[Any, Any]:
    """Solve the calibrated parameter for the measured decode step.

    Parameters
    ----------
    chip : its other parameters may be arrays.
    target_s : measured seconds per token, by default the calibration's value.

    Returns
    -------
    value, solved : the parameter, and where a value inside its range reproduces the step.

    Notes
    -----
    Bisection over the parameter's range; decode time is monotone in every rate-like parameter.
    """
    assert chip.calibration is not None
    target = np.asarray(chip.calibration.value if target_s is None else target_s)
    return _solved(_timed(chip, chip.calibration), chip.calibration, target)


def _timed(chip: Chip, calibration: Calibration) -> Timing:
    """The tokens that were measured."""
    model = LanguageModel.open(chip.model)
    loaded = calibration.adapter
    return Timing.of(chip, model, (Adapter.from_shape(loaded, model),) if loaded else ())


def _solved(timing: Timing, calibration: Calibration, target: Any) -> tuple[Any, Any]:
    chip = timing.chip
    parameter = chip.parameters[calibration.parameter]
    assert parameter.range is not None
    context = decode_context(calibration.prompt, calibration.output)

    def step(value: Any) -> Any:
        tried = chip._replaced({calibration.parameter: value})
        again = timing.recounted(tried, calibration.parameter)
        return sum(token_cycles(again.tokens[-1], context).values()) / again.hz

    slow, fast = (np.full_like(target, bound, dtype=float) for bound in parameter.range)
    if np.all(step(slow) < step(fast)):
        slow, fast = fast, slow
    solved = (step(slow) >= target) & (step(fast) <= target)
    slow, fast = np.broadcast_arrays(slow, fast, solved)[:2]
    for _ in range(BISECTIONS):
        middle = (slow + fast) / 2
        too_slow = step(middle) > target
        slow, fast = np.where(too_slow, middle, slow), np.where(too_slow, fast, middle)
    return ((slow + fast) / 2)[()], solved[()]


def draw_chips(chip: Chip, size: int = DRAWS, seed: int = SEED) -> Chip:
    """One ``Chip`` whose uncertain parameters are arrays of shape ``(size,)``, or fewer.

    The same seed gives the same draws; each parameter has a stream of its own, so that a new
    parameter never shifts the draws of another. Fewer than ``size`` come back where few candidates
    reproduce the calibration.

    Raises
    ------
    InputError
        If the chip stands for many designs, or fewer than 100 of ``16 · size`` candidates
        reproduce the calibration.
    """
    for name, value in chip.overrides.items():
        if np.ndim(value):
            raise InputError(f"{chip.name}: {name}: is an array, but draws are of one design")
    measured = chip.as_filed or chip
    if chip.calibration is None:
        drawn = _candidates(measured.parameters, size, seed)
    else:
        drawn = _reproducing(measured, chip.calibration, size, seed)
    length = len(next(iter(drawn.values())))
    overrides = {name: _like(value, length) for name, value in chip.overrides.items()}
    overrides |= _candidates(chip.own, length, seed)
    return dataclasses.replace(measured._replaced({**drawn, **overrides}), overrides=chip.overrides)


def _candidates(parameters: Mapping[str, Parameter], size: int, seed: int) -> dict[str, np.ndarray]:
    return {
        name: draw(parameter, DECLARED[name], size, stream(seed, DECLARED[name].stream or name))
        for name, parameter in parameters.items()
        if parameter.range is not None and parameter.kind != "calibrated"
    }


def _reproducing(
    chip: Chip, calibration: Calibration, size: int, seed: int
) -> dict[str, np.ndarray]:
    """The first ``size`` candidates that reproduce the measurement, its own error drawn too."""
    for factor in CANDIDATES:
        drawn = _candidates(chip.parameters, factor * size, seed)
        error = stream(seed, "measurement").standard_normal(factor * size)
        target = calibration.value * (1 + calibration.relative_error * error)
        timing = _timed(chip._replaced(drawn), calibration)
        value, solved = _solved(timing, calibration, target)
        at_rate = chip._replaced({**drawn, calibration.parameter: value})
        timing = timing.recounted(at_rate, calibration.parameter)
        did = solved & _could_decode(timing, calibration, 1 / target)
        kept = np.flatnonzero(did)[:size]
        if len(kept) == size:
            break
    if len(kept) < MIN_ACCEPTED:
        raise InputError(
            f"{chip.name}: calibration: only {len(kept)} of {factor * size} draws from the ranges "
            f"reproduce the measurement of {calibration.parameter}"
        )
    drawn[calibration.parameter] = value
    return {name: values[kept] for name, values in drawn.items()}


def draw_breakdown(chip: Breakdown, size: int = DRAWS, seed: int = SEED) -> Breakdown:
    """One ``Breakdown`` whose uncertain parameters are arrays of shape ``(size,)``.

    Constants of a process are drawn as for chips on it: the same seed gives them the same values.
    """
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for name, parameter in chip.parameters.items():
        if parameter.range is not None:
            group, _, key = name.partition(".")
            spec = (DECLARED if group == "process" else OF_BREAKDOWN)[name]
            drawn.setdefault(group, {})[key] = draw(parameter, spec, size, stream(seed, name))
    return dataclasses.replace(
        chip,
        **{group: dataclasses.replace(getattr(chip, group), **new) for group, new in drawn.items()},
    )


def at_measured_rate(chip: Chip, calibration: Calibration, limit_w: Any) -> Any:
    """Where a limit of the card's power, W, lets a chip decode as fast as was measured."""
    timing = _timed(chip._replaced({"power.limit_w": limit_w}), calibration)
    return _could_decode(timing, calibration, 1 / calibration.value)


def _could_decode(timing: Timing, calibration: Calibration, tokens_per_s: Any) -> Any:
    context = decode_context(calibration.prompt, calibration.output)
    activity = timing.tokens[-1].activity(context, sampled=True)
    return possible(timing.chip, timing.model, activity, tokens_per_s)


def interval(values: Any) -> list[float]:
    """The 5th and 95th percentile of some draws."""
    # Order statistics, not interpolation: some draws may be infinite.
    array = np.asarray(values, dtype=float)
    return [float(x) for x in np.percentile(array, PERCENTILES, method="inverted_cdf")]


def _like(value: Any, length: int) -> Any:
    return value if isinstance(value, str) else np.full(length, value)


def stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each consumer, by name."""
    return np.random.default_rng([seed, *name.encode()])
