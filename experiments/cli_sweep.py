"""The commands ``sweep`` and ``results``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli_serving import INTERRUPTED
from experiments.progress import progress_bar

if TYPE_CHECKING:
    from experiments.sweep.store import Counts

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
        typer.Option(metavar="DIR", help="Write points.parquet, sweep.json and sweep.png."),
    ] = None,
) -> None:
    """Compute all points of a study, or those that its store lacks."""
    from experiments.extras import needs  # noqa: PLC0415
    from experiments.save import to_json  # noqa: PLC0415
    from experiments.sweep import Study  # noqa: PLC0415
    from experiments.sweep.runner import sweep as run  # noqa: PLC0415
    from experiments.sweep_view import look, save_sweep  # noqa: PLC0415

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
        from experiments.cli import print_rich  # noqa: PLC0415 - it imports this module
        from experiments.sweep_view import render  # noqa: PLC0415

        print_rich(render(view))
        if written:
            typer.echo(f"\nSaved in {save}: {', '.join(path.name for path in written)}")
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
    from experiments.cli import print_rich  # noqa: PLC0415 - it imports this module
    from experiments.sweep.results import results as ask  # noqa: PLC0415

    found = ask(store, sql)
    if as_json:
        print(found.to_json(orient="records", indent=1, double_precision=15))
    elif as_csv:
        print(found.to_csv(index=False), end="")
    else:
        print_rich(_table(found))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(sweep)
    app.command()(results)


MOST_ROWS = 40


def _table(found: Any) -> Any:
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from experiments.tables import QUIET, plain_table  # noqa: PLC0415

    table = plain_table("", *(str(name) for name in found.columns))
    shown = found.head(MOST_ROWS)
    empty = shown.isna().to_numpy()
    for row, blank in zip(shown.itertuples(index=False), empty, strict=True):
        table.add_row(*(Text("" if b else _cell(v)) for v, b in zip(row, blank, strict=True)))
    if len(found) <= MOST_ROWS:
        return table
    note = f"{MOST_ROWS} of {len(found):,} rows shown; --csv and --json give all."
    return Group(table, Text(note, style=QUIET))


def _cell(value: Any) -> str:
    from experiments.search_view import number  # noqa: PLC0415

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else str(value)
