"""Which candidates could have done what was measured: one rule for draws and for the posterior."""

from __future__ import annotations

from typing import Any

from hardwire.models.chip import Chip
from hardwire.models.energy import Activity, power
from hardwire.models.language_model import LanguageModel
from hardwire.models.pipeline import clock_reached


def possible(chip: Chip, model: LanguageModel, activity: Activity, tokens_per_s: Any) -> Any:
    """Where a chip reaches its clock, and its card decodes so many such tokens within its limit.

    The measured chip did both, whatever is not known of it. Numbers of the chip and the rate may be
    arrays with one element per candidate.
    """
    return clock_reached(chip) & (power(chip, model, activity, tokens_per_s).throttle == 1)
