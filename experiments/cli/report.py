"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hardwire.experiments.cli.help import SAVED, add

EXAMPLES = (
    "hardwire report out",
    "hardwire report out-run out-replay --output both.html",
)


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="What commands wrote with --save, one or several."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="HTML file to write, needed for several folders [default: DIR/report.html]",
        ),
    ] = None,
) -> None:
    """Write one HTML page of saved folders: verdict, figures, tables, configuration, sources."""
    from hardwire.experiments.report.build import write_report  # noqa: PLC0415

    typer.echo(f"Report in {write_report(folders, output)}")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, report, SAVED, EXAMPLES)
