"""Fixtures of the rooms: the command line in this process, and an adapter to read."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Shell, blank

from hardwire.models import LanguageModel
from hardwire.models.adapter.write import write_adapter


@pytest.fixture
def hardwire(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved figures are files of one byte, in a hundredth of the time: for tests of all else."""
    blank(monkeypatch)


@pytest.fixture(scope="session")
def small_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEFT folder for TinyLlama; a test that damages it takes a copy."""
    folder = tmp_path_factory.mktemp("adapters") / "tiny"
    write_adapter(folder, LanguageModel.open("tinyllama-1.1b"), 4, "qv")
    return folder
