"""The command ``search``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hardwire.experiments.cli.console import print_rich, say_saved
from hardwire.experiments.cli.progress import progress_bar
from hardwire.experiments.cli.serving import INTERRUPTED


def search(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A ready study, or a file that ends in .yaml.")
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in all, those of earlier runs included.")
    ] = 2000,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="A journal, which several processes may share, or, slower, a database of Optuna "
            "[hardwire-search.journal].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same trials.")] = 0,
    population: Annotated[int, typer.Option(min=4, help="Trials of a generation.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write front.csv, trials.csv, search.json, search.png."),
    ] = None,
) -> None:
    """Search a study for its Pareto front: several objectives under constraints."""
    from hardwire.experiments.search.search import STORAGE  # noqa: PLC0415
    from hardwire.experiments.search.search import search as run  # noqa: PLC0415
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415
    from hardwire.experiments.sweep import Study  # noqa: PLC0415

    opened = Study.open(study)
    with progress_bar(opened.name, trials, hidden=as_json) as bar:

        def report(done: int, feasible: int, new: int) -> None:
            if bar is not None:
                bar.advance(done, new, f"{feasible:,} feasible")

        found = run(
            opened,
            trials=trials,
            storage=storage or STORAGE,
            seed=seed,
            population=population,
            report=report,
        )
    written = []
    if save is not None:
        from hardwire.experiments.search.save import save_search  # noqa: PLC0415

        written = save_search(found, save)
    if as_json:
        print(to_json(found.to_dict()))
    else:
        from hardwire.experiments.search.view import render  # noqa: PLC0415

        print_rich(render(found))
        say_saved(save, written)
    if found.interrupted:
        print("hardwire: the same command continues this search", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(search)
