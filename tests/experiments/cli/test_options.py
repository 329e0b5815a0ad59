"""Options that commands share are said once, and Typer sees them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from hardwire.experiments.cli import serving
from hardwire.experiments.cli.app import app
from hardwire.experiments.cli.options import ReplayOptions, takes
from hardwire.experiments.replay.setup import Setup

SHARED = set(get_type_hints(ReplayOptions))


def test_the_options_are_the_choices_of_a_setup() -> None:
    assert {"source", "server", "servers"} | SHARED == Setup.model_fields.keys()


@pytest.mark.parametrize("command", [serving.replay, serving.compare])
def test_both_commands_have_them_all(command: object) -> None:
    parameters = inspect.signature(command).parameters  # type: ignore[arg-type]
    assert parameters.keys() >= SHARED
    assert all(parameters[name].default is None for name in SHARED)
    names = list(parameters)
    assert names[2 : 2 + len(SHARED)] == list(get_type_hints(ReplayOptions))
    assert {"json", "save"} <= set(names[2 + len(SHARED) :])


def test_what_is_given_arrives_and_the_rest_is_none() -> None:
    seen: dict[str, object] = {}

    @takes(ReplayOptions)
    def command(
        source: str, *, last: Annotated[bool, typer.Option("--last")] = False, **options: object
    ) -> None:
        seen.update(options, source=source, last=last)

    app = typer.Typer()
    app.command()(command)
    given = ["mine", "--rate", "2.5", "--no-strict", "--prefix-reuse", "--last"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    told = {"source": "mine", "last": True, "rate": 2.5, "strict": False, "prefix_reuse": True}
    assert seen == {**dict.fromkeys(SHARED), **told}


def every_help() -> Iterator[tuple[str, str]]:
    """Each command with the help of its options and arguments as it stands in the source."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        yield name, command
        for below, one in getattr(command, "commands", {}).items():
            yield from walk(one, f"{name} {below}")

    for name, command in walk(typer.main.get_command(app), "hardwire"):
        for parameter in command.params:
            yield f"{name} {parameter.name}", getattr(parameter, "help", "") or ""


def test_defaults_are_said_in_one_form() -> None:
    """It was `[default: hc1]`, `[hc1x10]`, `[the chip's own]`, and twice in --store."""
    seen = dict(every_help())
    assert len(seen) > 100
    wrong = {name: help for name, help in seen.items() if re.search(r"\[(?!default: )", help)}
    assert wrong == {}
    assert [name for name, help in seen.items() if re.search(r"\]\.$", help)] == []
