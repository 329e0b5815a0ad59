"""The command ``calibrate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import MEASURED, add
from hardwire.experiments.cli.options import (
    Figures,
    FiguresOption,
    Forms,
    chosen,
    save_option,
    takes,
)

EXAMPLES = (
    "hardwire calibrate hc1",
    "hardwire calibrate hc1 --adapter r32:all-linear --save out",
)


@takes(Forms)
def calibrate(
    chip: Annotated[
        str, typer.Argument(metavar="CHIP", help="Catalogue name of a chip that was measured.")
    ] = ("hc1"),
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Shape whose cost is predicted; may be repeated [default: r16 and r64:all-linear]",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Same seed, same draws.")
    ] = None,
    *,
    save: Annotated[Path | None, save_option("Write JSON, the draws as Parquet, figures.")] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Infer a chip's unpublished parameters from all that was measured of it."""
    from hardwire.experiments.calibration import save as files  # noqa: PLC0415
    from hardwire.experiments.calibration import view  # noqa: PLC0415
    from hardwire.experiments.calibration.calibrate import ADAPTERS  # noqa: PLC0415
    from hardwire.experiments.calibration.calibrate import calibrate as infer  # noqa: PLC0415
    from hardwire.simulator.belief.draws import SEED  # noqa: PLC0415

    form = chosen(forms)
    report = infer(chip, adapter or ADAPTERS, seed=SEED if seed is None else seed)
    finish(report, view.render, partial(files.save, figures=figures), form, save)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, calibrate, MEASURED, EXAMPLES)
