"""How an answer shows itself: in a notebook, as text, as a frame, a figure, files, and a page."""

from __future__ import annotations

import dataclasses
import io
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hardwire.experiments.shared.style import NOTEBOOK, OF_THE_PAGE
from hardwire.models.errors import InputError
from hardwire.resolve import Named, folder_of, in_python_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

T = TypeVar("T")

WIDTH = 110
"""Columns, as in a pipe."""

_PRE = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;'
    "font-family:Menlo,'DejaVu Sans Mono',Consolas,'Courier New',monospace\">{code}</pre>"
)


class Shown:
    """A record that is an answer.

    The rooms compute records and do not know how these look; each class of answers here *is* one of
    their records, with its tables, frames, figures and files.
    """

    @classmethod
    def of(cls: type[T], record: Any, **more: Any) -> T:
        """The answer that a room's record is."""
        values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        return cls(**values, **more)

    @abstractmethod
    def tables(self) -> RenderableType:
        """The tables that the command prints."""

    @abstractmethod
    def to_frame(self) -> pd.DataFrame:
        """The numbers."""

    def _repr_html_(self) -> str:
        return html(self.tables())

    def __str__(self) -> str:
        return text(self.tables())


def picture(figure: Figure) -> Figure:
    """A figure that a notebook shows: by itself one does only where pyplot has drawn before."""
    setattr(figure, "_repr_png_", partial(_png, figure))  # noqa: B010 - a hook, no attribute
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def chosen(argument: str, value: str, offered: Mapping[str, Callable[[], T]]) -> T:
    """What one of several names stands for.

    Raises
    ------
    InputError
        If it is none of them.
    """
    if value not in offered:
        raise InputError(f"{argument}: '{value}' is not one of {', '.join(offered)}")
    return offered[value]()


def html(tables: RenderableType) -> str:
    """Tables as a ``<pre>`` with inline colours."""
    from rich.console import Console  # noqa: PLC0415 - where something is shown
    from rich.terminal_theme import TerminalTheme  # noqa: PLC0415

    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), highlight=False,
        markup=False,
        emoji=False, force_terminal=True,
        color_system="truecolor", force_jupyter=False, legacy_windows=False,
    )  # fmt: skip
    console.print(tables)
    theme = TerminalTheme(*NOTEBOOK)
    page = console.export_html(theme=theme, inline_styles=True, code_format=_PRE)
    # What Rich calls the default colour is the page's, which the theme has to name.
    return page.replace(OF_THE_PAGE, "inherit")


def text(tables: RenderableType) -> str:
    """Tables as the command prints them into a pipe."""
    from rich.console import Console  # noqa: PLC0415

    file = io.StringIO()
    Console(
        width=WIDTH, file=file, highlight=False, markup=False, emoji=False, force_jupyter=False
    ).print(tables)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


@in_python_words
def report(folder: Named | Sequence[Named], output: Named | None = None) -> Path:
    """Write one HTML page of saved folders: verdict, figures, tables, configuration, sources.

    Parameters
    ----------
    folder : str or path, or several
        What ``save`` of a result, or ``hardwire … --save``, has written.
    output : str or path, optional
        The file to write, by default ``report.html`` in the folder; of several folders it is
        needed.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InputError
        If a folder holds nothing to report on, several are given and no file, or the file cannot be
        written.

    Examples
    --------
    >>> import hardwire as hw
    >>> written = hw.run("hc1", prompt=64, output=32).save("out")
    >>> hw.report("out").name
    'report.html'
    """
    from hardwire.experiments.report.build import write_report  # noqa: PLC0415

    target = None if output is None else folder_of("output", output)
    folders: Sequence[Any] = [folder]
    if isinstance(folder, Sequence) and not isinstance(folder, str):
        folders = folder
    return write_report([folder_of("folder", one) for one in folders], target)
