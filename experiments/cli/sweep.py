"""The commands ``sweep`` and ``results``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from hardwire.experiments.cli.console import counter, finish, print_form, refuse, stop
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

if TYPE_CHECKING:
    from hardwire.experiments.sweep.store import Counts

STORE = Path("hardwire-store")
SWEEP_EXAMPLES = (
    "hardwire sweep lanes-area-rate --save out",
    "hardwire sweep mystudy.yaml --workers 8",
    "hardwire sweep mystudy.yaml --scheduler tcp://host:8786",
)
RESULTS_EXAMPLES = (
    "hardwire results",
    "hardwire results 'SELECT * FROM lanes_area_rate WHERE feasible' --csv",
)

StoreOption = Annotated[
    Path,
    typer.Option(metavar="DIR", envvar="HARDWIRE_STORE", help="Folder of finished points."),
]


@takes(Forms)
def sweep(
    study: StudyArgument,
    store: StoreOption = STORE,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://… [default: workers here]"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Workers on this machine [default: one per core]"),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with status 1 if no point is feasible, or if the best does not fit its die "
            "or is held by the power limit.",
        ),
    ] = False,
    *,
    save: Annotated[
        Path | None,
        save_option("Write points, summary and configuration, and a figure."),
    ] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Compute all points of a study, or those that its store lacks."""
    from hardwire.experiments.shared.extras import needs  # noqa: PLC0415
    from hardwire.experiments.sweep import Study, view  # noqa: PLC0415
    from hardwire.experiments.sweep import save as files  # noqa: PLC0415
    from hardwire.experiments.sweep.runner import sweep as run  # noqa: PLC0415
    from hardwire.experiments.sweep.summary import summarize  # noqa: PLC0415

    form = chosen(forms)
    needs("duckdb", "sweep")
    opened = Study.open(study)
    with counter(opened.name, opened.points, hidden=bool(form)) as bar:

        def report(counts: Counts) -> None:
            if bar is not None:
                bar.advance(counts.points, counts.computed, f"{counts.failed:,} failed")

        swept = run(opened, store, scheduler=scheduler, workers=workers, report=report)
    found = summarize(swept)
    finish(
        found,
        view.render,
        partial(files.save, figures=figures),
        form,
        save if swept.counts.points else None,
    )
    if swept.interrupted:
        stop("the same command goes on where this one stopped")
    if strict:
        refuse(found.obstacles())


@takes(Forms)
def results(
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL",
            help="One SELECT over points and a view per study [default: lists the views]",
        ),
    ] = None,
    store: StoreOption = STORE,
    **forms: Unpack[Forms],
) -> None:
    """Ask a store of sweeps in SQL (DuckDB)."""
    from hardwire.experiments.sweep.results import results as ask  # noqa: PLC0415

    form = chosen(forms)
    found = ask(store, sql)
    if form == "json":
        print(found.to_json(orient="records", indent=1, double_precision=15))
    elif form == "csv":
        print(found.to_csv(index=False), end="")
    else:
        from hardwire.experiments.sweep.view import MOST_ROWS, results_table  # noqa: PLC0415

        print_form(form, results_table(found, len(found) if form else MOST_ROWS))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    add(app, sweep, EXPLORE, SWEEP_EXAMPLES)
    add(app, results, EXPLORE, RESULTS_EXAMPLES)
