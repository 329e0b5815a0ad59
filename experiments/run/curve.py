"""The rate of a run against the rank of its adapter, with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.simulator.belief.draws import PERCENTILES, draw_chips
from hardwire.simulator.closed_form import predict
from hardwire.simulator.single import Result

BAND_DRAWS = 500
CURVE_POINTS = 32


def rank_curve(result: Result) -> dict[str, Any]:
    """Decode rate of one user by the rank of an adapter, with its 90 % interval, as plain lists.

    On the targets and in the format of the run's adapter, or on all linear layers.
    """
    chip, model, report = result.chip, result.model, result.adapter
    targets = "+".join(report.adapter.targets) if report else "all-linear"
    fmt = report.adapter_format if report else str(chip.formats.adapter_format)
    load = {"prompt": result.prompt, "output": result.output, "users": result.users}
    top = int(chip.formats.max_rank)
    ranks = np.unique(np.linspace(1, top, min(top, CURVE_POINTS)).astype(int))
    drawn = draw_chips(chip, BAND_DRAWS)
    bounds = []
    for rank in ranks:
        shape = Adapter.from_shape(f"r{rank}:{targets}:{fmt}", model)
        rates = predict(drawn, model, adapter=shape, **load).decode_tokens_per_s_user
        bounds.append(np.percentile(rates, PERCENTILES))
    shapes = AdapterShape.of(model, targets, ranks, fmt)
    rate = predict(chip, model, adapter=shapes, **load).decode_tokens_per_s_user
    return {
        "targets": targets,
        "format": fmt,
        "adapter_rank": None if report is None else report.adapter.max_rank,
        "rank": ranks.tolist(),
        "decode_tokens_per_s_user": np.broadcast_to(rate, ranks.shape).tolist(),
        "low": [float(low) for low, _ in bounds],
        "high": [float(high) for _, high in bounds],
    }
