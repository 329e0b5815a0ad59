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
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hardwire.experiments.search.store import EXAMPLE, Direction, TrialStore, without_password
from hardwire.experiments.shared.extras import needs
from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.axis import Axis
from hardwire.experiments.sweep.fidelity import evaluate
from hardwire.experiments.sweep.keys import program_version
from hardwire.experiments.sweep.metrics import Better
from hardwire.models.errors import InputError

TRIALS = 2000
POPULATION = 50
STORAGE = EXAMPLE
"""A file in the working folder."""
GENERATION = "NSGAIISampler:generation"
"""Where Optuna keeps the generation of a trial."""
METRICS = "hardwire:metrics"
"""Where a trial that was simulated keeps its metrics."""
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
    storage : URL without password; ``name`` is that of Optuna's study in it.
    before : trials that were there already.
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
    storage: str = STORAGE,
    seed: int = 0,
    population: int = POPULATION,
    report: Report | None = None,
) -> Search:
    """Search until there are so many complete trials in the storage.

    Parameters
    ----------
    study : with objectives; an axis given as an interval is searched as such, not only on its grid.
    trials : in all, those of earlier runs and of other machines included.
    storage : an Optuna storage URL.
    seed : the same seed gives the same trials, however often the search is stopped.
    population : trials of a generation.
    report : told after every generation.

    Raises
    ------
    InputError
        If the study states no objective, or the storage cannot be used.
    """
    if not study.objectives:
        raise InputError(
            f"{study.name}: a search needs objectives, such as "
            "objectives: {decode_tokens_per_s_user: max, area_mm2.total: min}"
        )
    needs("optuna", "hardwire search")
    begin = time.monotonic()
    name = optuna_name(study, seed, population)
    directions = [_OPTUNA_SIDE[side] for side in study.objectives.values()]
    with _quiet():
        evolution = _Evolution(study, TrialStore(storage, name, directions), seed, population)
        before = len(evolution.complete)
        interrupted = False
        try:
            while (left := trials - len(evolution.complete)) > 0:
                evolution.step(left)
                if report is not None:
                    feasible = sum(t.feasible for t in evolution.complete)
                    report(len(evolution.complete), feasible, len(evolution.complete) - before)
        except KeyboardInterrupt:
            interrupted = True
            evolution.read()
    columns = evolution.columns([trial.params for trial in evolution.complete])
    metrics = evolution.metrics(columns)
    code, reasons = study.judge(study.settings(columns), metrics)
    return Search(
        study=study,
        columns=columns,
        metrics=metrics,
        code=code.astype(np.int64),
        reasons=reasons,
        storage=without_password(storage),
        name=name,
        before=before,
        seconds=time.monotonic() - begin,
        interrupted=interrupted,
    )


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Which points no other point dominates.

    Parameters
    ----------
    values : shape ``(points, objectives)``, smaller is better.

    Returns
    -------
    Bool array of shape ``(points,)``. One point dominates another if it is nowhere worse and
    somewhere better; of equal points all stay.
    """
    kept = np.zeros(len(values), bool)
    left = np.lexsort(values.T[::-1])
    while len(left):
        # The first in lexicographic order cannot be dominated by those behind it.
        best = values[left[0]]
        equal = (values[left] == best).all(axis=1)
        kept[left[equal]] = True
        left = left[~equal & (values[left] < best).any(axis=1)]
    return kept


def losses(study: Study, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Objectives as numbers to minimize, shape ``(points, objectives)``; the worst where none."""
    found = [
        -metrics[name] if side == "max" else metrics[name]
        for name, side in study.objectives.items()
    ]
    array = np.stack(found, axis=1)
    return np.where(np.isnan(array), np.inf, array)


def violations(
    study: Study, settings: Mapping[str, np.ndarray], metrics: Mapping[str, np.ndarray]
) -> np.ndarray:
    """How far designs are from meeting each constraint.

    Returns
    -------
    Shape ``(points, 1 + constraints)``: 1 for a design that cannot run its load at all, otherwise
    0; then the relative excess over each constraint, at most 0 where it holds.
    """
    value = study.values(settings, metrics)
    found = [(metrics["obstacle"] != 0).astype(float)]
    for constraint in study.constraints:
        excess = np.broadcast_to(constraint.excess(value), found[0].shape).astype(float)
        # Without a number on one side the constraint does not hold.
        found.append(np.where(np.isfinite(excess), excess, 1.0))
    return np.stack(found, axis=1)


def distributions(study: Study) -> dict[str, Any]:
    """Optuna's distribution of each axis, by axis name."""
    return {axis.name: _distribution(axis) for axis in study.axes}


def _distribution(axis: Axis) -> Any:
    from optuna import distributions as kinds  # noqa: PLC0415

    if np.isnan(axis.low):
        return kinds.CategoricalDistribution(axis.values)
    if axis.integer:
        return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return kinds.FloatDistribution(axis.low, axis.high, log=axis.log)


def optuna_name(study: Study, seed: int, population: int) -> str:
    """Name of Optuna's study: another one where anything that decides the search differs."""
    parts: dict[str, Any] = {
        "version": program_version(),
        "base": study.base.resolved(),
        "axes": [repr(axis) for axis in study.axes],
        "fidelity": study.fidelity,
        "replay": study.replay,
        "constraints": [constraint.text for constraint in study.constraints],
        "objectives": list(study.objectives.items()),
        "seed": seed,
        "population": population,
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return f"{study.name}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


@dataclass(frozen=True)
class _Trial:
    """What evolution needs of a complete trial."""

    number: int
    generation: int
    params: Mapping[str, Any]
    values: Sequence[float]
    constraints: Sequence[float]
    metrics: Sequence[float]

    @classmethod
    def of(cls, trial: Any) -> _Trial:
        """From Optuna's ``FrozenTrial``."""
        return cls(
            number=trial.number,
            generation=trial.system_attrs[GENERATION],
            params=trial.params,
            values=trial.values,
            constraints=trial.system_attrs["constraints"],
            metrics=trial.system_attrs.get(METRICS, ()),
        )

    @property
    def feasible(self) -> bool:
        return all(value <= 0 for value in self.constraints)


@dataclass
class _Evolution:
    """Generations of trials: drawn in memory, evaluated at once, kept in Optuna's storage."""

    study: Study
    stored: TrialStore
    seed: int
    population: int
    salt: str = ""
    """Set where others write to the same storage: from then on the draws are this process's own."""
    complete: list[_Trial] = field(default_factory=list)
    known: int = 0
    """Trials in the storage, finished or not."""
    parents: dict[int, list[_Trial]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.distributions = distributions(self.study)
        # Closed forms are computed again faster than they are read.
        stored = self.study.fidelity != "closed-form"
        self.measured = (*self.study.columns, "obstacle") if stored else ()
        self.read()

    def read(self) -> None:
        """Take over what the storage has."""
        from optuna.trial import TrialState  # noqa: PLC0415

        trials = self.stored.trials()
        self.known = len(trials)
        seen = {trial.number: trial for trial in self.complete}
        self.complete = [
            seen.get(trial.number) or _Trial.of(trial)
            for trial in trials
            if trial.state == TrialState.COMPLETE and GENERATION in trial.system_attrs
        ]

    def step(self, most: int) -> None:
        """Draw, evaluate and store the rest of the current generation, or ``most`` trials."""
        generation, have = self._place()
        if self.study.fidelity == "replay":
            most = 1  # it may take minutes: keep what is done
        drawn = self._draw(generation)[have : have + most]
        columns = self.columns(drawn)
        settings = self.study.settings(columns)
        metrics = evaluate(self.study, settings)
        values = _values(self.study, metrics)
        broken = violations(self.study, settings, metrics).tolist()
        kept = [[float(metrics[name][n]) for name in self.measured] for n in range(len(drawn))]
        trials = [
            self._frozen(params, values[number], broken[number], generation, kept[number])
            for number, params in enumerate(drawn)
        ]
        if not self.stored.add(trials, self.known):
            # Others search here too and may have stored the same draws: make other ones.
            self.salt = secrets.token_hex(8)
        self.read()

    def columns(self, params: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Values on each axis of some trials."""
        return {
            axis.name: np.array([trial[axis.name] for trial in params]) for axis in self.study.axes
        }

    def metrics(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Metrics of all complete trials: as stored, or computed again where that is as quick."""
        if not self.complete:
            return {name: np.empty(0) for name in (*self.study.columns, "obstacle")}
        if not self.measured:
            return evaluate(self.study, self.study.settings(columns))
        rows = np.array([trial.metrics for trial in self.complete], float)
        return {name: rows[:, number] for number, name in enumerate(self.measured)}

    def _place(self) -> tuple[int, int]:
        """The generation that is being filled, and how many trials it has."""
        if not self.complete:
            return 0, 0
        last = max(trial.generation for trial in self.complete)
        have = sum(trial.generation == last for trial in self.complete)
        return (last, have) if have < self.population else (last + 1, 0)

    def _draw(self, generation: int) -> list[dict[str, Any]]:
        """Designs of a whole generation, from its parents and the seed alone."""
        for number in range(1, generation):
            if number not in self.parents:
                self._select(number)
        local, sampler = self._local(generation)
        drawn = [local.ask(self.distributions).params for _ in range(self.population)]
        if generation and generation not in self.parents:
            self._keep(generation, sampler.get_parent_population(local, 1))
        return drawn

    def _select(self, generation: int) -> None:
        local, sampler = self._local(generation)
        self._keep(generation, sampler.get_parent_population(local, 1))

    def _local(self, generation: int) -> tuple[Any, Any]:
        """Optuna's study in memory of the trials that parents are chosen from.

        Only these are in it, as its generation 0, so that a draw takes as long in the hundredth
        generation as in the first.
        """
        import optuna  # noqa: PLC0415

        text = f"{self.seed} {generation} {self.salt}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest())
        # Optuna's own crossover and mutation swap whole values and draw new ones, so that a search
        # stops short of the end of an interval where the best is there. These take steps.
        sampler = optuna.samplers.NSGAIISampler(
            population_size=self.population,
            crossover=optuna.samplers.nsgaii.VSBXCrossover(),
            mutation=optuna.samplers.nsgaii.PolynomialMutation(eta=5),
            seed=seed,
        )
        directions = [_OPTUNA_SIDE[side] for side in self.study.objectives.values()]
        local = optuna.create_study(directions=directions, sampler=sampler)
        candidates = list(self.parents.get(generation - 1, []))
        candidates += [t for t in self.complete if t.generation == generation - 1]
        for trial in candidates:
            local.add_trial(self._frozen(trial.params, trial.values, trial.constraints, 0, ()))
        return local, sampler

    def _keep(self, generation: int, parents: Sequence[Any]) -> None:
        self.parents[generation] = [
            _Trial.of(trial) for trial in sorted(parents, key=lambda trial: trial.number)
        ]

    def _frozen(
        self,
        params: Mapping[str, Any],
        values: Sequence[float],
        constraints: Sequence[float],
        generation: int,
        metrics: Sequence[float],
    ) -> Any:
        from optuna.trial import create_trial  # noqa: PLC0415

        attributes = {GENERATION: generation, "constraints": list(constraints)}
        if metrics:
            attributes[METRICS] = list(metrics)
        return create_trial(
            params=dict(params),
            distributions=self.distributions,
            values=list(values),
            system_attrs=attributes,
        )


_OPTUNA_SIDE: dict[Better, Direction] = {"max": "maximize", "min": "minimize"}


def _values(study: Study, metrics: Mapping[str, np.ndarray]) -> list[list[float]]:
    """Objectives of each trial as Optuna stores them, which takes infinities but no NaN."""
    signs = [-1.0 if side == "max" else 1.0 for side in study.objectives.values()]
    return (losses(study, metrics) * signs).tolist()


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
