"""How figures and pages look everywhere: one table of colours, names and settings.

A thing has one colour in all pictures: a part of the chip, a server, an end of a range. Hues serve
several tables; of no two of these in one picture do things share a colour. Each table is told apart
with colour-blind vision and in grey print, which a test holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, VIOLET = "#22569e", "#c8323c", "#a867b5"
GREEN, SKY, ORANGE, TEAL = "#4aab80", "#84aee2", "#f0ad33", "#86d8cb"
"""From dark to light, as are the three before."""
INK, DARK, QUIET, SILVER, GREY = "#2b2b2b", "#444444", "#6b6b6b", "#a6a6a6", "#d4d4d4"
PAPER, GRID, PALE = "#ffffff", "#e6e6e6", "#88888850"
"""``PALE`` is what is left over, on white and on dark pages."""
MAROON, BROWN, AMBER, ICE, SAND = "#a01c36", "#94451f", "#e39a3b", "#b5cfec", "#f5dcb4"

COLORS = {
    "rom": BLUE,
    "attention": ORANGE,
    "lora": RED,
    "norms_activations": GREEN,
    "lm_head_sampling": VIOLET,
    "waiting": GREY,
    "power_cap": INK,
}
"""By operation of a decode step."""

BLOCK_COLORS = {
    "rom": BLUE,
    "matrix_adders": SKY,
    "sram": TEAL,
    "attention": ORANGE,
    "lora": RED,
    "vector_units": GREEN,
    "sampling": VIOLET,
    "registers": SAND,
    "io": DARK,
    "overhead": "#f2f2f2",
}
"""By block of the die: a block has the colour of the operation that it does."""

CAUSE_COLORS = {
    "compute": BLUE,
    "attention": ORANGE,
    "link_latency": GREEN,
    "link_queue": RED,
    "head": VIOLET,
    "stall": GREY,
}
"""By what a token of a system of dies spends its time on."""

HELD_COLORS = {
    "attention": ORANGE,
    "mlp": BLUE,
    "experts": SKY,
    "embedding and head": VIOLET,
    "copies": SAND,
    "free": PALE,
    "critical": RED,
}
"""By what a die of a system holds; the die or link that bounds the rate is outlined."""

MEMORY_COLORS = {"kv": ORANGE, "adapters": RED, "free": PALE}
"""By what SRAM holds: attention reads the KV cache, the side paths the adapters."""

FORMAT_COLORS = {
    "weights": BLUE,
    "kv": ORANGE,
    "float16": GREEN,
    "int8": VIOLET,
    "int4": "#5e2440",
    "int2": TEAL,
}
"""By what a number format is of: weights, KV cache, or an adapter in this format."""

LATENCY_COLORS = {"ttft_s": BLUE, "tpot_s": GREEN, "e2e_s": VIOLET}
INDEX_COLORS = {"first": BLUE, "total": ICE}
"""By order of a Sobol index."""

END_COLORS = {"low": AMBER, "high": BROWN}
"""By the end of its range at which an input is."""

ROW_COLORS = {"predicted": BLUE, "missed": RED, "fitted": SILVER}
"""By what a row of the validation, or a measurement left out, shows."""

BELIEF_COLORS = {"before": GREY, "after": BLUE, "measured": RED}
"""Of a calibration: what was believed, what is, and the measurement."""

DESIGN_COLORS = {"infeasible": GREY, "feasible": SKY, "front": BLUE, "filed": RED}
"""By what a design is among those of a sweep or a search."""

RATIO_COLORS = {"watt": BLUE, "published": RED, "usd": GREEN}
"""By what two fleets are compared: watts as modelled, watts as published, dollars."""

PLAIN = QUIET
"""Of bars and intervals that are told apart by their names alone."""

GOOD, WARNING, BAD, FAINT, OF_NO_PART = "green", "yellow", "red", "bright_black", "cyan"
"""Of words and bars on a terminal, in the colours that its user has chosen for these names."""

SAID = {"warning": "#9a5b00", "bad": RED, "quiet": QUIET}
"""Of words in a notebook."""


OF_THE_PAGE = "#000000"
NOTEBOOK: Any = (
    (255, 255, 255), (0, 0, 0),
    [(90, 90, 90), (208, 56, 56), (30, 140, 70), (178, 125, 10),
     (50, 110, 200), (160, 80, 170), (20, 135, 150), (140, 140, 140)],
    [(128, 128, 128), (208, 56, 56), (30, 140, 70), (178, 125, 10),
     (50, 110, 200), (160, 80, 170), (20, 135, 150), (160, 160, 160)],
)  # fmt: skip
"""A terminal's colours in a notebook: ground and letters, which stand for the page's own; signal
colours of a middle lightness, which read on light and dark themes."""


class Mark(NamedTuple):
    """How a server is drawn."""

    color: str
    marker: str


SERVERS = {
    "hc1x10": Mark(BLUE, "o"),
    "hc1x10-pipelined": Mark("#4bb3ab", "s"),
    "vllm-h100": Mark(ORANGE, "^"),
    "trtllm-h100": Mark(RED, "v"),
    "trtllm-h200": Mark(VIOLET, "D"),
}
"""Of the catalogue."""

_OTHERS = (Mark(INK, "P"), Mark(ICE, "X"), Mark(BROWN, "<"), Mark(SILVER, ">"))
"""Of servers that are not in the catalogue, in their order."""

ISSUES = {"serial": SERVERS["hc1x10"], "pipelined": SERVERS["hc1x10-pipelined"]}
"""By the issue of a chip: as its servers."""

_DEEP_TO_LIGHT = ("#3b2f73", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39")
CONTINUOUS, AMOUNT = "viridis", "Blues"
"""Names of Matplotlib's colour maps: of a quantity, and of how many there are from none."""

OPERATION_NAMES = {
    "rom": "ROM matrices",
    "attention": "Attention",
    "lora": "LoRA",
    "norms_activations": "Norms, activations",
    "lm_head_sampling": "LM head, sampling",
    "waiting": "Waiting for the chip",
    "power_cap": "Power cap",
}
CAUSE_NAMES = {
    "compute": "Matrices, norms, LoRA",
    "attention": "Attention",
    "link_latency": "Links: bytes and latency",
    "link_queue": "Links: waiting for them",
    "head": "LM head, sampling",
    "stall": "Waiting for dies",
}
BLOCK_NAMES = {
    "rom": "ROM",
    "sram": "SRAM",
    "rescale": "Rescaling",
    "lora": "LoRA side paths",
    "lora_bus": "LoRA buses",
    "io": "I/O",
}

WIDTH_IN = 8.2
"""Of all figures: what is 9 points here is read at 800 to 900 pixels of a page."""

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}
"""What differs from Matplotlib's own settings."""


UNDATED: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""What to leave out of a file, by its format."""

DPI = 160
"""Of figures as PNG, and of what SVG and PDF hold as pixels."""

FORMATS = tuple(UNDATED)
"""Of figures; the first where none is given."""


def block_name(block: str) -> str:
    """A block's name in words."""
    words = block.replace("_", " ")
    return BLOCK_NAMES.get(block, words[:1].upper() + words[1:])


def block_color(name: str) -> str:
    """The colour of a block of the die, such as ``rom`` or ``vector_units``."""
    return BLOCK_COLORS.get(name, PLAIN)


def server_marks(names: Sequence[str]) -> dict[str, Mark]:
    """How each of several servers is drawn, by name.

    Servers of the catalogue have a mark of their own; others get theirs in their order.
    """
    others = [name for name in dict.fromkeys(names) if name not in SERVERS]
    given = {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(others)}
    return {name: SERVERS.get(name) or given[name] for name in names}


def ordered(count: int) -> list[str]:
    """Colours of so many things that have an order, the first dark and the last light."""
    last = len(_DEEP_TO_LIGHT) - 1
    colors = []
    for i in range(count):
        place = last * i / max(count - 1, 1)
        at = min(int(place), last - 1)
        below, above = (_rgb(color) for color in _DEEP_TO_LIGHT[at : at + 2])
        part = place - at
        colors.append(_hex(a + (b - a) * part for a, b in zip(below, above, strict=True)))
    return colors


def faded(color: str) -> str:
    """A colour on the way to white: of the same thing, where it matters less."""
    return "#" + "".join(f"{round(255 - 0.55 * (255 - channel)):02x}" for channel in _rgb(color))


def ink_on(color: str) -> str:
    """White or dark letters, whichever are the better to read on a colour."""
    return PAPER if 1.05 / (_luminance(_linear(color)) + 0.05) > 4.5 else INK


def on_any_ground(color: str) -> str:
    """The colour made so light, or so dark, that it is seen on white and on black."""
    channels = _linear(color)
    luminance = _luminance(channels)
    if luminance < _SEEN[0]:
        part = (_SEEN[0] - luminance) / (1 - luminance)
        channels = [c + part * (1 - c) for c in channels]
    elif luminance > _SEEN[1]:
        channels = [c * _SEEN[1] / luminance for c in channels]
    return _hex(
        255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055) for c in channels
    )


_SEEN = (0.13, 0.28)
"""Luminances with at least three to one against white and against nearly black (WCAG 1.4.11)."""


def _linear(color: str) -> list[float]:
    shares = (channel / 255 for channel in _rgb(color))
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]


def _luminance(linear: Sequence[float]) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _hex(channels: Iterable[float]) -> str:
    return "#" + "".join(f"{round(channel):02x}" for channel in channels)


def drawing() -> AbstractContextManager[None]:
    """Draw and save with Matplotlib's own settings and ``STYLE``, whatever the user has set."""
    from hardwire.experiments.shared.plot import settings  # noqa: PLC0415 - matplotlib is slow

    # SVG names its parts by random numbers unless it is told by what.
    return settings({**STYLE, "svg.hashsalt": "hardwire"})


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its name, without a date that would change its bytes."""
    kind = path.suffix[1:]
    with drawing():
        if kind == FORMATS[0]:
            from hardwire.experiments.shared.plot import write_png  # noqa: PLC0415 - as in drawing

            write_png(figure, path, DPI, UNDATED[kind])
        else:
            figure.savefig(path, dpi=DPI, metadata=UNDATED[kind])
