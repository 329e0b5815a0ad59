"""A journal of Optuna in a file that takes the trials of a generation in one write.

Optuna's own file backend locks, writes and waits for the disk once a trial. This one is the same
file, a line of JSON for each operation, and keeps what is appended within a transaction until its
end. Readers need no lock: they stop at the last whole line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from hardwire.experiments.shared.lock import try_lock
from hardwire.models.errors import InputError
from hardwire.models.files import reason

LOCK_TIMEOUT_S = 20
"""How long to wait for another process that writes to the same file."""
POLL_S = 0.01
FIRST = b'{"op_code":'
"""How each line begins, Optuna's own too."""


class JournalFile(BaseJournalBackend):
    """Lines of a file for one ``JournalStorage``.

    Parameters
    ----------
    path : made at the first write.

    Raises
    ------
    InputError
        If the file is no journal, is locked, or cannot be read or written; from each method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._offset = 0  # where the lines end that were handed over
        self._pending: list[bytes] | None = None  # of the transaction, those not yet handed over
        self._held: list[bytes] = []  # of the transaction, all

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Operations with at least this number, in order."""
        if log_number_from < self._lines:
            self._lines = self._offset = 0
        with self._sentences():
            yield from (log for log in self._unread() if self._lines > log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations at the end of the file, or of the transaction."""
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        if self._pending is None:
            with self.transaction():
                self._held += lines
        else:
            self._held += lines
            self._pending += lines

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep other writers out, and write what is appended meanwhile at the end, all or nothing.

        After an exception the storage has seen operations that the file does not hold: open a new
        storage then.
        """
        with self._sentences(), open(self._path, "a+b", buffering=0) as file:
            self._lock(file.fileno())
            self._drop_torn_line(file.fileno())
            self._pending, self._held = [], []
            try:
                yield
                if self._held:
                    _write(file.fileno(), b"".join(self._held))
            finally:
                self._pending = None

    def _unread(self) -> Iterator[dict[str, Any]]:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size > self._offset:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        self._check_start(line)
                        break
                    yield self._next(line)
        while self._pending:
            yield self._next(self._pending.pop(0))

    def _next(self, line: bytes) -> dict[str, Any]:
        try:
            log = json.loads(line)
        except ValueError:
            log = None
        if not isinstance(log, dict) or "op_code" not in log:
            raise self._no_journal(line)
        self._lines += 1
        self._offset += len(line)
        return log

    def _lock(self, file: int) -> None:
        end = time.monotonic() + LOCK_TIMEOUT_S
        while not try_lock(file):
            if time.monotonic() > end:
                raise InputError(
                    f"--storage {self._path}: another process has locked it for more than "
                    f"{LOCK_TIMEOUT_S:g} s"
                )
            time.sleep(POLL_S)

    def _drop_torn_line(self, file: int) -> None:
        """Cut off what a writer that was killed, or a full disk, left of its last line."""
        size = os.fstat(file).st_size
        if size < self._offset:
            raise InputError(f"--storage {self._path}: has been cut short by another program")
        tail = os.pread(file, size - self._offset, self._offset)
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            self._check_start(tail[whole:])
            os.ftruncate(file, self._offset + whole)

    def _check_start(self, line: bytes) -> None:
        """Refuse a file of one line that is no journal's, before it is taken for a torn one."""
        if self._offset == 0 and not line.startswith(FIRST[: len(line)]):
            raise self._no_journal(line)

    def _no_journal(self, line: bytes) -> InputError:
        if self._offset == 0 and line.startswith(b"SQLite format 3"):
            return InputError(
                f"--storage {self._path}: is a database of SQLite; name another file, or say "
                f"sqlite:///{self._path}"
            )
        return InputError(
            f"--storage {self._path}: line {self._lines + 1} is not that of a journal of Optuna"
        )

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"--storage {self._path}: {reason(error)}") from None


def _write(file: int, data: bytes) -> None:
    """Append all of ``data`` and wait for the disk, or leave the file as it was."""
    size = os.fstat(file).st_size
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise
