"""The rules of the house: who may import whom, where things lie, and how large a room may be."""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "models": {"models"},
    # The decoder reads configs and adapters with the readers of models.
    "kernels": {"kernels", "models"},
    "simulator": {"simulator", "models", "kernels"},
    "experiments": {"experiments", "simulator", "models", "kernels"},
}
FACE = "experiments/hardwire"
"""What ``import hardwire`` gives: its files are of the package ``hardwire`` itself."""

ENTRIES, LINES = 15, 500


def module_of(path: Path) -> str:
    """The dotted name under which a file is imported."""
    inside = path.relative_to(ROOT).with_suffix("")
    parts = inside.parts[len(Path(FACE).parts) :] if inside.is_relative_to(FACE) else inside.parts
    return ".".join(("hardwire", *(part for part in parts if part != "__init__")))


@cache
def files() -> dict[str, Path]:
    """Every module of the four packages by its dotted name."""
    return {module_of(p): p for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py")}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, inside functions and for type checkers too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    """Which module imports which of ours; a name in a module is an arrow to that module."""
    found: dict[str, set[str]] = {}
    for module, path in files().items():
        found[module] = set()
        for name in imports(path):
            parts = name.split(".")
            longest = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
            target = next((one for one in longest if one in files()), None)
            if target is not None and target != module:
                found[module].add(target)
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a loop, or nothing."""
    left = {module: set(targets) for module, targets in graph.items()}
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    if not left:
        return []
    path = [next(iter(left))]
    while len(set(path)) == len(path):
        path.append(next(iter(left[path[-1]] & left.keys())))
    return path[path.index(path[-1]) :]


def package_of(module: str) -> str:
    """``models`` of ``hardwire.models.chip``; the face counts as ``experiments``."""
    return next((p for p in module.split(".")[1:2] if p in MAY_IMPORT), "experiments")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_go_one_way(package: str) -> None:
    seen = 0
    for module, targets in arrows().items():
        if package_of(module) == package:
            wrong = {target for target in targets if package_of(target) not in MAY_IMPORT[package]}
            assert not wrong, f"{module} imports {sorted(wrong)}"
            seen += len(targets)
    assert seen > 0


def test_no_files_import_each_other_in_a_circle() -> None:
    found = circle(arrows())
    assert not found, " → ".join(found)


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) in (
        ["b", "c", "b"],
        ["c", "b", "c"],
    )
    assert circle({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a", "c"}}) == []


def test_all_imports_of_ours_go_by_the_one_name() -> None:
    """A bare ``models`` would be the user's own, in most folders of this field."""
    for path in itertools.chain(files().values(), (ROOT / "tests").rglob("*.py")):
        wrong = {name for name in imports(path) if name.partition(".")[0] in MAY_IMPORT}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_nothing_imports_the_command_line() -> None:
    cli = "hardwire.experiments.cli"
    for module, targets in arrows().items():
        if not module.startswith(cli) and module != "hardwire.__main__":
            assert not [t for t in targets if t.startswith(cli)], module


def test_the_list_of_packages_is_the_folders() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["packages"]
    folders = {module_of(path.parent / "__init__.py") for path in files().values()}
    assert sorted(listed) == sorted(folders)
    for path in files().values():
        assert (path.parent / "__init__.py").is_file(), path.parent


def test_experiments_has_few_rooms() -> None:
    """Of a room per question; __init__.py is the package's own."""
    entries = {path.name for path in (ROOT / "experiments").iterdir()} - {"__init__.py"}
    assert len(entries - {"__pycache__"}) <= ENTRIES, sorted(entries)


def test_no_module_is_long_without_its_reason() -> None:
    for path in files().values():
        lines = path.read_text(encoding="utf-8").count("\n")
        reason = re.search(r"lines? (?:long )?because ", ast.get_docstring(tree(path)) or "")
        assert lines <= LINES or reason, f"{path.relative_to(ROOT)} has {lines} lines"


def test_the_reference_stands_alone() -> None:
    """An oracle that called the code it checks would agree with its mistakes."""
    path = ROOT / "simulator" / "engines" / "reference.py"
    assert "numba" not in path.read_text(encoding="utf-8")
    targets = arrows()[module_of(path)]
    assert not [t for t in targets if t.startswith("hardwire.simulator.engines")]


def test_the_test_files_that_begin_first_are_there() -> None:
    text = (ROOT / "tests/conftest.py").read_text(encoding="utf-8")
    listed = text.partition("FIRST = (")[2].partition(")")[0]
    named = re.findall(r'"(.+)"', listed)
    assert named and all((ROOT / "tests" / name).is_file() for name in named)
