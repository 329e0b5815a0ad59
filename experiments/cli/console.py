"""What commands print: tables on standard output, and where files were saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType


def print_rich(renderable: RenderableType) -> None:
    """Print tables: as wide as the terminal, or 110 columns into a file or a pipe."""
    from rich.console import Console  # noqa: PLC0415 - not for help and lists

    console = Console(highlight=False)
    if not console.is_terminal:
        # A file or a pipe has no width of its own: do not fold tables at 80.
        console = Console(highlight=False, width=110)
    console.print(renderable)


def say_saved(folder: Path | None, written: Sequence[Path]) -> None:
    """Say which files were saved in a folder, if any were."""
    if written:
        typer.echo(f"\nSaved in {folder}: {names(written)}")


def names(written: Sequence[Path]) -> str:
    """The names of files in one line."""
    return ", ".join(path.name for path in written)
