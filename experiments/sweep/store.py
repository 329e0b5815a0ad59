"""The store of a sweep: finished points as Parquet, each once, and the chunks of each study.

Layout of the folder::

    store.json                         format, and the version of the program that writes here
    points/HASH.parquet                key, metrics, obstacle: every point of every study once
    studies/NAME-HASH/study.json       what the study asked, and the name of its view
    studies/NAME-HASH/chunk-N.parquet  number, key and axis values of its points; feasible, reason

A chunk is committed under a lock: first its new points, then the chunk itself, each written beside
its place, forced to disk and renamed. So a killed sweep leaves whole files only, and of two sweeps
that compute the same point at the same time the second finds it there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hardwire.experiments.shared.lock import locked, require_locks
from hardwire.experiments.sweep.fidelity_options import PREFIX
from hardwire.experiments.sweep.inputs import study_inputs
from hardwire.experiments.sweep.keys import KEY, program_version
from hardwire.models.errors import InputError
from hardwire.models.files import parse_json_object, read_bytes, read_json_object, reason

if TYPE_CHECKING:
    from hardwire.experiments.sweep.study import Study

FORMAT = 1
KEY_TYPE = pa.binary(16)
POINTS = "points"
"""The view of all points."""


class _Run(NamedTuple):
    """Keys in the order of their high halves, and the numbers of the files that hold them."""

    high: np.ndarray
    low: np.ndarray
    file: np.ndarray

    @classmethod
    def of(cls, high: np.ndarray, low: np.ndarray, file: np.ndarray) -> _Run:
        order = np.argsort(high, kind="stable")
        return cls(high[order], low[order], file[order])


@dataclass(frozen=True)
class Counts:
    """Points of a chunk or a sweep: ``computed`` now, ``reused`` from the store, ``failed``."""

    computed: int = 0
    reused: int = 0
    failed: int = 0
    feasible: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.computed + other.computed,
            self.reused + other.reused,
            self.failed + other.failed,
            self.feasible + other.feasible,
        )

    @property
    def points(self) -> int:
        return self.computed + self.reused + self.failed


class Store:
    """A folder of finished points, open for one sweep.

    Parameters
    ----------
    folder : made where it does not exist.

    Raises
    ------
    InputError
        If the folder holds something else, was written by another version of the program, or
        cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._points = folder / "points"
        self._known: dict[str, int] = {}
        self._files: list[str] = []
        self._runs: list[_Run] = []
        with self._sentences():
            self._open()
            self.refresh()

    def refresh(self) -> None:
        """Take note of points that other sweeps have written meanwhile."""
        for entry in os.scandir(self._points):
            if entry.name.endswith(".parquet") and entry.name not in self._known:
                self._index(entry.name, keys_of(pq.read_table(entry.path, columns=["key"])))

    def locate(self, keys: np.ndarray) -> np.ndarray:
        """Number of the file that holds each key, -1 where none does; shape of ``keys``."""
        order = np.argsort(keys["high"])  # in order, so that the search stays in the cache
        high, low = keys["high"][order], keys["low"][order]
        found = np.full(len(keys), -1, np.int64)
        for run in self._runs:
            first = np.searchsorted(run.high, high)
            # Two keys share their high half about never: look at the next one too.
            for place in (first, first + 1):
                near = np.minimum(place, len(run.high) - 1)
                same = run.high[near] == high
                if same.any():
                    same &= run.low[near] == low
                    found[order[same]] = run.file[near[same]]
        return found

    def read(self, keys: np.ndarray, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Stored values of points, all of which must be there.

        Returns
        -------
        Arrays in the order of ``keys``: ``columns`` as float64, ``obstacle`` as words.
        """
        files = self.locate(keys)
        result: dict[str, np.ndarray] = {name: np.empty(len(keys)) for name in columns}
        result["obstacle"] = np.empty(len(keys), object)
        for number in np.unique(files):
            wanted = np.flatnonzero(files == number)
            path = self._points / self._files[number]
            order, stored, table = _read_points(str(path), columns)
            rows = order[np.searchsorted(stored, keys["high"][wanted])]
            for name in columns:
                result[name][wanted] = table[name].to_numpy()[rows]
            result["obstacle"][wanted] = table["obstacle"].to_numpy()[rows]
        return result

    def study_folder(self, study: Study) -> Path:
        """Where the chunks of a study are, made if need be.

        A study that asks something else, by as little as a constraint or a byte of a file that it
        names, has a folder of its own. The first study of a name has that name as its view; another
        one has part of a hash behind it, for ever.
        """
        described = describe(study)
        hashed = _digest(json.dumps(described, sort_keys=True, default=str).encode())
        view = view_name(study)
        # Of the name what every file system takes, whatever is in it.
        folder = self.folder / "studies" / f"{view[:60]}-{hashed[:12]}"
        with self._sentences():
            folder.mkdir(parents=True, exist_ok=True)
            with self.lock():
                if not (folder / "study.json").exists():
                    # SQL takes upper and lower case for the same.
                    taken = {one["view"].lower() for one in stored_studies(self.folder).values()}
                    if view.lower() in taken | {POINTS}:
                        view = f"{view}_{hashed[:6]}"
                    text = json.dumps({"view": view, **described}, indent=1, default=str)
                    self._write(folder / "study.json", text.encode())
        return folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other sweeps from writing. The system lets go of it when a process dies."""
        with (self.folder / "lock").open("w") as file, locked(file.fileno()):
            yield

    def commit(self, keys: np.ndarray, encoded: bytes, chunk: Path, rows: pa.Table) -> int:
        """Write a chunk: its new points, then its own rows.

        Parameters
        ----------
        keys, encoded : of the new points, and they as the bytes of a Parquet file.
        chunk, rows : file and table of the chunk.

        Returns
        -------
        How many points were new: fewer than given where another sweep was faster.
        """
        with self._sentences(), self.lock():
            for leftover in self.folder.glob("*.tmp"):  # all writing is done under the lock
                leftover.unlink(missing_ok=True)
            self.refresh()
            missing = self.locate(keys) < 0
            new = int(missing.sum())
            if new < len(keys):
                keys = keys[missing]
                encoded = encode(pq.read_table(pa.BufferReader(encoded)).filter(pa.array(missing)))
            if new:
                name = f"{_digest(keys.tobytes())}.parquet"
                self._write(self._points / name, encoded)
                self._index(name, keys)
            self._write(chunk, encode(rows))
        return new

    def _open(self) -> None:
        require_locks("a sweep")
        _refuse_backslash(self.folder)
        path = self.folder / "store.json"
        mine = {"format": FORMAT, "hardwire": program_version()}
        if not path.exists():
            if self.folder.exists() and not self.folder.is_dir():
                raise InputError(f"--store {self.folder}: is no folder")
            if self.folder.exists() and any(
                entry.name not in ("lock", "points", "studies") and not entry.name.endswith(".tmp")
                for entry in os.scandir(self.folder)
            ):
                raise InputError(f"--store {self.folder}: is a folder with something else in it")
            self._points.mkdir(parents=True, exist_ok=True)
            with self.lock():
                if not path.exists():
                    self._write(path, json.dumps(mine).encode())
        check_version(self.folder)
        self._points.mkdir(exist_ok=True)

    def _index(self, name: str, keys: np.ndarray) -> None:
        """Add a file's keys. Sorted runs of falling size are merged as they become equal."""
        number = len(self._files)
        self._known[name] = number
        self._files.append(name)
        if not len(keys):
            return
        self._runs.append(_Run.of(keys["high"], keys["low"], np.full(len(keys), number)))
        while len(self._runs) > 1 and len(self._runs[-1].high) * 2 > len(self._runs[-2].high):
            one, other = self._runs.pop(), self._runs.pop()
            both = (np.concatenate(pair) for pair in zip(one, other, strict=True))
            self._runs.append(_Run.of(*both))

    def _write(self, path: Path, content: bytes) -> None:
        temporary = self.folder / f"{path.name}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"--store {self.folder}: {reason(error)}") from None


def check_version(folder: Path) -> None:
    """Refuse a folder that is no store, or that another version of the program has written.

    Raises
    ------
    InputError
        In one sentence, with both versions.
    """
    _refuse_backslash(folder)
    path = folder / "store.json"
    if not path.is_file():
        raise InputError(f"--store {folder}: holds no results of a sweep")
    data = parse_json_object(read_bytes(path, count=1 << 16), str(path))
    written, mine = data.get("hardwire"), program_version()
    if data.get("format") != FORMAT or written != mine:
        raise InputError(
            f"--store {folder}: was written by hardwire {written}, this is {mine}, whose results "
            "may differ; give another --store"
        )


def _refuse_backslash(folder: Path) -> None:
    """DuckDB, which reads the store, takes a backslash in a name for the end of a folder's name."""
    if any("\\" in part for part in folder.absolute().parts[1:]):
        raise InputError(f"--store {folder}: a backslash cannot be in the path of a store")


def view_name(study: Study) -> str:
    """What the view of a study is called, as long as no other study of the store is."""
    return re.sub(r"\W", "_", study.name) or "_"


def stored_studies(folder: Path) -> dict[Path, dict[str, Any]]:
    """What the studies of a store asked, by their folders, the first one first.

    Raises
    ------
    InputError
        If a file that says so is damaged.
    """
    paths = [path for path in (folder / "studies").glob("*/study.json") if path.is_file()]
    paths.sort(key=lambda path: (path.stat().st_mtime_ns, path))
    return {path.parent: read_json_object(path) for path in paths}


def describe(study: Study) -> dict[str, Any]:
    """Everything that a study asks, as plain values; a file by its name and its digest.

    Raises
    ------
    InputError
        If a file that it names cannot be read.
    """
    digests = study_inputs(study)

    def stated(name: str, value: Any) -> Any:
        digest = digests.get((name, value)) if isinstance(value, str) else None
        return value if digest is None else f"{Path(value).name} {digest}"

    resolved = {
        name: float(value) if isinstance(value, np.number) else value
        for name, value in study.base.resolved().items()
    }
    return {
        "name": study.name,
        "title": study.title,
        "fidelity": study.fidelity,
        "sampling": study.sampling,
        "count": study.count,
        "seed": study.seed,
        "base": resolved,
        "axes": [
            {
                "name": axis.name,
                "values": [stated(axis.name, value) for value in axis.values],
                "variants": [
                    {name: stated(name, value) for name, value in variant.items()}
                    for variant in axis.variants
                ],
                "interval": [str(axis.low), str(axis.high), axis.log],
            }
            for axis in study.axes
        ],
        "columns": list(study.columns),
        "metrics": list(study.metrics),
        "constraints": [constraint.text for constraint in study.constraints],
        "objectives": dict(study.objectives),
        "replay": {name: stated(PREFIX + name, v) for name, v in study.replay.items()},
    }


def key_array(keys: np.ndarray) -> pa.Array:
    """Keys as a column of 16 bytes each, high half first in the machine's own byte order."""
    buffer = pa.py_buffer(np.ascontiguousarray(keys).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(KEY_TYPE, len(keys), [None, buffer])


def keys_of(table: pa.Table) -> np.ndarray:
    """The keys in a table, dtype ``KEY``."""
    column = table["key"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # of no rows at all
        return np.empty(0, KEY)
    whole = np.frombuffer(column.buffers()[1], KEY)
    return whole[column.offset : column.offset + len(column)]


def words(codes: np.ndarray, texts: tuple[str, ...]) -> pa.DictionaryArray:
    """A column of words, each stored once."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int16)), pa.array(texts))


def encode(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    # Numbers of a sweep hardly repeat: a dictionary of them would only cost time.
    by_words = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    pq.write_table(
        table, sink, use_dictionary=by_words, compression="snappy", write_statistics=False
    )
    return sink.getvalue().to_pybytes()


@lru_cache(maxsize=8)
def _read_points(path: str, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, Any]:
    # No two keys of one file share their high half, as far as 64 bits can tell.
    table = pq.read_table(path, columns=["key", *columns, "obstacle"])
    high = keys_of(table)["high"]
    order = np.argsort(high, kind="stable")
    return order, high[order], table


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_counts(path: Path) -> Counts:
    """What a chunk's file says of its points."""
    stated: Mapping[bytes, bytes] = pq.read_schema(path).metadata or {}
    return Counts(*(int(v) for v in json.loads(stated[b"counts"])))
