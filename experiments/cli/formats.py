"""The command ``formats``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.options import (
    SeedOption,
    save_option,
)


def formats(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Hugging Face folder with weights, or, for random weights in its shapes, a "
            "catalogue name or config.json [an eighth of Llama 3.1 8B].",
        ),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(help="PEFT folder or GGUF file [random ones of rank 1 to 256]."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Length of the text.")] = 256,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    save: Annotated[Path | None, save_option("Write formats.csv and formats.png.")] = None,
) -> None:
    """Measure what each number format of weights, KV cache and adapter costs against float32."""
    from hardwire.experiments.formats import save as files  # noqa: PLC0415
    from hardwire.experiments.formats import view  # noqa: PLC0415
    from hardwire.experiments.formats.measure import measure, small_llama  # noqa: PLC0415
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415

    base = LanguageModel.open(model) if model is not None else small_llama()
    weights = Path(model) if model is not None and Path(model).is_dir() else None
    loaded = open_adapter(adapter, base) if adapter is not None else None
    if adapter is not None and loaded is None:
        raise InputError("--adapter none: give a PEFT folder or a GGUF file")
    report = measure(base, weights, loaded, tokens=tokens, seed=seed)
    finish(report, view.render, files.save, as_json, save)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(formats)
