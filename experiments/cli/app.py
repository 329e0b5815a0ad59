"""The command line. Imports are inside the commands, so that help and lists come at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hardwire.experiments.cli import calibrate as cli_calibrate
from hardwire.experiments.cli import report as cli_report
from hardwire.experiments.cli import search as cli_search
from hardwire.experiments.cli import sensitivity as cli_sensitivity
from hardwire.experiments.cli import serving as cli_serving
from hardwire.experiments.cli import sweep as cli_sweep
from hardwire.experiments.cli import validate as cli_validate
from hardwire.experiments.cli.console import print_rich, say_saved
from hardwire.models.errors import InputError

if TYPE_CHECKING:
    from hardwire.models.adapter.adapter import Adapter
    from hardwire.models.language_model import LanguageModel

app = typer.Typer(
    name="hardwire",
    help="Simulate LLM chips whose base model is cast in silicon: rate, adapters, SRAM, area, "
    "power, cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
adapter_app = typer.Typer(help="Look into adapters, and make some.", no_args_is_help=True)
app.add_typer(adapter_app, name="adapter")

DEFAULT_ADAPTER = "r16:all-linear"


class Issue(StrEnum):
    SERIAL = "serial"
    PIPELINED = "pipelined"


class EngineName(StrEnum):
    COMPILED = "compiled"
    REFERENCE = "reference"


class Dtype(StrEnum):
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


ChipOption = Annotated[str, typer.Option("--chip", help="Catalogue name, or a chip's YAML file.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Catalogue name, or a Hugging Face config.json [the chip's own]."),
]


@app.command()
def run(
    chip: ChipOption = "hc1",
    model: ModelOption = None,
    adapter: Annotated[
        str,
        typer.Option(
            help="PEFT folder, GGUF file, a shape such as r16:all-linear:int8, or none.",
        ),
    ] = DEFAULT_ADAPTER,
    prompt: Annotated[int, typer.Option(min=1, help="Prompt tokens per user.")] = 1024,
    output: Annotated[int, typer.Option(min=2, help="Output tokens per user.")] = 1024,
    users: Annotated[int, typer.Option(min=1, max=4096, help="Users at a time.")] = 1,
    issue: Annotated[Issue | None, typer.Option(help="Overrides the chip's.")] = None,
    engine: Annotated[EngineName, typer.Option(help="Simulation engine.")] = EngineName.COMPILED,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any parameter; may be repeated."),
    ] = None,
    execute: Annotated[
        bool,
        typer.Option(
            "--execute",
            help="Also compute: the adapter's weights through the kernels and, where --model is a "
            "folder with weights, the tokens themselves.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write JSON, plots, token times and a Perfetto trace."),
    ] = None,
) -> None:
    """Simulate one chip and print the verdict, without and with an adapter."""
    from hardwire.experiments.run.save import save as save_result  # noqa: PLC0415
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415
    from hardwire.simulator.single import run as simulate  # noqa: PLC0415

    chosen = Chip.open(chip)
    changes = _settings(settings or [])
    if issue is not None:
        changes["datapath.issue"] = issue.value
    if changes:
        chosen = chosen.with_settings(changes)
    base = _model(model, chosen.model)
    loaded = _adapter(adapter, base)
    result = simulate(
        chosen, base, loaded, prompt=prompt, output=output, users=users, engine=engine.value
    )
    data = result.to_dict()
    executed = computed = None
    if execute:
        from hardwire.experiments.run.kernels import execute as run_kernels  # noqa: PLC0415
        from hardwire.experiments.run.tokens import execute_run, weights_folder  # noqa: PLC0415

        folder = weights_folder(model)
        if loaded is None and folder is None:
            raise InputError(
                "--execute: needs weights: an adapter's, or a model folder's (--model)"
            )
        if loaded is not None:
            executed = run_kernels(chosen, base, loaded)
            data["execution"] = executed.to_dict()
        if folder is not None:
            computed = execute_run(
                chosen, base, folder, loaded, prompt=prompt, output=output, users=users
            )
            data["computed"] = computed.to_dict()
    written = save_result(result, data, save) if save is not None else []
    if as_json:
        print(to_json(data))
        return
    from hardwire.experiments.run.view import render  # noqa: PLC0415

    print_rich(render(result, executed, computed))
    say_saved(save, written)


@app.command("list")
def list_catalogue() -> None:
    """Show the chips, models, processes and servers that come with Hardwire."""
    from hardwire.experiments.shared.listing import catalogue_tables  # noqa: PLC0415

    print_rich(catalogue_tables())


@app.command()
def show(chip: Annotated[str, typer.Argument(help="Catalogue name or YAML file.")]) -> None:
    """Show every parameter of a chip: value, unit, kind, range and source."""
    from hardwire.experiments.shared.listing import chip_tables  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415

    print_rich(chip_tables(Chip.open(chip)))


@app.command()
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
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write formats.csv and formats.png.")
    ] = None,
) -> None:
    """Measure what each number format of weights, KV cache and adapter costs against float32."""
    from hardwire.experiments.formats.measure import measure, small_llama  # noqa: PLC0415
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415

    base = _model(model, "") if model is not None else small_llama()
    folder = Path(model) if model is not None and Path(model).is_dir() else None
    loaded = _adapter(adapter, base) if adapter is not None else None
    if adapter is not None and loaded is None:
        raise InputError("--adapter none: give a PEFT folder or a GGUF file")
    report = measure(base, folder, loaded, tokens=tokens, seed=seed)
    written = []
    if save is not None:
        from hardwire.experiments.formats.view import save_formats  # noqa: PLC0415

        written = save_formats(report, save)
    if as_json:
        print(to_json(report.to_dict()))
        return
    from hardwire.experiments.formats.view import render  # noqa: PLC0415

    print_rich(render(report))
    say_saved(save, written)


@adapter_app.command("inspect")
def inspect_adapter(
    path: Annotated[str, typer.Argument(help="PEFT folder, GGUF file or a shape.")],
    chip: ChipOption = "hc1",
    model: ModelOption = None,
) -> None:
    """Say what an adapter holds, whether it fits the chip, and if not why (exit status 1)."""
    from hardwire.experiments.shared.listing import adapter_table  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415
    from hardwire.simulator.single import adapter_obstacle  # noqa: PLC0415

    chosen = Chip.open(chip)
    base = _model(model, chosen.model)
    loaded = _adapter(path, base)
    if loaded is None:
        raise InputError("none: is no adapter")
    obstacle = adapter_obstacle(chosen, base, loaded)
    print_rich(adapter_table(chosen, base, loaded, obstacle))
    if obstacle is not None:
        raise typer.Exit(1)


@adapter_app.command("make")
def make_adapter(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    rank: Annotated[int, typer.Option(min=1, help="Rank of every module.")] = 16,
    targets: Annotated[
        str, typer.Option(help="all-linear, attention, mlp, qv, or names joined by +.")
    ] = "all-linear",
    model: Annotated[str, typer.Option(help="Catalogue name or config.json.")] = "llama-3.1-8b",
    alpha: Annotated[float | None, typer.Option(help="lora_alpha [the rank].")] = None,
    dtype: Annotated[Dtype, typer.Option(help="Format of the file.")] = Dtype.FLOAT16,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Write a valid full-size PEFT adapter with random weights, for trying things out."""
    from hardwire.models.adapter.adapter import write_adapter  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415

    base = LanguageModel.open(model)
    made = write_adapter(out, base, rank, targets, alpha=alpha, dtype=dtype.value, seed=seed)
    typer.echo(f"{out}: {made.parameters:,} parameters of rank {rank} for {base.name}")


def _settings(texts: list[str]) -> dict[str, str | float]:
    """``["sram.capacity_mib=512"]`` as a mapping; the chip checks names, units and ranges."""
    values: dict[str, str | float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InputError(f"--set {text}: must be written NAME=VALUE")
        values[name.strip()] = value.strip()
    return values


def _model(name: str | None, default: str) -> LanguageModel:
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415

    return LanguageModel.open(name or default)


def _adapter(text: str, model: LanguageModel) -> Adapter | None:
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415

    return open_adapter(text, model)


cli_serving.register(app)
cli_sweep.register(app)
cli_search.register(app)
cli_sensitivity.register(app)
cli_calibrate.register(app)
cli_validate.register(app)
cli_report.register(app)


def main() -> None:
    """Entry point: one sentence and exit status 2 for bad input, 130 for an interrupt."""
    try:
        app()
    except InputError as error:
        print(f"hardwire: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as stop:
        # Typer turns Ctrl-C into this status and says nothing.
        if stop.code == cli_serving.INTERRUPTED:
            print("hardwire: interrupted", file=sys.stderr)
        raise
