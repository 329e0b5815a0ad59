"""The command ``sensitivity``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import EXPLORE, add
from hardwire.experiments.cli.options import (
    DESIGN,
    Figures,
    FiguresOption,
    Forms,
    OutputOption,
    PromptOption,
    UsersOption,
    chosen,
    save_option,
    takes,
)

EXAMPLES = (
    "hardwire sensitivity hc1",
    "hardwire sensitivity hc1 --metric power_w --calibrated --save out",
)


@takes(Forms)
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
            metavar="TEXT",
            help="PEFT folder, GGUF file, a shape such as r16:qv, or none.",
            rich_help_panel=DESIGN,
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
    *,
    save: Annotated[
        Path | None,
        save_option("Write JSON, CSV and a figure for each metric."),
    ] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Say which uncertain parameters a metric depends on: Sobol indices and tornado."""
    from hardwire.experiments.sensitivity import save as files  # noqa: PLC0415
    from hardwire.experiments.sensitivity import view  # noqa: PLC0415
    from hardwire.experiments.sensitivity.sobol import analyse  # noqa: PLC0415
    from hardwire.experiments.sweep import Design  # noqa: PLC0415

    form = chosen(forms)
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
    finish(report, view.render, partial(files.save, figures=figures), form, save)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, sensitivity, EXPLORE, EXAMPLES)
