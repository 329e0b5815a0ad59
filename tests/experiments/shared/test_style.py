"""One table of colours: nothing else names one, and what it holds is told apart."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from hardwire.experiments.shared import style

ROOT = Path(__file__).resolve().parents[3]
WORDS = {
    "white", "black", "red", "green", "blue", "yellow", "cyan", "orange", "magenta", "purple",
    "grey", "gray", "brown", "pink", "viridis", "cividis", "Blues", "bright_black",
}  # fmt: skip
VISIONS = {
    "normal": np.eye(3),
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
}
"""What is seen of linear RGB: Machado, Oliveira and Fernandes 2009, severity 1."""

SERVERS = {
    name: mark.color
    for name, mark in style.server_marks([*style.SERVERS, "one of mine", "another"]).items()
}
TABLES = {
    "operations": style.COLORS,
    "blocks": style.BLOCK_COLORS,
    "formats": style.FORMAT_COLORS,
    "a replay": {
        **style.LATENCY_COLORS,
        **{key: style.MEMORY_COLORS[key] for key in ("kv", "adapters")},
    },
    "a tornado": style.END_COLORS,
    "indices": style.INDEX_COLORS,
    "rows": style.ROW_COLORS,
    "beliefs": style.BELIEF_COLORS,
    "designs": style.DESIGN_COLORS,
    "ratios": style.RATIO_COLORS,
    "causes": style.CAUSE_COLORS,
    "a die": {name: style.HELD_COLORS[name] for name in style.HELD_COLORS if name != "free"},
    "servers": SERVERS,
    "an order": {str(i): color for i, color in enumerate(style.ordered(6))},
}
"""What is seen together in one picture."""


def colors_in(text: str) -> list[str]:
    """The colours that a module's texts name."""
    texts = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [
        *(t for t in texts if re.search(r"#([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})\b", t)),
        *(t for t in texts if set(t.split()) & WORDS and len(t.split()) < 3),
        *(t for t in texts if re.fullmatch(r"tab:\w+|C[0-9]", t)),
    ]


def lab(color: str, vision: str = "normal") -> np.ndarray:
    """Lightness 0 to 100 and the two opponent channels of CIELAB (D65), array (3,)."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(VISIONS[vision] @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(to_xyz @ seen / [0.9505, 1, 1.089], 1e-3))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("folder", ["experiments", "notebooks"])
def test_d5_no_other_module_names_a_colour(folder: str) -> None:
    table = ROOT / "experiments" / "shared" / "style.py"
    read = [path for path in (ROOT / folder).rglob("*.py") if path != table]
    assert len(read) > 5
    for path in read:
        found = colors_in(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)} names {found}: the table is {table.name}"


def test_a_colour_would_be_found() -> None:
    for literal in ("'#1f5a92'", "'#666'", "'white'", "'bold red'", "f'color:#9a5b00;{x}'", "'C1'"):
        assert colors_in(f"axes.plot(x, color={literal})"), literal
    assert not colors_in("axes.set_title('#5 of the red wires is in the table')")


@pytest.mark.parametrize("name", TABLES)
def test_what_is_in_one_picture_is_told_apart(name: str) -> None:
    """By those who see no red or no green, and in grey print, where lightness alone is left."""
    for (one, a), (other, b) in itertools.combinations(TABLES[name].items(), 2):
        for vision in VISIONS:
            distance = np.linalg.norm(lab(a, vision) - lab(b, vision))
            assert distance > 12, f"{one} and {other} to {vision}: {distance:.0f}"
        assert abs(lab(a)[0] - lab(b)[0]) > 5, f"{one} and {other} in grey"


def test_a_part_has_its_colour_wherever_it_is_drawn() -> None:
    assert style.block_color("vector_units") == style.COLORS["norms_activations"]
    for part in ("rom", "attention", "lora"):
        assert style.block_color(part) == style.COLORS[part]
    assert style.MEMORY_COLORS["adapters"] == style.COLORS["lora"]
    assert style.MEMORY_COLORS["kv"] == style.FORMAT_COLORS["kv"] == style.COLORS["attention"]


def test_targets_of_an_adapter_had_the_colours_of_parts() -> None:
    parts = {*style.COLORS.values(), *style.BLOCK_COLORS.values(), *style.MEMORY_COLORS.values()}
    assert not parts & set(style.ordered(4))


def test_a_server_has_its_mark_whatever_it_is_compared_with() -> None:
    alone = style.server_marks(["vllm-h100"])["vllm-h100"]
    among = style.server_marks(["mine", "hc1x10", "yours", "vllm-h100"])
    assert among["vllm-h100"] == alone
    assert len({mark.color for mark in among.values()}) == 4
    assert len({mark.marker for mark in among.values()}) == 4


def test_letters_on_a_colour_are_read() -> None:
    """By at least three to one, as large text needs (WCAG 1.4.3)."""
    for color in (*style.COLORS.values(), *style.BLOCK_COLORS.values(), *style.ordered(9)):
        dark, light = sorted(((lab(c)[0] + 16) / 116) ** 3 for c in (color, style.ink_on(color)))
        assert (light + 0.05) / (dark + 0.05) > 3, color


@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_a_bar_in_a_part_s_colour_is_seen_on_either_ground(ground: str) -> None:
    for color in (*style.COLORS.values(), *style.BLOCK_COLORS.values()):
        seen = style.on_any_ground(color)
        dark, light = sorted(((lab(c)[0] + 16) / 116) ** 3 for c in (seen, ground))
        assert (light + 0.05) / (dark + 0.05) > 2.9, color
    assert style.on_any_ground("#777777") == "#777777"
