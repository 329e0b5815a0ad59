"""A server: some cards of one chip in a host, from a YAML file with sources as in chip files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.chip import ISSUES
from hardwire.models.cost import SECONDS_PER_YEAR
from hardwire.models.description import (
    GPU_MARKS,
    SPLIT_MARK,
    SYSTEM_MARK,
    Description,
    FileKind,
    mark_of,
    read_description,
)
from hardwire.models.errors import InputError
from hardwire.models.parameters import Parameter, check_word, choice, count, quantity, to_frame

if TYPE_CHECKING:
    import pandas as pd

LINKS = ("each", "shared")

OPENS = {
    **dict.fromkeys(GPU_MARKS, ("GPU server", "gpu_server.BatchServer")),
    SYSTEM_MARK: ("server of systems", "server_of_systems.SystemServer"),
    SPLIT_MARK: ("disaggregated server", "server_split.SplitServer"),
}
"""Of servers that are not of cards of one chip: what each kind is called, and what opens it."""


@dataclass(frozen=True)
class Ownership:
    """What a server costs its owner."""

    price_usd: Any = quantity("USD", 0, 1e9, "what the buyer pays for the server, or its share")
    lifetime_years: Any = quantity("years", 0.1, 20, "over which the price is written off")
    pue: Any = quantity("", 1, 3, "power of the site over power of the server")
    electricity_usd_per_kwh: Any = quantity("USD/kWh", 0, 10, "price of electricity")

    @property
    def capex_usd_per_s(self) -> float:
        """Price written off over the lifetime."""
        return float(self.price_usd / (self.lifetime_years * SECONDS_PER_YEAR))

    @property
    def energy_usd_per_j(self) -> float:
        """Price of a joule at the server, the site's losses included."""
        return float(self.electricity_usd_per_kwh * self.pue / 3.6e6)


@dataclass(frozen=True)
class Machine(Ownership):
    """What a server file states with value, kind and source."""

    cards: Any = count("", 1, 1024, "cards in the server")
    users_per_card: Any = count("", 1, 4096, "requests that a card has in its datapath at a time")
    links: Any = choice(LINKS, "a host link for each card, or one that all share")
    host_memory_gib: Any = quantity("GiB", 0, 1e6, "host memory that keeps adapters")
    host_w: Any = quantity("W", 0, 100000, "server beside its cards, power-supply losses included")
    limit_w: Any = quantity("W", 1, 1e6, "power that the server may take")


class Cards:
    """What servers have in common whose requests are served by equal machines in one host."""

    name: str
    title: str
    issue: str | None
    machine: Machine
    parameters: Mapping[str, Parameter]

    def to_frame(self) -> pd.DataFrame:
        """Every parameter, a row each: see ``hardwire.models.parameters.to_frame``."""
        return to_frame(self.parameters)

    def _line(self, card: str) -> str:
        """What there is to say of so many of ``card``, in one line."""
        issue = f"{self.issue} issue" if self.issue else ""
        return one_line(self, self.name, self.title, f"{self.cards} × {card}", issue)

    @property
    def cards(self) -> int:
        """Cards in the server."""
        return int(self.machine.cards)

    @property
    def host_w(self) -> float:
        """Power of everything but the cards, W."""
        return float(self.machine.host_w)

    def power_w(self, card_w: Any) -> Any:
        """Power of the server at its plug in W, every card drawing ``card_w``."""
        return self.cards * card_w + self.host_w

    def card_limit_w(self, limit_w: float | None = None) -> float:
        """What a limit of the server, by default its own, leaves each card, W.

        Raises
        ------
        InputError
            If it leaves them nothing.
        """
        whole = float(limit_w or self.machine.limit_w)
        if whole <= self.host_w:
            raise InputError(
                f"{self.name}: a power limit of {whole:,g} W leaves nothing for the cards: the "
                f"rest of the server takes {self.host_w:,g} W"
            )
        return (whole - self.host_w) / self.cards


@dataclass(frozen=True)
class Server(Cards):
    """A server file, resolved. ``parameters`` has the origin of each number.

    Attributes
    ----------
    chip : on the cards: a name in the catalogue, or the absolute path of a file.
    issue : ``serial`` or ``pipelined`` instead of the chip's own, or None.
    machine : numbers and choices.
    """

    name: str
    title: str
    chip: str
    issue: str | None
    machine: Machine
    parameters: Mapping[str, Parameter]

    def __repr__(self) -> str:
        return self._line(self.chip)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Server:
        """Read a server from the catalogue, or from a path that ends in ``.yaml`` or ``.yml``.

        A file that ``extends`` another states only what differs.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, a GPU server, an unknown or missing key, a chip
            that is not in the catalogue, a wrong unit or a value out of range.
        """
        path = catalogue.locate("server", name)
        other = OPENS.get(mark_of(path, "server"))
        if other is not None:
            raise InputError(
                f"{path.name}: is a {other[0]}: replays and comparisons take it by its name or "
                f"file, and hardwire.models.{other[1]} opens it"
            )
        found = read_description(path, SERVER)
        return cls(
            name=found.name,
            title=found.title,
            chip=found.references["chip"],
            issue=issue_of(found, path),
            machine=found.sections[""],
            parameters=found.parameters,
        )


def issue_of(found: Description, path: Path) -> str | None:
    """``serial`` or ``pipelined`` if a server's file states it.

    Raises
    ------
    InputError
        If it states another word.
    """
    issue = found.others.get("issue")
    return None if issue is None else check_word(f"{path.name}: issue", issue, ISSUES)


SERVER = FileKind(
    "server", {"": Machine}, references={"chip": "chip"}, files=("chip",), others=("issue",)
)
"""What may stand in the file of a server of hardwired cards."""
