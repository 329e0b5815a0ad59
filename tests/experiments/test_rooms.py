"""The rules of a room: what computes never prints, tables and figures have modules of their own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
COMMANDS = {
    "calibration/gpu_solved.py",
    "guard/golden.py",
    "guard/pages.py",
    "guard/pictures.py",
    "studies/command.py",
    "validation/committed.py",
}
"""Run by ``python -m``: they print what they did at their end."""

FILES = [
    path
    for path in sorted(EXPERIMENTS.glob("*/*.py"))
    if path.parent.name not in ("cli", "hardwire")
]


def name_of(path: Path) -> str:
    return path.relative_to(EXPERIMENTS).as_posix()


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below, without what only type checkers import."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from at_run_time(child)


def packages(tree: ast.Module) -> set[str]:
    """First parts of the names that a file imports."""
    found = set()
    for node in at_run_time(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_tables_are_in_views_and_figures_in_plots(path: Path) -> None:
    used = packages(ast.parse(path.read_text(encoding="utf-8")))
    if not path.stem.endswith("view") and name_of(path) != "shared/tables.py":
        assert "rich" not in used
    if not path.stem.endswith("plot"):
        assert "matplotlib" not in used


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*/*.py")), ids=name_of)
def test_styles_are_no_markup(path: Path) -> None:
    """Text is printed as it stands, so that brackets in a file are brackets: use ``styled``."""
    assert "[/]" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_figures_are_drawn_with_settings_of_their_own(path: Path) -> None:
    if name_of(path) != "shared/plot.py":
        assert "rc_context" not in path.read_text(encoding="utf-8"), "use drawing()"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_computes_does_not_print(path: Path) -> None:
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    prints = [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
    assert not prints or path.stem.endswith("view") or name_of(path) in COMMANDS


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_save_does_not_wait_for_what_draws(path: Path) -> None:
    """Matplotlib takes longer to import than most of what is only printed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = [n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)]
    if not path.stem.endswith("plot") and name_of(path) not in COMMANDS:
        assert not [module for module in modules if module.endswith("plot")]


def test_rooms_build_on_each_other_in_one_direction() -> None:
    """The what-if, which draws with the report's charts, is of no other room's use."""
    left: dict[str, set[str]] = {}
    for path in FILES:
        if name_of(path) != "run/whatif_widget.py":
            text = path.read_text(encoding="utf-8")
            others = set(re.findall(r"hardwire\.experiments\.(\w+)", text)) - {path.parent.name}
            left.setdefault(path.parent.name, set()).update(others)
    assert left.pop("shared") == set()
    while free := [room for room, others in left.items() if not others & left.keys()]:
        for room in free:
            del left[room]
    assert not left, f"these import each other: {sorted(left)}"
