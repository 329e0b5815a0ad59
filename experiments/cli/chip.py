"""The command ``chip new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.help import CATALOGUE, Group, add

EXAMPLES = ("hardwire chip new mychip", "hardwire chip new mychip --extends roma --out my.yaml")


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the chip and its file.")],
    extends: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="The chip that it changes: catalogue name, or a YAML file.",
            autocompletion=complete.names_of("chip"),
        ),
    ] = "hc1",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write [default: NAME.yaml]")
    ] = None,
) -> None:
    """Write a chip file over another chip, with every parameter in comments."""
    from hardwire.models.chip_template import write_chip  # noqa: PLC0415

    path = write_chip(name, extends, out)
    typer.echo(f"{path}: over {extends}; hardwire run --chip {path} runs it")


def register(app: typer.Typer) -> None:
    """Add the command to the command line, as a group."""
    group = typer.Typer(cls=Group, help="Make a chip file of your own.", no_args_is_help=True)

    @group.callback()
    def chip() -> None:
        """Make a chip file of your own."""

    add(group, new, examples=EXAMPLES)
    app.add_typer(group, name="chip", rich_help_panel=CATALOGUE)
