"""How figures and pages look everywhere: one table of colours, names and settings."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREEN, VIOLET = "#1f5a92", "#e08214", "#b2182b", "#5aae61", "#8073ac"
GREY, DARK, INK = "#bdbdbd", "#525252", "#333333"
PALE = "#88888850"
"""What is left over, on white and on dark pages."""

PALETTE = (BLUE, ORANGE, GREEN, VIOLET, RED, "#7f7f7f")
"""Of things that have no colour of their own, such as servers, in their order."""

COLORS = {
    "rom": BLUE,
    "attention": ORANGE,
    "lora": RED,
    "norms_activations": GREEN,
    "lm_head_sampling": VIOLET,
    "waiting": GREY,
    "power_cap": DARK,
}
"""By operation. Told apart with colour-blind vision and in grey: dark and light alternate."""

OPERATION_NAMES = {
    "rom": "ROM matrices",
    "attention": "Attention",
    "lora": "LoRA",
    "norms_activations": "Norms, activations",
    "lm_head_sampling": "LM head, sampling",
    "waiting": "Waiting for the chip",
    "power_cap": "Power cap",
}
BLOCK_NAMES = {"rom": "ROM", "sram": "SRAM", "lora": "LoRA side paths", "io": "I/O"}

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
"""What differs from Matplotlib's own settings."""


UNDATED: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""What to leave out of a file, by its format."""

FORMATS = tuple(UNDATED)
"""Of figures; the first where none is given."""


def drawing() -> AbstractContextManager[None]:
    """Draw and save with Matplotlib's own settings and ``STYLE``, whatever the user has set."""
    from hardwire.experiments.shared.plot import settings  # noqa: PLC0415 - matplotlib is slow

    # SVG names its parts by random numbers unless it is told by what.
    return settings({**STYLE, "svg.hashsalt": "hardwire"})


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name, without a date that would change its bytes."""
    with drawing():
        figure.savefig(path, dpi=160, metadata=UNDATED[path.suffix[1:]])


def thousands(axis: Axis) -> None:
    """Numbers at the ticks with separators."""
    axis.set_major_formatter(lambda value, _: f"{value:,.6g}" if abs(value) < 1e7 else f"{value:g}")
