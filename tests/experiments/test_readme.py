"""The README shows what the program prints, and its Python runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from experiments import cli

README = Path(__file__).resolve().parents[2] / "README.md"


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


def test_the_python_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert block is not None
    exec(compile(block.group(1), str(README), "exec"), {})
    assert capsys.readouterr().out.startswith("1696")
