"""Many designs: ``sweep`` computes them, ``search`` finds the best, ``solve`` how far one parameter
goes, ``sensitivity`` asks why."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hardwire.experiments.search import search as searching
from hardwire.experiments.search import solve as solving
from hardwire.experiments.search.goal import make_goal
from hardwire.experiments.sensitivity import sobol
from hardwire.experiments.sweep import Design, Study, runner
from hardwire.models.errors import InputError
from hardwire.resolve import (
    AdapterLike,
    ChipLike,
    ModelLike,
    Named,
    chip_of,
    folder_of,
    format_of,
    in_python_words,
    model_of,
    shape_of,
    study_of,
    text_of,
)
from hardwire.show import Shown, chosen, picture
from hardwire.simulator.load import check_load

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

STORE = Path("hardwire-store")


class Sweep(Shown, runner.Swept):
    """The answer of ``sweep``: see ``hardwire.experiments.sweep.runner.Swept`` for its fields."""

    def tables(self) -> RenderableType:
        """The best feasible points, and why the others fall out."""
        from hardwire.experiments.sweep.summary import summarize  # noqa: PLC0415
        from hardwire.experiments.sweep.view import render  # noqa: PLC0415

        return render(summarize(self))

    def to_frame(self) -> pd.DataFrame:
        """All points: axes, metrics, ``feasible`` and otherwise the ``reason``."""
        from hardwire.experiments.sweep.results import results, study_view  # noqa: PLC0415

        return results(self.store, f'SELECT * FROM "{study_view(self.folder)}" ORDER BY number')

    def plot(self) -> Figure:
        """What is won along an axis, and the first two metrics of all points."""
        from hardwire.experiments.sweep.plot import sweep_figure  # noqa: PLC0415
        from hardwire.experiments.sweep.summary import aims  # noqa: PLC0415

        return picture(sweep_figure(self.study, aims(self), self.to_frame()))

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire sweep --save`` to a folder: all of them or none.

        Figures are written as ``png``, ``svg`` or ``pdf``.
        """
        from hardwire.experiments.sweep.save import save  # noqa: PLC0415
        from hardwire.experiments.sweep.summary import summarize  # noqa: PLC0415

        return save(summarize(self), folder_of("folder", folder), format_of(figures))


class Search(Shown, searching.Search):
    """The answer of ``search``: see ``hardwire.experiments.search.search.Search``."""

    def tables(self) -> RenderableType:
        """The Pareto front, and why trials fall out."""
        from hardwire.experiments.search.view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self, what: Literal["front", "trials"] = "front") -> pd.DataFrame:
        """Trials, a row each, by number: axes and metrics, and why one is ``infeasible``.

        Parameters
        ----------
        what : {"front", "trials"}
            The Pareto-optimal ones, the best first objective first, or all.
        """
        trials = chosen(
            "what", what, {"front": self.front.tolist, "trials": lambda: list(range(self.trials))}
        )
        import pandas as pd  # noqa: PLC0415

        rows = [self.row(n) | {"infeasible": self.reasons[self.code[n]]} for n in trials]
        return pd.DataFrame(rows, index=pd.Index(trials, name="trial"))

    def plot(self) -> Figure:
        """The front by pairs of objectives, and how the search went."""
        from hardwire.experiments.search.plot import front_figure  # noqa: PLC0415

        return picture(front_figure(self))

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire search --save`` to a folder: all of them or none.

        Figures are written as ``png``, ``svg`` or ``pdf``.
        """
        from hardwire.experiments.search.save import save  # noqa: PLC0415

        return save(self, folder_of("folder", folder), format_of(figures))


class Sensitivity(Shown, sobol.Report):
    """The answer of ``sensitivity``: see ``hardwire.experiments.sensitivity.sobol.Report``."""

    def tables(self) -> RenderableType:
        """The inputs that matter, for each metric."""
        from hardwire.experiments.sensitivity.view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self) -> pd.DataFrame:
        """A row per metric and input: its range, Sobol indices, and the metric at both ends."""
        import pandas as pd  # noqa: PLC0415

        rows = [
            {"metric": metric, "input": name, **effect}
            for metric, one in self.to_dict()["metrics"].items()
            for name, effect in one["inputs"].items()
        ]
        frame = pd.DataFrame(rows)
        low, high = zip(*frame.pop("range"), strict=True)
        frame.insert(3, "low", low)
        frame.insert(4, "high", high)
        return frame

    def plot(self, metric: str | None = None) -> Figure:
        """Sobol indices and tornado of a metric, by default the first."""
        from hardwire.experiments.sensitivity.plot import sensitivity_figure  # noqa: PLC0415

        known = {one.metric: partial(sensitivity_figure, self, one) for one in self.metrics}
        return picture(chosen("metric", next(iter(known)) if metric is None else metric, known))

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire sensitivity --save`` to a folder: all of them or none.

        Figures are written as ``png``, ``svg`` or ``pdf``.
        """
        from hardwire.experiments.sensitivity.save import save  # noqa: PLC0415

        return save(self, folder_of("folder", folder), format_of(figures))


@in_python_words
def sweep(
    study: Study | Mapping[str, Any] | Named,
    store: Named | None = None,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Sweep:
    """Compute all points of a study, or those that its store lacks.

    Parameters
    ----------
    study : str, path, mapping or Study
        A ready study, a YAML file, or what such a file holds.
    store : str or path
        Folder of finished points, made where it does not exist; by default the one that the
        environment variable ``HARDWIRE_STORE`` names, or ``hardwire-store``.
    scheduler : str, optional
        Address of a Dask scheduler, by default workers on this machine.
    workers : int, optional
        Workers on this machine, by default one per core.

    Returns
    -------
    Sweep
        With ``to_frame``, ``plot`` and ``save``; ``print`` shows the best points.

    Raises
    ------
    InputError
        On a study, store or scheduler that cannot be used.

    Examples
    --------
    >>> import hardwire as hw
    >>> swept = hw.sweep("lanes-area-rate", store="points")
    >>> len(swept.to_frame())
    2565
    >>> own = {"axes": {"datapath.lanes": [12, 16, 20]}, "metrics": ["decode_tokens_per_s_user"]}
    >>> hw.sweep(own, store="points").to_frame()["feasible"].tolist()
    [True, True, True]
    """
    opened = study_of(study)
    named = os.environ.get("HARDWIRE_STORE") or STORE if store is None else store
    folder = folder_of("store", named)
    return Sweep.of(runner.sweep(opened, folder, scheduler=scheduler, workers=workers))


@in_python_words
def search(
    study: Study | Mapping[str, Any] | Named,
    *,
    trials: int = searching.TRIALS,
    storage: Named = searching.STORAGE,
    seed: int = 0,
    population: int = searching.POPULATION,
) -> Search:
    """Search a study for its Pareto front: several objectives under constraints.

    Parameters
    ----------
    study : str, path, mapping or Study
        As ``sweep`` takes it, with objectives.
    trials : int
        In all, those of earlier runs on the same storage included.
    storage : str or path
        A file, by default in the working folder, or the URL of an Optuna storage.
    seed : int
        The same seed gives the same trials.
    population : int
        Trials of a generation.

    Returns
    -------
    Search
        With ``to_frame``, ``plot`` and ``save``; ``print`` shows the front.

    Raises
    ------
    InputError
        If the study states no objective, or the storage cannot be used.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.search("lanes-area-rate", trials=100, storage="trials.journal")
    >>> found.trials, len(found.to_frame("trials"))
    (100, 100)
    """
    found = searching.search(
        study_of(study),
        trials=trials,
        storage=text_of("storage", storage, "a URL"),
        seed=seed,
        population=population,
    )
    return Search.of(found)


@in_python_words
def sensitivity(
    chip: ChipLike = "hc1",
    metrics: str | Sequence[str] = "decode_tokens_per_s_user",
    *,
    model: ModelLike | None = None,
    adapter: AdapterLike | None = None,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    calibrated: bool = False,
    samples: int = sobol.SAMPLES,
    seed: int = 0,
) -> Sensitivity:
    """Say which uncertain parameters a metric depends on: Sobol indices and tornado.

    Parameters
    ----------
    chip, model, adapter, prompt, output, users
        As ``run`` takes them.
    metrics : str or sequence of str
        Names of ``hardwire.experiments.sweep.CLOSED_FORM``.
    calibrated : bool
        Fit the calibrated parameter again for every sample: what is open about the measured chip.
        Otherwise all ranges are free: what moves a design.
    samples : int
        Base samples, to the next power of two.
    seed : int
        The same seed gives the same numbers.

    Returns
    -------
    Sensitivity
        With ``to_frame``, ``plot`` and ``save``; ``print`` shows the inputs that matter.

    Raises
    ------
    InputError
        On what cannot be read, an unknown metric, or a chip without ranges.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.sensitivity("hc1", "decode_tokens_per_s_user", samples=64)
    >>> found.to_frame()["input"].iloc[0]
    'power.idle_clock_share'
    """
    chip_ = chip_of(chip)
    base = model_of(model, chip_)
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    design = Design(chip_, base, shape_of(adapter, base), prompt, output, users)
    names = (metrics,) if isinstance(metrics, str) else tuple(dict.fromkeys(metrics))
    if not names:
        raise InputError("metrics: at least one name is expected")
    return Sensitivity.of(
        sobol.analyse(design, names, calibrated=calibrated, samples=samples, seed=seed)
    )


class Solution(Shown, solving.Solution):
    """The answer of ``solve``: see ``hardwire.experiments.search.solve.Solution``."""

    def tables(self) -> RenderableType:
        """Where the goal holds, and what fails beyond."""
        from hardwire.experiments.search.solve_view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self) -> pd.DataFrame:
        """A row for each end of a stretch in which the goal holds, and for the value as it is.

        ``low`` and ``high`` are the ends of the metric's 90 % interval, ``share`` of the draws in
        which all holds, ``beyond`` the next value outside, and ``reasons`` what fails there.
        """
        import pandas as pd  # noqa: PLC0415

        rows = [{"which": "filed", **_point(self.filed), "reasons": self.filed.reasons}]
        for low, high in self.spans:
            for which, end in (("from", low), ("to", high)):
                row: dict[str, Any] = {"which": which, **_point(end.last)}
                if end.beyond is not None:
                    row |= {"beyond": end.beyond.value, "reasons": end.beyond.reasons}
                rows.append(row)
        return pd.DataFrame(rows)


def _point(point: solving.Point) -> dict[str, Any]:
    low, high = point.interval or (None, None)
    return {
        "value": point.value, "metric": point.metric, "low": low, "high": high,
        "share": point.share,
    }  # fmt: skip


@in_python_words
def solve(
    vary: str,
    target: float | None = None,
    *,
    metric: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    chip: ChipLike = "hc1",
    model: ModelLike | None = None,
    adapter: AdapterLike | None = None,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> Solution:
    """Find the smallest and the largest value of a parameter at which a goal holds.

    Parameters
    ----------
    vary : str
        A numeric parameter of the chip or its process by dotted name, ``adapter.rank``, or
        ``workload.users``, ``workload.prompt`` or ``workload.output``.
    target : float, optional
        Decode rate of one user to reach, tokens/s.
    metric, at_least, at_most : str, float
        Instead of a target: a name of ``hardwire.experiments.sweep.CLOSED_FORM`` with one limit.
    chip, model, adapter, prompt, output, users, settings
        As ``run`` takes them.

    Returns
    -------
    Solution
        ``smallest`` and ``largest``, or None where nothing holds; ``spans`` where it holds in
        stretches. With ``to_frame``; ``print`` shows what fails beyond.

    Raises
    ------
    InputError
        On what cannot be read, an unknown parameter or metric, or not one goal.

    Examples
    --------
    >>> import hardwire as hw
    >>> found = hw.solve("datapath.lanes", 14_000)
    >>> found.smallest, found.largest
    (13, 16)
    >>> found.spans[0][1].beyond.reasons
    ('the blocks take 819.8 mm² of a die of 815 mm²',)
    """
    goal = make_goal(target, metric, at_least, at_most)
    chip_ = chip_of(chip, settings)
    base = model_of(model, chip_)
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    design = Design(chip_, base, shape_of(adapter, base), prompt, output, users)
    return Solution.of(solving.solve(design, vary, goal))
