"""Search of a study for its Pareto front: NSGA-II of Optuna, resumable, on one machine or many.

K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, IEEE Transactions on Evolutionary Computation 6
(2002), with their constrained domination.

Whole generations are drawn in memory and evaluated at once; a trial reaches the storage when it is
complete. So a search that is killed leaves no unfinished trial behind, and what the storage holds
decides, with the seed, how it goes on: stopped and continued is the same as run through.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.experiments.shared.extras import needs
from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.inputs import study_inputs
from hardwire.experiments.sweep.keys import program_version
from hardwire.experiments.sweep.pareto import losses, non_dominated
from hardwire.models.brief import one_line
from hardwire.models.errors import InputError

TRIALS = 2000
POPULATION = 50
STORAGE = "hardwire-search.journal"
"""A file in the working folder."""
FORMAT = 2
"""Of what a trial holds beside its parameters; one of another format is another search's."""
Report = Callable[[int, int, int], None]
"""Told the trials that are complete, those of them feasible, and those of this run."""


@dataclass(frozen=True)
class Search:
    """Trials of a search, and which are Pareto-optimal.

    Attributes
    ----------
    columns : values on each axis, by axis name, shape ``(trials,)``.
    metrics : by name, shape ``(trials,)``.
    code, reasons : as ``Study.judge``: 0 for a feasible trial.
    front : numbers of the trials on the Pareto front, best first objective first; a design that
        was tried twice is there once.
    storage : a file, or a URL without password; ``name`` is that of Optuna's study in it.
    before : trials that were there already.
    new : whether the storage is a file that this run made.
    interrupted : whether Ctrl-C ended it.
    """

    study: Study
    columns: Mapping[str, np.ndarray]
    metrics: Mapping[str, np.ndarray]
    code: np.ndarray
    reasons: tuple[str, ...]
    storage: str
    name: str
    before: int
    seconds: float
    interrupted: bool = False
    new: bool = False

    def __repr__(self) -> str:
        return one_line(
            self,
            self.study.name,
            f"{self.trials:,} trials",
            f"{int(self.feasible.sum()):,} feasible",
            f"{len(self.front):,} on the Pareto front",
        )

    @property
    def trials(self) -> int:
        """How many trials there are."""
        return len(self.code)

    @property
    def feasible(self) -> np.ndarray:
        """Which trials meet all constraints, shape ``(trials,)``."""
        return self.code == 0

    @cached_property
    def front(self) -> np.ndarray:
        designs = list(zip(*(column.tolist() for column in self.columns.values()), strict=True))
        first = {design: number for number, design in reversed(list(enumerate(designs)))}
        candidates = np.array(sorted(n for n in first.values() if self.code[n] == 0), np.int64)
        values = losses(self.study, self.metrics)[candidates]
        chosen = candidates[non_dominated(values)]
        return chosen[np.lexsort(losses(self.study, self.metrics)[chosen].T[::-1])]

    def row(self, trial: int) -> dict[str, Any]:
        """Axes and metrics of one trial."""
        found = {name: column[trial].item() for name, column in self.columns.items()}
        return found | {name: float(self.metrics[name][trial]) for name in self.study.columns}

    def failures(self) -> dict[str, int]:
        """How many trials fail for each reason, most first."""
        counts = np.bincount(self.code, minlength=len(self.reasons))
        order = np.argsort(-counts[1:], kind="stable") + 1
        return {self.reasons[n]: int(counts[n]) for n in order if counts[n]}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready summary with the whole front."""
        return {
            "study": self.study.name,
            "objectives": dict(self.study.objectives),
            "trials": self.trials,
            "trials_before": self.before,
            "feasible": int(self.feasible.sum()),
            "infeasible": self.failures(),
            "interrupted": self.interrupted,
            "storage": self.storage,
            "optuna_study": self.name,
            "front": [{"trial": int(n), **self.row(n)} for n in self.front],
        }


def search(
    study: Study,
    *,
    trials: int = TRIALS,
    storage: str | Path = STORAGE,
    seed: int = 0,
    population: int = POPULATION,
    report: Report | None = None,
) -> Search:
    """Search until there are so many complete trials in the storage.

    Parameters
    ----------
    study : with objectives; an axis given as an interval is searched as such, not only on its grid.
    trials : in all, those of earlier runs and of other machines included.
    storage : a file, which several processes may share, or an Optuna storage URL of a database,
        which takes trials one by one.
    seed : the same seed gives the same trials, however often the search is stopped.
    population : trials of a generation.
    report : told after every generation.

    Raises
    ------
    InputError
        If the study states no objective, the storage cannot be used, or a file that the study names
        cannot be read or is edited meanwhile.
    """
    if not study.objectives:
        raise InputError(
            f"{study.name}: a search needs objectives, such as "
            "objectives: {decode_tokens_per_s_user: max, area_mm2.total: min}"
        )
    needs("optuna", "hardwire search")
    from hardwire.experiments.search.evolution import Evolution  # noqa: PLC0415

    if not str(storage):
        raise InputError("--storage: names no file")
    begin = time.monotonic()
    name = optuna_name(study, seed, population)
    new = "://" not in str(storage) and not Path(storage).exists()
    with _quiet():
        evolution = Evolution(study, str(storage), name, seed, population)
        before = evolution.trials
        interrupted = False
        try:
            while (left := trials - evolution.trials) > 0:
                evolution.step(left)
                if report is not None:
                    report(evolution.trials, evolution.feasible, evolution.trials - before)
        except KeyboardInterrupt:
            interrupted = True
            evolution.read()
    columns, metrics = evolution.found()
    code, reasons = study.judge(study.settings(columns), metrics)
    return Search(
        study=study,
        columns=columns,
        metrics=metrics,
        code=code.astype(np.int64),
        reasons=reasons,
        storage=evolution.storage,
        name=name,
        before=before,
        seconds=time.monotonic() - begin,
        interrupted=interrupted,
        new=new,
    )


def optuna_name(study: Study, seed: int, population: int) -> str:
    """Name of Optuna's study: another one where anything that decides the search differs."""
    parts: dict[str, Any] = {
        "format": FORMAT,
        "version": program_version(),
        "base": study.base.resolved(),
        "axes": [repr(axis) for axis in study.axes],
        "fidelity": study.fidelity,
        "replay": study.replay,
        "inputs": sorted(f"{name} {digest}" for (name, _), digest in study_inputs(study).items()),
        "constraints": [constraint.text for constraint in study.constraints],
        "objectives": list(study.objectives.items()),
        "seed": seed,
        "population": population,
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return f"{study.name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's log lines and warnings away from the terminal."""
    import optuna  # noqa: PLC0415

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
