"""The written pages are what the declarations and the committed table say, and say all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardwire.experiments.guard import pages
from hardwire.experiments.validation.committed import read_table
from hardwire.models import Chip, catalogue
from hardwire.models.breakdown import Breakdown

pytestmark = pytest.mark.slow

PAGES = ["chips.md", "glossary.md", "validation.md", "serving-study.md", "area-power-cost.md"]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_in_sync(name: str) -> None:
    assert (pages.DOCS / name).read_text(encoding="utf-8") == pages.render()[name], (
        f"docs/{name} is out of date: run python -m hardwire.experiments.guard.pages"
    )


def test_the_pages_are_the_same_every_time() -> None:
    assert pages.render() == pages.render()


def test_every_parameter_is_on_the_page_with_its_source() -> None:
    text = pages.chips()
    for name in catalogue.names("chip"):
        for key, parameter in Chip.open(name).parameters.items():
            assert f"| `{key.partition('.')[2]}` |" in text
            assert f"| {parameter.source} |" in text, key
    for name in catalogue.names("breakdown"):
        for key, parameter in Breakdown.open(name).parameters.items():
            assert f"| `{key.partition('.')[2]}` |" in text
            assert f"| {parameter.source} |" in text, key
    for kind in ("process", "server", "breakdown"):
        for name in catalogue.names(kind):
            assert f"\n### {name}\n" in text


def test_every_row_of_the_validation_is_on_its_page_with_its_source() -> None:
    text = pages.render()["validation.md"]
    for row in read_table().rows:
        if row.system == "claims":
            assert row.words in text
        elif row.system == "fidelities":
            assert f"| {row.metric} |" in text
        else:
            assert re.search(
                rf"^\| `{re.escape(row.id)}` \|.*\| {re.escape(row.source)} \|$", text, re.M
            )
    assert not re.search(r"^\{\w+\}$", text, re.M), "a table's place is not filled"


@pytest.mark.parametrize("name", PAGES)
def test_every_row_of_a_table_has_all_its_cells(name: str) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", pages.render()[name], flags=re.MULTILINE):
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block


def test_check_says_what_is_out_of_date_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docs"
    assert pages.main(["--check"], folder) == 1
    said = capsys.readouterr().err
    assert "chips.md is out of date" in said and "validation.md is out of date" in said
    assert not folder.exists()
    assert pages.main([], folder) == 0
    assert (folder / "images" / "validation.png").read_bytes().startswith(b"\x89PNG")
    assert pages.main(["--check"], folder) == 0
    page = folder / "chips.md"
    page.write_text(page.read_text(encoding="utf-8") + "x", encoding="utf-8")
    assert pages.main(["--check"], folder) == 1
