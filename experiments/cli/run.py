"""The command ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish, refuse
from hardwire.experiments.cli.help import SIMULATE, add
from hardwire.experiments.cli.options import (
    DESIGN,
    LOAD,
    ChipOption,
    Figures,
    FiguresOption,
    Forms,
    ModelOption,
    OutputOption,
    PromptOption,
    SetOption,
    StrictOption,
    Text,
    UsersOption,
    chosen,
    save_option,
    settings_of,
    takes,
)

if TYPE_CHECKING:
    from hardwire.simulator.single import Engine

CHIP = "hc1"
DEFAULT_ADAPTER = "r16:all-linear"
EXAMPLES = (
    "hardwire run",
    "hardwire run --users 2 --issue pipelined --set sram.capacity_mib=512",
    "hardwire run --adapter r64:all-linear:int4 --save out",
    "hardwire run --system llama-70b-hc1 --users 8",
)
ENGINES: tuple[Engine, ...] = ("compiled", "reference")


@takes(Forms)
def run(
    chip: ChipOption = CHIP,
    model: ModelOption = None,
    adapter: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="PEFT folder, GGUF file, a shape such as r16:all-linear:int8, or none "
            f"[default: {DEFAULT_ADAPTER}; of a system none]",
            rich_help_panel=DESIGN,
        ),
    ] = None,
    system: Annotated[
        Text,
        typer.Option(
            "--system",
            metavar="NAME|FILE",
            help="Several dies instead of one chip: of hardwire list systems, or a YAML file.",
            autocompletion=complete.names_of("system"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    prompt: PromptOption = 1024,
    output: OutputOption = 1024,
    users: UsersOption = 1,
    experts: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="Of a system, how tokens choose experts: uniform, zipf:1.1, or a CSV file of "
            "counts [default: uniform]",
            rich_help_panel=LOAD,
        ),
    ] = None,
    issue: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="Tokens of several users: serial or pipelined [default: the chip's]",
            autocompletion=complete.issues,
            rich_help_panel=DESIGN,
        ),
    ] = None,
    engine: Annotated[
        Text,
        typer.Option(
            metavar="TEXT",
            help="What computes the times: compiled or reference [default: compiled; of a system "
            "the closed form]",
            autocompletion=complete.engines,
        ),
    ] = None,
    settings: SetOption = None,
    execute: Annotated[
        bool,
        typer.Option(
            "--execute",
            help="Also compute: the adapter's weights through the kernels and, where --model is a "
            "folder with weights, the tokens themselves.",
        ),
    ] = False,
    target: Annotated[
        float | None,
        typer.Option(
            metavar="TOKENS/S",
            help="Decode rate to reach [default: what was announced of the chip]",
        ),
    ] = None,
    strict: StrictOption = False,
    *,
    save: Annotated[
        Path | None,
        save_option("Write JSON, plots, token times and a Perfetto trace."),
    ] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Simulate a chip, or a system of dies, and print the verdict, without and with an adapter."""
    if system is not None:
        own = {
            "--chip": chip != CHIP, "--model": model, "--issue": issue, "--set": settings,
            "--execute": execute, "--target": target,
        }  # fmt: skip
        _run_system(
            system, [name for name, given in own.items() if given],
            (prompt, output, users), adapter, experts, engine, strict, save, figures,
            chosen(forms),
        )  # fmt: skip
        return
    from hardwire.experiments.run import save as files  # noqa: PLC0415
    from hardwire.experiments.run import view  # noqa: PLC0415
    from hardwire.experiments.run.executed import Executed  # noqa: PLC0415
    from hardwire.experiments.run.executed import execute as compute  # noqa: PLC0415
    from hardwire.experiments.run.several import run as simulate  # noqa: PLC0415
    from hardwire.experiments.shared.settings import set_over  # noqa: PLC0415
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415
    from hardwire.models.chip import ISSUES, Chip  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415
    from hardwire.models.parameters import check_word  # noqa: PLC0415

    form = chosen(forms)
    opened = Chip.open(chip)
    changes = settings_of(settings or [])
    if issue is not None:
        changes["datapath.issue"] = check_word("--issue", issue, ISSUES)
    if experts is not None:
        raise InputError("--experts: is of a system, which --system names")
    chosen_engine = check_word("--engine", engine or ENGINES[0], ENGINES)
    opened = set_over(opened, changes)
    base = LanguageModel.open(model or opened.model)
    loaded = open_adapter(DEFAULT_ADAPTER if adapter is None else adapter, base)
    result = simulate(
        opened, base, loaded, prompt=prompt, output=output, users=users, engine=chosen_engine,
        target=target,
    )  # fmt: skip
    finish(
        compute(result, model) if execute else Executed(result),
        lambda one: view.render(one.result, one.kernels, one.tokens),
        lambda one, folder: files.save(one.result, one.to_dict(), folder, figures),
        form,
        save,
    )
    if strict:
        refuse(str(one) for one in result.obstacles)


def _run_system(
    name: str, not_its: list[str], load: tuple[int, int, int], adapter: str | None,
    experts: str | None, engine: str | None, strict: bool, save: Path | None, figures: str,
    form: str,
) -> None:  # fmt: skip
    """What ``--system`` asks for; it has chips and a model of its own."""
    from hardwire.experiments.system import save as files  # noqa: PLC0415
    from hardwire.experiments.system import view  # noqa: PLC0415
    from hardwire.experiments.system.answer import CLOSED_FORM, ask  # noqa: PLC0415
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415
    from hardwire.models.system.system import System  # noqa: PLC0415

    if not_its:
        raise InputError(f"--system: {' and '.join(not_its)} cannot be given with it: see its file")
    opened = System.open(name)
    prompt, output, users = load
    answer = ask(
        opened, prompt=prompt, output=output, users=users,
        adapter=open_adapter(adapter or "none", opened.model), experts=experts or "uniform",
        engine=engine or CLOSED_FORM,
    )  # fmt: skip
    finish(
        answer, view.render, lambda one, folder: files.save(one, one.to_dict(), folder, figures),
        form, save,
    )  # fmt: skip
    if strict:
        refuse(answer.obstacles)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, run, SIMULATE, EXAMPLES)
