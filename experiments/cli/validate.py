"""The command ``validate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli.console import print_form, progress
from hardwire.experiments.cli.help import MEASURED, add
from hardwire.experiments.cli.options import (
    Forms,
    chosen,
    takes,
)

EXAMPLES = (
    "hardwire validate",
    "hardwire validate --data FOLDER --all --csv",
)


@takes(Forms)
def validate(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the measured serving runs [default: rows over them are left out]",
        ),
    ] = None,
    slow: Annotated[
        bool, typer.Option("--all", help="Also the rows that take minutes (with --data).")
    ] = False,
    **forms: Unpack[Forms],
) -> None:
    """Run every published figure that the models can predict, and say how far off they are."""
    from hardwire.experiments.validation.bench import Bench  # noqa: PLC0415
    from hardwire.experiments.validation.rows import validate as run  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415

    form = chosen(forms)
    if data is not None and not data.is_dir():
        raise InputError(f"--data {data}: is no folder")
    with progress("validate", hidden=bool(form)) as report:
        found = run(Bench(data=data, slow=slow), report=report)
    if form == "json":
        rows = [row.to_dict() for row in found.rows]
        print(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))
        return
    from hardwire.experiments.validation.view import render  # noqa: PLC0415

    print_form(form, render(found))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, validate, MEASURED, EXAMPLES)
