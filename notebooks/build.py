"""Execute all notebooks and write them with their outputs to ``docs/notebooks/``, as Markdown.

    python notebooks/build.py

The notebooks are the ``.py`` files of this folder (jupytext, percent format). A test executes each
and compares what it prints with the page, so that no page is older than the code.
"""

from __future__ import annotations

import base64
import html
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
PAGES = FOLDER.parent / "docs" / "notebooks"
CELL_S = 120
KERNELS = 2
"""Notebooks executed at a time."""

WIDGET = "*The sliders appear when the notebook is opened: see [Notebooks](../notebooks.md).*"


@dataclass(frozen=True)
class Page:
    """A notebook as executed: Markdown, and the pictures that it shows, by file name."""

    name: str
    text: str
    pictures: dict[str, bytes]


def sources() -> list[Path]:
    """The notebooks, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def execute(path: Path) -> Page:
    """Run one notebook in a kernel of its own.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    notebook = jupytext.read(path)
    quiet = ["--IPKernelApp.log_level=40"]  # it warns that it listens on this machine, as it must
    kernel = NotebookClient(notebook, timeout=CELL_S, kernel_name="python3", extra_arguments=quiet)
    # Whatever way of drawing is inherited, the pages want the pictures that the kernel shows.
    inherited = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    kernel.execute(cwd=str(FOLDER), env=inherited)
    return render(path.stem, notebook)


def execute_all() -> list[Page]:
    """Run all notebooks, some at a time."""
    with ThreadPoolExecutor(KERNELS) as pool:
        return list(pool.map(execute, sources()))


def render(name: str, notebook: Any) -> Page:
    """An executed notebook as Markdown that GitHub shows: code, output, tables, figures."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            for output in cell.outputs:
                parts.append(_output(name, output, pictures))
    head = f"<!-- made by notebooks/build.py from notebooks/{name}.py -->\n\n"
    return Page(name, head + "\n\n".join(part for part in parts if part) + "\n", pictures)


def _output(name: str, output: Any, pictures: dict[str, bytes]) -> str:
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        picture = f"{name}-{len(pictures) + 1}.png"
        pictures[picture] = base64.b64decode(data["image/png"])
        return f"![Figure {len(pictures)}]({picture})"
    if "application/vnd.jupyter.widget-view+json" in data:
        return WIDGET
    if data.get("text/html", "").startswith("<pre"):  # tables of text
        return f"```text\n{plain_text(data['text/html']).strip()}\n```"
    if "text/html" in data:
        return markdown_table(data["text/html"])
    return f"```text\n{data.get('text/plain', '').rstrip()}\n```"


class _Table(HTMLParser):
    """The cells of an HTML table by row; a cell that spans rows or columns stands in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[int, str]] = []
        self.heads = 0
        self._spans: dict[tuple[int, int], None] = {}
        self._at: tuple[int, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append({})
        elif tag in ("th", "td"):
            given = dict(attrs)
            row, column = len(self.rows) - 1, 0
            while column in self.rows[row] or (row, column) in self._spans:
                column += 1
            self._at = (row, column)
            self.rows[row][column] = ""
            for down in range(int(given.get("rowspan") or 1)):
                for along in range(int(given.get("colspan") or 1)):
                    self._spans[row + down, column + along] = None

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._at = None
        elif tag == "thead":
            self.heads = len(self.rows)

    def handle_data(self, data: str) -> None:
        if self._at is not None:
            row, column = self._at
            self.rows[row][column] += data.strip()


def plain_text(markup: str) -> str:
    """HTML without its tags and without blanks at the ends of lines."""
    text = html.unescape(re.sub(r"<[^>]+>", "", markup))
    return "\n".join(line.rstrip() for line in text.splitlines())


def markdown_table(markup: str) -> str:
    """An HTML table of pandas as a table of Markdown; its rows of headings become one."""
    table = _Table()
    table.feed(re.sub(r"<style.*?</style>", "", markup, flags=re.S))
    width = 1 + max(column for row in table.rows for column in row)

    def cells(row: dict[int, str]) -> list[str]:
        return [
            row.get(column, "").replace("\xa0", "").replace("|", "\\|") for column in range(width)
        ]

    heads = [cells(row) for row in table.rows[: table.heads]]
    head = [next((text for text in column if text), "") for column in zip(*heads, strict=True)]
    labels = sum(bool(text) for text in heads[-1]) if len(heads) > 1 else 1
    rule = ["---"] * labels + ["---:"] * (width - labels)
    lines = [head, rule, *(cells(row) for row in table.rows[table.heads :])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Write all pages, and remove pictures that none shows any more."""
    pages = execute_all()
    PAGES.mkdir(exist_ok=True)
    wanted = {f"{page.name}.md" for page in pages} | {n for page in pages for n in page.pictures}
    for page in pages:
        (PAGES / f"{page.name}.md").write_text(page.text, encoding="utf-8")
        for picture, data in page.pictures.items():
            (PAGES / picture).write_bytes(data)
    for path in PAGES.iterdir():
        if path.name not in wanted:
            path.unlink()
    print(f"{len(pages)} pages in {PAGES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
