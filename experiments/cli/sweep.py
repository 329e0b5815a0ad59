"""The commands ``sweep`` and ``results``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardwire.experiments.cli.console import counter, finish, print_form, refuse, stop
from hardwire.experiments.cli.options import (
    CsvOption,
    Figures,
    FiguresOption,
    JsonOption,
    LatexOption,
    MarkdownOption,
    StudyArgument,
    chosen,
    save_option,
)

if TYPE_CHECKING:
    from hardwire.experiments.sweep.store import Counts

STORE = Path("hardwire-store")

StoreOption = Annotated[
    Path,
    typer.Option(metavar="DIR", envvar="HARDWIRE_STORE", help="Folder of finished points."),
]


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
    as_json: JsonOption = False,
    save: Annotated[
        Path | None,
        save_option("Write points, summary and configuration, and a figure."),
    ] = None,
    figures: FiguresOption = Figures.PNG,
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
    finish(
        found,
        view.render,
        partial(files.save, figures=figures),
        as_json,
        save if swept.counts.points else None,
    )
    if swept.interrupted:
        stop("the same command goes on where this one stopped")
    if strict:
        refuse(found.obstacles())


def results(
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL",
            help="One SELECT over points and a view per study [default: lists the views]",
        ),
    ] = None,
    store: StoreOption = STORE,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
    as_csv: CsvOption = False,
    as_markdown: MarkdownOption = False,
    as_latex: LatexOption = False,
) -> None:
    """Ask a store of sweeps in SQL (DuckDB)."""
    from hardwire.experiments.sweep.results import results as ask  # noqa: PLC0415

    form = chosen(json=as_json, csv=as_csv, markdown=as_markdown, latex=as_latex)
    found = ask(store, sql)
    if as_json:
        print(found.to_json(orient="records", indent=1, double_precision=15))
    elif as_csv:
        print(found.to_csv(index=False), end="")
    else:
        from hardwire.experiments.sweep.view import MOST_ROWS, results_table  # noqa: PLC0415

        print_form(form, results_table(found, len(found) if form else MOST_ROWS))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(sweep)
    app.command()(results)
