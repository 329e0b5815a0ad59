"""The rules of the house: who may import whom, and what may lie in a module."""

from __future__ import annotations

import ast
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


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows_go_one_way(package: str) -> None:
    ours = set(MAY_IMPORT)
    for path in (ROOT / package).rglob("*.py"):
        wrong = (imported(path) & ours) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_the_reference_stands_alone() -> None:
    """An oracle that called the code it checks would agree with its mistakes."""
    source = (ROOT / "simulator" / "reference.py").read_text(encoding="utf-8")
    assert "numba" not in source
    assert "hardwire.simulator.engines.compiled" not in source
