"""Pages that are walked: their files are written and their commands run, in order, as one script.

A file is a fenced block below a line ``<!-- file: NAME -->``, a command a line ``$ …`` of a block
``console``, and the lines after it what it prints 80 columns wide. ``python -m
hardwire.experiments.guard.pages`` puts in what the commands print today.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = "first-evening.md"
COLUMNS = 80

_BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)
_TIMES = re.compile(r"^[\d.]+ m?s, [\d,]+ points/s$", re.M)


@dataclass(frozen=True)
class Step:
    """A file to write, or a command and what the page says that it prints.

    Attributes
    ----------
    file, text : of a file; both empty of a command.
    """

    command: str = ""
    shown: str = ""
    file: str = ""
    text: str = ""


@dataclass(frozen=True)
class Walked:
    """A command that was run: what it printed, errors included, and for how long."""

    step: Step
    printed: str
    seconds: float


def steps(page: str) -> list[Step]:
    """Files and commands of a page, in its order."""
    return [step for block in _BLOCK.finditer(page) for step in _of_block(block)]


def walk(page: str, folder: Path) -> Iterator[Walked]:
    """Do what a page says in an empty folder, and give each command with what it printed."""
    words = {"COLUMNS": str(COLUMNS), "PYTHON": sys.executable}
    environment = {k: v for k, v in os.environ.items() if k != "HARDWIRE_STORE"} | words
    for step in steps(page):
        if step.file:
            (folder / step.file).write_text(step.text, encoding="utf-8")
            continue
        begin = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", f'hardwire() {{ "$PYTHON" -m hardwire "$@"; }}\n{step.command}'],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip
        yield Walked(step, done.stdout, time.perf_counter() - begin)


def rewritten(page: str, folder: Path) -> str:
    """The page with what its commands print today."""
    printed = iter([one.printed for one in walk(page, folder)])

    def block(found: re.Match[str]) -> str:
        commands = [step.command for step in _of_block(found) if step.command]
        if not commands:
            return found[0]
        body = "".join(f"$ {command}\n{next(printed)}" for command in commands)
        return f"```{found['kind']}\n{body}```"

    return _BLOCK.sub(block, page)


def without_times(text: str) -> str:
    """What is printed, without how long it took."""
    return _TIMES.sub("… s", text)


def _of_block(block: re.Match[str]) -> list[Step]:
    if block["file"]:
        return [Step(file=block["file"], text=block["body"])]
    if block["kind"] != "console":
        return []
    found: list[Step] = []
    for part in re.split(r"^\$ ", block["body"], flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        found.append(Step(command, shown))
    return found
