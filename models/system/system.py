"""A system: dies, unlike or alike, the links between them, and where a model lies on them."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.chip import Chip
from hardwire.models.description import FileKind, read_description
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Quantity, check_value, check_word
from hardwire.models.server import LINKS
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import (
    COLLECTIVES,
    HOST,
    Placement,
    Stage,
    check_placement,
)
from hardwire.models.system.read import (
    read_dies,
    read_placement,
    read_topology,
    whole,
)
from hardwire.models.system.slices import check_split, with_experts
from hardwire.models.system.topology import SWITCH, Hop, Link, links_of, routes

MEMORY = Quantity("GiB", 0, 1e6, "memory beside each die for keys and values")

ONE = "die"
"""The name of the die of a system of one."""


@dataclass(frozen=True)
class Die:
    """A die: its name in the system, and its chip."""

    name: str
    chip: Chip


@dataclass(frozen=True)
class System:
    """Dies that hold one model together.

    Attributes
    ----------
    name, title : of the file, or made.
    dies, links : what there is.
    model : what they hold.
    placement : where.
    places : tokens that are in flight at most, or None where only units and memory set a bound.
    host_links : ``each`` die has a host link, or one is ``shared`` by all.
    source : where the system is from.
    collective : how a group forms sums, one of ``COLLECTIVES``.
    memory_gib : beside each die, for keys and values that its SRAM does not hold; how long it takes
        to read them there is not modelled.
    """

    name: str
    title: str
    dies: tuple[Die, ...]
    links: tuple[Link, ...]
    model: LanguageModel
    placement: Placement
    places: int | None = None
    host_links: str = "each"
    source: str = ""
    memory_gib: float = 0.0
    collective: str = COLLECTIVES[0]

    def __post_init__(self) -> None:
        try:
            _check(self)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    def __repr__(self) -> str:
        chips = " and ".join(sorted({die.chip.name for die in self.dies}))
        dies = f"{len(self.dies)} dies of {chips}" if len(self.dies) > 1 else f"one die of {chips}"
        kinds = " and ".join(sorted({link.kind.name for link in self.links}))
        stages = f"{len(self.placement.stages)} stages" if len(self.dies) > 1 else ""
        return one_line(self, self.name, self.model.name, dies, kinds, stages)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> System:
        """Read a system from the catalogue, or from a path that ends in ``.yaml`` or ``.yml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, an unknown or missing key, links to dies that
            are not there, a placement with holes or doubles, or a split that does not divide.
        """
        return cls.from_file(catalogue.locate("system", name))

    @classmethod
    def from_file(cls, path: Path) -> System:
        """Read a system file; chips, links and the model that it names by path begin beside it."""
        found = read_description(path, SYSTEM)
        other, where, folder = found.others, path.name, path.parent
        model = LanguageModel.open(found.references["model"])
        if not isinstance(other.get("chip", ""), str):
            raise InputError(f"{where}: chip: the name of a chip is expected")
        dies = tuple(
            Die(die, chip)
            for die, chip in read_dies(other.get("dies"), other.get("chip"), where, folder).items()
        )
        names = [die.name for die in dies]
        host_links = check_word(f"{where}: host_links", other.get("host_links", "each"), LINKS)
        source = other.get("source", "")
        if not isinstance(source, str) or not source.strip():
            raise InputError(f"{where}: source: is missing: where is this system from?")
        links = read_topology(other, names, where, folder)
        placement = read_placement(other.get("placement"), names, model, where, folder)
        places = whole(other["places"], f"{where}: places") if "places" in other else None
        try:
            return cls(
                found.name, found.title, dies, links, model, placement, places, host_links, source,
                check_value(f"{where}: memory_gib", other.get("memory_gib", 0), MEMORY),
                check_word(
                    f"{where}: collective", other.get("collective", COLLECTIVES[0]), COLLECTIVES
                ),
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"{where}{str(error).removeprefix(found.name)}") from None

    @classmethod
    def of_one(cls, chip: Chip, model: LanguageModel) -> System:
        """A model on one die of a chip."""
        stage = with_experts(Stage(range(model.layers), (ONE,)), model)
        embedding = ONE if chip.rom.embedding == "rom" else HOST
        return cls(
            name=chip.name,
            title=chip.title,
            dies=(Die(ONE, chip),),
            links=(),
            model=model,
            placement=Placement((stage,), embedding, (ONE,)),
        )

    @classmethod
    def pipeline(
        cls,
        name: str,
        chip: Chip,
        model: LanguageModel,
        kind: LinkKind,
        stages: Sequence[Stage],
        *,
        shape: str = "chain",
        embedding: str = HOST,
        head: Sequence[str] = (),
        title: str = "",
        source: str = "",
    ) -> System:
        """Equal dies in the order of the stages that use them, linked by a topology.

        Parameters
        ----------
        stages : where they do not say where experts lie, these are dealt to the dies in turn.
        head : dies of the LM head; by default those of the last stage.
        """
        names = [die for stage in stages for die in stage.dies]
        return cls(
            name=name,
            title=title or f"{model.name} on {len(names)} dies of {chip.name}",
            dies=tuple(Die(die, chip) for die in names),
            links=links_of(shape, names, kind, None, name) if len(names) > 1 else (),
            model=model,
            placement=Placement(
                tuple(with_experts(stage, model) for stage in stages),
                embedding,
                tuple(head) or stages[-1].dies,
            ),
            source=source,
        )

    def die(self, name: str) -> Die:
        """The die of that name."""
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, Die]:
        return {die.name: die for die in self.dies}

    @functools.cached_property
    def _routes(self) -> dict[str, Mapping[str, tuple[Hop, ...]]]:
        return {}

    def route(self, sender: str, receiver: str) -> tuple[Hop, ...]:
        """The links from a die to another, over the fewest; none to itself.

        See ``hardwire.models.system.topology.routes``.
        """
        if sender not in self._routes:
            self._routes[sender] = routes(self.links, sender)
        return self._routes[sender][receiver]

    def to_dict(self) -> dict[str, Any]:
        """Dies, links and placement as plain values."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "model": self.model.name,
            "dies": {die.name: die.chip.name for die in self.dies},
            "links": [{"ends": list(link.ends), "kind": link.kind.name} for link in self.links],
            "places": self.places,
            "host_links": self.host_links,
            "memory_gib": self.memory_gib,
            "collective": self.collective,
            "placement": self.placement.to_dict(),
        }

    @property
    def alike(self) -> bool:
        """Whether all dies are of one chip."""
        return all(die.chip is self.dies[0].chip for die in self.dies)


def _check(system: System) -> None:
    """Refuse a system that cannot be: see ``System.open``."""
    names = [die.name for die in system.dies]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"dies: '{twice}' is given twice")
    ends = {*names, SWITCH}
    for number, link in enumerate(system.links):
        for end in link.ends:
            if end not in ends:
                raise InputError(f"links[{number}]: there is no die '{end}'")
        if link.ends[0] == link.ends[1]:
            raise InputError(f"links[{number}]: both ends are '{link.ends[0]}'")
    check_placement(system.placement, names, system.model.layers, "placement")
    for number, stage in enumerate(system.placement.stages):
        check_split(system.model, stage, f"placement.stages[{number}]")
    reached = routes(system.links, names[0])
    for name in names:
        if name not in reached:
            raise InputError(f"links: no way from '{names[0]}' to '{name}'")


SYSTEM = FileKind(
    "system",
    {},
    references={"model": "model"},
    files=("model",),
    others=(
        "source",
        "chip",
        "dies",
        "topology",
        "links",
        "placement",
        "places",
        "host_links",
        "memory_gib",
        "collective",
    ),
)
"""What may stand in the file of a system."""
