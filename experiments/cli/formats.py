"""The command ``formats``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli.console import finish, progress
from hardwire.experiments.cli.help import SIMULATE, add
from hardwire.experiments.cli.options import (
    Figures,
    FiguresOption,
    Forms,
    SeedOption,
    chosen,
    save_option,
    takes,
)

EXAMPLES = (
    "hardwire formats",
    "hardwire formats --model FOLDER --adapter FOLDER --tokens 512 --save out",
)


@takes(Forms)
def formats(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|FILE|DIR",
            help="Hugging Face folder with weights, or, for random weights in its shapes, a "
            "catalogue name or config.json [default: an eighth of Llama 3.1 8B]",
        ),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE",
            help="PEFT folder or GGUF file [default: random ones of rank 1 to 256]",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Length of the text.")] = 256,
    seed: SeedOption = 0,
    *,
    save: Annotated[Path | None, save_option("Write JSON, CSV and a figure.")] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Measure what each number format of weights, KV cache and adapter costs against float32."""
    from hardwire.experiments.formats import save as files  # noqa: PLC0415
    from hardwire.experiments.formats import view  # noqa: PLC0415
    from hardwire.experiments.formats.measure import measure  # noqa: PLC0415
    from hardwire.experiments.formats.stand_in import small_llama  # noqa: PLC0415
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415

    form = chosen(forms)
    base = LanguageModel.open(model) if model is not None else small_llama()
    weights = Path(model) if model is not None and Path(model).is_dir() else None
    loaded = open_adapter(adapter, base) if adapter is not None else None
    if adapter is not None and loaded is None:
        raise InputError("--adapter none: give a PEFT folder or a GGUF file")
    with progress("formats", hidden=bool(form)) as told:
        report = measure(base, weights, loaded, tokens=tokens, seed=seed, report=told)
    finish(report, view.render, partial(files.save, figures=figures), form, save)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, formats, SIMULATE, EXAMPLES)
