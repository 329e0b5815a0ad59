"""A lock of the system on an open file, which it lets go of when the process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hardwire.models.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def require_locks(needs: str) -> None:
    """Refuse what ``needs`` locks where the system has none.

    Raises
    ------
    InputError
        In one sentence.
    """
    if fcntl is None:
        raise InputError(f"{needs} needs file locks, which this system does not have (no fcntl)")


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Hold the lock of an open file, after whoever holds it now."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def try_lock(file: int) -> bool:
    """Take the lock of a file unless another process holds it; the file's closing lets go of it.

    Where the system has no locks it is always taken: nobody is kept out.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
