"""The command ``diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.options import (
    CsvOption,
    JsonOption,
    LatexOption,
    MarkdownOption,
    ModelOption,
    Text,
    chosen,
)

Side = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE|DIR",
        help="A chip, server or study, by name or file, or what --save has written.",
        autocompletion=complete.shown_names,
    ),
]


def diff(
    a: Side,
    b: Side,
    model: ModelOption = None,
    adapter: Annotated[
        Text,
        typer.Option(
            metavar="TEXT", help="On both chips, as run takes it [default: r16:all-linear]"
        ),
    ] = None,
    prompt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Prompt tokens [default: 1024]")
    ] = None,
    output: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Output tokens [default: 1024]")
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, max=4096, metavar="N", help="Users at a time [default: 1]")
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_markdown: MarkdownOption = False,
    as_latex: LatexOption = False,
) -> None:
    """Say what differs between two chips, servers, studies or saved runs, results included."""
    from hardwire.experiments.report import diff as room  # noqa: PLC0415
    from hardwire.experiments.report import diff_view  # noqa: PLC0415

    form = chosen(json=as_json, csv=as_csv, markdown=as_markdown, latex=as_latex)
    asked = {"model": model, "adapter": adapter, "prompt": prompt, "output": output, "users": users}
    found = room.diff(a, b, {name: value for name, value in asked.items() if value is not None})
    finish(found, diff_view.render, None, as_json, None, form)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(diff)
