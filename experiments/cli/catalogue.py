"""The commands ``list``, ``show``, ``schema`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish, print_form, print_rich
from hardwire.experiments.cli.help import CATALOGUE, add
from hardwire.experiments.cli.options import (
    Forms,
    TableForms,
    chosen,
    takes,
)

KINDS = (
    "chips, models, servers, systems, links, gpus, processes, breakdowns, metrics, parameters, "
    "studies or presets"
)


LIST_EXAMPLES = ("hardwire list", "hardwire list parameters")
SHOW_EXAMPLES = ("hardwire show hc1", "hardwire show hc1x10 --markdown")
SCHEMA_EXAMPLES = ("hardwire schema", "hardwire schema chip > chip.schema.json")


@takes(TableForms)
def list_catalogue(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help=f"{KINDS} [default: an overview]",
            autocompletion=lambda: KINDS.replace(" or ", ", ").split(", "),
        ),
    ] = None,
    **forms: Unpack[TableForms],
) -> None:
    """Show what has a name here, with a line for each."""
    from hardwire.experiments.cli.list_view import LISTS, overview  # noqa: PLC0415
    from hardwire.models.catalogue import did_you_mean  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415

    if kind is not None and kind.lower() not in LISTS:
        raise InputError(f"list {kind}: must be {KINDS}{did_you_mean(kind, LISTS)}")
    print_form(chosen(forms), overview() if kind is None else LISTS[kind.lower()]())


@takes(Forms)
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Chip, server, system, process, breakdown, GPU, link, model or study, by name or "
            "file.",
            autocompletion=complete.shown_names,
        ),
    ],
    **forms: Unpack[Forms],
) -> None:
    """Show all of one thing: for a chip every parameter with unit, kind, range and source."""
    from hardwire.experiments.cli.objects import Shown  # noqa: PLC0415
    from hardwire.experiments.cli.view import show_tables  # noqa: PLC0415

    finish(Shown(name), lambda shown: show_tables(shown.text), None, chosen(forms))


def schema(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="Of the file: chip, server, study, … [default: a list of them]",
            autocompletion=complete.schema_names,
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a kind of YAML file, for editors."""
    from hardwire.experiments.cli.list_view import schemas  # noqa: PLC0415
    from hardwire.models.schema import schema_file  # noqa: PLC0415

    if kind is None:
        print_rich(schemas())
    else:
        typer.echo(schema_file(kind).read_text(encoding="utf-8"), nl=False)


def doctor(
    store: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of finished points of sweeps.")
    ] = Path("hardwire-store"),
) -> None:
    """Say what this installation has, and what it cannot do."""
    from hardwire.experiments.cli.view import machine_tables  # noqa: PLC0415
    from hardwire.experiments.shared.machine import examine  # noqa: PLC0415

    print_rich(machine_tables(examine(store)))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    add(app, list_catalogue, CATALOGUE, LIST_EXAMPLES, name="list")
    add(app, show, CATALOGUE, SHOW_EXAMPLES)
    add(app, schema, CATALOGUE, SCHEMA_EXAMPLES)
    add(app, doctor, CATALOGUE, ("hardwire doctor",))
