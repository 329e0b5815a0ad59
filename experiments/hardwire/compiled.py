"""Where compiled code is kept between runs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

CACHE = "NUMBA_CACHE_DIR"


def cache_folder() -> Path | None:
    """The folder in which numba keeps compiled code of this package; None where it has none.

    Numba looks at ``NUMBA_CACHE_DIR``, then beside the source, then in the user's own cache.
    """
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    package = Path(__file__).resolve().parent
    if can_write(package):
        return package
    from numba.misc.appdirs import AppDirs  # noqa: PLC0415 - not where the package can be written

    own = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    return own if can_write(own) else None


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def keep_compiled_code() -> None:
    """Give numba a folder for this run where it would find none, and refuse to compile.

    The folder goes when the process does, so that every run compiles anew.
    """
    if os.access(Path(__file__).parent, os.W_OK) or cache_folder() is not None:
        return
    try:
        folder = tempfile.mkdtemp(prefix="hardwire-")
    except OSError:
        return  # numba will say that it has none
    from numba.core import config  # noqa: PLC0415 - asked above, and read its settings then

    os.environ[CACHE] = folder  # for processes that this one starts, too
    config.reload_config()
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
