"""A progress bar on standard error, for people only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hardwire.experiments.cli.serving import QUICK_S

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """A bar that shows itself once the work takes longer than ``QUICK_S``."""

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
def progress_bar(name: str, total: int, *, hidden: bool) -> Iterator[Bar | None]:
    """A bar with rate and time left; None in a pipe, or where it is to be ``hidden``."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    try:
        yield Bar(bars, name, total)
    finally:
        bars.stop()
