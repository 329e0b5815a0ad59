"""How exactly the points of a study are computed: closed forms, the compiled engine, or replays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hardwire.experiments.sweep.design import Design, groups
from hardwire.experiments.sweep.design import evaluate as closed_forms
from hardwire.experiments.sweep.fidelity_replay import evaluate_replay
from hardwire.experiments.sweep.fidelity_system import evaluate_systems
from hardwire.experiments.sweep.metrics import CLOSED_FORM

if TYPE_CHECKING:
    from hardwire.experiments.sweep.study import Study

ENGINE_BLOCK = 1024
"""Points simulated at a time: the last token of each of their users is in memory."""

_RATES = (
    "decode_tokens_per_s_user", "decode_tokens_per_s_chip", "token_s", "ttft_s",
    "prefill_tokens_per_s",
)  # fmt: skip
_THROTTLES = ("power_throttle", "prefill_power_throttle")


def evaluate(study: Study, settings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics of points at the fidelity of their study.

    Parameters
    ----------
    settings : by name, arrays of shape ``(points,)``: what ``Study.settings`` gives.

    Returns
    -------
    Arrays of shape ``(points,)``: every name of ``study.columns`` as float64; ``obstacle``, an int8
    index into ``OBSTACLES``; ``failure``, text that says why a replay could not be, '' elsewhere.
    Simulated numbers are NaN where there is an obstacle.

    Raises
    ------
    InputError
        If a word among the settings of a design cannot be used.
    """
    if study.fidelity == "replay":
        return evaluate_replay(study, settings)
    if study.fidelity == "system":
        result = evaluate_systems(study, settings)
    elif study.fidelity == "engine":
        result = _engine(study.base, settings, study.columns)
    else:
        result = closed_forms(study.base, settings, study.columns)
    result["failure"] = np.full(len(result["obstacle"]), "", object)
    return result


def _engine(
    base: Design, settings: Mapping[str, np.ndarray], columns: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Metrics of points whose times the compiled engine measures."""
    from hardwire.simulator.engines.designs import batch_rates  # noqa: PLC0415 - numba only where needed

    wanted = {*columns, *_THROTTLES}
    stated = tuple(name for name in CLOSED_FORM if name in wanted and not _is_measured(name))
    result = closed_forms(base, settings, stated)
    points = len(result["obstacle"])
    measured = [name for name in columns if _is_measured(name)]
    result |= {name: np.full(points, np.nan) for name in measured}
    runs = result["obstacle"] == 0
    for group, members in groups(settings, points):
        design = base.with_settings(group)
        free = {name: values for name, values in settings.items() if name not in group}
        able = members[runs[members]]
        for begin in range(0, len(able), ENGINE_BLOCK):
            chosen = able[begin : begin + ENGINE_BLOCK]
            block = design.with_settings({name: values[chosen] for name, values in free.items()})
            found = batch_rates(
                block.chip,
                block.model,
                block.adapter,
                prompt=block.prompt,
                output=block.output,
                users=block.users,
                power_throttle=result["power_throttle"][chosen],
                prefill_throttle=result["prefill_power_throttle"][chosen],
            )
            for name in measured:
                part = name.removeprefix("breakdown_s.")
                values = getattr(found, name) if name in _RATES else found.breakdown_s[part]
                result[name][chosen] = values
    return {name: result[name] for name in (*columns, "obstacle")}


def _is_measured(name: str) -> bool:
    return name in _RATES or name.startswith("breakdown_s.")
