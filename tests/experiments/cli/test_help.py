"""Every ``--help`` looks alike: groups, each default once, nothing cut, examples that are right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import typer
from shell import Shell

from hardwire.experiments.cli.app import app


def walk(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, *words, name)


EVERY = dict(walk(typer.main.get_command(app)))
LEAVES = {words: one for words, one in EVERY.items() if not hasattr(one, "commands")}


class Help(Protocol):
    def __call__(self, *words: str, flag: str = "--help", columns: int = 80) -> str: ...


@pytest.fixture
def said(hardwire: Shell, monkeypatch: pytest.MonkeyPatch) -> Help:
    def help_of(*words: str, flag: str = "--help", columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        status, out, _ = hardwire(*words, flag)
        assert status == 0
        return out

    return help_of


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_one_style(words: tuple[str, ...], said: Help) -> None:
    for columns in (80, 120):
        text = said(*words, columns=columns)
        assert max(map(len, text.splitlines())) <= columns - 2
        assert "..." not in text.replace("[ARGS]...", "").replace("DIR...", ""), "cut"
        assert text == said(*words, flag="-h", columns=columns)
        headings = re.findall(r"^(\S.*):$", text, re.M)
        assert len(headings) == len(set(headings))
        assert headings[-2:] == ["Options", "Examples"] or hasattr(EVERY[words], "commands")
    joined = " ".join(text.split())
    assert not re.search(r"\. \[|\]\.(?!\.)|<\w+>|[{}]", joined)
    for entry in re.split(r"^  (?=\S)", text, flags=re.M):
        assert entry.count("[default:") + entry.count("; default:") <= 1, entry


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_examples_are_commands_that_can_be_given(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Click reads each: an option that went, or a value out of range, would be refused."""
    monkeypatch.chdir(tmp_path)
    examples = LEAVES[words].epilog.splitlines()
    assert examples
    for line in examples:
        given = shlex.split(line.partition(" > ")[0])
        assert tuple(given[: 1 + len(words)]) == ("hardwire", *words)
        LEAVES[words].make_context(words[-1], given[1 + len(words) :])


def test_every_command_is_in_a_group_with_its_whole_line(said: Help) -> None:
    text = said()
    assert "Commands:" not in text
    joined = " ".join(text.split())
    for words, command in EVERY.items():
        if len(words) == 1:
            assert f" {words[0]} {command.get_short_help_str(10_000)}" in joined


def test_set_says_where_the_names_are(said: Help) -> None:
    for command in ("run", "solve", "replay", "compare"):
        assert "in hardwire show CHIP; may be" in " ".join(said(command).split())
