"""How well the rows that a GPU server's coefficients were solved from know them.

As many coefficients as rows: their covariance is that of the rows' errors, carried back through the
slopes of the rows in the coefficients. ``python -m hardwire.experiments.calibration.gpu_solved
trtllm-h100`` prints the block ``fit`` of the server's file.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.validation.bench import Bench
from hardwire.experiments.validation.gpu import saturated_rate
from hardwire.models.gpu_server import BatchServer
from hardwire.models.published import published

STEP = 0.02
"""Share by which a coefficient is moved for a slope: rates answer to a hundredth of it."""


def covariance(server: BatchServer, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Covariance of the coefficients that were solved from the server's saturated rows.

    Parameters
    ----------
    names : the coefficients, as many as there are rows of role ``calibration``.

    Returns
    -------
    (N, N) in the order of ``names``: ``J⁻¹ S J⁻ᵀ`` with the slopes ``J`` of the logarithms of the
    rates and the errors ``S`` of the published ones.
    """
    rows = [
        row
        for row in published("gpu")
        if row.conditions.get("server") == server.name and row.role == "calibration"
    ]
    if len(rows) != len(names):
        raise ValueError(f"{len(names)} coefficients are not solved from {len(rows)} rows")
    slopes = np.empty((len(rows), len(names)))
    for column, name in enumerate(names):
        value = getattr(server.batching, name)
        logs = []
        for factor in (1 + STEP, 1 - STEP):
            changed = dataclasses.replace(server.batching, **{name: value * factor})
            moved = dataclasses.replace(server, batching=changed)
            logs.append([np.log(saturated_rate(moved, row)[0]) for row in rows])
        slopes[:, column] = (np.array(logs[0]) - logs[1]) / (2 * STEP * value)
    errors = np.diag([(row.relative_error or 0.0) ** 2 for row in rows])
    back = np.linalg.inv(slopes)
    found: NDArray[np.float64] = back @ errors @ back.T
    return found


if __name__ == "__main__":
    opened = Bench().gpu(sys.argv[1])
    solved = tuple(name for name, one in opened.parameters.items() if one.kind == "calibrated")
    matrix = covariance(opened, solved)
    lines = ", ".join(f"[{', '.join(f'{x:.5g}' for x in row)}]" for row in matrix)
    print(f"fit:\n  names: [{', '.join(solved)}]\n  covariance: [{lines}]\n  rows: {len(solved)}")
