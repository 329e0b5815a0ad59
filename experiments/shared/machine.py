"""What this installation has: versions, folders, compiled code, packages of extras."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from hardwire.compiled import CACHE, cache_folder, can_write
from hardwire.experiments.shared.extras import EXTRA_OF

PACKAGES = (
    "numpy",
    "numba",
    "simpy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "pydantic",
    "typer",
    "rich",
)
COMPILED = 10
"""Compiled functions of a first run; fewer, and the next command compiles."""


@dataclass(frozen=True)
class Line:
    """One thing, how it is, and what is wrong with it if anything is."""

    name: str
    value: str
    trouble: str = ""


@dataclass(frozen=True)
class Machine:
    """All lines."""

    lines: tuple[Line, ...]


def examine(store: Path) -> Machine:
    """Look at this installation.

    Parameters
    ----------
    store : folder of finished points of sweeps, which need not exist.
    """
    return Machine((*_versions(), *_compiled(), *_folders(store), *_extras()))


def _versions() -> Iterator[Line]:
    yield Line("hardwire", version("hardwire"))
    yield Line("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in PACKAGES:
        yield Line(package, version(package))


def _compiled() -> Iterator[Line]:
    folder = cache_folder()
    if folder is None or not can_write(folder):
        yield Line(
            "Compiled code",
            "not kept: every command compiles anew",
            f"nothing can be written beside the package or in the user's cache; set {CACHE}",
        )
        return
    package = Path(__file__).resolve().parents[2]
    kept = {path for place in (folder, package) for path in place.rglob("*.nbi")}
    words = f"{len(kept)} functions are cached" if len(kept) >= COMPILED else "not cached yet"
    yield Line("Compiled code", words)
    yield Line("Cache", str(folder))


def _folders(store: Path) -> Iterator[Line]:
    where = store.absolute()
    if store.is_dir():
        points = len(list((store / "points").glob("*.parquet")))
        yield Line("Store", f"{where}, {points} files of points", _unless_written(store))
    else:
        yield Line("Store", f"{where}, made by the first sweep")
    here = Path.cwd()
    yield Line("Working folder", str(here), _unless_written(here))
    try:
        yield Line("Temporary files", tempfile.gettempdir())
    except OSError:
        yield Line("Temporary files", "", "no folder for them can be written; set TMPDIR")


def _unless_written(folder: Path) -> str:
    return "" if can_write(folder) else "cannot be written"


def _extras() -> Iterator[Line]:
    for extra in dict.fromkeys(EXTRA_OF.values()):
        packages = [package for package, of in EXTRA_OF.items() if of == extra]
        missing = [package for package in packages if find_spec(package) is None]
        present = ", ".join(_named(package) for package in packages if package not in missing)
        trouble = f"lacks {', '.join(missing)}: pip install 'hardwire[{extra}]'" if missing else ""
        yield Line(f"Extra {extra}", present, trouble)


def _named(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
