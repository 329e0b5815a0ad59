"""Fixtures of the rooms: the command line in this process."""

from __future__ import annotations

import pytest
from shell import Shell


@pytest.fixture
def hardwire(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)
