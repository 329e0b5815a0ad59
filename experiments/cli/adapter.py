"""The commands ``adapter inspect`` and ``adapter make``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import CATALOGUE, Group, add
from hardwire.experiments.cli.options import (
    ChipOption,
    Forms,
    ModelOption,
    SeedOption,
    chosen,
    takes,
)

INSPECT_EXAMPLES = (
    "hardwire adapter inspect my-adapter",
    "hardwire adapter inspect r64:all-linear:int4 --chip roma",
)
MAKE_EXAMPLES = (
    "hardwire adapter make my-adapter",
    "hardwire adapter make my-adapter --rank 64 --targets qv --dtype bfloat16",
)
DTYPES = ("float32", "float16", "bfloat16")


@takes(Forms)
def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="PEFT folder, GGUF file or a shape.")],
    chip: ChipOption = "hc1",
    model: ModelOption = None,
    **forms: Unpack[Forms],
) -> None:
    """Say what an adapter holds, whether it fits the chip, and if not why (exit status 1)."""
    from hardwire.experiments.cli.objects import Inspected  # noqa: PLC0415
    from hardwire.experiments.cli.view import adapter_table  # noqa: PLC0415
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415
    from hardwire.simulator.fit import adapter_obstacle  # noqa: PLC0415

    form, card = chosen(forms), Chip.open(chip)
    base = LanguageModel.open(model or card.model)
    loaded = open_adapter(path, base)
    if loaded is None:
        raise InputError("none: is no adapter")
    obstacle = adapter_obstacle(card, base, loaded)
    found = Inspected(card, base, loaded, obstacle)
    finish(found, lambda one: adapter_table(card, base, loaded, one.obstacle), None, form)
    if obstacle is not None:
        raise typer.Exit(1)


def make(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    rank: Annotated[int, typer.Option(min=1, metavar="N", help="Rank of every module.")] = 16,
    targets: Annotated[
        str,
        typer.Option(metavar="TEXT", help="all-linear, attention, mlp, qv, or names joined by +."),
    ] = "all-linear",
    model: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="Catalogue name, or a Hugging Face config.json."),
    ] = "llama-3.1-8b",
    alpha: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="lora_alpha [default: the rank]"),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Format of the file: float32, float16 or bfloat16."),
    ] = "float16",
    seed: SeedOption = 0,
) -> None:
    """Write a valid full-size PEFT adapter with random weights, for trying things out."""
    from hardwire.models.adapter.write import write_adapter  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415
    from hardwire.models.parameters import check_word  # noqa: PLC0415

    dtype = check_word("--dtype", dtype, DTYPES)
    base = LanguageModel.open(model)
    made = write_adapter(out, base, rank, targets, alpha=alpha, dtype=dtype, seed=seed)
    typer.echo(f"{out}: {made.parameters:,} parameters of rank {rank} for {base.name}")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line, as a group."""
    group = typer.Typer(cls=Group, help="Look into adapters, and make some.", no_args_is_help=True)
    add(group, inspect, examples=INSPECT_EXAMPLES)
    add(group, make, examples=MAKE_EXAMPLES)
    app.add_typer(group, name="adapter", rich_help_panel=CATALOGUE)
