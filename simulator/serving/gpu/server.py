"""A GPU server under a workload: iteration-level continuous batching, and its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer, slot_rank
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans, Status

SAMPLES = 4096
"""Most samples of memory in use that a log keeps, beside its peak."""

_STEPS_PER_CALL = 20_000
_NEVER = np.iinfo(np.int64).max

DEFINITIONS = {
    "start": "the begin of the step in which the request is let in",
    "first token": "the end of the step that computes the last piece of its prompt",
    "hit": "its adapter is in a GPU slot when it is let in",
    "swap": "an adapter is copied from host memory into a GPU slot; the step waits for it",
    "swap wait": "the copies that a request itself sets off; waiting for a slot that running "
    "requests of other adapters hold is not in it",
}


@dataclass(frozen=True)
class _Result:
    """Columns of the requests that were served, times in ns, -1 where none."""

    start: NDArray[np.int64]
    first: NDArray[np.int64]
    finish: NDArray[np.int64]
    generated: NDArray[np.int64]
    hit: NDArray[np.int64]
    wait: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    loads: NDArray[np.int64]
    samples: NDArray[np.int64]
    end: int
    busy: int


def simulate_batch(
    server: BatchServer,
    workload: Workload,
    adapters: Sequence[Adapter],
    *,
    slots: int | None = None,
    rank: int | None = None,
    until_s: float | None = None,
    engine: Literal["compiled", "reference"] = "compiled",
    progress: Callable[[float], None] | None = None,
) -> ServingLog:
    """Serve a workload with continuous batching.

    Parameters
    ----------
    server : BatchServer
    workload : Workload
    adapters : sequence of Adapter
        One per name in ``workload.adapters``.
    slots : int, optional
        Adapter slots (vLLM's ``max_loras``). By default the server's own, or fewer where the
        workload has fewer adapters; a workload without adapters runs with LoRA disabled.
    rank : int, optional
        Rank of the slots' buffers; by default the smallest that holds every adapter. A request
        whose adapter has a higher rank ends as ``ADAPTER_TOO_BIG``.
    until_s : float, optional
        Where to stop; what is not done by then is ``UNFINISHED``.
    engine : {"compiled", "reference"}
    progress : callable, optional
        Called with the simulated seconds now and then. A KeyboardInterrupt ends the run where it
        is, with the rest unfinished.

    Returns
    -------
    ServingLog
        One unit, ``gpu 0``.

    Raises
    ------
    InputError
        If the server has no LoRA part and the workload wants adapters, or cannot start with so
        many slots of this rank.
    """
    if len(adapters) != len(workload.adapters):
        raise ValueError("one adapter per name of the workload is expected")
    slots, rank = _slots_and_rank(server, workload, adapters, slots, rank)
    kv_tokens = server.kv_tokens(slots, rank)
    status = np.full(len(workload), Status.UNFINISHED, np.int8)
    longest = min(kv_tokens, server.batching.context_tokens)
    status[workload.prompt + workload.output > longest] = Status.TOO_LONG
    too_big = np.array([adapter.max_rank > rank for adapter in adapters] + [False])
    status[too_big[workload.adapter]] = Status.ADAPTER_TOO_BIG
    served = np.flatnonzero(status == Status.UNFINISHED)

    until = _NEVER if until_s is None else round(until_s * 1e9)
    run = _compiled if engine == "compiled" else _reference
    result = run(server, workload, served, slots, rank, kv_tokens, until, progress)
    return _log(server, workload, status, served, result, slots, rank, kv_tokens)


def _slots_and_rank(
    server: BatchServer,
    workload: Workload,
    adapters: Sequence[Adapter],
    slots: int | None,
    rank: int | None,
) -> tuple[int, int]:
    wanted = bool((workload.adapter >= 0).any())
    if slots is not None and slots < 0:
        raise ValueError("slots is 0 or more")
    if not server.serves_adapters and (wanted or slots):
        raise InputError(f"{server.name}: serves the base model only, without adapters")
    if slots is None:
        slots = min(server.batching.slots, len(workload.adapters)) if wanted else 0
    if slots > server.batching.host_adapters:
        raise InputError(
            f"{server.name}: slots: {slots} is more than the {server.batching.host_adapters} "
            "adapters that host memory keeps"
        )
    if wanted and slots == 0:
        raise InputError(f"{server.name}: slots: requests with adapters need at least 1")
    if rank is None:
        rank = max((adapter.max_rank for adapter in adapters), default=1)
    return slots, slot_rank(rank)


def _arrivals(server: BatchServer, workload: Workload, served: NDArray[Any]) -> NDArray[np.int64]:
    """When requests reach the queue, ns."""
    at = workload.arrival_s[served] + server.batching.frontend_us * 1e-6
    return np.rint(at * 1e9).astype(np.int64)


def _in_host(server: BatchServer, workload: Workload) -> NDArray[np.int64]:
    """Adapters in host memory at the begin: all are loaded in order, the last ones stay."""
    count = len(workload.adapters)
    return np.arange(max(count - server.batching.host_adapters, 0), count)


def _compiled(
    server: BatchServer,
    workload: Workload,
    served: NDArray[Any],
    slots: int,
    rank: int,
    kv_tokens: int,
    until: int,
    progress: Callable[[float], None] | None,
) -> _Result:
    from hardwire.simulator.serving.gpu import steps_jit as jit  # noqa: PLC0415, numba is slow to import

    b, time = server.batching, server.step_time(slots, rank)
    requests = np.zeros((len(served), jit.REQUEST_COLUMNS), np.int64)
    requests[:, jit.ARRIVAL] = _arrivals(server, workload, served)
    requests[:, jit.PROMPT] = workload.prompt[served]
    requests[:, jit.OUTPUT] = workload.output[served]
    requests[:, jit.ADAPTER] = workload.adapter[served]
    for column in (jit.START, jit.FIRST, jit.FINISH, jit.HIT):
        requests[:, column] = jit.NONE
    table = np.zeros((len(workload.adapters) + 1, jit.ADAPTER_COLUMNS), np.int64)
    table[:, jit.HEAD] = table[:, jit.TAIL] = jit.NONE
    table[:, jit.HOST_USED] = -1
    table[_in_host(server, workload) + 1, jit.IN_HOST] = 1
    state = np.zeros(jit.STATE_ENTRIES, np.int64)
    state[[jit.FIRST_WAITING, jit.LAST_WAITING]] = jit.NONE
    state[jit.FREE] = kv_tokens // b.block_tokens
    state[jit.STRIDE] = 1
    config = np.zeros(jit.CONFIG_ENTRIES, np.int64)
    config[[jit.BLOCK, jit.MAX_SEQS, jit.MAX_TOKENS]] = (
        b.block_tokens,
        b.max_seqs,
        b.max_batched_tokens,
    )
    config[[jit.SLOTS, jit.KV_BLOCKS, jit.UNTIL]] = slots, kv_tokens // b.block_tokens, until
    config[jit.T_STEP : jit.T_DISK + 1] = (
        time.step,
        time.sequence,
        time.kv_token,
        time.prefill_token,
        time.request,
        time.distinct,
        time.lora_sequence,
        time.load,
        time.disk_load,
    )
    config[jit.WHOLE] = b.admission == "whole"
    running = np.zeros(b.max_seqs, np.int64)
    active, resident = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    loads = np.zeros((2 * b.max_seqs, 3), np.int64)
    samples = np.zeros((SAMPLES, 2), np.int64)
    try:
        while not state[jit.DONE]:
            if len(loads) - state[jit.LOADS] < b.max_seqs:
                loads = np.concatenate([loads, np.zeros_like(loads)])
            jit.run_steps(
                requests, table, state, config, running, active, resident, loads, samples,
                _STEPS_PER_CALL,
            )  # fmt: skip
            if progress is not None:
                progress(state[jit.NOW] / 1e9)
    except KeyboardInterrupt:
        pass  # between two calls, so the tables are whole
    peak = state[[jit.PEAK_TIME, jit.PEAK]][None]
    return _Result(
        start=requests[:, jit.START].copy(),
        first=requests[:, jit.FIRST].copy(),
        finish=requests[:, jit.FINISH].copy(),
        generated=requests[:, jit.GENERATED].copy(),
        hit=requests[:, jit.HIT].copy(),
        wait=requests[:, jit.WAIT].copy(),
        preemptions=requests[:, jit.PREEMPTIONS].copy(),
        loads=loads[: state[jit.LOADS]],
        samples=_with_peak(samples[: state[jit.SAMPLES]], peak),
        end=int(state[jit.NOW]),
        busy=int(state[jit.BUSY]),
    )


def _reference(
    server: BatchServer,
    workload: Workload,
    served: NDArray[Any],
    slots: int,
    rank: int,
    kv_tokens: int,
    until: int,
    progress: Callable[[float], None] | None,
) -> _Result:
    from hardwire.simulator.serving.gpu import reference as batch_reference  # noqa: PLC0415, needed by tests only

    b = server.batching
    arrivals = _arrivals(server, workload, served)
    jobs = [
        batch_reference.Job(int(i), int(at), int(prompt), int(output), int(adapter))
        for i, at, prompt, output, adapter in zip(
            served,
            arrivals,
            workload.prompt[served],
            workload.output[served],
            workload.adapter[served],
            strict=True,
        )
    ]
    outcome = batch_reference.run(
        jobs,
        server.step_time(slots, rank),
        slots=slots,
        host=_in_host(server, workload).tolist(),
        blocks=kv_tokens // b.block_tokens,
        block_tokens=b.block_tokens,
        max_seqs=b.max_seqs,
        max_tokens=b.max_batched_tokens,
        until=None if until == _NEVER else until,
        whole=b.admission == "whole",
    )
    if progress is not None:
        progress(outcome.end / 1e9)

    def column(name: str) -> NDArray[np.int64]:
        values = [getattr(job, name) for job in jobs]
        return np.array([-1 if value is None else value for value in values], np.int64)

    used = np.array(outcome.used, np.int64).reshape(-1, 2)
    stride = 1
    while len(used[::stride]) > SAMPLES:
        stride *= 2
    peak = used[[int(used[:, 1].argmax())]] if len(used) else used
    return _Result(
        start=column("start"),
        first=column("first"),
        finish=column("finish"),
        generated=column("generated"),
        hit=column("hit"),
        wait=column("wait"),
        preemptions=column("preemptions"),
        loads=np.array(outcome.loads, np.int64).reshape(-1, 3),
        samples=_with_peak(used[::stride], peak),
        end=outcome.end,
        busy=outcome.busy,
    )


def _with_peak(samples: NDArray[np.int64], peak: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples in order of time, the peak among them once."""
    if not len(samples) or (samples[:, 0] == peak[0, 0]).any():
        return samples.copy()
    at = int(np.searchsorted(samples[:, 0], peak[0, 0]))
    return np.concatenate([samples[:at], peak, samples[at:]])


def _log(
    server: BatchServer,
    workload: Workload,
    status: NDArray[np.int8],
    served: NDArray[Any],
    result: _Result,
    slots: int,
    rank: int,
    kv_tokens: int,
) -> ServingLog:
    count = len(workload)
    status[served[result.finish >= 0]] = Status.COMPLETED

    def seconds(values: NDArray[np.int64]) -> NDArray[np.float64]:
        column = np.full(count, np.nan)
        column[served] = np.where(values >= 0, values / 1e9, np.nan)
        return column

    def scattered(values: NDArray[np.int64], default: int, dtype: Any) -> NDArray[Any]:
        column = np.full(count, default, dtype)
        column[served] = values
        return column

    refused = (status == Status.TOO_LONG) | (status == Status.ADAPTER_TOO_BIG)
    finish_s = seconds(result.finish)
    finish_s[refused] = workload.arrival_s[refused]
    b = server.batching
    slot_bytes = server.slot_bytes(rank) if slots else 0
    kv_bytes = server.kv_bytes_per_token
    loads, samples = result.loads, result.samples
    end_s, busy_s = result.end / 1e9, result.busy / 1e9
    energy = {"idle": b.idle_w * end_s, "steps": (b.busy_w - b.idle_w) * busy_s}
    return ServingLog(
        status=status,
        unit=scattered(np.where(result.start >= 0, 0, -1), -1, np.int32),
        start_s=seconds(result.start),
        first_token_s=seconds(result.first),
        finish_s=finish_s,
        generated=scattered(result.generated, 0, np.int64),
        adapter_hit=scattered(result.hit, -1, np.int8),
        swap_wait_s=scattered(result.wait, 0, np.int64) / 1e9,
        preemptions=scattered(result.preemptions, 0, np.int32),
        reused_tokens=np.zeros(count, np.int64),
        units=("gpu 0",),
        busy_s={"compute": np.array([busy_s])},
        capacity_bytes=kv_tokens * kv_bytes + slots * slot_bytes,
        spans=(
            Spans(
                "adapter load",
                np.zeros(len(loads), np.int32),
                loads[:, 0].astype(np.int32),
                loads[:, 1] / 1e9,
                loads[:, 2] / 1e9,
                np.full(len(loads), slot_bytes, np.int64),
            ),
        ),
        occupancy=Occupancy(
            unit=np.zeros(len(samples), np.int32),
            time_s=samples[:, 0] / 1e9,
            kv_bytes=samples[:, 1] * b.block_tokens * kv_bytes,
            adapter_bytes=np.full(len(samples), slots * slot_bytes, np.int64),
        ),
        end_s=end_s,
        energy_j=sum(energy.values()),
        energy_by_j=energy,
        capex_usd_per_s=server.capex_usd_per_s,
        energy_usd_per_j=server.energy_usd_per_j,
        swaps=len(loads),
        definitions=DEFINITIONS
        | {"adapter slots": f"{slots} of rank {rank}, held by vLLM whether used or not"},
    )
