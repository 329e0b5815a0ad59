"""What a solve is after: a metric that is to be at least, or at most, a number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hardwire.experiments.sweep.metrics import CLOSED_FORM, Metric, check_metrics
from hardwire.models.errors import InputError

RATE = "decode_tokens_per_s_user"


@dataclass(frozen=True)
class Goal:
    """A metric that is to be at least, or at most, a limit."""

    metric: str
    side: Literal["at least", "at most"]
    limit: float

    @property
    def known(self) -> Metric:
        """Unit and meaning."""
        return CLOSED_FORM[self.metric]

    def holds(self, values: Any) -> Any:
        """Where it holds; nowhere where the metric is not defined."""
        with np.errstate(invalid="ignore"):
            return (
                np.greater_equal(values, self.limit)
                if self.side == "at least"
                else np.less_equal(values, self.limit)
            )


def make_goal(
    target: float | None, metric: str | None, at_least: float | None, at_most: float | None
) -> Goal:
    """A goal of options: a decode rate, or any metric with one limit.

    Raises
    ------
    InputError
        On no goal or two, a limit that is no number, or an unknown metric.
    """
    if target is not None:
        if metric is not None or at_least is not None or at_most is not None:
            raise InputError("--target: is a goal of its own, without --metric and its limit")
        metric, at_least = RATE, target
    if metric is None or (at_least is None) == (at_most is None):
        raise InputError(
            "--target: a decode rate is expected, or --metric NAME with one of --at-least and "
            "--at-most"
        )
    check_metrics([metric], CLOSED_FORM, "--metric")
    limit = at_least if at_least is not None else at_most
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise InputError(f"--metric {metric}: a number is expected as its limit, not {limit!r}")
    return Goal(metric, "at most" if at_least is None else "at least", float(limit))
