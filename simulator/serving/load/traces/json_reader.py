"""Traces in JSON: one object per line, an array of objects, or a result of vLLM's benchmark."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.traces.cells import shown
from hardwire.simulator.serving.load.traces.layout import FORMATS, VLLM, Layout, json_layout
from hardwire.simulator.serving.load.traces.source import open_text
from hardwire.simulator.serving.load.traces.table import Table, chunks, naming
from hardwire.simulator.serving.load.workload import Workload

_LARGEST_JSON = 1 << 30  # characters, of files that only parse as a whole


def read_json(path: Path, start: str, *, unit: str | None, sort: bool) -> Workload:
    """Read a trace whose first line that is not blank is ``start``."""
    try:
        first = json.loads(start)
    except (ValueError, RecursionError):
        first = None  # one value over several lines, or a broken line
    if isinstance(first, dict) and VLLM.prompt not in first:
        return _read_objects(path, "line", _lines(path), unit, sort)
    data = _load(path)
    if isinstance(data, list):
        return _read_objects(path, "entry", iter(enumerate(data, 1)), unit, sort)
    return _read_vllm(path, data, unit)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                problem = getattr(error, "msg", "nested too deeply, or a number too long")
                raise InputError(f"{path}: line {number}: is not JSON ({problem})") from None


def _load(path: Path) -> Any:
    with open_text(path) as file:
        text = file.read(_LARGEST_JSON + 1)
    if len(text) > _LARGEST_JSON:
        raise InputError(f"{path}: is larger than 1 GiB; give one object per line instead")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, character {error.colno}"
        raise InputError(f"{path}: {place}: is not JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not JSON (nested too deeply, or a number too long)") from None


def _read_vllm(path: Path, data: dict[str, Any], unit: str | None) -> Workload:
    """Requests of a result by ``start_times``, if it has them; failed ones are left out."""
    for name in (VLLM.prompt, VLLM.output):
        if not isinstance(data.get(name), list):
            hint = f"as in {FORMATS}, or a vLLM result with input_lens and output_lens"
            raise InputError(f"{path}: {name}: no such list; give objects one per line, {hint}")
    layout = VLLM
    if data.get(VLLM.arrival) is None:
        layout = dataclasses.replace(VLLM, arrival="")
    count = len(data[VLLM.prompt])
    errors = data.get("errors") or [""] * count
    for name, entries in (*((name, data[name]) for name in layout.columns), ("errors", errors)):
        if not isinstance(entries, list):
            raise InputError(f"{path}: {name}: must be a list, one entry per request")
        if len(entries) != count:
            raise InputError(
                f"{path}: {name}: has {len(entries)} entries, but {VLLM.prompt} {count}"
            )
    served = [place for place, error in enumerate(errors) if not error]
    # Its lists are in the order of the prompts, which need not be that of sending.
    table = Table(layout, is_text=False, unit=unit, sort=True)
    table.skipped = count - len(served)
    if served:
        with naming(path, lambda row: f"entry {served[row] + 1}"):
            table.add({name: [data[name][k] for k in served] for name in layout.columns})
    return table.workload(path)


def _read_objects(
    path: Path, word: str, entries: Iterator[tuple[int, Any]], unit: str | None, sort: bool
) -> Workload:
    """Read objects numbered from 1, by line or by entry as ``word`` says."""
    table: Table | None = None
    for chunk in chunks(entries):
        places, objects = zip(*chunk, strict=True)
        if table is None:
            layout = _layout(f"{path}: {word} {places[0]}", objects[0])
            table, keys = Table(layout, is_text=False, unit=unit, sort=sort), objects[0].keys()
        for place, entry in chunk:
            if type(entry) is not dict or entry.keys() != keys:
                _check_keys(f"{path}: {word} {place}", entry, table.layout)
        cells = {name: [entry.get(name) for entry in objects] for name in table.layout.columns}
        with naming(path, lambda row, places=places: f"{word} {places[row]}"):  # type: ignore[misc]
            table.add(cells)
    if table is None:
        raise InputError(f"{path}: holds no requests")
    return table.workload(path)


def _layout(where: str, first: Any) -> Layout:
    if not isinstance(first, dict):
        raise InputError(f"{where}: must be a JSON object with the fields of a request")
    if "conversations" in first:
        raise InputError(
            f"{where}: holds conversations as text; count their tokens first and give "
            "prompt_tokens and output_tokens"
        )
    layout = json_layout(tuple(first))
    _check_keys(where, first, layout)
    return layout.present(where, tuple(first))


def _check_keys(where: str, entry: Any, layout: Layout) -> None:
    """Refuse fields that would be lost: unknown ones, and known ones that the first lacked."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must be a JSON object with the fields of a request")
    for name in entry:
        if not layout.knows(name):
            raise InputError(
                f"{where}, column {shown(name)}: is not known, or not in the first request; the "
                f"keys are {', '.join(layout.columns)}{layout.hint(name, tuple(entry))}"
            )
