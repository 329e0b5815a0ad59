"""The README shows what the program prints, and the Python in it and in the manual runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from hardwire.experiments.cli import app as cli

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "README.md"
MANUAL = sorted((ROOT / "docs").glob("*.md"))


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def test_the_verdict_in_the_readme_is_the_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hardwire", "run"])
    with pytest.raises(SystemExit):
        cli.main()
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    block = re.search(r"```text\n(.*?)\n```", README.read_text(encoding="utf-8"), re.S)
    assert block is not None
    assert block.group(1).splitlines() == printed


def test_the_readme_counts_the_figures_that_are_validated() -> None:
    """Those of the committed table that are published and that the models predict."""
    rows = json.loads((ROOT / "experiments/validation/committed.json").read_text(encoding="utf-8"))
    both = [row for row in rows if None not in (row["published"], row["predicted"])]
    said = " ".join(README.read_text(encoding="utf-8").split())
    assert f"`hardwire validate` sets {len(both)} published and measured figures against" in said


def test_the_python_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = python_blocks(README)
    exec(compile(block, str(README), "exec"), {})
    assert capsys.readouterr().out.startswith("1696")


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.stem)
def test_the_python_in_the_manual_runs(
    page: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of a page run one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), names)
    assert bool(capsys.readouterr().out) == bool(python_blocks(page))


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md", *MANUAL], ids=lambda p: p.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
