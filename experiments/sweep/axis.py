"""Axes of a study: what each one varies, and values for points by number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.experiments.sweep.design import NUMERIC, SETTINGS, check_setting
from hardwire.models.catalogue import did_you_mean
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.errors import InputError
from hardwire.models.parameters import is_log, is_whole

RESERVED = ("number", "key", "feasible", "reason")
"""Columns that every study has, besides its axes and metrics."""

INTERVAL = ("from", "to", "points", "step", "scale")
SCALES = ("linear", "log")
MOST_POINTS = 1_000_000
"""Values of one axis."""


@dataclass(frozen=True)
class Axis:
    """Values of one setting, or of several that change together.

    Attributes
    ----------
    name : the setting, or the name that the study gives to its ``variants``.
    values : what a grid visits; empty for an interval.
    variants : settings of each value, where the values are names of variants.
    low, high, log, integer : of an interval, which random sampling draws from.
    """

    name: str
    values: tuple[Any, ...] = ()
    variants: tuple[Mapping[str, Any], ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    integer: bool = False

    @classmethod
    def read(cls, name: str, data: Any, chip: Chip, where: str) -> Axis:
        """Read what a study file says of an axis.

        ``[8, 16]`` are values; ``range`` is the range that the chip file states;
        ``{from: 8, to: 32}`` is an interval, with ``points: 9`` or ``step: 3`` also for grids and
        ``scale: log``; ``{variants: {NAME: {SETTING: VALUE, …}, …}}`` changes several settings.

        Raises
        ------
        InputError
            On an unknown setting, an empty axis, or values that are not allowed.
        """
        at = f"{where}: axes.{name}"
        if isinstance(data, Mapping) and "variants" in data:
            return cls._read_variants(name, data, at)
        if name not in SETTINGS:
            raise InputError(f"{at}: no such parameter{did_you_mean(name, SETTINGS)}")
        if data == "range":
            return cls._read_range(name, chip, at)
        if isinstance(data, Mapping):
            return cls._read_interval(name, data, at)
        values = data if isinstance(data, list) else [data]
        if not values:
            raise InputError(f"{at}: has no values")
        checked = [check_setting(at, name, value) for value in values]
        if len(set(checked)) != len(checked):
            raise InputError(f"{at}: a value is given twice")
        return cls(name, tuple(checked))

    @classmethod
    def _read_variants(cls, name: str, data: Mapping[str, Any], at: str) -> Axis:
        if set(data) != {"variants"} or not isinstance(data["variants"], Mapping):
            raise InputError(f"{at}: variants must be a mapping of names to settings")
        if name in SETTINGS:
            raise InputError(f"{at}: variants need a name that is no parameter")
        if name.lower() in RESERVED:
            raise InputError(f"{at}: variants need another name: every study has a column of this")
        variants = []
        for label, settings in data["variants"].items():
            if not isinstance(settings, Mapping) or not settings:
                raise InputError(f"{at}.{label}: a mapping of settings is expected")
            variants.append(
                {k: check_setting(f"{at}.{label}.{k}", k, v) for k, v in settings.items()}
            )
        if not variants:
            raise InputError(f"{at}: has no values")
        for label, settings in zip(data["variants"], variants, strict=True):
            for key in variants[0].keys() ^ settings.keys():
                raise InputError(f"{at}.{label}: every variant must set the same; look at {key}")
        return cls(name, tuple(str(label) for label in data["variants"]), tuple(variants))

    @classmethod
    def _read_range(cls, name: str, chip: Chip, at: str) -> Axis:
        parameter = chip.parameters.get(name)
        if parameter is None or parameter.range is None:
            raise InputError(f"{at}: {chip.name} states no range for it; give {{from: …, to: …}}")
        low, high = parameter.range
        integer = DECLARED[name].integer
        return cls(name, low=low, high=high, log=is_log(low, high), integer=integer)

    @classmethod
    def _read_interval(cls, name: str, data: Mapping[str, Any], at: str) -> Axis:
        spec = NUMERIC.get(name)
        if spec is None:
            raise InputError(f"{at}: takes a list of words, not an interval")
        for key in data:
            if key not in INTERVAL:
                raise InputError(f"{at}.{key}: is unknown{did_you_mean(str(key), INTERVAL)}")
        if "from" not in data or "to" not in data:
            raise InputError(f"{at}: an interval needs from and to")
        low, high = (check_setting(f"{at}.{key}", name, data[key]) for key in ("from", "to"))
        if not low < high:
            raise InputError(f"{at}: from {low:g} to {high:g} is empty")
        scale = data.get("scale", "linear")
        if scale not in SCALES or (scale == "log" and low <= 0):
            raise InputError(f"{at}.scale: must be linear, or log for an interval above 0")
        log = scale == "log"
        values: tuple[Any, ...] = ()
        if "points" in data and "step" in data:
            raise InputError(f"{at}: give points or step, not both")
        if "points" in data:
            points = data["points"]
            if not is_whole(points) or not 2 <= points <= MOST_POINTS:
                raise InputError(f"{at}.points: a whole number from 2 to {MOST_POINTS:,}")
            points = int(points)
            found = np.geomspace(low, high, points) if log else np.linspace(low, high, points)
            values = tuple(np.unique(np.rint(found)) if spec.integer else found)
        elif "step" in data:
            step = data["step"]
            if type(step) not in (int, float) or not step > 0 or log:
                raise InputError(f"{at}.step: a number above 0 is expected, on a linear scale")
            count = math.floor((high - low) / step * (1 + 1e-12)) + 1
            if count > MOST_POINTS:
                raise InputError(f"{at}.step: {step} makes {count:,} values")
            values = tuple(low + step * np.arange(count))
        if spec.integer:
            values = tuple(check_setting(at, name, float(value)) for value in values)
        else:
            # Twelve digits: 1.975 and not the nearest sum of steps, in tables and in files.
            values = tuple(float(f"{value:.12g}") for value in values)
        return cls(name, values, low=low, high=high, log=log, integer=spec.integer)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that the axis changes."""
        return tuple(self.variants[0]) if self.variants else (self.name,)

    def at(self, quantiles: np.ndarray) -> np.ndarray:
        """Values at quantiles in [0, 1): of the interval, or one of the values, all as likely."""
        if math.isnan(self.low):
            return np.array(self.values)[(quantiles * len(self.values)).astype(np.int64)]
        if self.integer:
            # Each whole number has the same share of the interval, on its scale.
            low, high = self.low - 0.5, self.high + 0.5
            found = low * (high / low) ** quantiles if self.log else low + (high - low) * quantiles
            return np.clip(np.rint(found), self.low, self.high).astype(np.int64)
        if self.log:
            return self.low * (self.high / self.low) ** quantiles
        return self.low + (self.high - self.low) * quantiles

    def settings(self, column: np.ndarray) -> dict[str, np.ndarray]:
        """The settings of points by their values on this axis."""
        if not self.variants:
            return {self.name: column}
        number = {label: index for index, label in enumerate(self.values)}
        labels, code = np.unique(column, return_inverse=True)
        chosen = np.array([number[label] for label in labels])[code]
        return {
            key: np.array([variant[key] for variant in self.variants])[chosen] for key in self.names
        }
