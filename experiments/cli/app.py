"""The command line: one module per group of commands, put together here.

Imports are inside the commands, so that help comes at once.
"""

from __future__ import annotations

import sys

import typer

from hardwire.experiments.cli import (
    adapter,
    calibrate,
    catalogue,
    formats,
    report,
    run,
    search,
    sensitivity,
    serving,
    sweep,
    validate,
)
from hardwire.experiments.cli.console import INTERRUPTED

app = typer.Typer(
    name="hardwire",
    help="Simulate LLM chips whose base model is cast in silicon: rate, adapters, SRAM, area, "
    "power, cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (
    run, catalogue, formats, serving, sweep, search, sensitivity, calibrate, validate, report,
    adapter,
):  # fmt: skip
    group.register(app)


def main() -> None:
    """Entry point: one sentence and exit status 2 for bad input, 130 for an interrupt."""
    try:
        app()
    except SystemExit as stop:
        # Typer turns Ctrl-C into this status and says nothing.
        if stop.code == INTERRUPTED:
            print("hardwire: interrupted", file=sys.stderr)
        raise
    except Exception as error:
        from hardwire.models.errors import InputError  # noqa: PLC0415

        if not isinstance(error, InputError):
            raise
        print(f"hardwire: {error}", file=sys.stderr)
        sys.exit(2)
