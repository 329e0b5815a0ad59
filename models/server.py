"""A server: some cards of one chip in a host, from a YAML file with sources as in chip files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import catalogue
from models.errors import InputError
from models.parameters import Parameter, count, quantity, read_section, read_yaml


@dataclass(frozen=True)
class Machine:
    """What a server file states with value, kind and source."""

    cards: Any = count("", 1, 1024, "cards in the server")
    host_w: Any = quantity("W", 0, 100000, "server beside its cards, power-supply losses included")


@dataclass(frozen=True)
class Server:
    """A server file, resolved. ``parameters`` has the origin of ``cards`` and ``host_w``.

    Attributes
    ----------
    chip : name of the chip on the cards, in the catalogue.
    cards : number of cards.
    host_w : power of everything but the cards, W.
    """

    name: str
    title: str
    chip: str
    cards: int
    host_w: float
    parameters: Mapping[str, Parameter]

    @classmethod
    def open(cls, name: str) -> Server:
        """Read a server from the catalogue, or from a path that ends in ``.yaml`` or ``.yml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, an unknown or missing key, a chip that is not
            in the catalogue, a wrong unit or a value out of range.
        """
        is_path = name.endswith((".yaml", ".yml"))
        path = Path(name) if is_path else catalogue.resolve("server", name)
        data = read_yaml(path)
        words = {}
        for key in ("title", "chip"):
            words[key] = data.pop(key, None)
            if not isinstance(words[key], str):
                raise InputError(f"{path.name}: {key} is missing (a name is expected)")
        try:
            catalogue.resolve("chip", words["chip"])
        except InputError as error:
            raise InputError(f"{path.name}: chip: {error}") from None
        machine, parameters = read_section(path.name, "", data, Machine)
        return cls(
            name=path.stem,
            **words,
            cards=machine.cards,
            host_w=machine.host_w,
            parameters=parameters,
        )

    def power_w(self, card_w: Any) -> Any:
        """Power of the server at its plug in W, every card drawing ``card_w``."""
        return self.cards * card_w + self.host_w
