"""Some tokens by unit, as a trace that Perfetto and chrome://tracing open."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from hardwire.experiments.run.recording import record
from hardwire.simulator.program import TokenProgram
from hardwire.simulator.single import Result


def trace_events(result: Result) -> dict[str, Any]:
    """The last prompt token and the first decode tokens of up to four users, in Trace Event Format.

    One process per layer, one thread per unit; times in microseconds.
    """
    recording = record(result)
    program, start, end = recording.program, recording.start, recording.end
    shown = recording.last(1)
    origin = int(recording.times.issued[shown].min())
    micro = 1e6 / program.clock_hz
    events = _tracks(program)
    place = _places(program)
    for token in shown:
        context = recording.context_of(token)
        name = f"user {recording.user_of(token)} token {context}"
        for stage in range(program.stages):
            for branch, unit in enumerate((program.main_unit[stage], program.side_unit[stage])):
                begin = int(start[token, stage, branch])
                if begin < 0:
                    continue
                layer, thread = place[int(unit)]
                events.append(
                    {
                        "ph": "X",
                        "name": name,
                        "cat": program.operations[stage] if branch == 0 else "lora",
                        "pid": layer,
                        "tid": thread,
                        "ts": round((begin - origin) * micro, 6),
                        "dur": round((int(end[token, stage, branch]) - begin) * micro, 6),
                        "args": {"stage": program.stage_names[stage], "context": context},
                    }
                )
    return {
        "displayTimeUnit": "ns",
        "otherData": {
            "chip": result.chip.name,
            "model": result.model.name,
            "prompt": recording.prompt,
        },
        "traceEvents": events,
    }


def write_trace(result: Result, path: Path) -> None:
    """Write ``trace_events`` as gzip, the same bytes for the same run."""
    text = json.dumps(trace_events(result), separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(text, mtime=0))


def _places(program: TokenProgram) -> list[tuple[int, int]]:
    """Process and thread of each unit: process 1 for what no layer owns, then one per layer."""
    places = []
    for number, unit in enumerate(program.units):
        _, _, layer = unit.rpartition(" ")
        places.append((2 + int(layer) if layer.isdigit() else 1, number + 1))
    return places


def _tracks(program: TokenProgram) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    named: set[int] = set()
    for unit, (process, thread) in zip(program.units, _places(program), strict=True):
        if process not in named:
            named.add(process)
            name = f"layer {process - 2}" if process > 1 else "chip"
            events.append(
                {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}}
            )
            events.append(
                {"ph": "M", "name": "process_sort_index", "pid": process,
                 "args": {"sort_index": process}}
            )  # fmt: skip
        for key, args in (
            ("thread_name", {"name": unit.rpartition(" ")[0] if process > 1 else unit}),
            ("thread_sort_index", {"sort_index": thread}),
        ):
            events.append({"ph": "M", "name": key, "pid": process, "tid": thread, "args": args})
    return events
