"""Where compiled code is kept between runs, and what is left out when it is loaded."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

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


class _NoSciPy(MetaPathFinder):
    """Tells numba, while its modules are being imported, that there is no SciPy."""

    asking = ("numba", "numba.np.linalg", "numba.np.arraymath")

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Raise ModuleNotFoundError for SciPy on behalf of numba; leave the rest to others."""
        if name == "scipy" and any(map(_being_imported, self.asking)):
            raise ModuleNotFoundError("numba does without it here", name=name)


def _being_imported(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def load_numba_without_scipy() -> None:
    """Keep numba from importing SciPy in this process, as it does before it loads any function.

    It looks for a BLAS, for ``np.dot`` and ``np.cov`` in compiled code, and there are none in ours:
    a quarter of a second saved. For the command's own process, not for a program that imports
    Hardwire beside compiled code of its own.
    """
    if not any(isinstance(finder, _NoSciPy) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoSciPy())
