"""The command ``diff``."""

from __future__ import annotations

from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import SAVED, add
from hardwire.experiments.cli.options import (
    DESIGN,
    LOAD,
    Forms,
    ModelOption,
    Text,
    chosen,
    takes,
)

Side = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE|DIR",
        help="A chip, server or study, by name or file, or what --save has written.",
        autocompletion=complete.shown_names,
    ),
]
EXAMPLES = (
    "hardwire diff hc1 mychip.yaml",
    "hardwire diff hc1x10 hc1x10-pipelined",
    "hardwire diff out-before out-after --markdown",
)


@takes(Forms)
def diff(
    a: Side,
    b: Side,
    model: ModelOption = None,
    adapter: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="On both chips, as run takes it [default: r16:all-linear]",
            rich_help_panel=DESIGN,
        ),
    ] = None,
    prompt: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Prompt tokens per user [default: 1024]",
            rich_help_panel=LOAD,
        ),
    ] = None,
    output: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Output tokens per user [default: 1024]",
            rich_help_panel=LOAD,
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            metavar="N",
            help="Users at a time [default: 1]",
            rich_help_panel=LOAD,
        ),
    ] = None,
    **forms: Unpack[Forms],
) -> None:
    """Say what differs between two chips, servers, studies or saved runs, results included."""
    from hardwire.experiments.report import diff as room  # noqa: PLC0415
    from hardwire.experiments.report import diff_view  # noqa: PLC0415

    form = chosen(forms)
    asked = {"model": model, "adapter": adapter, "prompt": prompt, "output": output, "users": users}
    found = room.diff(a, b, {name: value for name, value in asked.items() if value is not None})
    finish(found, diff_view.render, None, form)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, diff, SAVED, EXAMPLES)
