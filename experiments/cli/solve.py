"""The command ``solve``."""

from __future__ import annotations

from typing import Annotated, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import REFUSED, finish
from hardwire.experiments.cli.help import EXPLORE, add
from hardwire.experiments.cli.options import (
    DESIGN,
    GOAL,
    ChipOption,
    Forms,
    ModelOption,
    OutputOption,
    PromptOption,
    SetOption,
    Text,
    UsersOption,
    chosen,
    settings_of,
    takes,
)
from hardwire.experiments.cli.run import DEFAULT_ADAPTER

EXAMPLES = (
    "hardwire solve --vary sram.capacity_mib --target 16000",
    "hardwire solve --vary datapath.lanes --metric area_mm2 --at-most 800",
)


@takes(Forms)
def solve(
    vary: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A number of hardwire list parameters, adapter.rank, workload.users, "
            "workload.prompt or workload.output.",
            autocompletion=complete.varied_names,
            rich_help_panel=GOAL,
        ),
    ],
    chip: ChipOption = "hc1",
    target: Annotated[
        float | None,
        typer.Option(
            metavar="TOKENS/S", help="Decode rate of one user to reach.", rich_help_panel=GOAL
        ),
    ] = None,
    metric: Annotated[
        Text,
        typer.Option(
            metavar="NAME",
            help="Another goal: one of hardwire list metrics, with a limit.",
            autocompletion=complete.metric_names,
            rich_help_panel=GOAL,
        ),
    ] = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", help="The metric's lowest value, SI units.", rich_help_panel=GOAL
        ),
    ] = None,
    at_most: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", help="The metric's highest value, SI units.", rich_help_panel=GOAL
        ),
    ] = None,
    model: ModelOption = None,
    adapter: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="On the chip, as run takes it, or none.",
            rich_help_panel=DESIGN,
        ),
    ] = DEFAULT_ADAPTER,
    prompt: PromptOption = 1024,
    output: OutputOption = 1024,
    users: UsersOption = 1,
    settings: SetOption = None,
    **forms: Unpack[Forms],
) -> None:
    """Find the smallest and the largest value of a parameter at which a goal holds."""
    from hardwire.experiments.search import solve_view  # noqa: PLC0415
    from hardwire.experiments.search.goal import make_goal  # noqa: PLC0415
    from hardwire.experiments.search.solve import solve as find  # noqa: PLC0415
    from hardwire.experiments.shared.settings import set_over  # noqa: PLC0415
    from hardwire.experiments.sweep import Design  # noqa: PLC0415
    from hardwire.models.adapter.shape import AdapterShape, open_adapter  # noqa: PLC0415
    from hardwire.models.chip import Chip  # noqa: PLC0415
    from hardwire.models.language_model import LanguageModel  # noqa: PLC0415

    form = chosen(forms)
    goal = make_goal(target, metric, at_least, at_most)
    opened = Chip.open(chip)
    changes = settings_of(settings or [])
    opened = set_over(opened, changes)
    base = LanguageModel.open(model or opened.model)
    loaded = open_adapter(adapter, base)
    shape = loaded and (AdapterShape.of_adapter(loaded) or loaded)
    found = find(Design(opened, base, shape, prompt, output, users), vary, goal)
    finish(found, solve_view.render, None, form)
    if not found.spans:
        raise typer.Exit(REFUSED)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    add(app, solve, EXPLORE, EXAMPLES)
