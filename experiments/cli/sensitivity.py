"""The command ``sensitivity``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.options import (
    CsvOption,
    Figures,
    FiguresOption,
    JsonOption,
    LatexOption,
    MarkdownOption,
    OutputOption,
    PromptOption,
    UsersOption,
    chosen,
    save_option,
)


def sensitivity(
    chip: Annotated[
        str,
        typer.Argument(
            metavar="CHIP",
            help="Catalogue name, or a chip's YAML file.",
            autocompletion=complete.names_of("chip"),
        ),
    ],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="One of hardwire list metrics; may be repeated "
            "[default: decode_tokens_per_s_user]",
            autocompletion=complete.metric_names,
        ),
    ] = None,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated",
            help="Fit the calibrated parameter again for every sample: what is open about the "
            "measured chip. Otherwise all ranges are free: what moves a design.",
        ),
    ] = False,
    adapter: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="PEFT folder, GGUF file, a shape such as r16:qv, or none."
        ),
    ] = "none",
    prompt: PromptOption = 1024,
    output: OutputOption = 1024,
    users: UsersOption = 1,
    samples: Annotated[
        int,
        typer.Option(
            min=64, max=1 << 20, metavar="N", help="Base samples, to the next power of two."
        ),
    ] = 1024,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Same seed, same numbers.")] = 0,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_markdown: MarkdownOption = False,
    as_latex: LatexOption = False,
    save: Annotated[
        Path | None,
        save_option("Write JSON, CSV and a figure for each metric."),
    ] = None,
    figures: FiguresOption = Figures.PNG,
) -> None:
    """Say which uncertain parameters a metric depends on: Sobol indices and tornado."""
    from hardwire.experiments.sensitivity import save as files  # noqa: PLC0415
    from hardwire.experiments.sensitivity import view  # noqa: PLC0415
    from hardwire.experiments.sensitivity.sobol import analyse  # noqa: PLC0415
    from hardwire.experiments.sweep import Design  # noqa: PLC0415

    form = chosen(json=as_json, csv=as_csv, markdown=as_markdown, latex=as_latex)
    load = {"prompt": prompt, "output": output, "users": users}
    settings = {f"workload.{name}": value for name, value in load.items()}
    design = Design.open(chip, {"adapter": adapter, **settings})
    report = analyse(
        design,
        tuple(dict.fromkeys(metrics or ["decode_tokens_per_s_user"])),
        calibrated=calibrated,
        samples=samples,
        seed=seed,
    )
    finish(report, view.render, partial(files.save, figures=figures), as_json, save, form)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(sensitivity)
