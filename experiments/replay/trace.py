"""A replay as a trace that Perfetto opens: queues, chips, unit classes, links and memory."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.log import Occupancy, ServingLog, Spans

MICRO, NANO = 1e6, 1e9
MOST_EVENTS = 250_000
"""More would make a browser slow."""

EVENTS_PER_REQUEST = 8  # begin and end of its wait, its stay, and its prefill and decode therein
Event = dict[str, Any]


def trace_parts(
    workload: Workload, log: ServingLog, server: str = ""
) -> tuple[dict[str, Any], Iterator[Event]]:
    """Head and events of a replay in Trace Event Format, times in microseconds.

    A card or GPU is a process. It has a track of its request queue (waiting requests), one of its
    chip (prefills and decodes), one for the class of units that computes (when any request was in),
    one per kind of span, such as adapter loads over the link, and a counter of its memory. Beyond
    `MOST_EVENTS` every second, third, … of the largest sorts is kept, evenly, and ``otherData``
    says so.

    Requests that were never let in are in no track.
    """
    last = np.where(np.isfinite(log.finish_s), log.finish_s, log.end_s)
    served = np.flatnonzero((log.unit >= 0) & np.isfinite(log.start_s))
    kinds = (_busy(log, served, last), *log.spans)
    room = _room(
        {
            "requests": EVENTS_PER_REQUEST * len(served),
            "memory": len(log.occupancy.time_s),
            **{spans.kind: len(spans.begin_s) for spans in kinds},
        }
    )
    thinned: dict[str, str] = {}

    def thin(rows: NDArray[np.int64], what: str, events: int = 1) -> NDArray[np.int64]:
        step = -(-len(rows) * events // max(room[what], 1))
        if step > 1:
            thinned[what] = f"1 of {step}, {len(rows):,} in all"
        return rows[:: max(step, 1)]

    names = list(workload.adapters)
    shown = thin(served, "requests", EVENTS_PER_REQUEST)
    used = log.occupancy
    events = [_tracks(log), _requests(workload, log, last, shown, names)]
    for thread, spans in enumerate(kinds, 1):
        rows = thin(np.arange(len(spans.begin_s)), spans.kind)
        events.append(_spans(spans, rows, thread, names))
    events.append(_memory(used, thin(np.arange(len(used.time_s)), "memory")))
    head = {
        "displayTimeUnit": "ms",
        "otherData": {
            "server": server,
            "workload": workload.name,
            "requests": len(workload),
            "shown": thinned or "everything",
        },
    }
    return head, chain.from_iterable(events)


def write_trace(workload: Workload, log: ServingLog, path: Path, server: str = "") -> None:
    """Write ``trace_parts`` as gzip, event by event; the same bytes for the same replay."""
    head, events = trace_parts(workload, log, server)
    encode = json.JSONEncoder(separators=(",", ":")).encode
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(f'{encode(head)[:-1]},"traceEvents":['.encode())
        for place, event in enumerate(events):
            file.write(f"{',' if place else ''}{encode(event)}\n".encode())
        file.write(b"]}")


def _room(wanted: dict[str, int]) -> dict[str, int]:
    """Events that each sort may have: all of the small ones, equal shares of the large ones."""
    room, left = {}, MOST_EVENTS
    for place, (what, count) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        room[what] = min(count, left // (len(wanted) - place))
        left -= room[what]
    return room


def _process(unit: int) -> int:
    """Process of a card or GPU; 1 is the server as a whole, unit −1."""
    return unit + 2


def _tracks(log: ServingLog) -> Iterator[Event]:
    kinds = ["compute", *(spans.kind for spans in log.spans)]
    whole = [spans.kind for spans in log.spans if (spans.unit < 0).any()]
    for unit, name in enumerate((*(["server"] if whole else []), *log.units), -bool(whole)):
        process = _process(unit)
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
        yield {
            "ph": "M", "name": "process_sort_index", "pid": process,
            "args": {"sort_index": process},
        }  # fmt: skip
        for kind in kinds if unit >= 0 else whole:
            thread = 1 + kinds.index(kind)
            for key, args in (
                ("thread_name", {"name": kind}),
                ("thread_sort_index", {"sort_index": thread}),
            ):
                yield {"ph": "M", "name": key, "pid": process, "tid": thread, "args": args}


def _requests(
    workload: Workload,
    log: ServingLog,
    last: NDArray[np.float64],
    shown: NDArray[np.int64],
    names: list[str],
) -> Iterator[Event]:
    """Waiting, prefill and decode of requests, which overlap: asynchronous events."""
    first = np.fmin(log.first_token_s, last)
    columns = (
        shown,
        log.unit[shown],
        workload.arrival_s[shown] * MICRO,
        log.start_s[shown] * MICRO,
        np.where(np.isnan(first), last, first)[shown] * MICRO,
        last[shown] * MICRO,
        workload.prompt[shown],
        workload.output[shown],
        workload.adapter[shown],
    )
    for row in zip(*(column.tolist() for column in columns), strict=True):
        request, unit, arrival, start, token, end, prompt, output, adapter = row
        args = {
            "request": request, "prompt": prompt, "output": output,
            "adapter": "base" if adapter == BASE else names[adapter],
        }  # fmt: skip
        for name, phases, begin, until in (
            ("queue", "be", arrival, start),
            ("chip", "b", start, end),
            ("prefill", "be", start, token),
            ("decode", "be", token, end),
            ("chip", "e", start, end),
        ):
            if until <= begin:
                continue
            # Perfetto names a track after the outermost event of an id: one queue, one chip.
            place = "queue" if name == "queue" else "chip"
            common = {"cat": place, "name": name, "pid": _process(unit), "tid": 0,
                      "id": f"{place} {request}"}  # fmt: skip
            if "b" in phases:
                yield {"ph": "b", **common, "ts": round(begin, 3), "args": args}
            if "e" in phases:
                yield {"ph": "e", **common, "ts": round(until, 3)}


def _busy(log: ServingLog, served: NDArray[np.int64], last: NDArray[np.float64]) -> Spans:
    """When each card or GPU had any request in: the union of the requests' times."""
    rows: list[tuple[int, int, float, float, int]] = []
    for unit in range(len(log.units)):
        mine = served[log.unit[served] == unit]
        mine = mine[np.argsort(log.start_s[mine], kind="stable")]
        if len(mine) == 0:
            continue
        begin, end = log.start_s[mine], np.maximum.accumulate(last[mine])
        fresh = np.flatnonzero(begin[1:] > end[:-1]) + 1
        opens = begin[np.concatenate(([0], fresh))]
        closes = end[np.concatenate((fresh - 1, [len(mine) - 1]))]
        rows += [(unit, BASE, float(a), float(b), 0) for a, b in zip(opens, closes, strict=True)]
    return Spans.of("compute", rows)


def _spans(
    spans: Spans, shown: NDArray[np.int64], thread: int, names: list[str]
) -> Iterator[Event]:
    """What a unit did: complete events, or instants where they take no time.

    Perfetto drops an event that overlaps the one before it. A load overlaps the next by the link's
    latency, so its event ends where the next begins, and what it takes longer is an argument.
    """
    begin_ns, end_ns = np.rint(spans.begin_s * NANO), np.rint(spans.end_s * NANO)
    until_ns = _cut(spans.unit, begin_ns, end_ns)
    columns = (
        spans.unit[shown],
        spans.adapter[shown],
        begin_ns[shown].astype(np.int64),
        until_ns[shown].astype(np.int64),
        end_ns[shown].astype(np.int64),
        spans.bytes[shown],
    )
    for unit, adapter, begin, until, end, size in zip(*(c.tolist() for c in columns), strict=True):
        event: Event = {
            "name": names[adapter] if 0 <= adapter < len(names) else spans.kind,
            "cat": spans.kind, "pid": _process(unit), "tid": thread, "ts": _micro(begin),
        }  # fmt: skip
        if until > begin:
            event |= {"ph": "X", "dur": _micro(until - begin)}
        else:
            event |= {"ph": "i", "s": "t"}
        args = {"bytes": size} if size else {}
        if end > until:
            args["latency_us"] = _micro(end - until)
        if args:
            event["args"] = args
        yield event


def _cut(
    unit: NDArray[np.int32], begin: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Ends, no later than the next begin on the same unit unless the next ends sooner."""
    until = end.copy()
    order = np.lexsort((begin, unit))
    one, following = order[:-1], order[1:]
    overlaps = (unit[one] == unit[following]) & (end[following] > end[one])
    until[one] = np.where(overlaps, np.minimum(end[one], begin[following]), end[one])
    return until


def _micro(nanoseconds: int) -> float:
    """Microseconds that are as many whole nanoseconds, too, for who cuts off the fraction."""
    value = nanoseconds / 1000
    return value if int(value * 1000) == nanoseconds else math.nextafter(value, math.inf)


def _memory(used: Occupancy, shown: NDArray[np.int64]) -> Iterator[Event]:
    """Memory in use as a counter of each unit; the peak stays whatever is thinned out."""
    if len(shown) < len(used.time_s):
        shown = np.union1d(shown, [(used.kv_bytes + used.adapter_bytes).argmax()])
    columns = (used.unit, used.time_s * MICRO, used.kv_bytes, used.adapter_bytes)
    for unit, time, kv, adapters in zip(*(c[shown].tolist() for c in columns), strict=True):
        yield {
            "ph": "C", "name": "memory bytes", "pid": _process(unit), "ts": round(time, 3),
            "args": {"KV cache": kv, "adapters": adapters},
        }  # fmt: skip
