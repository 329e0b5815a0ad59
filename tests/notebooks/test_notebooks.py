"""Every notebook runs from its first cell to its last, and its page shows what it prints."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
PAGES = ROOT / "docs" / "notebooks"
AGAIN = "run `make notebooks`"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    for package in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    spec = importlib.util.spec_from_file_location(
        "notebooks_build", ROOT / "notebooks" / "build.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for its names
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(build: ModuleType) -> dict[str, object]:
    """All notebooks, executed in kernels of their own; a cell that fails fails here."""
    return {page.name: page for page in build.execute_all()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_page_is_up_to_date(path: Path, pages: dict) -> None:
    page = pages[path.stem]
    committed = PAGES / f"{path.stem}.md"
    assert committed.is_file(), AGAIN
    assert page.text == committed.read_text(encoding="utf-8"), AGAIN
    for picture in page.pictures:
        assert (PAGES / picture).is_file(), AGAIN
    answer = page.text.rpartition("## ")[2]
    assert path.stem == "08_what_if" or re.search(r"```text\n.*\d.*\n```$", answer.strip(), re.S)


def test_every_page_has_its_notebook_and_every_picture_its_page() -> None:
    shown = {f"{path.stem}.md" for path in SOURCES}
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    shown |= set(re.findall(r"\]\(([^)]+\.png)\)", text))
    assert {path.name for path in PAGES.iterdir()} == shown


def test_a_table_of_pandas_becomes_one_of_markdown(build: ModuleType) -> None:
    html = (
        "<style>td {color: red}</style><table><thead>"
        '<tr><th></th><th class="blank">&nbsp;</th><th>rate | s</th></tr>'
        "<tr><th>users</th><th>issue</th><th>&nbsp;</th></tr></thead><tbody>"
        '<tr><th rowspan="2">1</th><th>serial</th><td>5</td></tr>'
        "<tr><th>pipelined</th><td>7</td></tr></tbody></table>"
    )
    assert build.markdown_table(html).splitlines() == [
        "| users | issue | rate \\| s |",
        "| --- | --- | ---: |",
        "| 1 | serial | 5 |",
        "|  | pipelined | 7 |",
    ]
