"""The file of a search: what Optuna's own backend reads, transactions, torn lines, a full disk."""

from __future__ import annotations

import fcntl
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import designs, lanes

from hardwire.experiments.search.search import search
from hardwire.models.errors import InputError

pytestmark = pytest.mark.slow

optuna = pytest.importorskip("optuna")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search.journal"


STUDY = {"op_code": 0, "worker_id": "other", "study_name": "other", "directions": [1]}


def logs(*numbers: int) -> list[dict[str, Any]]:
    return [{"op_code": 0, "number": number} for number in numbers]


STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),  # who
        st.lists(st.integers(0, 3), max_size=3),  # lengths of what is appended together
        st.sampled_from(["at once", "together", "broken off"]),
        st.booleans(),  # whether it reads afterwards
        st.booleans(),  # whether a writer is killed before
    ),
    max_size=12,
)


@given(steps=STEPS)
def test_each_reads_what_was_written_in_the_order_of_the_file(
    steps: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from hardwire.experiments.search.journal import JournalFile

    path = tmp_path_factory.mktemp("journal") / "x"
    writers = [JournalFile(path), JournalFile(path)]
    seen: list[list[Any]] = [[], []]
    expected: list[Any] = []
    count = 0

    def read(who: int) -> None:
        seen[who] += writers[who].read_logs(len(seen[who]))

    for who, lengths, how, reads, killed in steps:
        if killed and path.exists():
            with path.open("ab") as file:
                file.write(b'{"op_code":0,"num')
        batches = []
        for length in lengths:
            batches.append(logs(*range(count, count + length)))
            count += length
        if how == "at once":
            for batch in batches:
                writers[who].append_logs(batch)
                expected += batch
        else:
            try:
                with writers[who].transaction():
                    read(who)
                    assert seen[who] == expected
                    inside = list(expected)
                    for batch in batches:
                        writers[who].append_logs(batch)
                        inside += batch
                        read(who)
                        assert seen[who] == inside
                    if how == "broken off":
                        raise KeyboardInterrupt
                expected = inside
            except KeyboardInterrupt:
                writers[who], seen[who] = JournalFile(path), []
        if reads:
            read(who)
            assert seen[who] == expected
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    assert list(backend.read_logs(0)) == expected
    assert list(JournalFile(path).read_logs(2)) == expected[2:]


def test_a_generation_waits_for_the_disk_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync
    calls = []

    def counted(file: int) -> None:
        calls.append(file)
        sync(file)

    search(lanes(), trials=50, storage=path)
    monkeypatch.setattr(os, "fsync", counted)
    search(lanes(), trials=200, storage=path)
    assert len(calls) == 3


def test_looking_at_a_search_writes_nothing(path: Path) -> None:
    search(lanes(), trials=50, storage=path)
    before = path.read_bytes()
    search(lanes(), trials=50, storage=path)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, tmp_path: Path) -> None:
    search(lanes(), trials=50, storage=path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5000, limits[1]))
    try:
        with pytest.raises(InputError, match=f"--storage {path}: File too large"):
            search(lanes(), trials=100, storage=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    resumed = search(lanes(), trials=100, storage=path)
    through = search(lanes(), trials=100, storage=tmp_path / "other.journal")
    assert designs(resumed) == designs(through)


def test_a_locked_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search(lanes(), trials=50, storage=path)
    monkeypatch.setattr("hardwire.experiments.search.journal.LOCK_TIMEOUT_S", 0.1)
    with path.open("ab") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"another process has locked it for more than 0.1 s"):
            search(lanes(), trials=100, storage=path)
        # To look needs no lock.
        assert search(lanes(), trials=50, storage=path).before == 50
    assert search(lanes(), trials=100, storage=path).before == 50


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a note of mine", 1),
        ("a note of mine\n", 1),
        ("[1, 2]\n", 1),
        ('{"a": 1}', 1),
        (json.dumps(STUDY) + "\nno operation\n", 2),
    ],
)
def test_a_file_that_is_no_journal_is_left_alone(text: str, line: int, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=f"line {line} is not that of a journal"):
        search(lanes(), trials=10, storage=path)
    assert path.read_text() == text


def test_a_journal_that_optuna_cannot_read(path: Path) -> None:
    path.write_text(json.dumps(logs(0)[0]) + "\n")
    with pytest.raises(InputError, match=r"is no journal that Optuna reads .*study_name"):
        search(lanes(), trials=10, storage=path)


def test_a_file_that_another_program_cuts_short(path: Path) -> None:
    def report(done: int, feasible: int, new: int) -> None:
        if done == 100:
            path.write_bytes(b"")

    with pytest.raises(InputError, match="has been cut short"):
        search(lanes(), trials=200, storage=path, report=report)
