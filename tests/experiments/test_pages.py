"""The page of parameters is what the declarations say, and says all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments import pages
from models import Chip, catalogue


def test_the_page_is_in_sync() -> None:
    assert pages.PAGE.read_text(encoding="utf-8") == pages.render(), (
        "docs/chips.md is out of date: run python -m experiments.pages"
    )


def test_the_page_is_the_same_every_time() -> None:
    assert pages.render() == pages.render()


def test_every_parameter_is_on_the_page_with_its_source() -> None:
    text = pages.render()
    for name in catalogue.names("chip"):
        for key, parameter in Chip.open(name).parameters.items():
            assert f"| `{key.partition('.')[2]}` |" in text
            assert f"| {parameter.source} |" in text, key
    for kind in ("process", "server"):
        for name in catalogue.names(kind):
            assert f"\n### {name}\n" in text


def test_every_row_of_a_table_has_all_its_cells() -> None:
    for block in re.findall(r"(?:^\|.*\n)+", pages.render(), flags=re.MULTILINE):
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block


def test_check_says_what_is_out_of_date_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "chips.md"
    assert pages.main(["--check"], page) == 1
    assert "chips.md is out of date" in capsys.readouterr().err
    assert not page.exists()
    assert pages.main([], page) == 0
    assert pages.main(["--check"], page) == 0
    page.write_text(page.read_text(encoding="utf-8") + "x", encoding="utf-8")
    assert pages.main(["--check"], page) == 1
