"""Where a search keeps its trials: any database that Optuna stores studies in.

Optuna writes one trial in about twenty statements and a commit, which takes longer than evaluating
a thousand designs. Here the trials of a generation enter its tables together, in one transaction.
Everything else, reading included, goes through Optuna, whose other tools see an ordinary study.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from hardwire.models.errors import InputError

Direction = Literal["minimize", "maximize"]
EXAMPLE = "sqlite:///hardwire-search.sqlite3"
LOCK_TIMEOUT_S = 20
"""How long to wait for another process that writes to the same SQLite file."""

RETRIES = 5


class TrialStore:
    """Optuna's study of one name in a storage, made if it is not there.

    Raises
    ------
    InputError
        If ``url`` is no URL, or the storage cannot be opened, read or written; from each method.
    """

    def __init__(self, url: str, name: str, directions: Sequence[Direction]) -> None:
        import optuna  # noqa: PLC0415

        if "://" not in url:
            raise InputError(f"--storage {url}: must be a URL such as {EXAMPLE}")
        options = {"connect_args": {"timeout": LOCK_TIMEOUT_S}} if url.startswith("sqlite") else {}
        self._url = url
        with _sentences(url):
            self._storage = _retried(lambda: optuna.storages.RDBStorage(url, engine_kwargs=options))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=list(directions),
                load_if_exists=True,
            )
            self._id = self._storage.get_study_id_from_name(name)

    def trials(self) -> list[Any]:
        """All trials by number, Optuna's ``FrozenTrial``; only new ones are read."""
        with _sentences(self._url):
            found: list[Any] = self._study.get_trials(deepcopy=False)
        return found

    def add(self, trials: Sequence[Any], expected: int) -> bool:
        """Add complete trials, all or none.

        Parameters
        ----------
        trials : Optuna's ``FrozenTrial``.
        expected : how many trials the study must have so far.

        Returns
        -------
        Whether it had, and they are written; otherwise somebody else has added trials meanwhile.
        """
        import sqlalchemy  # noqa: PLC0415
        from optuna.distributions import distribution_to_json  # noqa: PLC0415
        from optuna.storages._rdb import models as tables  # noqa: PLC0415

        with _sentences(self._url), self._storage.scoped_session() as session:
            # The lock, and then the first write, keep others out until the commit.
            tables.StudyModel.find_or_raise_by_id(self._id, session, for_update=True)
            rows = [
                tables.TrialModel(
                    study_id=self._id,
                    state=trial.state,
                    datetime_start=trial.datetime_start,
                    datetime_complete=trial.datetime_complete,
                )
                for trial in trials
            ]
            session.add_all(rows)
            session.flush()
            rows.sort(key=lambda row: row.trial_id)
            first = rows[0].count_past_trials(session)
            if first != expected:
                session.rollback()
                return False
            texts = {
                name: distribution_to_json(distribution)
                for name, distribution in trials[0].distributions.items()
            }
            values, params, attributes = [], [], []
            for number, (row, trial) in enumerate(zip(rows, trials, strict=True), first):
                row.number = number
                for objective, value in enumerate(trial.values):
                    stored, kind = tables.TrialValueModel.value_to_stored_repr(value)
                    values.append(
                        {
                            "trial_id": row.trial_id,
                            "objective": objective,
                            "value": stored,
                            "value_type": kind,
                        }
                    )
                for name, value in trial.params.items():
                    inner = trial.distributions[name].to_internal_repr(value)
                    params.append(
                        {
                            "trial_id": row.trial_id,
                            "param_name": name,
                            "param_value": inner,
                            "distribution_json": texts[name],
                        }
                    )
                for key, value in trial.system_attrs.items():
                    attributes.append(
                        {"trial_id": row.trial_id, "key": key, "value_json": json.dumps(value)}
                    )
            for table, found in (
                (tables.TrialValueModel, values),
                (tables.TrialParamModel, params),
                (tables.TrialSystemAttributeModel, attributes),
            ):
                session.execute(sqlalchemy.insert(table), found)
            session.commit()
        return True


def _retried(make: Callable[[], Any]) -> Any:
    """Try again where another process makes the tables of an empty database at this moment."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError  # noqa: PLC0415

    for _ in range(RETRIES):
        try:
            return make()
        except (OperationalError, ProgrammingError, IntegrityError) as error:
            if not any(word in str(error.orig) for word in ("already exists", "UNIQUE", "unique")):
                raise
            time.sleep(0.2)
    return make()


def without_password(url: str) -> str:
    """The URL with stars for its password."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return url


@contextmanager
def _sentences(url: str) -> Iterator[None]:
    """Say in one sentence why a storage cannot be used.

    Raises
    ------
    InputError
        In place of what Optuna and SQLAlchemy raise.
    """
    import optuna  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

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
