"""Generations of a search: drawn in memory by Optuna's NSGA-II, evaluated at once, stored."""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna import create_study
from optuna import distributions as kinds
from optuna.trial import FrozenTrial, create_trial

from hardwire.experiments.search.store import Direction, TrialStore
from hardwire.experiments.sweep import Study
from hardwire.experiments.sweep.axis import Axis
from hardwire.experiments.sweep.fidelity import evaluate
from hardwire.experiments.sweep.inputs import refuse_edited, study_inputs
from hardwire.experiments.sweep.metrics import Better
from hardwire.experiments.sweep.pareto import losses, violations

GENERATION = "hardwire:generation"
"""User attribute of a trial of ours."""
METRICS = "hardwire:metrics"
"""User attribute of a trial that was simulated: values of the study's columns, and obstacle."""
_OPTUNA_SIDE: dict[Better, Direction] = {"max": "maximize", "min": "minimize"}
Space = dict[str, kinds.BaseDistribution]


class _Sampler(optuna.samplers.NSGAIISampler):
    """NSGA-II of the trials that it is given.

    Optuna's own looks through all trials of a study at every draw; here a draw takes as long in the
    hundredth generation as in the first.

    Attributes
    ----------
    candidates : what ``select_parent`` chooses from.
    parents : of the generation that is drawn; none for random draws.
    """

    def __init__(self, space: Space, population: int, seed: int) -> None:
        # Optuna's own crossover and mutation swap whole values and draw new ones, so that a search
        # stops short of the end of an interval where the best is there. These take steps.
        super().__init__(
            population_size=population,
            crossover=optuna.samplers.nsgaii.VSBXCrossover(),
            mutation=optuna.samplers.nsgaii.PolynomialMutation(eta=5),
            seed=seed,
        )
        self.space = {name: space[name] for name in sorted(space) if not space[name].single()}
        self.candidates: list[FrozenTrial] = []
        self.parents: list[FrozenTrial] = []

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        return self.space

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        return 1

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return self.candidates

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return self.parents


class Evolution:
    """A search at some point: what the storage holds decides, with the seed, how it goes on.

    Parameters
    ----------
    study : with objectives.
    storage, name : a file or a URL, and the name of Optuna's study in it.
    seed, population : of the draws, and how many a generation has.

    Attributes
    ----------
    storage : as given, without password.
    trials, feasible : how many trials of this search the storage has, and how many of them meet
        all constraints.

    Raises
    ------
    InputError
        If the storage cannot be used, or a file that the study names; from each method.
    """

    def __init__(self, study: Study, storage: str, name: str, seed: int, population: int) -> None:
        self._study = study
        self._inputs = study_inputs(study)
        self._seed = seed
        self._population = population
        self._directions = [_OPTUNA_SIDE[side] for side in study.objectives.values()]
        self._stored = TrialStore(storage, name, self._directions)
        self.storage = self._stored.storage
        self._space = {axis.name: _distribution(axis) for axis in study.axes}
        # In an order that a database keeps too: the violations of a trial are added in it.
        names = ["it runs", *(constraint.text for constraint in study.constraints)]
        self._constraints = sorted(enumerate(names), key=lambda pair: pair[1])
        # Closed forms are computed again faster than they are read.
        stored = study.fidelity != "closed-form"
        self._measured = (*study.columns, "obstacle") if stored else ()
        self._salt = ""  # set where others write too: from then on the draws are our own
        self._known = 0  # trials in the storage, those of other tools included
        self._generations: dict[int, list[FrozenTrial]] = defaultdict(list)
        self._parents: list[list[FrozenTrial]] = [[]]  # by generation, the first has none
        self._complete: list[FrozenTrial] = []
        self.feasible = 0
        self.read()

    @property
    def trials(self) -> int:
        return len(self._complete)

    def read(self) -> None:
        """Take over what the storage has more."""
        trials = self._stored.trials()
        for trial in trials[self._known :]:
            if GENERATION in trial.user_attrs:
                self._generations[trial.user_attrs[GENERATION]].append(trial)
                self._complete.append(trial)
                self.feasible += all(value <= 0 for value in trial.constraints.values())
        self._known = len(trials)

    def step(self, most: int) -> None:
        """Draw, evaluate and store the rest of the current generation, or ``most`` trials."""
        generation = max(self._generations, default=0)
        have = len(self._generations[generation])
        if have >= self._population:
            generation, have = generation + 1, 0
        if self._study.fidelity == "replay":
            most = 1  # it may take minutes: keep what is done
        drawn = self._draw(generation)[have : have + most]
        evaluated = self._evaluated(drawn, generation)
        refuse_edited(self._study, self._inputs)
        if not self._stored.add(evaluated, self._known):
            # Others search here too and may have stored the same draws: make other ones.
            self._salt = secrets.token_hex(8)
        self.read()

    def found(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values on each axis, and metrics, of all trials, by name and of shape ``(trials,)``.

        Metrics are as stored, or computed again where that is as quick.
        """
        columns = self._columns([trial.params for trial in self._complete])
        if not self._complete:
            return columns, {name: np.empty(0) for name in (*self._study.columns, "obstacle")}
        if not self._measured:
            return columns, evaluate(self._study, self._study.settings(columns))
        rows = np.array([trial.user_attrs[METRICS] for trial in self._complete], float)
        return columns, {name: rows[:, number] for number, name in enumerate(self._measured)}

    def _columns(self, params: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        return {
            axis.name: np.array([trial[axis.name] for trial in params]) for axis in self._study.axes
        }

    def _draw(self, generation: int) -> list[dict[str, Any]]:
        """Designs of a whole generation, from its parents and the seed alone."""
        text = f"{self._seed} {generation} {self._salt}".encode()
        seed = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest())
        sampler = _Sampler(self._space, self._population, seed)
        study = create_study(directions=self._directions, sampler=sampler)
        for number in range(len(self._parents), generation + 1):
            earlier = _by_number(self._parents[number - 1])
            sampler.candidates = earlier + self._generations[number - 1]
            self._parents.append(sampler.select_parent(study, number))
        # As NSGAIISampler does it: the first is drawn from the parents by rank, the others from
        # them by number. In another order a seed would give other trials.
        sampler.parents = self._parents[generation]
        first = study.ask(self._space).params
        sampler.parents = _by_number(sampler.parents)
        return [first, *(study.ask(self._space).params for _ in range(self._population - 1))]

    def _evaluated(self, drawn: Sequence[Mapping[str, Any]], generation: int) -> list[FrozenTrial]:
        columns = self._columns(drawn)
        settings = self._study.settings(columns)
        metrics = evaluate(self._study, settings)
        signs = [-1.0 if side == "max" else 1.0 for side in self._study.objectives.values()]
        # As Optuna stores them, which takes infinities but no NaN.
        values = (losses(self._study, metrics) * signs).tolist()
        broken = violations(self._study, settings, metrics).tolist()
        trials = []
        for place, params in enumerate(drawn):
            attributes: dict[str, Any] = {GENERATION: generation}
            if self._measured:
                attributes[METRICS] = [float(metrics[name][place]) for name in self._measured]
            trials.append(
                create_trial(
                    params=dict(params),
                    distributions=self._space,
                    values=values[place],
                    user_attrs=attributes,
                    constraints={name: broken[place][n] for n, name in self._constraints},
                )
            )
        return trials


def _by_number(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: trial.number)


def _distribution(axis: Axis) -> kinds.BaseDistribution:
    if np.isnan(axis.low):
        return kinds.CategoricalDistribution(axis.values)
    if axis.integer:
        return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return kinds.FloatDistribution(axis.low, axis.high, log=axis.log)
