"""What commands print: tables, saved files, progress, and how one ends that was interrupted."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TextIO, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn

REFUSED = 1
"""Exit status with ``--strict`` where something stands in the way of what was asked."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, of every command."""

QUICK_S = 2.0
"""Runs that are done by then show no progress bar."""


class UnwrittenError(OSError):
    """Standard output that cannot be written."""


class Output:
    """A stream that tells its own failures from those of other files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or raise ``UnwrittenError``."""
        try:
            return self._stream.write(text)
        except OSError as error:
            raise UnwrittenError(error.errno, error.strerror) from None

    def flush(self) -> None:
        """Write what waits, or raise ``UnwrittenError``."""
        try:
            self._stream.flush()
        except OSError as error:
            raise UnwrittenError(error.errno, error.strerror) from None


PIPE_WIDTH = 110
"""Columns of a file or a pipe, which have no width of their own, where COLUMNS says none."""


def print_rich(renderable: RenderableType) -> None:
    """Print tables as wide as the terminal, or as ``COLUMNS`` says; text in them as it stands."""
    from rich.console import Console  # noqa: PLC0415 - not for help

    plain: dict[str, bool] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain)  # type: ignore[arg-type]
    if console.is_terminal:
        console.print(renderable)
        return
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) else PIPE_WIDTH
    console = Console(**plain, width=width, file=io.StringIO())  # type: ignore[arg-type]
    with console.capture() as printed:
        console.print(renderable)
    print("\n".join(line.rstrip() for line in printed.get().splitlines()))


def print_form(form: str, renderable: RenderableType) -> None:
    """Print tables as ``csv``, ``markdown`` or ``latex``, or for the terminal where it is ""."""
    if not form:
        print_rich(renderable)
        return
    from hardwire.experiments.cli.forms import written  # noqa: PLC0415

    print(written(form, renderable), end="")


class Answer(Protocol):
    """What a command has found."""

    def to_dict(self) -> Mapping[str, Any]:
        """The object of ``--json``."""


Found = TypeVar("Found", bound=Answer)


def finish(
    found: Found,
    render: Callable[[Found], RenderableType],
    write: Callable[[Found, Path], list[Path]] | None,
    form: str,
    folder: Path | None = None,
) -> str:
    """End a command: save if asked to, then print one JSON object, or tables and what was saved.

    Parameters
    ----------
    write : what saves; None where nothing does.
    form : one of ``options.FORMS``, or "" for the terminal's.

    Returns
    -------
    str
        The folder and the names of the files saved, empty where none were.
    """
    written = [] if folder is None or write is None else write(found, folder)
    names = ", ".join(path.name for path in written)
    saved = f"{folder}: {names}" if written else ""
    if form == "json":
        from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415

        print(to_json(found.to_dict()))
    elif form:
        print_form(form, render(found))
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


def refuse(obstacles: Iterable[str]) -> None:
    """End a command that is ``--strict`` with what stands in the way, if anything does."""
    found = list(obstacles)
    for sentence in found:
        print(f"hardwire: --strict: {sentence}", file=sys.stderr)
    if found:
        raise typer.Exit(REFUSED)


class Counter:
    """A bar over points or trials that shows itself once the work takes longer than ``QUICK_S``."""

    def __init__(self, bars: Progress, name: str, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=total, note="")

    def of(self, done: int, total: int) -> None:
        """Show how much is done of a total that was not known before."""
        self._bars.update(self._task, total=total)
        self.advance(done, done, "")

    def advance(self, done: int, new: int, note: str) -> None:
        """Show how much is done, ``new`` of it in this run, and a note beside the rate."""
        elapsed = self._bars.tasks[0].elapsed or 0.0
        if elapsed > QUICK_S:
            self._bars.start()
        rate = f"{new / elapsed:,.0f}/s" if elapsed > 0 else ""
        self._bars.update(self._task, completed=done, note=", ".join(filter(None, (rate, note))))


@contextmanager
def counter(name: str, total: int, *, hidden: bool) -> Iterator[Counter | None]:
    """A bar with rate and time left; None in a pipe, or where it is to be ``hidden``."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415

    bars = _bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    try:
        yield Counter(bars, name, total)
    finally:
        bars.stop()


@contextmanager
def progress(name: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """What to call with how much is done, and of how much: a ``counter`` of work without notes."""
    with counter(name, 1, hidden=hidden) as bar:
        yield lambda done, total: bar.of(done, total) if bar is not None else None


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

    bars = _bars(TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())

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
