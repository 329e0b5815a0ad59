"""Measurements of a GPU server in parts: runs of one kind each, read from a CSV file.

Two layouts. The plain one has a row per run and the columns ``COLUMNS`` (below). The other is that
of the component runs of Agulló et al. (arXiv 2508.08343): kind, folder, num_prompts, in_tokens,
out_tokens, duration_s, mean_ttft_ms, mean_tpot_ms, with the settings of a run in its folder's name.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.models.files import reason

COLUMNS = {
    "model": "name of the base model",
    "requests": "of the run, all there at the begin",
    "batch": "most requests in a step; 0 where only memory limits them",
    "prompt_tokens": "of a request, on average",
    "output_tokens": "of a request, on average",
    "slots": "adapter slots; 0 with LoRA disabled",
    "rank": "of the slots; 0 without",
    "adapters": "that the requests draw from evenly; 0 without",
    "in_turn": "1 where each request waits for the one before, 0 where all are there at once",
    "duration_s": "of the whole run",
    "ttft_ms": "time to first token, on average",
    "tpot_ms": "time per further output token, on average; 0 with one output token",
}
"""Columns of the plain layout, and what they hold."""

AGULLO = (
    "kind", "folder", "num_prompts", "in_tokens", "out_tokens", "duration_s", "mean_ttft_ms",
    "mean_tpot_ms",
)  # fmt: skip

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Run:
    """One measured run. Lengths are means per request; times milliseconds; see ``COLUMNS``."""

    label: str
    requests: int
    batch: int
    prompt: float
    output: float
    slots: int
    rank: int
    adapters: int
    in_turn: bool
    duration_ms: float
    ttft_ms: float
    tpot_ms: float

    @property
    def waves(self) -> NDArray[np.float64]:
        """Requests of the batches one after the other, where all have equal lengths."""
        size = 1 if self.in_turn else min(self.batch or self.requests, self.requests)
        full, rest = divmod(self.requests, size)
        return np.array([size] * full + [rest] * (rest > 0), float)


def read_profile(path: Path, model: str) -> list[Run]:
    """The runs of a model that were measured; those that failed are left out.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column or a number, has a number that cannot be, or no
        run of the model.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            agullo = "kind" in columns
            for column in AGULLO if agullo else COLUMNS:
                if column not in columns:
                    raise InputError(f"{path.name}: column {column} is missing")
            rows = list(enumerate(reader, start=2))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    make = _of_agullo if agullo else _plain
    wanted, found, others = _plainly(model), [], dict[str, None]()
    for line, cells in rows:
        name = cells["kind"].split("/")[1] if agullo and "/" in cells["kind"] else ""
        name = name if agullo else cells["model"] or ""
        if _plainly(name) != wanted:
            others[name] = None
        elif not agullo or cells["duration_s"]:
            found.append(make(_Cells(path.name, line, cells)))
    if not found:
        has = ", ".join(filter(None, others)) or "none"
        raise InputError(f"{path.name}: has no run of {model} (of: {has})")
    return found


def _plainly(name: str) -> str:
    """A model's name as files differ in it."""
    return re.sub(r"[^a-z0-9]|instruct", "", name.rpartition("/")[2].lower())


@dataclass(frozen=True)
class _Cells:
    """A row, with what it says in messages."""

    file: str
    line: int
    cells: Mapping[str, str]

    def number(self, column: str, least: float = 0) -> float:
        try:
            value = float(self.cells[column])
        except (TypeError, ValueError):
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            raise InputError(
                f"{self.file}: line {self.line}: {column}: a number of at least {least:g} is "
                f"expected, not '{self.cells[column] or ''}'"
            )
        return value

    def count(self, column: str, least: int = 0) -> int:
        value = self.number(column, least)
        if value != int(value):
            raise InputError(f"{self.file}: line {self.line}: {column}: {value:g} is no count")
        return int(value)


def _plain(row: _Cells) -> Run:
    slots, output = row.count("slots"), row.number("output_tokens", 1)
    run = Run(
        label=f"line {row.line}",
        requests=row.count("requests", 1),
        batch=row.count("batch"),
        prompt=row.number("prompt_tokens", 1),
        output=output,
        slots=slots,
        rank=row.count("rank", 1 if slots else 0),
        adapters=row.count("adapters", 1 if slots else 0),
        in_turn=bool(row.count("in_turn")),
        duration_ms=row.number("duration_s", 1e-9) * 1e3,
        ttft_ms=row.number("ttft_ms"),
        tpot_ms=row.number("tpot_ms", 1e-9 if output > 1 else 0),
    )
    return run


Settings = dict[str, int | bool]

# What the numbers in a folder's name are, by a part of the kind.
_FOLDERS: dict[str, tuple[int, Callable[[list[int]], Settings]]] = {
    "find_available_gpu_memory": (2, lambda n: {"slots": n[0], "rank": n[1], "adapters": 1}),
    "predictor_default": (3, lambda n: {"batch": n[0]}),
    "initial_points": (3, lambda n: {"batch": n[0]}),
    "overhead_small": (
        6,
        lambda n: {"batch": n[0], "slots": n[1], "rank": n[2], "adapters": n[5]},
    ),
    # Of how many adapters the requests were is not said: as many as slots.
    "find_max_batch": (4, lambda n: {"slots": n[0], "rank": n[1], "adapters": n[0]}),
    # With how many slots is not said: one, as each request has an adapter to load.
    "predictor_loading": (1, lambda n: {"slots": 1, "rank": n[0], "adapters": 1, "in_turn": True}),
}


def _of_agullo(row: _Cells) -> Run:
    kind, folder = row.cells["kind"], row.cells["folder"]
    numbers = [int(word) for word in _NUMBERS.findall(folder)]
    known = [
        settings(numbers)
        for part, (expected, settings) in _FOLDERS.items()
        if part in kind and len(numbers) == expected
    ]
    if not known:
        raise InputError(f"{row.file}: line {row.line}: kind: '{kind}' of '{folder}' is not known")
    made: Settings = {"batch": 0, "slots": 0, "rank": 0, "adapters": 0, "in_turn": False}
    made |= known[0]
    requests = row.count("num_prompts", 1)
    words = kind.split("/")
    return Run(
        label=f"{' '.join([words[0], *words[2:]])} {'/'.join(map(str, numbers))}",
        requests=requests,
        prompt=row.number("in_tokens", 1) / requests,
        output=row.number("out_tokens", 1) / requests,
        duration_ms=row.number("duration_s", 1e-9) * 1e3,
        ttft_ms=row.number("mean_ttft_ms"),
        tpot_ms=row.number("mean_tpot_ms"),
        batch=int(made["batch"]),
        slots=int(made["slots"]),
        rank=int(made["rank"]),
        adapters=int(made["adapters"]),
        in_turn=bool(made["in_turn"]),
    )
