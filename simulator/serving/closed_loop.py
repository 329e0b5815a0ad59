"""Closed loops: so many requests in flight, the next of which comes when one ends."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog


def with_refused(
    served: NDArray[np.int64], came_s: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Arrivals of all requests of a closed loop, from those of the ones that can be served.

    One that never can be takes no place in the loop: it comes and goes with the one before it.

    Parameters
    ----------
    served : (S,) places of those that can be, in order.
    came_s : (S,) their arrivals, NaN where they never came.
    count : of all requests.
    """
    before = np.searchsorted(served, np.arange(count), side="right")
    return np.concatenate([[0.0], came_s])[before]


def arrived(workload: Workload, log: ServingLog) -> tuple[Workload, ServingLog]:
    """The workload of a closed loop as it turned out, and its log: what came, and when.

    Requests that had not come when the loop was cut off are left out. The workload is as long as
    the loop. Of stated arrivals both come back as they are.
    """
    if log.arrival_s is None:
        return workload, log
    came = int(np.isfinite(log.arrival_s).sum())  # later ones come later, or never
    at = log.arrival_s[:came]
    columns = {name: column[:came] for name, column in log.to_arrays().items()}
    turned_out = dataclasses.replace(
        workload,
        arrival_s=at,
        prompt=workload.prompt[:came],
        output=workload.output[:came],
        adapter=workload.adapter[:came],
        prefixes=None if workload.prefixes is None else workload.prefixes.take(np.arange(came)),
        duration_s=max(log.end_s, float(at.max(initial=0.0))),
        concurrency=None,
    )
    return turned_out, dataclasses.replace(log, **columns, arrival_s=at)
