"""What commands print: tables, saved files, progress, and how one ends that was interrupted."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn

INTERRUPTED = 130
"""Exit status after Ctrl-C, of every command."""

QUICK_S = 2.0
"""Runs that are done by then show no progress bar."""


def print_rich(renderable: RenderableType) -> None:
    """Print tables: as wide as the terminal, or 110 columns into a file or a pipe."""
    from rich.console import Console  # noqa: PLC0415 - not for help

    console = Console(highlight=False)
    if not console.is_terminal:
        # A file or a pipe has no width of its own: do not fold tables at 80.
        console = Console(highlight=False, width=110)
    console.print(renderable)


class Answer(Protocol):
    """What a command has found."""

    def to_dict(self) -> Mapping[str, Any]:
        """The object of ``--json``."""


Found = TypeVar("Found", bound=Answer)


def finish(
    found: Found,
    render: Callable[[Found], RenderableType],
    write: Callable[[Found, Path], list[Path]],
    as_json: bool,
    folder: Path | None,
) -> str:
    """End a command: save if asked to, then print one JSON object, or tables and what was saved.

    Returns
    -------
    str
        The folder and the names of the files saved, empty where none were.
    """
    written = [] if folder is None else write(found, folder)
    names = ", ".join(path.name for path in written)
    saved = f"{folder}: {names}" if written else ""
    if as_json:
        from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415

        print(to_json(found.to_dict()))
    else:
        print_rich(render(found))
        if saved:
            typer.echo(f"\nSaved in {saved}")
    return saved


def took(seconds: float) -> None:
    """Say how long a simulation took: to who waits at a terminal, not in the answer."""
    if sys.stderr.isatty():
        print(f"simulated in {seconds:.2f} s", file=sys.stderr)


def stop(words: str) -> NoReturn:
    """End a command that Ctrl-C cut off, with a sentence on standard error unless it is empty."""
    if words:
        print(f"hardwire: {words}", file=sys.stderr)
    raise typer.Exit(INTERRUPTED)


class Counter:
    """A bar over points or trials that shows itself once the work takes longer than ``QUICK_S``."""

    def __init__(self, bars: Progress, name: str, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=total, note="")

    def advance(self, done: int, new: int, note: str) -> None:
        """Show how much is done, ``new`` of it in this run, and a note beside the rate."""
        elapsed = self._bars.tasks[0].elapsed or 0.0
        if elapsed > QUICK_S:
            self._bars.start()
        rate = f"{new / elapsed:,.0f}/s" if elapsed > 0 else ""
        self._bars.update(self._task, completed=done, note=f"{rate}, {note}")


@contextmanager
def counter(name: str, total: int, *, hidden: bool) -> Iterator[Counter | None]:
    """A bar with rate and time left; None in a pipe, or where it is to be ``hidden``."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415

    bars = _bars(
        TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
    )
    try:
        yield Counter(bars, name, total)
    finally:
        bars.stop()


Clock = Callable[[str, float], Callable[[float], None] | None]
"""Given a server's name and the seconds to simulate: what to call with those simulated."""


@contextmanager
def clocks(*, hidden: bool) -> Iterator[Clock]:
    """Bars of simulated time, one per server; none in a pipe, or where they are to be ``hidden``.

    A bar appears once its run is long.
    """
    if hidden or not sys.stderr.isatty() or not sys.stdout.isatty():
        yield lambda name, total_s: None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn  # noqa: PLC0415

    bars = _bars(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())

    def clock(name: str, total_s: float) -> Callable[[float], None]:
        begin = time.monotonic()
        task: list[Any] = []

        def report(simulated_s: float) -> None:
            if time.monotonic() - begin < QUICK_S:
                return
            if not task:
                bars.start()
                task.append(bars.add_task(name, total=max(total_s, 1e-9)))
            bars.update(task[0], completed=min(simulated_s, total_s))

        return report

    try:
        yield clock
    finally:
        bars.stop()


def _bars(*columns: ProgressColumn) -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
