"""The command ``plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import finish
from hardwire.experiments.cli.help import EXPLORE, add
from hardwire.experiments.cli.options import (
    ADAPTERS,
    DESIGN,
    GOAL,
    ChipOption,
    Figures,
    FiguresOption,
    Forms,
    OutputOption,
    PromptOption,
    SetOption,
    UsersOption,
    chosen,
    save_option,
    settings_of,
    takes,
)

EXAMPLES = (
    "hardwire plan llama-3.1-70b",
    "hardwire plan gpt-oss-120b --chip hc2 --objective dies",
    "hardwire plan llama-3.1-70b --users 8 --link cable --save out",
)


@takes(Forms)
def plan(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Catalogue name, or a Hugging Face config.json.",
            autocompletion=complete.names_of("model"),
        ),
    ],
    chip: ChipOption = "hc1",
    link: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="Kind of the links between dies, of hardwire list links.",
            autocompletion=complete.names_of("link"),
            rich_help_panel=DESIGN,
        ),
    ] = "board",
    objective: Annotated[
        str,
        typer.Option(
            metavar="rate|dies|usd",
            help="What is best: the rate of one user, the fewest dies, or the cost of a token.",
            autocompletion=complete.objectives,
            rich_help_panel=GOAL,
        ),
    ] = "rate",
    settings: SetOption = None,
    prompt: PromptOption = 1024,
    output: OutputOption = 1024,
    users: UsersOption = 1,
    adapter: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="That requests use: as run takes it, or none.",
            rich_help_panel=ADAPTERS,
        ),
    ] = "none",
    adapters: Annotated[
        int,
        typer.Option(
            min=1,
            max=4096,
            metavar="N",
            help="Of its size, in SRAM at a time.",
            rich_help_panel=ADAPTERS,
        ),
    ] = 1,
    *,
    save: Annotated[
        Path | None, save_option("Write JSON, the system's file and a figure of its dies.")
    ] = None,
    figures: FiguresOption = Figures.PNG,
    **forms: Unpack[Forms],
) -> None:
    """Find the fewest dies that hold a model, and the best placement on them."""
    from hardwire.experiments.shared.settings import set_over  # noqa: PLC0415
    from hardwire.experiments.system import plan_view  # noqa: PLC0415
    from hardwire.experiments.system import save as files  # noqa: PLC0415
    from hardwire.experiments.system.plan import Load  # noqa: PLC0415
    from hardwire.experiments.system.plan import plan as find  # noqa: PLC0415
    from hardwire.models.adapter.shape import open_adapter  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415
    from hardwire.models.system.link import LinkKind  # noqa: PLC0415

    form = chosen(forms)
    opened = set_over(Chip.open(chip), settings_of(settings or []))
    base, kind = LanguageModel.open(model), LinkKind.open(link)
    load = Load(prompt, output, users, open_adapter(adapter, base), adapters)
    found = find(base, opened, kind, load, objective)
    named = files.Named(chip=chip, model=model, link=link)
    finish(
        found,
        plan_view.render,
        lambda one, folder: files.save_plan(one, named, folder, figures),
        form,
        save,
    )


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, plan, EXPLORE, EXAMPLES)
