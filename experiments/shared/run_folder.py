"""The folder of a run: it appears whole or not at all, and takes the place of an earlier run's.

Where a folder also holds files of the user, these stay where they are, and the run's files take the
place of an earlier run's one after the other. Whoever looks at a folder or exchanges it holds the
lock of the folder around it, so that no run sees what another one has half done.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.lock import try_lock
from hardwire.experiments.shared.style import FORMATS
from hardwire.models.errors import InputError
from hardwire.models.files import reason

SUMMARIES = {
    "verdict.json": "run",
    "summary.json": "replay",
    "compare.json": "compare",
    "sweep.json": "sweep",
    "search.json": "search",
    "sensitivity.json": "sensitivity",
    "calibration.json": "calibrate",
    "formats.csv": "formats",
    "system.json": "run --system",
}
"""Files by one of which the folder of a run is known, and the command that writes it."""

_FIGURES = (
    "breakdown", "rank", "floorplan", "timeline", "pipeline", "compare", "sweep", "search",
    "sensitivity-*", "formats", "dies", "parameters", "corner", "predictions", "left-out",
)  # fmt: skip

RUN_FILES = (
    *SUMMARIES, "formats.json", "configuration.json", "config.yaml", "report.html", "trace.json.gz",
    "rank.json", "timeline.json", "tokens.parquet", "requests.parquet", "adapters.parquet",
    "requests-*.parquet", "adapters-*.parquet",
    "memory.parquet", "compare.csv", "points.parquet", "front.csv", "trials.csv", "sensitivity.csv",
    "posterior.parquet", "system.yaml", "chip.yaml",
    *(f"{figure}.{kind}" for figure in _FIGURES for kind in FORMATS),
)  # fmt: skip
"""What the folders of runs hold, whichever the command. Anything else is the user's."""

BESIDE = ".hardwire-"
"""How the name of a folder begins that is about to become, or was, the folder of a run."""
LEFT_S = 3600.0
"""Age from which such a folder is taken for that of a run which was killed."""
ATTEMPTS = 100
TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
"""Why a folder cannot get a name: another one that is not empty has it."""


def check_run_folder(folder: Path) -> Path:
    """Refuse a folder that a run cannot have.

    Returns
    -------
    The folder, links resolved.

    Raises
    ------
    InputError
        If it is the working folder (or the empty name of a variable that is not set), no folder, a
        mounted one, one whose files have the names of a run's though no run wrote them, or in a
        folder that cannot be written.
    """
    where = f"--save {folder}"
    try:
        target = folder.resolve()
        with _alone_in(target.parent):
            _look_at(target, where)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{where}: {reason(error)}") from None
    return target


def _look_at(target: Path, where: str) -> None:
    """Refuse a folder, its links resolved, that a run cannot have."""
    if target == Path.cwd():
        raise InputError(
            f"{where}: is the folder that you are in, or no name at all; a run has a folder of its "
            "own"
        )
    if os.path.ismount(target):
        raise InputError(f"{where}: is a mounted folder; name one in it")
    # Asked once: between two looks another run may take the folder's place, if there is no lock.
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(target.stat().st_mode):
            raise InputError(f"{where}: is no folder")
    _, ours = _held(target)
    strange = [name for name in ours if (target / name).is_dir()]
    if strange or (ours and not set(ours) & set(SUMMARIES)):
        names = ", ".join((strange or ours)[:3])
        raise InputError(
            f"{where}: holds {names}, which no run wrote; name another folder, or that of an "
            "earlier run, which is replaced"
        )
    above = next(one for one in target.parents if one.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{where}: {above} cannot be written")


def write_run(folder: Path, writers: Mapping[str, Callable[[Path], Any]]) -> list[Path]:
    """Write the files of a run to a folder of their own, which appears whole or not at all.

    They are written to a folder beside it, which then takes its name. Of two runs with one name at
    the same time the last one is there at the end, nothing of the other. A run that is killed
    leaves at most that folder beside it, which a later run removes. Other files in it are kept.

    Parameters
    ----------
    writers : by name, one of ``RUN_FILES``, what writes a file.

    Raises
    ------
    InputError
        As ``check_run_folder``, or if the files cannot be written.
    """
    target = check_run_folder(folder)
    made = [one for one in target.parents if not one.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        staging = _beside(target)
        staging.mkdir()
        try:
            for name, write in writers.items():
                write(staging / name)
                with (staging / name).open("rb") as file:
                    os.fsync(file.fileno())
            if strange := [name for name in writers if not _is_of_a_run(name)]:
                raise ValueError(f"{strange} must be in RUN_FILES for a later run to replace")
            with _alone_in(target.parent):
                _take_place(staging, target, f"--save {folder}")
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise InputError(f"--save {folder}: {reason(error)}") from None
    finally:
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
    return [folder / name for name in writers]


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; where it has none, or is not there, nobody is kept out."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        file = None
    try:
        with suppress(OSError):  # a file system without locks
            while file is not None and not try_lock(file):
                time.sleep(0.01)
        yield
    finally:
        if file is not None:
            os.close(file)


def _take_place(staging: Path, target: Path, where: str) -> None:
    """Give a folder the name of another one, which goes away as a whole.

    It also ends well where there are no locks, and another run does the same.
    """
    for _ in range(ATTEMPTS):
        try:
            staging.rename(target)  # onto nothing, or onto an empty folder
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        _look_at(target, where)
        if _held(target)[0]:
            _replace_files(staging, target)
            return
        earlier = _beside(target)
        try:
            target.rename(earlier)
        except FileNotFoundError:  # another run has just done it
            continue
        try:
            staging.rename(target)
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in TAKEN:  # another run was quicker
                _remove(earlier)
                continue
            earlier.rename(target)
            raise
        for name in _held(earlier)[0]:  # came between the look and the move
            (earlier / name).rename(target / name)
        _remove(earlier)
        return
    raise OSError(f"other runs take its place all the time ({ATTEMPTS} attempts)")


def _replace_files(staging: Path, target: Path) -> None:
    """Put files in the place of an earlier run's, in a folder that holds others, too.

    By which a folder is known to be a run's comes first: should the rest not follow, because the
    process is killed, the next run can still have the folder.
    """
    names = sorted(os.listdir(staging), key=lambda name: name not in SUMMARIES)
    for name in names:
        (staging / name).replace(target / name)
    for name in set(_held(target)[1]) - set(names):
        (target / name).unlink()


def _is_of_a_run(name: str) -> bool:
    return any(fnmatchcase(name, known) for known in RUN_FILES)


def _held(folder: Path) -> tuple[list[str], list[str]]:
    """Names in a folder, which need not exist: those of the user, and those that runs give."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:  # also while another run takes its place
        names = []
    ours = [name for name in names if _is_of_a_run(name)]
    return [name for name in names if name not in ours], ours


def _remove(folder: Path) -> None:
    """Remove a folder with what a run wrote; what else may be in it stays."""
    for name in _held(folder)[1]:
        (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()


def _beside(target: Path) -> Path:
    return target.parent / f"{BESIDE}{secrets.token_hex(6)}.tmp"


def _remove_leftovers(parent: Path) -> None:
    """Remove what runs left that were killed while they saved, which takes seconds."""
    for path in parent.glob(f"{BESIDE}*.tmp"):
        try:
            if time.time() - path.stat().st_mtime > LEFT_S:
                _remove(path)
        except OSError:  # another run was quicker, or it is someone else's
            continue
