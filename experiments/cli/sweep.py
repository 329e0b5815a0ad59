"""The commands ``sweep`` and ``results``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardwire.experiments.cli.console import counter, finish, print_rich, stop
from hardwire.experiments.cli.options import (
    JsonOption,
    StudyArgument,
    save_option,
)

if TYPE_CHECKING:
    from hardwire.experiments.sweep.store import Counts

STORE = Path("hardwire-store")

StoreOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR", envvar="HARDWIRE_STORE", help="Folder of finished points [hardwire-store]."
    ),
]


def sweep(
    study: StudyArgument,
    store: StoreOption = STORE,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://… [workers here]."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on this machine [one per core].")
    ] = None,
    as_json: JsonOption = False,
    save: Annotated[
        Path | None,
        save_option("Write points, summary and configuration, and a figure."),
    ] = None,
) -> None:
    """Compute all points of a study, or those that its store lacks."""
    from hardwire.experiments.shared.extras import needs  # noqa: PLC0415
    from hardwire.experiments.sweep import Study, view  # noqa: PLC0415
    from hardwire.experiments.sweep import save as files  # noqa: PLC0415
    from hardwire.experiments.sweep.runner import sweep as run  # noqa: PLC0415
    from hardwire.experiments.sweep.summary import summarize  # noqa: PLC0415

    needs("duckdb", "sweep")
    opened = Study.open(study)
    with counter(opened.name, opened.points, hidden=as_json) as bar:

        def report(counts: Counts) -> None:
            if bar is not None:
                bar.advance(counts.points, counts.computed, f"{counts.failed:,} failed")

        swept = run(opened, store, scheduler=scheduler, workers=workers, report=report)
    found = summarize(swept)
    finish(found, view.render, files.save, as_json, save if swept.counts.points else None)
    if swept.interrupted:
        stop("the same command goes on where this one stopped")


def results(
    sql: Annotated[
        str | None,
        typer.Argument(help="One SELECT over points and a view per study [lists the views]."),
    ] = None,
    store: StoreOption = STORE,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
) -> None:
    """Ask a store of sweeps in SQL (DuckDB)."""
    from hardwire.experiments.sweep.results import results as ask  # noqa: PLC0415

    found = ask(store, sql)
    if as_json:
        print(found.to_json(orient="records", indent=1, double_precision=15))
    elif as_csv:
        print(found.to_csv(index=False), end="")
    else:
        from hardwire.experiments.sweep.view import results_table  # noqa: PLC0415

        print_rich(results_table(found))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(sweep)
    app.command()(results)
