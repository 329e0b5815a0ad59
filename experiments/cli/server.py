"""The commands ``server fit`` and ``server make``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import CATALOGUE, Group, add
from hardwire.experiments.cli.options import Forms, chosen, takes

FIT_EXAMPLES = (
    "hardwire server fit profile.csv --model qwen2.5-7b --out mine.yaml",
    "hardwire server fit profile.csv --base vllm-h100 --out mine.yaml --json",
)

MAKE_EXAMPLES = (
    "hardwire server make --gpu h100 --model llama-3.1-8b --out mine.yaml",
    "hardwire server make --gpu b200 --model qwen3-32b --tp 2 --out b.yaml",
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


def make(
    gpu: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="GPU: catalogue name, or a YAML file.",
            autocompletion=complete.names_of("gpu"),
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Model: catalogue name, or a config.json.",
            autocompletion=complete.names_of("model"),
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")],
    precision: Annotated[
        str,
        typer.Option(metavar="WORD", help="Of the weights: bf16, fp8, int8, int4 or fp4."),
    ] = "bf16",
    tp: Annotated[
        int, typer.Option(metavar="N", help="GPUs that share every layer (tensor parallel).")
    ] = 1,
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Whose defaults the file begins with: vllm or trtllm.",
            autocompletion=complete.names_of("engine"),
        ),
    ] = "vllm",
) -> None:
    """Write the file of a GPU server from data sheets: bytes and operations, nothing fitted."""
    from hardwire.models.gpu_make import make_server  # noqa: PLC0415

    server = make_server(gpu, model, out, precision=precision, tp=tp, engine=engine)
    tokens = server.kv_tokens(0, 0)
    typer.echo(
        f"{out}: {server.title}; {server.batching.weights_gb:.1f} GB of weights, KV of {tokens:,} "
        f"tokens; hardwire replay azure-conv --server {out} runs it"
    )


def register(app: typer.Typer) -> None:
    """Add the commands to the command line, as a group."""
    group = typer.Typer(cls=Group, help="Make a GPU server's file.", no_args_is_help=True)

    @group.callback()
    def server() -> None:
        """Make a GPU server's file."""

    add(group, fit, examples=FIT_EXAMPLES)
    add(group, make, examples=MAKE_EXAMPLES)
    app.add_typer(group, name="server", rich_help_panel=CATALOGUE)
