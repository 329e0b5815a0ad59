"""What the unpublished parameters leave open: draws from their ranges, tied by the calibration.

Each draw takes every parameter that has a range from that range, then solves the calibrated one
so that the draw reproduces the measurement it was fitted to, itself drawn within its error. Draws
that would need the calibrated parameter outside its range are rejected. What-if settings of a user
are applied afterwards: they change a chip, not what is believed of the measured one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from models.chip import DECLARED, Chip
from models.errors import InputError
from models.language_model import LanguageModel
from models.parameters import draw
from simulator.closed_form import decode_token_s

DRAWS = 2000
SEED = 20260219
PERCENTILES = (5, 95)
MIN_ACCEPTED = 100


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
    calibration = chip.calibration
    assert calibration is not None
    parameter = chip.parameters[calibration.parameter]
    assert parameter.range is not None
    target: Any = np.asarray(calibration.value if target_s is None else target_s)
    model = LanguageModel.by_name(chip.model)

    def step(value: Any) -> Any:
        return decode_token_s(
            chip.with_values({calibration.parameter: value}),
            model,
            calibration.prompt,
            calibration.output,
        )

    slow, fast = (np.full_like(target, bound, dtype=float) for bound in parameter.range)
    if np.all(step(slow) < step(fast)):
        slow, fast = fast, slow
    solved = (step(slow) >= target) & (step(fast) <= target)
    slow, fast = np.broadcast_arrays(slow, fast, solved)[:2]
    for _ in range(60):
        middle = (slow + fast) / 2
        too_slow = step(middle) > target
        slow, fast = np.where(too_slow, middle, slow), np.where(too_slow, fast, middle)
    return ((slow + fast) / 2)[()], solved[()]


def draw_chips(chip: Chip, size: int = DRAWS, seed: int = SEED) -> Chip:
    """One ``Chip`` whose uncertain parameters are arrays of shape ``(size,)``.

    The same seed gives the same draws; each parameter has a stream of its own, so that a new
    parameter never shifts the draws of another.

    Raises
    ------
    InputError
        If fewer than 100 of ``8 · size`` candidates reproduce the calibration.
    """
    ranged = {
        name: parameter
        for name, parameter in chip.parameters.items()
        if parameter.range is not None and parameter.kind != "calibrated"
    }
    candidates = 8 * size if chip.calibration else size
    measured = chip.as_filed or chip
    drawn = {
        name: draw(parameter, DECLARED[name], candidates, _stream(seed, name))
        for name, parameter in ranged.items()
    }
    trial = measured.with_values(drawn)
    if chip.calibration is not None:
        error = chip.calibration.relative_error * _stream(seed, "measurement").standard_normal(
            candidates
        )
        value, solved = calibrate(trial, chip.calibration.value * (1 + error))
        kept = np.flatnonzero(solved)[:size]
        if len(kept) < MIN_ACCEPTED:
            raise InputError(
                f"{chip.name}: calibration: only {len(kept)} of {candidates} draws from the "
                f"ranges reproduce the measurement of {chip.calibration.parameter}"
            )
        drawn = {name: values[kept] for name, values in drawn.items()}
        drawn[chip.calibration.parameter] = value[kept]
        trial = measured.with_values(drawn)
    length = len(next(iter(drawn.values())))
    overrides = {name: _like(value, length) for name, value in chip.overrides.items()}
    return dataclasses.replace(trial.with_values(overrides), overrides=chip.overrides)


def interval(values: Any) -> list[float]:
    """The 5th and 95th percentile of some draws."""
    # Order statistics, not interpolation: some draws may be infinite.
    array = np.asarray(values, dtype=float)
    return [float(x) for x in np.percentile(array, PERCENTILES, method="inverted_cdf")]


def _like(value: Any, length: int) -> Any:
    return value if isinstance(value, str) else np.full(length, value)


def _stream(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for each consumer, by name."""
    return np.random.default_rng([seed, *name.encode()])
