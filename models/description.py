"""Description files: a title, names from the catalogue, and sections of parameters with sources.

Chips, processes and servers are written in the same way; a ``FileKind`` says what may stand in one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hardwire.models import catalogue
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.files import file_size
from hardwire.models.parameters import Parameter, quantities, read_section, read_yaml


@dataclass(frozen=True)
class FileKind:
    """What may stand in a kind of description file, besides ``title`` and ``extends``.

    Attributes
    ----------
    catalogue : the kind of entry that it is in the catalogue.
    sections : by name, the dataclass of each section; one named "" for parameters that stand at
        the top of the file.
    references : by key, the kind of catalogue entry that the key names.
    files : references that may be paths, too, relative to the file.
    others : further keys, left to the reader of the kind.
    marked : what the file says under ``kind``; "" where it must not have that key.
    """

    catalogue: str
    sections: Mapping[str, type]
    references: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    marked: str = ""

    @property
    def names(self) -> list[str]:
        """Every parameter by dotted name."""
        return [
            f"{name}.{field}" if name else field
            for name, section in self.sections.items()
            for field in quantities(section)
        ]


@dataclass(frozen=True)
class Description:
    """A description file, resolved.

    Attributes
    ----------
    name : of the file, without its ending.
    title : its own.
    parent : the file that it extends, or None.
    stated : keys that the file states itself.
    references : by key, a name that is in the catalogue, or an absolute path.
    others : by key, as read.
    sections : by name, with plain values.
    parameters : by dotted name, with their origin.
    """

    name: str
    title: str
    parent: Path | None
    stated: frozenset[str]
    references: dict[str, str]
    others: dict[str, Any]
    sections: dict[str, Any]
    parameters: dict[str, Parameter]


def read_description(path: Path, kind: FileKind) -> Description:
    """Read a description file and the one that it ``extends``, if any: of the catalogue, or a path.

    A file that extends another states only what differs, parameter by parameter.

    Raises
    ------
    InputError
        On an unreadable file, a name that is not in the catalogue, an unknown key, a missing
        parameter, a wrong unit or a value out of range; the sentence begins with the file's name.
    """
    where = path.name
    data, parent, stated, setters = _with_parent(path, kind)
    mark = data.pop("kind", "")
    if mark != kind.marked:
        told = kind.marked or "left out"
        raise InputError(f"{where}: kind: must be {told}, but it is {mark or 'left out'}")
    at_top = "" in kind.sections
    allowed = {"title", *kind.references, *kind.others, *kind.sections}
    for key in () if at_top else data:
        if key not in allowed:
            hint = did_you_mean(str(key), allowed)
            raise InputError(f"{where}: {key} is no known section{hint}")
    words = {key: data.pop(key, None) for key in ("title", *kind.references)}
    for key, word in words.items():
        if not isinstance(word, str):
            raise InputError(f"{where}: {key} is missing (a name is expected)")
    for key, of in kind.references.items():
        if key not in kind.files:
            _entry(path, key, of, words[key])
    others = {key: data.pop(key) for key in kind.others if key in data}
    sections: dict[str, Any] = {}
    parameters: dict[str, Parameter] = {}
    for name, section in kind.sections.items():
        body = data.get(name, {}) if name else data
        mine = {key: file for (of, key), file in setters.items() if of == name}
        sections[name], found = read_section(where, name, body, section, kind.names, mine)
        parameters |= {f"{name}.{key}" if name else key: p for key, p in found.items()}
    title = words.pop("title")
    return Description(path.stem, title, parent, stated, words, others, sections, parameters)


def mark_of(path: Path, kind: str) -> str:
    """What a description file, or the one that it extends, says under ``kind``.

    Raises
    ------
    InputError
        As ``read_description``, on what is read here.
    """
    data = _with_parent(path, FileKind(kind, {})).data
    return str(data.get("kind", ""))


def kind_of(data: Mapping[str, Any]) -> str:
    """What a YAML file looks like by its keys, such as ``chip``; empty where they do not say."""
    for kind, keys in _MARKS.items():
        if not keys.isdisjoint(map(str, data)):
            return kind
    return "server" if data.get("kind") in SERVER_MARKS else ""


GPU_MARKS = ("batch", "parts")
"""What files of GPU servers say under ``kind``: times that were measured, or follow from parts."""

SYSTEM_MARK = "system"
"""What files of servers of systems of several dies say there."""

SPLIT_MARK = "disaggregated"
"""What files say of a server that computes prompts on GPUs and decodes on hardwired cards."""

SERVER_MARKS = (*GPU_MARKS, SYSTEM_MARK, SPLIT_MARK)

_MARKS = {
    "study": {"axes", "fidelity", "objectives"},
    "adapter catalogue": {"adapters"},
    "system": {"dies", "topology", "placement"},
    "server": {"chip", "cards", "users_per_card"},
    "breakdown": {"operation", "neurons", "vector_unit"},
    "GPU": {"memory_tb_per_s", "bf16_tflops"},
    "link": {"lane_gb_per_s", "latency_ns"},
    "chip": {"die", "datapath", "rom", "sram", "attention", "lora", "formats", "floorplan"},
}


class _Read(NamedTuple):
    """A file over the one that it extends.

    ``setters`` has the name of the extending file that states a parameter, by section and field.
    """

    data: dict[str, Any]
    parent: Path | None
    stated: frozenset[str]
    setters: dict[tuple[str, str], str]


def _with_parent(path: Path, kind: FileKind, extending: tuple[Path, ...] = ()) -> _Read:
    """Read a file and, over those that they extend, the files before it."""
    data = read_yaml(path)
    looks = kind_of(data)
    if looks.lower() not in ("", kind.catalogue):
        raise InputError(f"{path.name}: is a {looks}, not a {kind.catalogue}")
    parent = data.pop("extends", None)
    stated = frozenset(str(key) for key in data)
    for key in kind.files:
        if isinstance(data.get(key), str):
            file = _entry(path, key, kind.references[key], data[key])
            if catalogue.is_path(kind.references[key], data[key]):
                data[key] = str(file.resolve())
    if parent is None:
        return _Read(data, None, stated, {})
    file = _entry(path, "extends", kind.catalogue, str(parent))
    extending = (*extending, path.resolve())
    if file.resolve() in extending:
        raise InputError(f"{path.name}: extends: {parent} extends this file in turn")
    base, _, _, setters = _with_parent(file, kind, extending)
    for key, value in data.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        if key in kind.sections and both:
            base[key] = {**base[key], **value}
        else:
            base[key] = value
        if key in kind.sections and isinstance(value, dict):
            setters |= {(key, str(field)): path.name for field in value}
        elif "" in kind.sections:
            setters["", str(key)] = path.name
    return _Read(base, file, stated, setters)


def _entry(path: Path, key: str, kind: str, name: str) -> Path:
    """The catalogue entry, or the file, that ``path`` names under ``key``."""
    where = f"{path.name}: {key}"
    try:
        if kind not in ("chip", "model", "server", "gpu", "link", "system"):
            return catalogue.resolve(kind, name)
        file = catalogue.locate(kind, name, path.parent)
        file_size(file)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return file
