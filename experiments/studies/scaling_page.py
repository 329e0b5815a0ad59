"""Tables of docs/scaling-study.md from those that the study wrote, which are kept beside this file.

As ``hardwire.experiments.studies.serving_page``: to take over a new run of the study, copy its CSV
files to ``scaling_tables`` and rewrite the pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from hardwire.experiments.shared.marked import with_tables
from hardwire.experiments.studies.scaling import HC1, HC2
from hardwire.experiments.studies.serving_page import Line, each, markdown, number, only, read

PAGE = "scaling-study.md"
TABLES = Path(__file__).parent / "scaling_tables"
BOARD = "board"


def render(text: str) -> str:
    """The page with its tables written anew.

    Raises
    ------
    KeyError
        If it has a place for a table that there is not.
    """
    return with_tables(text, _WRITERS)


def _of(chip: str) -> list[Line]:
    return [line for line in read("scaling", TABLES) if line["chip"] == chip]


def _rates() -> str:
    lines = _of(HC2)
    links = each(lines, "link")

    def row(model: str, group: str) -> Iterable[str]:
        yield f"`{model}`"
        yield group
        own = [x for x in lines if x["model"] == model and x["dies_of_a_stage"] == group]
        yield _banded(own[0], "dies")
        for link in links:
            yield _banded(only(own, link=link), "tokens_per_s_user")

    head = ("Model", "dies of a stage", "dies", *(f"`{link}`" for link in links))
    pairs = dict.fromkeys((x["model"], x["dies_of_a_stage"]) for x in lines)
    return markdown(head, (row(*pair) for pair in pairs))


def _costs() -> str:
    lines = [line for line in _of(HC2) if line["link"] == BOARD]

    def row(line: Line) -> Iterable[str]:
        yield f"`{line['model']}`"
        yield line["dies_of_a_stage"]
        yield line["users"]
        yield _banded(line, "tokens_per_s_all")
        yield _banded(line, "power_w")
        yield f"{100 * float(line['idle_w']) / float(line['power_w']):.0f}%"
        yield _banded(line, "tokens_per_j")
        yield _banded(line, "usd_per_million_tokens")
        yield _banded(line, "cards_usd", 1e-3)
        yield _banded(line, "masks_usd", 1e-6)
        yield f"{100 * float(line['planned']):.0f}%"

    head = (
        "Model", "dies of a stage", "users", "tokens/s, all", "W", "of these at rest",
        "tokens per joule", "USD per million tokens", "cards, thousand USD", "masks, million USD",
        "draws with a layout",
    )  # fmt: skip
    return markdown(head, map(row, lines))


def _first() -> str:
    lines = _of(HC1)
    links = each(lines, "link")

    def row(model: str, group: str) -> Iterable[str]:
        own = [x for x in lines if x["model"] == model and x["dies_of_a_stage"] == group]
        board = only(own, link=BOARD)
        yield f"`{model}`"
        yield group
        yield board["dies"]
        for link in links:
            yield number(only(own, link=link)["tokens_per_s_user"])
        yield number(board["power_w"])
        yield number(board["tokens_per_j"])
        yield _scaled(board["masks_usd"], 1e-6)

    head = (
        "Model", "dies of a stage", "dies", *(f"`{link}`" for link in links), "W",
        "tokens per joule", "masks, million USD",
    )  # fmt: skip
    pairs = dict.fromkeys((x["model"], x["dies_of_a_stage"]) for x in lines)
    return markdown(head, (row(*pair) for pair in pairs))


def _claims() -> str:
    def row(line: Line) -> Iterable[str]:
        yield f"`{line['system']}`"
        yield number(line["claimed_tokens_per_s_user"])
        yield number(line["tokens_per_s_user"])
        yield f"{line['overflowing']} of {line['dies']}"

    head = ("System", "claimed tokens/s, one user", "here", "dies that overflow")
    return markdown(head, map(row, read("claims", TABLES)))


_WRITERS: dict[str, Callable[[], str]] = {
    "rates": _rates,
    "costs": _costs,
    "first": _first,
    "claims": _claims,
}
"""By name, what writes the table of the page."""


def _banded(line: Line, key: str, factor: float = 1.0) -> str:
    """A value with its interval: ``6,000 (5,100 to 6,300)``."""
    low, high = (_scaled(line[f"{key}_{end}"], factor) for end in ("low", "high"))
    return f"{_scaled(line[key], factor)} ({low} to {high})"


def _scaled(text: str, factor: float) -> str:
    value = factor * float(text)
    if math.isinf(value):
        return "none"
    if float(text).is_integer() and abs(value) < 100 and factor == 1:
        return f"{value:.0f}"
    return number(str(value))
