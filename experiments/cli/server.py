"""The command ``server fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import CATALOGUE, Group, add
from hardwire.experiments.cli.options import Forms, chosen, takes

EXAMPLES = (
    "hardwire server fit profile.csv --model qwen2.5-7b --out mine.yaml",
    "hardwire server fit profile.csv --base vllm-h100 --out mine.yaml --json",
)


@takes(Forms)
def fit(
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="CSV of measured runs, a row each.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Model whose rows are fitted [default: the base server's]",
            autocompletion=complete.names_of("model"),
        ),
    ] = None,
    base: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="GPU server that gives memory, limits, and what rows do not tell.",
            autocompletion=complete.names_of("server"),
        ),
    ] = "vllm-h100",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Server file to write [default: none]")
    ] = None,
    **forms: Unpack[Forms],
) -> None:
    """Fit a GPU server's step times to measurements of its parts, with ranges and residuals."""
    from hardwire.experiments.calibration.gpu_server import fit_profile  # noqa: PLC0415
    from hardwire.experiments.calibration.gpu_server_file import (  # noqa: PLC0415
        check_out,
        write_server,
    )
    from hardwire.experiments.calibration.gpu_server_view import render  # noqa: PLC0415
    from hardwire.models.gpu_server import BatchServer  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415

    form = chosen(forms)
    if out is not None:
        check_out(out)
    chosen_model = None if model is None else LanguageModel.by_name(model)
    found = fit_profile(profile, chosen_model, BatchServer.open(base))
    if out is not None:
        write_server(found, out, base)
    finish(found, render, None, form)
    if out is not None and not form:
        typer.echo(f"\n{out}: over {base}; hardwire replay SOURCE --server {out} runs it")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line, as a group."""
    group = typer.Typer(cls=Group, help="Make a GPU server's file.", no_args_is_help=True)

    @group.callback()
    def server() -> None:
        """Make a GPU server's file."""

    add(group, fit, examples=EXAMPLES)
    app.add_typer(group, name="server", rich_help_panel=CATALOGUE)
