"""What a figure says in words, above itself."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from matplotlib.figure import Figure

from hardwire.experiments.shared.style import INK, QUIET

_FINDING = "finding"
_LINE_IN, _SMALL_IN, _EDGE_IN = 0.2, 0.165, 0.07
_LETTERS_PER_IN, _SMALL_PER_IN = 12.6, 15.5


def say(figure: Figure, finding: str, setting: str = "") -> None:
    """Write above a figure what it shows, and below that in small letters of what and how.

    The figure, whose layout is constrained, grows by what the words take.

    Parameters
    ----------
    finding : a sentence, from the data.
    setting : chip, load and what else one has to know; how to read what explains itself badly.
    """
    width = figure.get_figwidth() - 2 * _EDGE_IN
    whole: Any = {"break_long_words": False, "break_on_hyphens": False}
    lines = wrap(finding, int(_LETTERS_PER_IN * width), **whole)
    small = wrap(setting, int(_SMALL_PER_IN * width), **whole)
    words_in = _EDGE_IN + len(lines) * _LINE_IN + len(small) * _SMALL_IN + _EDGE_IN / 2
    height = figure.get_figheight() + words_in
    figure.set_figheight(height)
    left, top = _EDGE_IN / figure.get_figwidth(), 1 - _EDGE_IN / height
    style: Any = {"ha": "left", "va": "top", "linespacing": 1.25}
    said = figure.text(left, top, "\n".join(lines), fontsize=10.5, color=INK, **style)
    said.set_gid(_FINDING)
    below = top - len(lines) * _LINE_IN / height
    figure.text(left, below, "\n".join(small), fontsize=8.5, color=QUIET, **style)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, 1 - words_in / height))


def finding_of(figure: Figure) -> str:
    """The sentence that ``say`` wrote; empty where there is none."""
    found = [text for text in figure.texts if text.get_gid() == _FINDING]
    return " ".join(found[0].get_text().split()) if found else ""
