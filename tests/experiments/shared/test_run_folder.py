"""The folder of a run: whole or not at all, whoever else writes, and nothing of the user's lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from hardwire.experiments.shared import run_folder
from hardwire.experiments.shared.folder import text_file
from hardwire.experiments.shared.run_folder import RUN_FILES, check_run_folder, write_run
from hardwire.experiments.shared.style import FORMATS
from hardwire.models.errors import InputError

NAMES = ("verdict.json", "rank.json", "configuration.json")
TRACE = "arrival_s,prompt_tokens,output_tokens\n0,10,20\n"


def files(mark: str, names: tuple[str, ...] = NAMES) -> dict[str, Callable[[Path], Any]]:
    return dict.fromkeys(names, text_file(mark))


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Also what the earlier run, or its report, had more."""
    folder = tmp_path / "new" / "out"
    assert write_run(folder, files("one")) == [folder / name for name in NAMES]
    (folder / "report.html").write_text("of one")
    write_run(folder, files("two", NAMES[:2]))
    assert held(folder) == dict.fromkeys(NAMES[:2], "two")
    write_run(folder, files("three", ("summary.json",)))
    assert held(folder) == {"summary.json": "three"}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_empty_folder_and_a_link_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    write_run(tmp_path / "link", files("one"))
    assert (tmp_path / "link").is_symlink()
    assert held(tmp_path / "empty") == held(tmp_path / "link") == dict.fromkeys(NAMES, "one")


@pytest.mark.parametrize("others", [("config.yaml",), ("rank.json", "notes.txt")])
def test_files_with_a_runs_names_that_no_run_wrote_are_the_users(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in others:
        (folder / name).write_text("mine")
    with pytest.raises(InputError, match=f"--save {folder}: holds {others[0]}, which no run wrote"):
        write_run(folder, files("one"))
    assert held(folder) == dict.fromkeys(others, "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_other_files_of_the_user_stay(tmp_path: Path) -> None:
    """Such as notes, a journal, or a store; the earlier run goes all the same."""
    folder = tmp_path / "mine"
    (folder / "store").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    before = (folder / "notes.txt").stat().st_ino
    write_run(folder, files("one"))
    write_run(folder, files("two", NAMES[:2]))
    assert (folder / "notes.txt").stat().st_ino == before
    (folder / "store").rmdir()
    assert held(folder) == {**dict.fromkeys(NAMES[:2], "two"), "notes.txt": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_in_an_earlier_run_is_the_users(tmp_path: Path) -> None:
    write_run(tmp_path / "out", files("one"))
    (tmp_path / "out" / "report.html").mkdir()
    with pytest.raises(InputError, match=r"holds report.html, which"):
        check_run_folder(tmp_path / "out")


@pytest.mark.parametrize("command", ["run", "replay", "formats", "search"])
def test_save_with_an_empty_name_writes_nothing(
    hardwire: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As of a variable of the shell that is not set; nothing is computed either."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    more = {"replay": ["trace.csv"], "search": ["node-die"]}.get(command, [])
    for name in ("", ".", str(here)):
        said = hardwire.refused(command, *more, "--save", name)
        assert "is the folder that you are in, or no name at all" in said
    assert not list(here.iterdir())
    assert "names no file" in hardwire.refused("search", "node-die", "--storage", "")


def test_a_folder_that_cannot_be_is_said_before_anything_is_computed(
    hardwire: Shell, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    for name, why in (("file", "is no folder"), ("file/out", "cannot be written|Not a directory")):
        said = hardwire.refused("replay", "no-such-trace.csv", "--save", tmp_path / name)
        assert any(one in said for one in why.split("|")), said
    assert "is a mounted folder" in hardwire.refused("run", "--save", "/proc")


def test_a_full_disk_leaves_the_earlier_run(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    write_run(tmp_path / "out", files("one"))
    for name in ("out", "fresh/deep"):
        with pytest.raises(InputError, match=f"--save {tmp_path / name}: No space left on device"):
            write_run(tmp_path / name, {**files("two"), "rank.png": full})
    assert held(tmp_path / "out") == dict.fromkeys(NAMES, "one")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupt_amid_the_exchange_gives_the_earlier_run_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "out", files("one"))
    real, done = Path.rename, []

    def interrupted(self: Path, target: Path) -> Path:
        if self.name != "out" and done == ["out"]:
            done.append("again")
            raise KeyboardInterrupt
        result = real(self, target)
        done.append(self.name)
        return result

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path / "out", files("two"))
    assert held(tmp_path / "out") == dict.fromkeys(NAMES, "one")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_the_user_saves_amid_the_exchange_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "out", files("one"))
    real = Path.rename

    def meanwhile(self: Path, target: Path) -> Path:
        if self.name == "out":
            (self / "notes.txt").write_text("mine")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", meanwhile)
    write_run(tmp_path / "out", files("two"))
    assert held(tmp_path / "out") == {**dict.fromkeys(NAMES, "two"), "notes.txt": "mine"}


@pytest.mark.parametrize("notes", [False, True])
def test_two_runs_at_once_never_mix(tmp_path: Path, notes: bool) -> None:
    folder, failed = tmp_path / "out", []
    if notes:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")

    def runs(mark: str) -> None:
        try:
            for _ in range(60):
                write_run(folder, files(mark))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=runs, args=(mark,)) for mark in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    found = held(folder)
    assert found.pop("notes.txt", None) == ("mine" if notes else None)
    assert set(found) == set(NAMES) and len(set(found.values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("notes", [False, True])
def test_who_looks_at_a_folder_amid_an_exchange_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: bool
) -> None:
    """Another command that checks its folder first sees one run or the other, no part of one."""
    folder, seen, moved = tmp_path / "out", [], []
    write_run(folder, files("one"))
    if notes:
        (folder / "notes.txt").write_text("mine")

    def look() -> None:
        seen.append(check_run_folder(folder))

    def amid(real: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def move(self: Path, target: Path) -> Path:
            if not moved:
                moved.append(threading.Thread(target=look))
                moved[0].start()
                moved[0].join(0.05)
                assert moved[0].is_alive() and not seen
            return real(self, target)

        return move

    monkeypatch.setattr(Path, "rename", amid(Path.rename))
    monkeypatch.setattr(Path, "replace", amid(Path.replace))
    write_run(folder, files("two"))
    moved[0].join()
    assert seen == [folder]


def test_a_run_killed_amid_the_users_files_leaves_a_folder_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    real, done = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        if done:
            raise KeyboardInterrupt
        done.append(self.name)
        return real(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", killed)
        write_run(folder, files("one", NAMES[::-1]))
    write_run(folder, files("two"))
    assert held(folder) == {**dict.fromkeys(NAMES, "two"), "notes.txt": "mine"}


@pytest.mark.parametrize("locks", ["none", "refused"])
def test_without_locks_a_folder_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    def refused(file: int) -> bool:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(run_folder, "try_lock", (lambda _: True) if locks == "none" else refused)
    for mark in ("one", "two"):
        write_run(tmp_path / "out", files(mark))
    assert held(tmp_path / "out") == dict.fromkeys(NAMES, "two")


KILLED = """
import sys, time
from pathlib import Path
from hardwire.experiments.shared.run_folder import write_run

def slow(path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(600)

writers = {"verdict.json": lambda path: path.write_text("two"), "rank.json": slow}
write_run(Path(sys.argv[1]), writers)
"""


@pytest.mark.parametrize("earlier", [True, False])
def test_a_killed_writer_leaves_the_earlier_run(tmp_path: Path, earlier: bool) -> None:
    folder = tmp_path / "out"
    if earlier:
        write_run(folder, files("one"))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert folder.exists() is earlier
    if earlier:
        assert held(folder) == dict.fromkeys(NAMES, "one")
    (left,) = (path for path in tmp_path.iterdir() if path.name != "out")
    write_run(folder, files("three"))
    assert left.exists()  # it may be that of a run which saves at this moment
    long_ago = time.time() - run_folder.LEFT_S - 1
    os.utime(left, (long_ago, long_ago))
    write_run(folder, files("four"))
    assert not left.exists() and held(folder) == dict.fromkeys(NAMES, "four")


def test_every_room_saves_what_a_later_run_may_replace(tmp_path: Path) -> None:
    """The names in its writers, figures in each of their formats."""
    rooms = [
        path
        for path in Path(run_folder.__file__).parents[1].glob("*/*save.py")
        if path.parent.name != "cli"
    ]
    found = 0
    for path in rooms:
        text = path.read_text(encoding="utf-8").replace("{one.metric}", "power_w")
        names = re.findall(r'"([\w-]+\.(?:\{figures\}|\w+(?:\.gz)?))":', text)
        for name in {name.format(figures=kind) for name in names for kind in FORMATS}:
            assert any(fnmatchcase(name, known) for known in RUN_FILES), f"{path}: {name}"
            found += 1
    assert len(rooms) == 9 and found > 30
    with pytest.raises(ValueError, match=r"notes.txt.* must be in RUN_FILES"):
        write_run(tmp_path / "out", files("x", ("verdict.json", "notes.txt")))
    assert not list(tmp_path.iterdir())
