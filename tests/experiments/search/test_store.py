"""Where trials are kept: kills, interrupts, many processes, other tools of Optuna, refusals."""

from __future__ import annotations

import ast
import inspect
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hangs import HUNG_S
from searches import designs, lanes

from hardwire.experiments.search import search as searching
from hardwire.experiments.search.search import optuna_name, search
from hardwire.experiments.sweep import Study
from hardwire.models.errors import InputError

pytestmark = pytest.mark.slow

optuna = pytest.importorskip("optuna")

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from hardwire.experiments.search.search import search
from hardwire.experiments.sweep import Study
search(Study.open("node-die"), trials=int(sys.argv[2]), storage=sys.argv[1])
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "search.journal"


@pytest.fixture(params=["journal", "database"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "journal":
        return str(tmp_path / "search.journal")
    return f"sqlite:///{tmp_path / 'search.sqlite3'}"


def start(storage: str | Path, trials: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(storage), str(trials)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def opened(storage: str | Path) -> Any:
    """A storage as any other tool opens it, by Optuna alone."""
    if "://" in str(storage):
        return str(storage)
    backend = optuna.storages.journal.JournalFileBackend(str(storage))
    return optuna.storages.journal.JournalStorage(backend)


def stored(storage: str | Path) -> list[Any]:
    """The trials of the only study in a storage."""
    (name,) = optuna.get_all_study_names(opened(storage))
    return optuna.load_study(study_name=name, storage=opened(storage)).trials


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_search_goes_on_where_it_was(journal: Path, tmp_path: Path) -> None:
    study = Study.open("node-die")
    process = start(journal, 1_000_000)
    try:
        deadline = time.monotonic() + HUNG_S
        while time.monotonic() < deadline and process.poll() is None:
            if lines(journal) > 100:
                break
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = stored(journal)
    assert left
    # A generation is one write. Only a kill in the midst of it leaves a part, and its line torn.
    torn = not journal.read_bytes().endswith(b"\n")
    assert len(left) % searching.POPULATION == 0 or torn
    assert all(trial.state.name == "COMPLETE" for trial in left)
    goal = len(left) + 75
    resumed = search(study, trials=goal, storage=journal)
    through = search(study, trials=goal, storage=tmp_path / "other.journal")
    assert resumed.before == len(left)
    assert designs(resumed) == designs(through)


def test_a_generation_of_which_a_part_is_written_is_completed(
    journal: Path, tmp_path: Path
) -> None:
    search(lanes(), trials=100, storage=journal)
    whole = journal.read_bytes()
    # The study is the first line; 70 trials and half of the next one are left.
    kept = b"".join(line + b"\n" for line in whole.split(b"\n")[:71])
    journal.write_bytes(whole[: len(kept) + 100])
    resumed = search(lanes(), trials=100, storage=journal)
    through = search(lanes(), trials=100, storage=tmp_path / "other.journal")
    assert resumed.before == 70
    assert designs(resumed) == designs(through)
    assert len(stored(journal)) == 100


def test_two_processes_share_one_search(storage: str) -> None:
    goal = 400 if "://" not in storage else 100
    processes = [start(storage, goal) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=HUNG_S)
        assert process.returncode == 0, errors
    trials = stored(storage)
    assert len(trials) >= goal
    assert [trial.number for trial in trials] == list(range(len(trials)))
    # They do not do the same work: without it half of the designs would be there twice.
    clocks = [trial.params["die.area_mm2"] for trial in trials]
    if "://" not in storage:
        assert len(set(clocks[: searching.POPULATION])) == searching.POPULATION
    assert len(set(clocks)) > 0.3 * len(clocks)


def test_another_writer_makes_this_process_draw_for_itself(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardwire.experiments.search.store import TrialStore

    add = TrialStore.add
    calls = []

    def first_call_loses(self: TrialStore, trials: Any, expected: int) -> bool:
        calls.append([trial.params for trial in trials])
        return add(self, trials, expected + 1 if len(calls) == 1 else expected)

    monkeypatch.setattr(TrialStore, "add", first_call_loses)
    assert search(lanes(), trials=50, storage=storage).trials == 50
    assert len(calls) == 2
    assert calls[0] != calls[1]


def test_who_adds_learns_of_trials_that_came_meanwhile(storage: str) -> None:
    from hardwire.experiments.search.store import TrialStore

    search(lanes(), trials=10, storage=storage)
    name = optuna_name(lanes(), 0, searching.POPULATION)
    one, other = (TrialStore(storage, name, ["maximize", "minimize"]) for _ in range(2))
    new = [stored(storage)[0]]
    assert one.add(new, 10)
    assert not other.add(new, 10)
    assert other.add(new, 11)
    assert len(one.trials()) == 12


def test_a_database_that_others_write_to_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is kept out of a database: that others wrote shows afterwards."""
    from hardwire.experiments.search.store import TrialStore

    storage = f"sqlite:///{tmp_path / 'search.sqlite3'}"
    search(lanes(), trials=10, storage=storage)
    name = optuna_name(lanes(), 0, searching.POPULATION)
    new = [stored(storage)[0]]
    one, other = (TrialStore(storage, name, ["maximize", "minimize"]) for _ in range(2))
    add = optuna.Study.add_trials

    def between(self: Any, trials: Any) -> None:
        monkeypatch.setattr(optuna.Study, "add_trials", add)
        assert other.add(new, 10)
        self.add_trials(trials)

    monkeypatch.setattr(optuna.Study, "add_trials", between)
    assert not one.add(new, 10)
    assert len(one.trials()) == 12


def test_a_database_holds_the_trials_of_a_journal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'search.sqlite3'}"
    for trials in (30, 60, 80):  # stopped and continued
        in_database = search(lanes(), trials=trials, storage=url)
    assert in_database.before == 60
    in_journal = search(lanes(), trials=80, storage=tmp_path / "search.journal")
    assert designs(in_database) == designs(in_journal)
    assert in_database.front.tolist() == in_journal.front.tolist()


def test_trials_of_other_tools_are_left_alone(storage: str) -> None:
    search(lanes(), trials=10, storage=storage)
    name = optuna_name(lanes(), 0, searching.POPULATION)
    study = optuna.load_study(study_name=name, storage=opened(storage))
    study.ask()  # it stays in state RUNNING
    found = search(lanes(), trials=60, storage=storage)
    assert found.trials == 60
    assert len(stored(storage)) == 61


def test_optuna_reads_the_trials_as_its_own(storage: str) -> None:
    found = search(lanes(), trials=60, storage=storage)
    study = optuna.load_study(study_name=found.name, storage=opened(storage))
    best = {tuple(trial.params.values()) for trial in study.best_trials}
    assert best == {designs(found)[n] for n in found.front}
    feasible = [all(v <= 0 for v in trial.constraints.values()) for trial in study.trials]
    assert feasible == found.feasible.tolist()
    assert "decode_tokens_per_s_user >= 12000" in study.trials[0].constraints


def test_a_journal_can_be_copied_to_a_database(journal: Path, tmp_path: Path) -> None:
    found = search(lanes(), trials=60, storage=journal)
    url = f"sqlite:///{tmp_path / 'copy.sqlite3'}"
    optuna.copy_study(from_study_name=found.name, from_storage=opened(journal), to_storage=url)
    copied = search(lanes(), trials=60, storage=url)
    assert copied.before == 60
    assert designs(copied) == designs(found)


def test_several_studies_in_one_storage(storage: str, tmp_path: Path) -> None:
    first = search(lanes(), trials=10, storage=storage)
    other = search(lanes(), trials=10, storage=storage, seed=1)
    again = search(lanes(), trials=30, storage=storage)
    assert (other.before, again.before) == (0, 10)
    assert designs(again)[:10] == designs(first)
    assert set(optuna.get_all_study_names(opened(storage))) == {first.name, other.name}


@pytest.mark.parametrize("after", [0, 10])
def test_ctrl_c_amid_a_generation_leaves_what_is_stored(
    after: int, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = optuna.Study.add_trials

    def interrupted(self: Any, trials: Any) -> None:
        if len(self.trials) == 50:
            add(self, trials[:after])
            raise KeyboardInterrupt
        add(self, trials)

    monkeypatch.setattr(optuna.Study, "add_trials", interrupted)
    found = search(lanes(), trials=200, storage=journal)
    assert found.interrupted
    assert found.trials == len(stored(journal)) == 50


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("/no/such/folder/x.journal", "No such file or directory"),
        ("/", "directory"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("nonsense://x", "nonsense"),
        ("redis://host", "redis"),
    ],
)
def test_a_storage_that_cannot_be_used(storage: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        search(lanes(), trials=10, storage=storage)
    assert str(caught.value).startswith(f"--storage {storage}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is text and no database" * 10)
    with pytest.raises(InputError, match="file is not a database"):
        search(lanes(), trials=10, storage=f"sqlite:///{tmp_path / 'x.db'}")


def test_a_database_named_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite3"
    search(lanes(), trials=4, storage=f"sqlite:///{path}")
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"is a database of SQLite.* sqlite:///{path}"):
        search(lanes(), trials=10, storage=path)
    assert path.read_bytes() == before


def test_a_password_is_never_printed() -> None:
    with pytest.raises(InputError) as caught:
        search(lanes(), trials=10, storage="postgresql+nosuchdriver://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"sqlite:///{tmp_path / 'search.sqlite3'}"
    search(lanes(), trials=4, storage=storage)
    monkeypatch.setattr("hardwire.experiments.search.database.LOCK_TIMEOUT_S", 0.1)
    holder = sqlite3.connect(tmp_path / "search.sqlite3")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(InputError, match="database is locked"):
            search(lanes(), trials=100, storage=storage)
    finally:
        holder.close()


def test_d1_only_the_public_interface_of_optuna_is_used() -> None:
    from hardwire.experiments.search import database, evolution, journal, store

    for path in (ROOT / "experiments" / "search").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [part for alias in node.names for part in alias.name.split(".")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id == "self"
                names = [] if own else [node.attr]
            private = [name for name in names if re.match(r"_(?!_)", name)]
            assert not private, f"{path.name}:{getattr(node, 'lineno', 0)}: {private}"
    # Nor by inheritance.
    found = 0
    for module in (database, evolution, journal, store):
        for _, one in inspect.getmembers(module, inspect.isclass):
            bases = [base for base in one.__mro__[1:] if base.__module__.startswith("optuna")]
            if one.__module__ == module.__name__ and bases:
                private = set(re.findall(r"\b(?:self|cls)\.(_\w+)", inspect.getsource(one)))
                taken = "".join(inspect.getsource(base) for base in bases)
                assert not {name for name in private if re.search(rf"\b{name}\b", taken)}
                found += 1
    assert found == 2
