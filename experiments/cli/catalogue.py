"""The commands ``list`` and ``show``."""

from __future__ import annotations

from typing import Annotated

import typer

from hardwire.experiments.cli.console import print_rich


def list_catalogue() -> None:
    """Show the chips, models, processes and servers that come with Hardwire."""
    from hardwire.experiments.cli.view import catalogue_tables  # noqa: PLC0415

    print_rich(catalogue_tables())


def show(chip: Annotated[str, typer.Argument(help="Catalogue name or YAML file.")]) -> None:
    """Show every parameter of a chip: value, unit, kind, range and source."""
    from hardwire.experiments.cli.view import chip_tables  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415

    print_rich(chip_tables(Chip.open(chip)))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("list")(list_catalogue)
    app.command()(show)
