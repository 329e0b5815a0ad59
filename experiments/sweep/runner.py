"""A sweep: the chunks of a study that the store lacks, computed by Dask's workers.

This process alone reads and writes the store; workers get settings and return finished points. So
a scheduler may be anywhere, without a file system in common. What is lost with a worker, or with
this process, is what was being computed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hardwire.experiments.shared.extras import needs
from hardwire.experiments.sweep.compute import Computed, compute
from hardwire.experiments.sweep.inputs import refuse_edited, study_inputs
from hardwire.experiments.sweep.keys import program_version
from hardwire.experiments.sweep.store import Counts, Store, key_array, read_counts, words
from hardwire.experiments.sweep.study import Study
from hardwire.models.brief import one_line
from hardwire.models.errors import InputError
from hardwire.simulator.obstacles import OBSTACLES

CHUNK = {"closed-form": 65_536, "engine": 4096, "replay": 16, "system": 131_072}
"""Points per chunk: a tenth of a second to a few seconds of one core."""

WHOLE = ("closed-form", "system")
"""Fidelities of which a chunk is computed sooner than workers start."""

LEAST_CHUNKS = 16
"""Into which a study is divided that takes workers, if it has the points: few may take long each,
and the last to be done should not be waited for by all workers but one."""

CONNECT_S = 5.0
AHEAD = 2
"""Chunks per worker that are under way: one computed, one waiting, so that memory stays bounded."""


@dataclass(frozen=True)
class Swept:
    """A sweep that ended, or that Ctrl-C cut off. ``seconds`` and ``counts`` are this run's.

    ``folder`` is that of the study in the store; ``new`` whether this run made the store.
    """

    study: Study
    store: Path
    folder: Path
    counts: Counts
    seconds: float
    interrupted: bool = False
    new: bool = False

    def __repr__(self) -> str:
        counts = self.counts
        return one_line(
            self,
            self.study.name,
            f"{counts.points:,} of {self.study.points:,} points",
            f"{counts.feasible:,} feasible",
            f"{counts.failed:,} failed" if counts.failed else "",
            f"in {self.store}",
        )


@dataclass(frozen=True)
class Chunk:
    """Some consecutive points of a study, and which of them are to be computed.

    Attributes
    ----------
    columns, settings, keys : of all points.
    first : numbers of the first point with each key; ``of`` says which of these a point is.
    todo : bool, of those which the store lacks.
    """

    number: int
    start: int
    columns: Mapping[str, np.ndarray]
    settings: Mapping[str, np.ndarray]
    keys: np.ndarray
    first: np.ndarray
    of: np.ndarray
    todo: np.ndarray

    def settings_to_compute(self) -> dict[str, np.ndarray]:
        chosen = self.first[self.todo]
        if len(chosen) == len(self.keys):
            return dict(self.settings)
        return {name: values[chosen] for name, values in self.settings.items()}

    def keys_to_compute(self) -> np.ndarray:
        return self.keys[self.first[self.todo]]


def sweep(
    study: Study,
    store: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    report: Callable[[Counts], None] | None = None,
) -> Swept:
    """Compute what a store lacks of a study.

    Parameters
    ----------
    store : its folder, made where it does not exist.
    scheduler : address of a Dask scheduler; by default workers on this machine.
    workers : on this machine [one per core].
    report : called with the counts so far after each chunk.

    Raises
    ------
    InputError
        If the store cannot be used, a file that the study names cannot be read or is edited
        meanwhile, or the scheduler cannot be reached or is lost.
    """
    begin = time.perf_counter()
    inputs = study_inputs(study)
    new = not (store / "store.json").exists()
    opened = Store(store)
    folder = opened.study_folder(study)
    size = chunk_size(study)
    counts = Counts()
    left = []
    for number in range(math.ceil(study.points / size)):
        done = _finished(folder / f"chunk-{number}.parquet")
        if done is None:
            left.append(number)
        else:
            counts += done
    if report is not None:
        report(counts)
    interrupted = False
    with closing(_results(study, opened, left, size, scheduler, workers)) as results:
        try:
            for chunk, computed in results:
                refuse_edited(study, inputs)
                counts += _commit(study, opened, folder, chunk, computed)
                if report is not None:
                    report(counts)
        except KeyboardInterrupt:
            interrupted = True
    return Swept(study, store, folder, counts, time.perf_counter() - begin, interrupted, new)


def _finished(path: Path) -> Counts | None:
    """Counts of a chunk that needs nothing any more, as reused points; otherwise None."""
    try:
        found = read_counts(path)
    except FileNotFoundError:
        return None
    if found.failed:  # tried again
        return None
    return Counts(reused=found.points, feasible=found.feasible)


def chunk_size(study: Study) -> int:
    """Points per chunk of a study, which is the same each time."""
    most = CHUNK[study.fidelity]
    if study.fidelity in WHOLE:
        return most
    return min(most, math.ceil(study.points / LEAST_CHUNKS))


def prepare(study: Study, store: Store, number: int, size: int) -> Chunk:
    """The points of a chunk and their keys, and which of them the store lacks."""
    start = number * size
    columns = study.chunk(start, start + size)
    settings = study.settings(columns)
    keys = study.keys(settings)
    if len(np.unique(keys["high"])) == len(keys):  # nothing twice, as a rule
        first = of = np.arange(len(keys))
    else:
        _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    todo = store.locate(keys[first]) < 0
    return Chunk(number, start, columns, settings, keys, first, of, todo)


def _results(
    study: Study,
    store: Store,
    left: list[int],
    size: int,
    scheduler: str | None,
    workers: int | None,
) -> Generator[tuple[Chunk, Computed | None]]:
    """Chunks with what was computed of them, in the order in which they are done."""
    version = program_version()
    light = dataclasses.replace(study)  # without what it has cached
    if scheduler is None and study.fidelity in WHOLE and len(left) <= 1:
        for number in left:  # quicker than starting workers
            chunk = prepare(study, store, number, size)
            done = None
            if chunk.todo.any():
                done = compute(light, chunk.settings_to_compute(), chunk.keys_to_compute(), version)
            yield chunk, done
        return
    if not left:
        return
    with _client(scheduler, workers, len(left)) as client:
        yield from _distributed(client, study, light, store, left, size, version)


def _distributed(
    client: Any, study: Study, light: Study, store: Store, left: list[int], size: int, version: str
) -> Iterator[tuple[Chunk, Computed | None]]:
    distributed = needs("distributed", "sweep")
    waiting = iter(left)
    under_way: dict[Any, Chunk] = {}
    done = distributed.as_completed(loop=client.loop)

    def submit_more() -> Iterator[Chunk]:
        """Keep the workers busy; chunks that need no computing come back at once."""
        limit = AHEAD * max(sum(client.nthreads().values()), 1) + 1
        while len(under_way) < limit:
            number = next(waiting, None)
            if number is None:
                return
            chunk = prepare(study, store, number, size)
            if not chunk.todo.any():
                yield chunk
                continue
            future = client.submit(
                compute, light, chunk.settings_to_compute(), chunk.keys_to_compute(), version,
                pure=False,
            )  # fmt: skip
            under_way[future] = chunk
            done.add(future)

    for chunk in submit_more():
        yield chunk, None
    while under_way:
        future = next(done)
        chunk = under_way.pop(future)
        yield chunk, _outcome(future, chunk, distributed)
        future.release()
        for ready in submit_more():
            yield ready, None


def _outcome(future: Any, chunk: Chunk, distributed: Any) -> Computed:
    """What a future holds. A chunk that keeps killing its worker has failed."""
    try:
        found: Computed = future.result()
        return found
    except distributed.KilledWorker:
        why = "its worker died each time it was tried"
    except InputError:
        raise
    except (OSError, distributed.CancelledError, TimeoutError):
        raise InputError(
            "--scheduler: the connection was lost; the same command goes on where it stopped"
        ) from None
    lost = int(chunk.todo.sum())
    return Computed(b"", dict.fromkeys(range(lost), why), np.zeros(lost, np.int16))


def _commit(
    study: Study, store: Store, folder: Path, chunk: Chunk, computed: Computed | None
) -> Counts:
    """Write what a chunk adds to the store, and the chunk itself."""
    reasons = [*OBSTACLES, *(constraint.text for constraint in study.constraints)]
    code = np.zeros(len(chunk.first), np.int16)
    failed = np.zeros(len(chunk.first), bool)
    new_keys, encoded = chunk.keys[:0], b""
    if computed is not None:
        places = np.flatnonzero(chunk.todo)
        code[places] = computed.code
        for number, why in computed.failed.items():
            if (text := f"failed: {why}") not in reasons:
                reasons.append(text)
            code[places[number]] = reasons.index(text)
            failed[places[number]] = True
        new_keys, encoded = chunk.keys[chunk.first[places[~failed[places]]]], computed.encoded
    if not chunk.todo.all():
        there = np.flatnonzero(~chunk.todo)
        code[there] = _judge_stored(study, store, chunk, there)
    feasible = (code == 0)[chunk.of]
    broken = failed[chunk.of]
    new = int(chunk.todo.sum()) - int(failed.sum())
    counts = Counts(
        computed=new,
        reused=len(chunk.keys) - new - int(broken.sum()),
        failed=int(broken.sum()),
        feasible=int(feasible.sum()),
    )
    rows = pa.table(
        {
            "number": pa.array(np.arange(chunk.start, chunk.start + len(chunk.keys))),
            "key": key_array(chunk.keys),
            **{name: pa.array(values) for name, values in chunk.columns.items()},
            "feasible": pa.array(feasible),
            "reason": words(code[chunk.of], tuple(reasons)),
        }
    )
    stated = str(list(dataclasses.astuple(counts))).encode()
    rows = rows.replace_schema_metadata({b"counts": stated})
    path = folder / f"chunk-{chunk.number}.parquet"
    written = store.commit(new_keys, encoded, path, rows)
    # Points that another sweep has written meanwhile were computed for nothing, but once stored.
    return dataclasses.replace(
        counts, computed=written, reused=counts.reused + counts.computed - written
    )


def _judge_stored(study: Study, store: Store, chunk: Chunk, there: np.ndarray) -> np.ndarray:
    numbers = chunk.first[there]
    metrics = store.read(chunk.keys[numbers], study.columns)
    code_of = {text: code for code, text in enumerate(OBSTACLES)}
    metrics["obstacle"] = np.array([code_of[text] for text in metrics["obstacle"]], np.int8)
    settings = {name: values[numbers] for name, values in chunk.settings.items()}
    return study.judge(settings, metrics)[0]


@contextmanager
def _client(scheduler: str | None, workers: int | None, chunks: int) -> Iterator[Any]:
    """A client of the scheduler, or of workers on this machine that end with it."""
    distributed = needs("distributed", "sweep")
    if scheduler is not None:
        with ThreadPoolExecutor(1) as thread:  # a notebook runs a loop in this one
            answers = thread.submit(lambda: asyncio.run(_answers(distributed, scheduler))).result()
        if not answers:
            raise InputError(
                f"--scheduler {scheduler}: no Dask scheduler answers there; start one with "
                "'dask scheduler'"
            )
        with distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False) as client:
            yield client
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = min(workers or cores or 1, chunks)
    with (
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=None,
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


async def _answers(distributed: Any, address: str) -> bool:
    """Whether a scheduler is there. A client that finds none tries on and complains at its end."""
    secured = distributed.Security().get_connection_args("client")

    async def ask() -> bool:
        rpc = distributed.rpc(address, timeout=CONNECT_S, connection_args=secured)
        async with rpc as scheduler:
            return (await scheduler.identity())["type"] == "Scheduler"

    try:
        return await asyncio.wait_for(ask(), CONNECT_S)
    except Exception:  # whatever else may be listening there
        return False
