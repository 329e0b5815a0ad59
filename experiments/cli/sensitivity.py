"""The command ``sensitivity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hardwire.experiments.cli.console import print_rich, say_saved


def sensitivity(
    chip: Annotated[str, typer.Argument(help="Catalogue name, or a chip's YAML file.")],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="NAME", help="May be repeated [decode_tokens_per_s_user]."
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
        str, typer.Option(help="PEFT folder, GGUF file, a shape such as r16:qv, or none.")
    ] = "none",
    prompt: Annotated[int, typer.Option(min=1, help="Prompt tokens per user.")] = 1024,
    output: Annotated[int, typer.Option(min=2, help="Output tokens per user.")] = 1024,
    users: Annotated[int, typer.Option(min=1, max=4096, help="Users at a time.")] = 1,
    samples: Annotated[
        int, typer.Option(min=64, max=1 << 20, help="Base samples, to the next power of two.")
    ] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write JSON, CSV and a figure for each metric."),
    ] = None,
) -> None:
    """Say which uncertain parameters a metric depends on: Sobol indices and tornado."""
    from hardwire.experiments.sensitivity.sobol import analyse  # noqa: PLC0415
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415
    from hardwire.experiments.sweep import Design  # noqa: PLC0415

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
    written = []
    if save is not None:
        from hardwire.experiments.sensitivity.view import save_sensitivity  # noqa: PLC0415

        written = save_sensitivity(report, save)
    if as_json:
        print(to_json(report.to_dict()))
        return
    from hardwire.experiments.sensitivity.view import render  # noqa: PLC0415

    print_rich(render(report))
    say_saved(save, written)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(sensitivity)
