"""From the log of a replay to the numbers that people compare: rates, latencies, swaps, cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Handover, Occupancy, ServingLog, Status

PERCENTILES = (50, 90, 99)
REFUSALS = (Status.TOO_LONG, Status.ADAPTER_TOO_BIG)

HANDED_S = tuple(one.name for one in fields(Handover) if one.name.endswith("_s"))
"""Times of a handover, in order."""

DEFINITIONS = {
    "TTFT": "first output token − arrival",
    "TPOT": "(last output token − first) / (output tokens − 1), of requests with 2 or more",
    "end to end": "last output token − arrival",
    "percentiles": "TTFT, TPOT and end to end are of completed requests",
    "offered": "what arrived, over the workload's length",
    "served": "what was done, from the workload's begin to the end of the last request",
    "goodput": "completed requests per second that met every SLO given",
    "hit": "adapter in memory when the request was let in, of requests with an adapter",
    "swap": "an adapter loaded into memory",
    "swap wait": "time that requests waited for their adapters while they could otherwise have run",
    "utilization": "busy time of a unit over the time served",
    "energy": "of the whole server, idle time included, per output token",
    "cost": "purchase spread over the server's life, and electricity, per million output tokens",
}
"""What the numbers of ``summarize`` mean; a server's log may say it more exactly."""


@dataclass(frozen=True)
class Slo:
    """Goals that a good answer meets; None where there is none.

    Attributes
    ----------
    ttft_s : time to first token, at most.
    tpot_s : time per output token, at most.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None

    def __post_init__(self) -> None:
        for value in (self.ttft_s, self.tpot_s):
            if value is not None and not 0 < value < math.inf:
                raise ValueError("an SLO is a positive number of seconds")


@dataclass(frozen=True)
class Latency:
    """Latencies of each request in seconds, (N,) float64; NaN where there is none.

    ``tpot_s`` is also NaN for requests of one output token.
    """

    ttft_s: NDArray[np.float64]
    tpot_s: NDArray[np.float64]
    e2e_s: NDArray[np.float64]

    @classmethod
    def of(cls, workload: Workload, log: ServingLog) -> Latency:
        """Latencies by ``DEFINITIONS``; TPOT and end to end only of completed requests."""
        done = log.status == Status.COMPLETED
        several = done & (workload.output > 1)
        tpot = np.full(len(workload), np.nan)
        between = log.finish_s[several] - log.first_token_s[several]
        tpot[several] = between / (workload.output[several] - 1)
        e2e = np.where(done, log.finish_s - workload.arrival_s, np.nan)
        return cls(log.first_token_s - workload.arrival_s, tpot, e2e)


def summarize(
    workload: Workload, log: ServingLog, slo: Slo | None = None, *, server: str = ""
) -> dict[str, Any]:
    """The numbers of a replay, as plain values in SI units.

    Parameters
    ----------
    workload : Workload
        N requests, those of the log.
    log : ServingLog
    slo : Slo, optional
        Without one every completed request counts as good.
    server : str
        Its name.

    Returns
    -------
    dict
        See ``docs/serving.md`` for every key. What is undefined, such as a percentile of no
        requests or energy per token of no tokens, is None.

    Raises
    ------
    ValueError
        If the log is not of this workload.
    """
    if len(log.status) != len(workload):
        raise ValueError("the log holds another number of requests than the workload")
    totals = Totals(slo or Slo())
    latency = totals.add(workload, log)
    done = log.status == Status.COMPLETED
    levels = {
        "ttft_s": percentiles(latency.ttft_s[done]),
        "tpot_s": percentiles(latency.tpot_s[done & (workload.output > 1)]),
        "e2e_s": percentiles(latency.e2e_s[done]),
    }
    memory = _memory(log.occupancy, log.end_s, log.capacity_bytes, len(log.units))
    return summary_of(workload, log, totals, levels, memory, server=server)


class Totals:
    """Sums over requests, which may come in parts.

    Parameters
    ----------
    slo : Slo
    """

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self.counts = np.zeros(len(Status), np.int64)
        self.requests = self.good = self.generated = self.reused = self.preemptions = 0
        self.prompt = self.offered_prompt = self.offered_output = 0
        self.asked = self.hits = 0
        self.swap_wait_s = self.done_wait_s = 0.0
        self.latency_s = {"ttft_s": 0.0, "tpot_s": 0.0, "e2e_s": 0.0}
        self.latencies = dict.fromkeys(self.latency_s, 0)

    def add(self, workload: Workload, log: ServingLog) -> Latency:
        """Count some requests; their latencies."""
        done = log.status == Status.COMPLETED
        latency = Latency.of(workload, log)
        good = done.copy()
        for goal, values in ((self.slo.ttft_s, latency.ttft_s), (self.slo.tpot_s, latency.tpot_s)):
            if goal is not None:
                good &= ~(values > goal)  # NaN, the TPOT of one token, meets any goal
        self.requests += len(workload)
        self.counts += np.bincount(log.status, minlength=len(Status))
        self.good += int(good.sum())
        self.generated += int(log.generated.sum())
        self.prompt += int(workload.prompt[np.isfinite(log.first_token_s)].sum())
        self.offered_prompt += int(workload.prompt.sum())
        self.offered_output += int(workload.output.sum())
        self.reused += int(log.reused_tokens.sum())
        self.preemptions += int(log.preemptions.sum())
        self.asked += int((log.adapter_hit >= 0).sum())
        self.hits += int((log.adapter_hit == 1).sum())
        self.swap_wait_s += float(log.swap_wait_s.sum())
        self.done_wait_s += float(log.swap_wait_s[done].sum())
        for name, who in (
            ("ttft_s", done),
            ("tpot_s", done & (workload.output > 1)),
            ("e2e_s", done),
        ):
            values = getattr(latency, name)[who]
            self.latency_s[name] += float(values.sum())
            self.latencies[name] += len(values)
        return latency

    def __iadd__(self, other: Totals) -> Totals:
        """Those of other requests, too."""
        for name, value in vars(other).items():
            if isinstance(value, dict):
                mine = getattr(self, name)
                setattr(self, name, {key: mine[key] + value[key] for key in mine})
            elif name != "slo":
                setattr(self, name, getattr(self, name) + value)
        return self


def summary_of(
    workload: Workload,
    log: ServingLog,
    totals: Totals,
    levels: Mapping[str, Mapping[str, float | None]],
    memory: Mapping[str, Any],
    *,
    server: str,
) -> dict[str, Any]:
    """The numbers of a replay whose requests were counted before.

    Parameters
    ----------
    workload, log : their columns by request are not looked at.
    totals : of all requests.
    levels : percentiles of ``ttft_s``, ``tpot_s`` and ``e2e_s``.
    memory : ``sram`` of the summary.
    """
    counts, generated, prompt = totals.counts, totals.generated, totals.prompt
    completed = int(counts[Status.COMPLETED])
    usd = log.capex_usd_per_s * log.end_s + log.energy_usd_per_j * log.energy_j
    return {
        "server": server,
        "workload": workload.name,
        "requests": totals.requests,
        "completed": completed,
        "refused": int(sum(counts[status] for status in REFUSALS)),
        "refusals": {status.name.lower(): int(counts[status]) for status in REFUSALS},
        "unfinished": int(counts[Status.UNFINISHED]),
        "interrupted": log.definitions.get("interrupted"),
        "warnings": list(log.warnings),
        "adapters": len(workload.adapters),
        "generated_tokens": generated,
        "prompt_tokens": prompt,
        "reused_prompt_tokens": totals.reused,
        "duration_s": float(log.end_s),
        "offered": {
            "duration_s": float(workload.duration_s),
            **_rates(
                workload.duration_s,
                totals.requests,
                totals.offered_output,
                totals.offered_prompt,
            ),
        },
        "served": _rates(log.end_s, completed, generated, prompt),
        "output_tokens_per_s": _ratio(generated, log.end_s),
        **{
            name: {"mean": _ratio(total, totals.latencies[name]), **levels[name]}
            for name, total in totals.latency_s.items()
        },
        "slo": {"ttft_s": totals.slo.ttft_s, "tpot_s": totals.slo.tpot_s},
        "goodput": _ratio(totals.good, log.end_s),
        "slo_met": _ratio(totals.good, totals.requests),
        "swaps": int(log.swaps),
        "adapter_hit_rate": _ratio(totals.hits, totals.asked),
        "swap_wait_s": totals.swap_wait_s,
        "swap_wait_share": _ratio(totals.done_wait_s, totals.latency_s["e2e_s"]),
        "preemptions": totals.preemptions,
        "utilization": {name: _utilization(busy, log.end_s) for name, busy in log.busy_s.items()},
        "units": len(log.units),
        "peak_sram_bytes": memory["peak_bytes"],
        "sram": dict(memory),
        "server_energy_j": float(log.energy_j),
        "server_energy_by_part_j": {name: float(value) for name, value in log.energy_by_j.items()},
        "server_power_w": _ratio(log.energy_j, log.end_s),
        "server_energy_j_per_output_token": _ratio(log.energy_j, generated),
        "usd": float(usd),
        "usd_per_million_tokens": _ratio(1e6 * usd, generated),
        "definitions": definitions(log.definitions),
        **handed_over(log),
    }


def handed_over(log: ServingLog) -> dict[str, Any]:
    """``handover`` of a summary of a disaggregated server; of others nothing."""
    handed = log.handover
    if handed is None:
        return {}
    found: dict[str, Any] = {}
    for name in HANDED_S:
        values = getattr(handed, name)
        known = values[np.isfinite(values)]
        mean = float(known.mean()) if len(known) else None
        found[name] = {"mean": mean, **percentiles(known)}
    return {"handover": {**found, "kv_bytes": int(handed.kv_bytes.sum())}}


def definitions(of_server: Mapping[str, str]) -> dict[str, str]:
    """``DEFINITIONS``, with those that the server's log says more exactly; its own words first."""
    own = {word: text for word, text in of_server.items() if word != "interrupted"}
    more = {word: text for word, text in own.items() if word not in DEFINITIONS}
    return {**more, **DEFINITIONS, **own}


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None


def _rates(seconds: float, requests: int, output: int, prompt: int) -> dict[str, float | None]:
    return {
        "requests_per_s": _ratio(requests, seconds),
        "output_tokens_per_s": _ratio(output, seconds),
        "prompt_tokens_per_s": _ratio(prompt, seconds),
    }


def percentiles(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Percentiles, linear between neighbours; None where there are no values."""
    names = [f"p{level}" for level in PERCENTILES]
    if len(values) == 0:
        return dict.fromkeys(names)
    return dict(zip(names, map(float, np.percentile(values, PERCENTILES)), strict=True))


def _utilization(busy_s: NDArray[np.float64], seconds: float) -> dict[str, float | None]:
    """Busy shares of the units of a class: the mean unit, and the busiest."""
    if len(busy_s) == 0:
        return {"mean": None, "max": None}
    return {
        "mean": _ratio(float(busy_s.mean()), seconds),
        "max": _ratio(float(busy_s.max()), seconds),
    }


def _memory(used: Occupancy, end_s: float, capacity: int, units: int) -> dict[str, Any]:
    """Bytes in use on one card or GPU: the most at any time, and the mean over time and units.

    The samples are steps: each holds until its unit's next one. Before its first sample a unit is
    empty.
    """
    columns = {
        "": used.kv_bytes + used.adapter_bytes,
        "kv_": used.kv_bytes,
        "adapter_": used.adapter_bytes,
    }
    byte_seconds = dict.fromkeys(columns, 0.0)
    for unit in range(units):
        rows = np.flatnonzero(used.unit == unit)
        # Logs are nearly always in order, where a stable sort is one pass.
        rows = rows[np.argsort(used.time_s[rows], kind="stable")]
        times = np.append(np.minimum(used.time_s[rows], end_s), end_s)
        held = np.diff(times)
        for name, values in columns.items():
            byte_seconds[name] += float((values[rows] * held).sum())
    result: dict[str, Any] = {"capacity_bytes": int(capacity)}
    for name, values in columns.items():
        result[f"peak_{name}bytes"] = int(values.max(initial=0))
        result[f"mean_{name}bytes"] = _ratio(byte_seconds[name], end_s * units)
    return result


def request_columns(workload: Workload, log: ServingLog) -> dict[str, NDArray[Any]]:
    """What each request asked, how it ended and when, (N,) each, in the order of saved files.

    Adapters, states, units and hits are numbers, for which a file has words of its own kind.
    """
    latency = Latency.of(workload, log)
    return {
        "request": np.arange(len(workload), dtype=np.int32),
        "arrival_s": workload.arrival_s,
        "prompt": workload.prompt,
        "output": workload.output,
        "adapter": workload.adapter,
        "status": log.status,
        "unit": log.unit,
        "start_s": log.start_s,
        "first_token_s": log.first_token_s,
        "finish_s": log.finish_s,
        "ttft_s": latency.ttft_s,
        "tpot_s": latency.tpot_s,
        "e2e_s": latency.e2e_s,
        "generated": log.generated,
        "adapter_hit": log.adapter_hit,
        "swap_wait_s": log.swap_wait_s,
        "preemptions": log.preemptions,
        "reused_tokens": log.reused_tokens,
    }
