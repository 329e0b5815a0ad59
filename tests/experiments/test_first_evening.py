"""docs/first-evening.md, walked as one script in an empty folder: it prints what the page shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardwire.experiments.guard import evening

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / evening.PAGE
TEXT = PAGE.read_text(encoding="utf-8")
AGAIN = "python -m hardwire.experiments.guard.pages writes the page anew"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evening")


@pytest.fixture(scope="module")
def walked(folder: Path) -> list[evening.Walked]:
    return list(evening.walk(TEXT, folder))


def test_every_command_prints_what_the_page_shows(walked: list[evening.Walked]) -> None:
    for one in walked:
        shown, printed = (evening.without_times(x) for x in (one.step.shown, one.printed))
        assert printed == shown, f"{one.step.command}: {AGAIN}"


def test_nothing_is_refused(walked: list[evening.Walked]) -> None:
    for one in walked:
        assert "hardwire: " not in one.printed and "Traceback" not in one.printed, one.step.command


def test_the_chip_of_the_evening_did_not_fit_the_die_that_it_was_made_for(
    walked: list[evening.Walked],
) -> None:
    first = next(one for one in walked if one.step.command.startswith("hardwire run --chip"))
    assert "tokens/s for one user" in first.printed.splitlines()[1], first.printed
    found = [one.printed for one in walked if one.step.command.startswith("hardwire solve")]
    assert len(found) == 2 and not any("no value" in one for one in found)


def test_the_evening_leaves_what_it_says(walked: list[evening.Walked], folder: Path) -> None:
    assert (folder / "verdict/report.html").stat().st_size > 100_000
    assert (folder / "designs/report.html").stat().st_size > 100_000
    best = json.loads((folder / "designs/sweep.json").read_text())["best"][0]
    assert best["fits_die"] and best["sram.max_context_tokens"] >= 5_000


@pytest.mark.parametrize(
    "command",
    ["run", "diff", "solve", "replay", "compare", "sweep", "results", "report"],
)
def test_the_evening_has_every_tool_of_a_first_question(command: str) -> None:
    assert any(step.command.startswith(f"hardwire {command} ") for step in evening.steps(TEXT))


def test_the_steps_of_a_page_are_its_files_and_commands() -> None:
    page = (
        "Text.\n\n<!-- file: a.yaml -->\n```yaml\nx: 1\n```\n\n```python\nno\n```\n\n"
        "```console\n$ first --x | head -1\nout\nmore\n$ second\n```\n"
    )
    assert evening.steps(page) == [
        evening.Step(file="a.yaml", text="x: 1\n"),
        evening.Step("first --x | head -1", "out\nmore\n"),
        evening.Step("second", ""),
    ]


def test_a_page_is_rewritten_by_what_its_commands_print(tmp_path: Path) -> None:
    file = "<!-- file: a.txt -->\n```\nhello\n```\n\n"
    page = f"{file}```console\n$ cat a.txt\nold\n$ echo two\n```\nEnd.\n"
    new = evening.rewritten(page, tmp_path)
    assert new == page.replace("old\n", "hello\n").replace("$ echo two\n", "$ echo two\ntwo\n")


def test_times_are_left_out_of_the_comparison_and_nothing_else_is() -> None:
    assert evening.without_times("0.1 s, 9,000 points/s\n9,000 tokens/s") == "… s\n9,000 tokens/s"
