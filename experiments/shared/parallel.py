"""The same work for many items on all cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Results in the order of the items, of work that mostly runs without Python's lock.

    ``report`` is told how many are done, and of how many.
    """
    with ThreadPoolExecutor(cores()) as pool:
        tasks = [pool.submit(work, item) for item in items]
        try:
            for done, _ in enumerate(as_completed(tasks), start=1):
                report(done, len(tasks))
        finally:
            pool.shutdown(cancel_futures=True)
    return [task.result() for task in tasks]


def in_processes(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Results in the order of the items, of work in Python; what it returns is pickled.

    Forked processes share what is in memory, and need neither start nor imports of their own. Where
    a system cannot fork, the work is done in turn.

    Raises
    ------
    Exception
        What the work raised, the first to come.
    """
    workers = min(cores(), len(items))
    if workers < 2 or "fork" not in multiprocessing.get_all_start_methods():
        results = []
        for item in items:
            results.append(work(item))
            report(len(results), len(items))
        return results
    fork = multiprocessing.get_context("fork")
    found: dict[int, Result] = {}
    pipes: list[Connection] = []
    processes = []
    for worker in range(workers):
        here, there = fork.Pipe(duplex=False)
        share = range(worker, len(items), workers)
        process = fork.Process(target=_share, args=(work, items, share, there), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        while len(found) < len(items):
            for pipe in wait(pipes):
                number, result, error = cast(Connection, pipe).recv()
                if error is not None:
                    raise error
                found[number] = result
                report(len(found), len(items))
                if len(range(number, len(items), workers)) == 1:  # the last of its share
                    pipes.remove(cast(Connection, pipe))
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return [found[number] for number in range(len(items))]


def _share(
    work: Callable[[Any], Any], items: Sequence[Any], share: range, pipe: Connection
) -> None:
    for number in share:
        try:
            pipe.send((number, work(items[number]), None))
        except Exception as error:
            pipe.send((number, None, error))
            return
