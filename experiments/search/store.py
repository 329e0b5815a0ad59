"""Where a search keeps its trials: a journal in a file, or a database of Optuna.

Both are ordinary studies to all tools of Optuna. The journal takes a generation in one write. A
database takes its trials one by one, each about twenty statements and a commit: for studies whose
trials take seconds, on machines that share no folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import optuna
from optuna import create_study, get_all_study_names, load_study
from optuna.storages.journal import JournalStorage
from optuna.trial import FrozenTrial

from hardwire.experiments.search.journal import JournalFile
from hardwire.models.errors import InputError

Direction = Literal["minimize", "maximize"]


class TrialStore:
    """Optuna's study of one name in a storage, made if it is not there.

    Parameters
    ----------
    storage : a file, or the URL of a database.
    name, directions : of the study.

    Attributes
    ----------
    storage : as given, without password.

    Raises
    ------
    InputError
        If the storage cannot be opened, read or written; from each method.
    """

    def __init__(self, storage: str, name: str, directions: Sequence[Direction]) -> None:
        self._name = name
        self._directions = list(directions)
        self._journal: JournalFile | None = None
        self._sentences: Callable[[], AbstractContextManager[None]] = nullcontext
        self.storage = storage
        if "://" in storage:
            # Here, because SQLAlchemy takes a while to import and a journal does without.
            from hardwire.experiments.search import database  # noqa: PLC0415

            self.storage = database.without_password(storage)
            self._sentences = lambda: database.sentences(storage)
            with self._sentences():
                self._study = self._load(database.open_database(storage))
        else:
            self._journal = JournalFile(Path(storage))
            self._study = self._replayed(self._journal)

    def trials(self) -> list[FrozenTrial]:
        """All trials by number; only new ones are read."""
        with self._sentences():
            return self._study.get_trials(deepcopy=False)

    def add(self, trials: Sequence[FrozenTrial], expected: int) -> bool:
        """Add complete trials; to a journal all or none.

        Parameters
        ----------
        trials : from ``optuna.trial.create_trial``.
        expected : how many trials the study must have so far; otherwise nothing is added.

        Returns
        -------
        Whether nobody else has added trials meanwhile.
        """
        try:
            with self._sentences(), self._alone():
                if len(self.trials()) != expected:
                    return False
                self._study.add_trials(trials)
        except BaseException:
            if self._journal is not None:
                # The study in memory may hold trials that were not written.
                self._study = self._replayed(self._journal)
            raise
        # Nobody is kept out of a database.
        return self._journal is not None or len(self.trials()) == expected + len(trials)

    def _alone(self) -> AbstractContextManager[None]:
        return nullcontext() if self._journal is None else self._journal.transaction()

    def _replayed(self, journal: JournalFile) -> optuna.Study:
        try:
            storage = JournalStorage(journal)
        except (AssertionError, KeyError, TypeError) as error:
            raise InputError(
                f"--storage {self.storage}: is no journal that Optuna reads ({error!r})"
            ) from None
        return self._load(storage)

    def _load(self, storage: optuna.storages.BaseStorage) -> optuna.Study:
        if self._name in get_all_study_names(storage):
            return load_study(study_name=self._name, storage=storage)
        with self._alone():
            return create_study(
                storage=storage,
                study_name=self._name,
                directions=self._directions,
                load_if_exists=True,
            )
