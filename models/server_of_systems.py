"""A server whose requests are served by systems of several dies, from a YAML file.

It is written as a server of cards is, with ``kind: system`` and the name of a system instead of
that of a chip. What is said there of cards is said of systems: ``cards`` counts them, and
``users_per_card`` is of each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hardwire.models import catalogue
from hardwire.models.description import SYSTEM_MARK, FileKind, read_description
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter
from hardwire.models.server import Cards, Machine, issue_of
from hardwire.models.system.system import Die, System


@dataclass(frozen=True)
class SystemServer(Cards):
    """A server file of ``kind: system``, resolved.

    Attributes
    ----------
    system : of which the server has ``machine.cards``, with its dies' chips as they are served.
    issue : ``serial`` or ``pipelined`` on all dies instead of their own, or None.
    machine : numbers and choices; its price is of everything, all dies included.
    parameters : the origin of each number.
    """

    name: str
    title: str
    system: System
    issue: str | None
    machine: Machine
    parameters: Mapping[str, Parameter]

    def __repr__(self) -> str:
        return self._line(self.system.name)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> SystemServer:
        """Read a server of systems from the catalogue, or from a path that ends in ``.yaml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, a server of another kind, an unknown or missing
            key, a system that cannot be opened, a wrong unit or a value out of range.
        """
        path = catalogue.locate("server", name)
        found = read_description(path, SYSTEM_SERVER)
        return cls(
            name=found.name,
            title=found.title,
            system=System.open(found.references["system"]),
            issue=issue_of(found, path),
            machine=found.sections[""],
            parameters=found.parameters,
        )

    @property
    def model(self) -> LanguageModel:
        """That a system holds."""
        return self.system.model

    @property
    def users(self) -> int:
        """Requests that a system has in its dies at a time: no more than it has places."""
        asked = int(self.machine.users_per_card)
        return min(asked, self.system.places or asked)


def issued(system: System, issue: str | None) -> System:
    """A system whose dies all have that issue; the same where it is None."""
    if issue is None:
        return system
    chips = {id(d.chip): d.chip.with_values({"datapath.issue": issue}) for d in system.dies}
    dies = tuple(Die(die.name, chips[id(die.chip)]) for die in system.dies)
    return replace(system, dies=dies)


SYSTEM_SERVER = FileKind(
    "server",
    {"": Machine},
    references={"system": "system"},
    files=("system",),
    others=("issue",),
    marked=SYSTEM_MARK,
)
"""What may stand in the file of a server of systems."""
