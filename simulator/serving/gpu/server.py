"""A GPU server under a workload: iteration-level continuous batching, and its log."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer, slot_rank
from hardwire.simulator.serving.closed_loop import with_refused
from hardwire.simulator.serving.gpu import reference
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans, Status
from hardwire.simulator.serving.record import RequestRecord

SAMPLES = 4096
"""Most samples of memory in use that a log keeps, beside its peak."""

_STEPS_PER_CALL = 2_000
_NEVER = np.iinfo(np.int64).max
_GOLDEN = (np.sqrt(5) - 1) / 2

DEFINITIONS = {
    "start": "the begin of the step in which the request is let in",
    "first token": "the end of the step that computes the last piece of its prompt",
    "hit": "its adapter is in a GPU slot when it is let in",
    "swap": "an adapter is copied from host memory into a GPU slot; the step waits for it",
    "swap wait": "the copy of a request's own adapter; copies of others in the same step, and "
    "waiting for a slot that running requests of other adapters hold, are not in it",
}


NOTED = ("start", "first", "finish", "generated", "hit", "wait", "preemptions")
"""What both engines note of a request, by the names of ``RequestRecord``."""


@dataclass(frozen=True)
class _Run:
    """What an engine is asked to run.

    Attributes
    ----------
    served : (S,) requests that are not refused.
    slots, rank : of adapters.
    kv_tokens : that memory holds.
    until : ns
    connections : that the client can have open, or None.
    ranks : (A,) of the adapters.
    """

    server: BatchServer
    workload: Workload
    served: NDArray[np.int64]
    slots: int
    rank: int
    kv_tokens: int
    until: int
    connections: int | None
    ranks: NDArray[np.int64]
    progress: Callable[[float], None] | None

    def copies(self) -> NDArray[np.int64]:
        """Time of the copy of each adapter into a slot, ps."""
        time = self.server.step_time(self.slots, self.rank)
        return time.load + np.where(self.ranks < self.rank, time.padded_load, 0)

    def arrivals(self) -> NDArray[np.int64]:
        """When requests reach the queue, ns."""
        if self.workload.concurrency is not None:
            known = np.arange(len(self.served)) < self.released
            return np.where(known, self.frontend, _NEVER)
        frontend_s = self.server.batching.frontend_us * 1e-6
        return np.rint((self.workload.arrival_s[self.served] + frontend_s) * 1e9).astype(np.int64)

    @property
    def released(self) -> int:
        """Requests whose arrival is known at the begin: of a closed loop those in flight."""
        closed = self.workload.concurrency
        return len(self.served) if closed is None else min(closed, len(self.served))

    @property
    def frontend(self) -> int:
        """From a request's arrival to the queue, ns."""
        return round(self.server.batching.frontend_us * 1e3)

    def in_host(self) -> NDArray[np.int64]:
        """Adapters in host memory at the begin: all are loaded in order, the last ones stay."""
        count = len(self.workload.adapters)
        return np.arange(max(count - self.server.batching.host_adapters, 0), count)

    def turns(self) -> NDArray[np.int64]:
        """Place of each adapter in the order in which a step goes through its adapters.

        In vLLM it is that of a Python set of names, which has nothing to do with how often an
        adapter is wanted: here that of multiples of the golden section, fraction by fraction.
        """
        fractions = np.arange(len(self.workload.adapters)) * _GOLDEN % 1
        return np.argsort(np.argsort(fractions, kind="stable"), kind="stable")

    @property
    def blocks(self) -> int:
        """Blocks of KV memory."""
        return self.kv_tokens // self.server.batching.block_tokens


@dataclass(frozen=True)
class _Outcome:
    """What an engine gives back, times in ns, -1 where none.

    Attributes
    ----------
    noted : (S, len(NOTED)), of the requests that were served.
    queued : (S,) when each reached the queue; of a closed loop ``_NEVER`` where it did not.
    loads : rows (adapter, begin, end)
    samples : rows (time, KV blocks)
    end, busy : of the whole run.
    """

    noted: NDArray[np.int64]
    queued: NDArray[np.int64]
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
    connections: int | None = None,
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
    connections : int, optional
        Requests that the client can have open at once: one that comes when so many wait or run is
        never sent, and ends as ``UNFINISHED``. By default there is no limit.
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
    for adapter in {id(adapter): adapter for adapter in adapters}.values():
        check_base(adapter, server.model)
    slots, rank = _slots_and_rank(server, workload, adapters, slots, rank)
    kv_tokens = server.kv_tokens(slots, rank)
    status = np.full(len(workload), Status.UNFINISHED, np.int8)
    longest = min(kv_tokens, server.batching.context_tokens)
    status[workload.prompt + workload.output > longest] = Status.TOO_LONG
    ranks = np.array([adapter.max_rank for adapter in adapters], np.int64)
    too_big = np.append(ranks > rank, False)
    status[too_big[workload.adapter]] = Status.ADAPTER_TOO_BIG
    served = np.flatnonzero(status == Status.UNFINISHED)

    until = _NEVER if until_s is None else round(until_s * 1e9)
    run = _Run(
        server, workload, served, slots, rank, kv_tokens, until, connections, ranks, progress
    )
    outcome = _compiled(run) if engine == "compiled" else _reference(run)
    return dataclasses.replace(_log(run, status, outcome), engine=engine)


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


def _compiled(run: _Run) -> _Outcome:
    from hardwire.simulator.serving.gpu import steps_jit as jit  # noqa: PLC0415, numba is slow to import

    workload, served, slots = run.workload, run.served, run.slots
    b, time = run.server.batching, run.server.step_time(slots, run.rank)
    requests = np.zeros((len(served), jit.REQUEST_COLUMNS), np.int64)
    requests[:, jit.ARRIVAL] = run.arrivals()
    requests[:, jit.PROMPT] = workload.prompt[served]
    requests[:, jit.OUTPUT] = workload.output[served]
    requests[:, jit.ADAPTER] = workload.adapter[served]
    for column in (jit.START, jit.FIRST, jit.FINISH, jit.HIT):
        requests[:, column] = jit.NONE
    table = np.zeros((len(workload.adapters) + 1, jit.ADAPTER_COLUMNS), np.int64)
    table[:, jit.HEAD] = table[:, jit.TAIL] = jit.NONE
    table[:, jit.ASKING] = jit.NONE
    table[1:, jit.TURN] = run.turns()
    table[1:, jit.COPY] = run.copies()
    host = run.in_host()
    table[host + 1, jit.IN_HOST] = 1
    table[host + 1, jit.LAST_USED] = np.arange(len(host)) - len(host)
    state = np.zeros(jit.STATE_ENTRIES, np.int64)
    state[[jit.FIRST_WAITING, jit.LAST_WAITING]] = jit.NONE
    state[jit.FREE] = run.blocks
    state[jit.STRIDE] = 1
    state[jit.RELEASED] = run.released
    config = np.zeros(jit.CONFIG_ENTRIES, np.int64)
    config[[jit.BLOCK, jit.MAX_SEQS, jit.MAX_TOKENS]] = (
        b.block_tokens,
        b.max_seqs,
        b.max_batched_tokens,
    )
    config[[jit.SLOTS, jit.KV_BLOCKS, jit.UNTIL]] = slots, run.blocks, run.until
    config[jit.T_STEP : jit.T_PAIR + 1] = (
        time.step,
        time.sequence,
        time.kv_token,
        time.prefill_token,
        time.request,
        time.distinct,
        time.lora_sequence,
        time.passed,
        time.disk_load,
        time.weights,
        time.token,
        time.head,
        time.pair,
    )
    config[jit.CONNECTIONS] = _NEVER if run.connections is None else run.connections
    config[jit.WHOLE] = b.admission == "whole"
    config[jit.FRONTEND] = run.frontend
    running = np.zeros(b.max_seqs, np.int64)
    active, resident = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
    loads = np.zeros((2 * b.max_seqs, 3), np.int64)
    samples = np.zeros((SAMPLES, 2), np.int64)
    counts = np.zeros(len(served) + 1, np.int64)
    experts = np.array(time.experts, np.int64)
    try:
        while not state[jit.DONE]:
            if len(loads) - state[jit.LOADS] < b.max_seqs:
                loads = np.concatenate([loads, np.zeros_like(loads)])
            jit.run_steps(
                requests, table, state, config, running, active, resident, loads, samples, counts,
                experts, _STEPS_PER_CALL,
            )  # fmt: skip
            if run.progress is not None:
                run.progress(state[jit.NOW] / 1e9)
    except KeyboardInterrupt:
        pass  # between two calls, so the tables are whole
    peak = state[[jit.PEAK_TIME, jit.PEAK]][None]
    return _Outcome(
        noted=requests[:, [getattr(jit, name.upper()) for name in NOTED]],
        queued=requests[:, jit.ARRIVAL],
        loads=loads[: state[jit.LOADS]],
        samples=_with_peak(samples[: state[jit.SAMPLES]], peak),
        end=int(state[jit.NOW]),
        busy=int(state[jit.BUSY]),
    )


def _reference(run: _Run) -> _Outcome:
    workload, served, b = run.workload, run.served, run.server.batching
    columns = (
        served,
        run.arrivals(),
        workload.prompt[served],
        workload.output[served],
        workload.adapter[served],
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    jobs = [reference.Job(*row) for row in rows]
    outcome = reference.run(
        jobs,
        run.server.step_time(run.slots, run.rank),
        slots=run.slots,
        host=run.in_host().tolist(),
        turns=run.turns().tolist(),
        copies=run.copies().tolist(),
        connections=run.connections,
        blocks=run.blocks,
        block_tokens=b.block_tokens,
        max_seqs=b.max_seqs,
        max_tokens=b.max_batched_tokens,
        until=None if run.until == _NEVER else run.until,
        whole=b.admission == "whole",
        concurrency=run.workload.concurrency,
        frontend=run.frontend,
    )
    if run.progress is not None:
        run.progress(outcome.end / 1e9)
    noted = [[getattr(job, name) for name in NOTED] for job in jobs]
    noted = [[-1 if value is None else value for value in row] for row in noted]
    used = np.array(outcome.used, np.int64).reshape(-1, 2)
    stride = 1
    while len(used[::stride]) > SAMPLES:
        stride *= 2
    peak = used[[int(used[:, 1].argmax())]] if len(used) else used
    return _Outcome(
        noted=np.array(noted, np.int64).reshape(-1, len(NOTED)),
        queued=np.array([job.arrival for job in jobs], np.int64),
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


def _log(run: _Run, status: NDArray[np.int8], outcome: _Outcome) -> ServingLog:
    server, workload, slots, rank = run.server, run.workload, run.slots, run.rank
    record = RequestRecord(len(workload))
    for name, values in zip(NOTED, outcome.noted.T, strict=True):
        record.fill(name, run.served, values)
    record.fill("unit", np.flatnonzero(np.asarray(record.start) >= 0), 0)
    status[np.asarray(record.finish) >= 0] = Status.COMPLETED
    came_s = workload.arrival_s
    if workload.concurrency is not None:
        at_s = np.where(outcome.queued == _NEVER, np.nan, (outcome.queued - run.frontend) / 1e9)
        came_s = with_refused(run.served, at_s, len(workload))
    b = server.batching
    slot_bytes = server.slot_bytes(rank) if slots else 0
    kv_bytes = server.kv_bytes_per_token
    loads, samples = outcome.loads, outcome.samples
    end_s, busy_s = outcome.end / 1e9, outcome.busy / 1e9
    energy = {"idle": b.idle_w * end_s, "steps": (b.busy_w - b.idle_w) * busy_s}
    return ServingLog(
        **record.columns(status, came_s, 1e9),
        arrival_s=None if workload.concurrency is None else came_s,
        units=("gpu 0",),
        busy_s={"compute": np.array([busy_s])},
        capacity_bytes=run.kv_tokens * kv_bytes + slots * slot_bytes,
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
        rest_w={"idle": b.idle_w},
        capex_usd_per_s=server.batching.capex_usd_per_s,
        energy_usd_per_j=server.batching.energy_usd_per_j,
        swaps=len(loads),
        definitions=DEFINITIONS
        | {"adapter slots": f"{slots} of rank {rank}, held whether used or not"},
        warnings=_beyond(run, record),
    )


def _beyond(run: _Run, record: RequestRecord) -> tuple[str, ...]:
    """In which ways the run goes beyond what the server's step times were measured on.

    Requests in a step are counted by when they were let in first and when they ended.
    """
    domain, workload = run.server.domain, run.workload
    start, finish = np.asarray(record.start), np.asarray(record.finish)
    begun = np.flatnonzero(start >= 0)
    if domain is None or not len(begun):
        return ()
    ends = np.where(finish[begun] >= 0, finish[begun], _NEVER)
    order = np.sort(start[begun])
    together = np.arange(1, len(begun) + 1) - np.searchsorted(np.sort(ends), order, side="right")
    met = {"prompt_tokens": float(workload.prompt[begun].max()), "batch": float(together.max())}
    if run.slots:
        met |= {"slots": float(run.slots), "rank": float(run.rank)}
        met["distinct"] = float(min(run.slots, len(workload.adapters), together.max()))
    return tuple(domain.beyond(met))
