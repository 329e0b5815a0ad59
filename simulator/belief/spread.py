"""One question over all draws of what the unpublished parameters leave open, and its intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.belief.draws import draw_chips, interval
from hardwire.simulator.closed_form import ClosedForms, Prediction, free_rank, predict
from hardwire.simulator.datapath import adapter_format
from hardwire.simulator.timing import Timing


@dataclass(frozen=True)
class Load:
    """``users`` equal requests that arrive together; lengths in tokens."""

    prompt: int
    output: int
    users: int

    def predict(
        self, chip: Chip, model: LanguageModel, adapter: Adapter | None = None
    ) -> Prediction:
        """The closed forms' answer for this load."""
        return predict(
            chip, model, adapter=adapter, prompt=self.prompt, output=self.output, users=self.users
        )

    def of(self, closed: ClosedForms, adapter: int) -> Prediction:
        """The same from closed forms at hand, for an adapter by its number, 0 for none."""
        return closed.predict(adapter, prompt=self.prompt, output=self.output, users=self.users)


def drawn(
    chip: Chip, model: LanguageModel, adapter: Adapter | None, load: Load
) -> tuple[dict[str, Any], np.ndarray]:
    """Every prediction for each draw of ``hardwire.simulator.belief.draws``.

    Returns
    -------
    values, runs : by name arrays of shape ``(draws,)``, or a number that all share; and which draws
        decode at all: the idle power of the others is above the card's limit.
    """
    chips = draw_chips(chip)
    timing = Timing.of(chips, model, () if adapter is None else (adapter,))
    closed = ClosedForms(timing)
    found = load.of(closed, 0)
    values: dict[str, Any] = {
        "decode_tokens_per_s_user": found.decode_tokens_per_s_user,
        "decode_tokens_per_s_chip": found.decode_tokens_per_s_chip,
        "token_s": found.token_s,
        "ttft_s": found.ttft_s,
        "prefill_tokens_per_s": found.prefill_tokens_per_s,
        "area_mm2.total": found.area_mm2["total"],
        "transistors": found.transistors["total"],
        "power_w": found.power_w,
        "idle_w": found.idle_w,
        "energy_j_per_decode_token": found.energy_j_per_decode_token,
        "energy_j_per_utilized_token": found.energy_j_per_utilized_token,
        "energy_j_per_request": found.energy_j_per_request,
        "die_cost_usd": found.die_cost_usd,
        "usd_per_million_tokens": found.usd_per_million_tokens,
    }
    if adapter is not None:
        loaded = load.of(closed, 1)
        values["adapter_decode_tokens_per_s_user"] = loaded.decode_tokens_per_s_user
        values["adapter_free_rank"] = free_rank(
            chips, model, adapter.targets, adapter_format(chip, adapter), timing=timing
        )
    return values, np.atleast_1d(found.power.throttle) > 0


def intervals(
    chip: Chip, model: LanguageModel, adapter: Adapter | None, load: Load
) -> tuple[dict[str, list[float]], float]:
    """5th and 95th percentile of every prediction, over the draws that decode.

    Costs are over those of them that can be made: see ``hardwire.models.cost.die_cost_usd``.

    Returns
    -------
    interval, share : low and high by name, and the share of the draws that they are of.
    """
    values, runs = drawn(chip, model, adapter, load)
    if runs.any() and not runs.all():
        values = {key: np.broadcast_to(value, runs.shape)[runs] for key, value in values.items()}
    return {
        key: interval(_made(value) if "usd" in key else value) for key, value in values.items()
    }, float(runs.mean())


def _made(usd: Any) -> Any:
    """Costs of the draws that can be made: the measured chip is, whatever area a draw gives it."""
    array = np.atleast_1d(usd)
    finite = np.isfinite(array)
    return array[finite] if finite.any() else array


def changes(
    chips: tuple[Chip, Chip], model: LanguageModel, adapter: Adapter | None, load: Load
) -> dict[str, list[float]]:
    """5th and 95th percentile of what the second chip has over what the first has, less one.

    Both are of one measured chip: what is not known of that is drawn once for the two, so that it
    cancels where it does not bear on the difference.

    Returns
    -------
    By name. Empty where the chips are of different measured ones, whose draws have nothing to do
    with each other, and where no draw decodes on both.
    """
    measured = [chip.as_filed or chip for chip in chips]
    if measured[0].parameters != measured[1].parameters:
        return {}
    (first, runs), (second, also) = (drawn(chip, model, adapter, load) for chip in chips)
    if len(runs) != len(also) and 1 not in (len(runs), len(also)):
        return {}
    both = runs & also
    found = {}
    for key, value in first.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.broadcast_to(np.asarray(second[key]) / value - 1, both.shape)[both]
        if "usd" in key:
            ratio = _made(ratio)
        if ratio.size and np.isfinite(ratio).all():
            found[key] = interval(ratio)
    return found
