"""The commands ``sweep`` and ``results``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardwire.experiments.cli.console import print_rich, say_saved
from hardwire.experiments.cli.progress import progress_bar
from hardwire.experiments.cli.serving import INTERRUPTED

if TYPE_CHECKING:
    from hardwire.experiments.sweep.store import Counts

STORE = Path("hardwire-store")

StoreOption = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder of finished points [hardwire-store].")
]


def sweep(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A ready study, or a file that ends in .yaml.")
    ],
    store: StoreOption = STORE,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://… [workers here]."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on this machine [one per core].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write points, summary and configuration, and a figure."),
    ] = None,
) -> None:
    """Compute all points of a study, or those that its store lacks."""
    from hardwire.experiments.shared.extras import needs  # noqa: PLC0415
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415
    from hardwire.experiments.sweep import Study  # noqa: PLC0415
    from hardwire.experiments.sweep.runner import sweep as run  # noqa: PLC0415
    from hardwire.experiments.sweep.view import look, save_sweep  # noqa: PLC0415

    needs("duckdb", "sweep")
    opened = Study.open(study)
    with progress_bar(opened.name, opened.points, hidden=as_json) as bar:

        def report(counts: Counts) -> None:
            if bar is not None:
                bar.advance(counts.points, counts.computed, f"{counts.failed:,} failed")

        swept = run(opened, store, scheduler=scheduler, workers=workers, report=report)
    view = look(swept)
    written = save_sweep(view, save) if save is not None and swept.counts.points else []
    if as_json:
        print(to_json(view.to_dict()))
    else:
        from hardwire.experiments.sweep.view import render  # noqa: PLC0415

        print_rich(render(view))
        say_saved(save, written)
    if swept.interrupted:
        print("hardwire: the same command goes on where this one stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


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
