"""The command line: one module per group of commands, put together here.

Imports are inside the commands, so that help comes at once.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import re
import sys
from contextlib import redirect_stdout
from typing import Annotated, Any, NoReturn

import typer

from hardwire.compiled import CACHE, load_numba_without_scipy
from hardwire.experiments.cli import (
    adapter,
    calibrate,
    catalogue,
    chip,
    diff,
    formats,
    plan,
    report,
    run,
    search,
    sensitivity,
    server,
    serving,
    solve,
    sweep,
    validate,
)
from hardwire.experiments.cli.console import INTERRUPTED, Output, UnwrittenError
from hardwire.experiments.cli.help import WIDEST, Group

NO_CACHE = "no locator available"
"""What numba says where it finds no folder for compiled code."""

YOUNG = 100_000
"""Objects made before Python looks for circles among them, instead of 700."""

UNREAD = 141
"""Exit status where the reader of a pipe has gone: 128 and the number of SIGPIPE."""

app = typer.Typer(
    cls=Group,
    name="hardwire",
    help="Simulate LLM chips whose base model is cast in silicon: rate, adapters, SRAM, area, "
    "power, cost.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (
    run, serving, formats, plan, sweep, search, solve, sensitivity, calibrate, validate, diff,
    report, chip, server, adapter, catalogue,
):  # fmt: skip
    group.register(app)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"hardwire {version('hardwire')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """What comes before a command."""


def main() -> None:
    """Entry point: one sentence and exit status 2 for bad input, 130 for an interrupt.

    Output that nobody reads any more, as after ``| head``, ends quietly with the status that the
    shell gives for it; output that cannot be written with one sentence and status 2.
    """
    # Figures go to files: neither a notebook's way of drawing nor one that is missing matters.
    os.environ["MPLBACKEND"] = "agg"
    # Of all that is imported little is ever freed: looking through it took a tenth of a command.
    gc.set_threshold(YOUNG)
    # Nor is it freed before the process ends, where Python would look through all of it again:
    # three tenths of a command that loads compiled code.
    atexit.register(gc.freeze)
    load_numba_without_scipy()
    shown = sys.stdout
    try:
        with redirect_stdout(Output(shown)):
            try:
                _answer()
            finally:
                sys.stdout.flush()
    except UnwrittenError as error:
        _end_unwritten(error)
    except SystemExit as end:
        if isinstance(
            end.__context__, UnwrittenError
        ):  # a broken pipe, which Click says is status 1
            _end_unwritten(end.__context__)
        raise


def _end_unwritten(error: UnwrittenError) -> NoReturn:
    # Python writes what is left once more when it ends: let it go nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:
        sys.exit(UNREAD)
    print(f"hardwire: standard output: {error.strerror}", file=sys.stderr)
    sys.exit(2)


def _answer() -> None:
    try:
        sys.exit(app(prog_name="hardwire", standalone_mode=False) or 0)
    except SystemExit as stop:
        # Typer turns Ctrl-C into this status and says nothing.
        if stop.code == INTERRUPTED:
            print("hardwire: interrupted", file=sys.stderr)
        raise
    except Exception as error:
        from hardwire.models.errors import InputError  # noqa: PLC0415

        if isinstance(error, RuntimeError) and NO_CACHE in str(error):
            error = InputError(f"compiled code cannot be kept: set {CACHE} to a folder to write to")
        if hasattr(error, "format_message"):  # Click's own, of an option or a command
            print(_usage(error), file=sys.stderr)
        elif isinstance(error, InputError):
            print(f"hardwire: {error}", file=sys.stderr)
        else:
            raise
        sys.exit(2)


def _usage(error: Any) -> str:
    """What Click found wrong in a command, in one sentence; of a command without words its help."""
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error.format_message())
    found = re.match(r"Invalid value for '?(.*?)'?: (.*)", message)
    if found:
        message = f"{found[1]}: {_wrong(error) or found[2][0].lower() + found[2][1:]}"
    return f"hardwire: {message.removesuffix('.')}"


def _wrong(error: Any) -> str:
    """What was wrong with an option's value, in the words of files, where Pydantic found it."""
    from pydantic import ValidationError  # noqa: PLC0415

    from hardwire.models.files import what_is_wrong  # noqa: PLC0415

    cause = error.__cause__
    return what_is_wrong(cause) if isinstance(cause, ValidationError) else ""
