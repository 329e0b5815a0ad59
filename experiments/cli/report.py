"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="What run, replay, compare or sweep wrote with --save."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML file to write [default: DIR/report.html]"),
    ] = None,
) -> None:
    """Write one HTML page of a saved folder: verdict, figures, tables, configuration, sources."""
    from hardwire.experiments.report.build import write_report  # noqa: PLC0415

    typer.echo(f"Report in {write_report(folder, output)}")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(report)
