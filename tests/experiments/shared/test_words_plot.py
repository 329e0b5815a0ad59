"""Every figure says what it shows, in one way."""

from __future__ import annotations

import ast
from pathlib import Path

from matplotlib.figure import Figure

from hardwire.experiments.shared.words_plot import finding_of, say

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"


def calls(node: ast.AST) -> set[str]:
    """Names of what is called, of methods the last part."""
    found = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    return {f.id if isinstance(f, ast.Name) else getattr(f, "attr", "") for f in found}


def makers() -> dict[str, set[str]]:
    """What each function that makes a figure calls, by its place."""
    return {
        f"{path.relative_to(EXPERIMENTS)}: {node.name}": called
        for path in EXPERIMENTS.rglob("*.py")
        if "Figure(" in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and "Figure" in (called := calls(node))
    }


def test_every_figure_says_its_finding() -> None:
    found = makers()
    assert len(found) > 12
    for place, called in found.items():
        assert "say" in called, place
        assert "suptitle" not in called, f"{place} has a title beside its finding"


def test_what_was_said_is_found_again_and_takes_room_of_its_own() -> None:
    figure = Figure(figsize=(6, 3), layout="constrained")
    assert finding_of(figure) == ""
    finding = "A sentence of r16:all-linear that is longer than one line of the figure, " * 3
    say(figure, finding, "how and of what")
    assert finding_of(figure) == finding.strip()
    lines = figure.texts[0].get_text().splitlines()
    assert len(lines) > 1 and not any(line.endswith("-") for line in lines)
    assert figure.get_figheight() > 3 + 0.2 * len(lines)
    low_ends = [text.get_window_extent().y0 / figure.dpi for text in figure.texts]
    assert min(low_ends) >= 3, "the words reach into the drawing"
