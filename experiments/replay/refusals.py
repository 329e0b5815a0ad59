"""Why requests of a replay were refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.fit import adapter_obstacle
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog, Status

REFUSAL_REASONS = {
    "too_long": "longer than the context, or than the memory beside the adapter",
    "adapter_too_big": "an adapter that can never be loaded",
}


def causes(
    workload: Workload, log: ServingLog, adapters: Sequence[Adapter], chip: Chip | None
) -> dict[str, str]:
    """By reason of refusal, what is in the way of the first request that was refused for it.

    Parameters
    ----------
    chip : on the cards of the server; of a GPU server None, which has no such causes.
    """
    refused = np.flatnonzero(log.status == Status.ADAPTER_TOO_BIG)
    if chip is None or len(refused) == 0:
        return {}
    adapter = adapters[int(workload.adapter[refused[0]])]
    found = adapter_obstacle(chip, LanguageModel.open(chip.model), adapter)
    return {} if found is None else {Status.ADAPTER_TOO_BIG.name.lower(): found}


def refusal(data: Mapping[str, Any], reason: str) -> str:
    """How many requests of a summary were refused for a reason, and its cause."""
    number = data["refusals"][reason]
    cause = data.get("refusal_causes", {}).get(reason)
    because = f" ({cause})" if cause else ""
    return f"{number:,} request{'s' * (number != 1)} refused: {REFUSAL_REASONS[reason]}{because}"


def nothing_served(data: Mapping[str, Any]) -> str | None:
    """Why a server can serve no request of a load at all, by its summary, or None."""
    if data["requests"] == 0 or data["refused"] < data["requests"]:
        return None
    parts = [refusal(data, reason) for reason, number in data["refusals"].items() if number]
    return f"nothing of {data['workload']} can ever be served: {'; '.join(parts)}"
