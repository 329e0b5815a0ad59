"""The command ``search``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli.console import counter, finish, stop
from hardwire.experiments.cli.help import EXPLORE, add
from hardwire.experiments.cli.options import (
    Figures,
    FiguresOption,
    Forms,
    StudyArgument,
    chosen,
    save_option,
    takes,
)

EXAMPLES = (
    "hardwire search lanes-area-rate",
    "hardwire search mystudy.yaml --trials 5000 --storage my.journal --save out",
)


@takes(Forms)
def search(
    study: StudyArgument,
    trials: Annotated[
        int, typer.Option(min=1, metavar="N", help="Trials in all, those of earlier runs included.")
    ] = 2000,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="A journal, which several processes may share, or, slower, a database of Optuna "
            "[default: hardwire-search.journal]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Same seed, same trials.")] = 0,
    population: Annotated[
        int, typer.Option(min=4, metavar="N", help="Trials of a generation.")
    ] = 50,
    *,
    save: Annotated[
        Path | None,
        save_option("Write front.csv, trials.csv, search.json, search.png."),
    ] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Search a study for its Pareto front: several objectives under constraints."""
    from hardwire.experiments.search import save as files  # noqa: PLC0415
    from hardwire.experiments.search import view  # noqa: PLC0415
    from hardwire.experiments.search.search import STORAGE  # noqa: PLC0415
    from hardwire.experiments.search.search import search as run  # noqa: PLC0415
    from hardwire.experiments.sweep import Study  # noqa: PLC0415

    form = chosen(forms)
    opened = Study.open(study)
    with counter(opened.name, trials, hidden=bool(form)) as bar:

        def report(done: int, feasible: int, new: int) -> None:
            if bar is not None:
                bar.advance(done, new, f"{feasible:,} feasible")

        found = run(
            opened,
            trials=trials,
            storage=STORAGE if storage is None else storage,
            seed=seed,
            population=population,
            report=report,
        )
    finish(found, view.render, partial(files.save, figures=figures), form, save)
    if found.interrupted:
        stop("the same command continues this search")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, search, EXPLORE, EXAMPLES)
