"""A database as the storage of a search: opened by Optuna, with its refusals as sentences."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from hardwire.models.errors import InputError

LOCK_TIMEOUT_S = 20
"""How long to wait for another process that writes to the same SQLite file."""
RETRIES = 5


def open_database(url: str) -> optuna.storages.RDBStorage:
    """Optuna's storage, its tables made if they are not there."""
    options = {"connect_args": {"timeout": LOCK_TIMEOUT_S}} if url.startswith("sqlite") else {}
    for _ in range(RETRIES):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except (OperationalError, ProgrammingError, IntegrityError) as error:
            # Another process makes the tables of an empty database at this moment.
            if not any(word in str(error.orig) for word in ("already exists", "UNIQUE", "unique")):
                raise
            time.sleep(0.2)
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def without_password(url: str) -> str:
    """The URL with stars for its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url


@contextmanager
def sentences(url: str) -> Iterator[None]:
    """Say in one sentence why a database cannot be used.

    Raises
    ------
    InputError
        In place of what Optuna and SQLAlchemy raise.
    """
    internal = optuna.exceptions.StorageInternalError
    try:
        yield
    except (SQLAlchemyError, internal, ImportError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, internal) and error.__cause__ else error
        reason = getattr(cause, "orig", None) or cause
        lines = str(reason).strip().splitlines() or [type(reason).__name__]
        raise InputError(
            f"--storage {without_password(url)}: cannot be used ({lines[0].rstrip('.')})"
        ) from None
