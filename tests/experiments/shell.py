"""The command line, run in the process of a test."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from hardwire.experiments.cli import app as cli


class Shell:
    """Runs commands in this process and keeps what they print."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setenv("MPLBACKEND", "agg")  # which the command sets for its own process
        self.monkeypatch.setattr(sys, "argv", ["hardwire", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 0
        captured = self.capsys.readouterr()
        return status, captured.out, captured.err

    def answer(self, *arguments: object) -> dict[str, Any]:
        """The object that a command prints with ``--json``, and nothing else."""
        status, out, err = self(*arguments, "--json")
        assert (status, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    def json(self, *arguments: object) -> dict[str, Any]:
        """That of ``hardwire run``."""
        return self.answer("run", *arguments)

    def refused(self, *arguments: object) -> str:
        """The one sentence on standard error; nothing on standard output, exit status 2."""
        status, out, err = self(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("hardwire: ") and err.count("\n") == 1, err
        return err


def blank(patch: pytest.MonkeyPatch) -> None:
    """Have figures saved as files of one byte."""
    from hardwire.experiments.shared import plot

    def write(figure: object, path: Path, *_: object) -> None:
        path.write_bytes(b"-")

    patch.setattr(plot, "write_png", write)


def printed(renderable: RenderableType, width: int) -> str:
    """What tables look like in a room of some columns."""
    console = Console(width=width, file=io.StringIO(), markup=False, highlight=False, emoji=False)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get()
