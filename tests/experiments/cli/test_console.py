"""How every command ends: saved first, then printed; and what it says where it was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from hardwire.experiments.cli import console


class Found:
    def to_dict(self) -> dict[str, Any]:
        return {"rate": float("inf"), "name": "µ"}


def save(found: Found, folder: Path) -> list[Path]:
    return [folder / "a.json", folder / "b.png"]


@pytest.mark.parametrize("folder", [None, Path("out")])
def test_tables_and_then_what_was_saved(
    folder: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = console.finish(Found(), lambda found: "the table", save, "", folder)
    assert saved == ("out: a.json, b.png" if folder else "")
    wanted = "the table\n" + ("\nSaved in out: a.json, b.png\n" if folder else "")
    assert capsys.readouterr() == (wanted, "")


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    console.finish(Found(), lambda found: pytest.fail("drawn"), save, "json", Path("out"))
    out, err = capsys.readouterr()
    assert json.loads(out) == {"rate": None, "name": "µ"} and err == ""


def test_a_save_that_fails_prints_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    def full(found: Found, folder: Path) -> list[Path]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        console.finish(Found(), lambda found: "the table", full, "", Path("out"))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("words", "said"), [("", ""), ("goes on", "hardwire: goes on\n")])
def test_an_interrupt_has_one_status(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stopped:
        console.stop(words)
    assert stopped.value.exit_code == console.INTERRUPTED == 130
    assert capsys.readouterr() == ("", said)


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error as a terminal, and standard output too."""
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    return shown


@pytest.mark.parametrize(("quick_s", "shows"), [(-1.0, True), (1e9, False)])
def test_bars_show_themselves_where_a_run_is_long(
    quick_s: float, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "QUICK_S", quick_s)
    terminal = on_a_terminal(monkeypatch)
    with console.counter("my study", 10, hidden=False) as bar:
        assert bar is not None
        bar.advance(5, 5, "0 failed")
    assert ("my study" in terminal.text) is shows
    with console.clocks(hidden=False) as clock:
        report = clock("my server", 60.0)
        assert report is not None
        report(30.0)
    assert ("my server" in terminal.text) is shows


def test_work_whose_size_is_not_known_before_has_a_bar_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """validate and formats had none: 66 s without a sign of life."""
    monkeypatch.setattr(console, "QUICK_S", -1.0)
    terminal = on_a_terminal(monkeypatch)
    with console.progress("validate", hidden=False) as report:
        report(3, 1164)
    assert "validate" in terminal.text and "3/1164" in terminal.text
    with console.progress("validate", hidden=True) as report:
        report(4, 1164)
    assert "4/1164" not in terminal.text


def test_names_with_brackets_stand_in_bars_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUICK_S", -1.0)
    terminal = on_a_terminal(monkeypatch)
    with console.counter("st[b] {x}", 10, hidden=False) as bar:
        assert bar is not None
        bar.advance(5, 5, "0 failed")
    assert "st[b] {x}" in terminal.text


def test_no_bars_where_they_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with console.counter("s", 1, hidden=True) as bar, console.clocks(hidden=True) as clock:
        assert bar is None and clock("server", 1.0) is None
    assert terminal.text == ""


def test_no_bars_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with console.counter("s", 1, hidden=False) as bar, console.clocks(hidden=False) as clock:
        assert bar is None and clock("server", 1.0) is None


def test_how_long_a_simulation_took_is_told_at_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.took(1.234)
    assert capsys.readouterr() == ("", "")
    terminal = on_a_terminal(monkeypatch)
    console.took(1.234)
    assert terminal.text == "simulated in 1.23 s\n"
