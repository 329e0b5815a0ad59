"""How ``--help`` looks: arguments, options in groups, each default once, examples at the end.

Typer's own help has no groups without Rich, which takes long to import, and cuts what commands do.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDEST = 120
"""Columns of the widest help, on a terminal that has them."""

NAMES_WIDTH = 30
"""Columns that names of options take at most; words beside a longer one begin below it."""

GAP = 2
"""Columns before a name, and between it and its words."""

WHOLE = 10_000
"""Characters of a command's line: none is so long."""

ARGUMENTS, OPTIONS, COMMANDS, EXAMPLES = "Arguments", "Options", "Commands", "Examples"

SIMULATE, EXPLORE, MEASURED, SAVED, CATALOGUE = (
    "Simulate and measure", "Explore designs", "Beside measurements", "Saved results",
    "Catalogue and files",
)  # fmt: skip
"""Groups of commands."""

Line = tuple[str, str]


class Command(TyperCommand):
    """A command with options in the groups that ``rich_help_panel`` names."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS]`` and the arguments, in brackets what may be left out."""
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        names = [str(one.metavar) if one.required else f"[{one.metavar}]" for one in arguments]
        return [str(self.options_metavar), *names]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options by group."""
        _write(_groups(self, ctx), formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on a line of its own."""
        _write({EXAMPLES: [(line, "") for line in (self.epilog or "").splitlines()]}, formatter)


class Group(TyperGroup):
    """Commands below a word, each with its whole line, in the groups that they name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands by group, then the options."""
        found: dict[str, list[Line]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            heading = getattr(command, "rich_help_panel", None) or COMMANDS
            words = command.get_short_help_str(WHOLE) if command else ""
            found.setdefault(heading, []).append((name, words))
        _write({**found, **_groups(self, ctx)}, formatter)


def add(
    app: typer.Typer,
    command: Callable[..., None],
    group: str | None = None,
    examples: Iterable[str] = (),
    name: str | None = None,
) -> None:
    """Add a command to the command line, with its examples, which ``--help`` shows as they stand.

    Parameters
    ----------
    group : heading of the commands that it is listed with.
    name : on the command line, if it is not the function's.
    """
    epilog = "\n".join(examples)
    app.command(name, cls=Command, epilog=epilog, rich_help_panel=group)(command)


def _groups(command: Any, ctx: Any) -> dict[str, list[Line]]:
    """Names and words of what a command takes, by heading; options of no group come last."""
    found: dict[str, list[Line]] = {ARGUMENTS: []}
    rest: list[Line] = []
    for one in command.get_params(ctx):
        record = one.get_help_record(ctx)
        if record is None:
            continue
        name, words = record
        if one.param_type_name == "argument":
            found[ARGUMENTS].append((str(one.metavar), _one_form(words)))
        else:
            heading = getattr(one, "rich_help_panel", None)
            lines = found.setdefault(heading, []) if heading else rest
            lines.append((name, _one_form(words)))
    return {**found, OPTIONS: rest}


def _one_form(words: str) -> str:
    """A sentence, or words and their default in brackets: the commands' own and Typer's alike."""
    return re.sub(r"\.?\s+\[([^][]*)\](?:\s+\[([^][]*)\])?$", _bracket, words)


def _bracket(found: re.Match[str]) -> str:
    return f" [{'; '.join(part for part in found.groups() if part)}]"


def _write(groups: dict[str, list[Line]], formatter: Any) -> None:
    """Write the groups that hold something, their words below each other across groups."""
    lengths = [len(name) for lines in groups.values() for name, words in lines if words]
    indent = 2 * GAP
    indent += max((length for length in lengths if length <= NAMES_WIDTH), default=0)
    for heading, lines in groups.items():
        if lines:
            with formatter.section(heading):
                for line in lines:
                    formatter.write(_entry(*line, indent, formatter.width))


def _entry(name: str, words: str, indent: int, width: int) -> str:
    """A name and its words from a column on; not broken at hyphens, as Click would."""
    begin = f"{'':{GAP}}{name}"
    if not words:
        return f"{begin}\n"
    wrapped = textwrap.wrap(words, width - indent, break_on_hyphens=False)
    if len(begin) + GAP > indent:
        return "".join(f"{line}\n" for line in (begin, *(f"{'':{indent}}{w}" for w in wrapped)))
    return f"{begin:{indent}}" + f"\n{'':{indent}}".join(wrapped) + "\n"
