"""Description files: a title, names from the catalogue, and sections of parameters with sources.

Chips, processes and servers are written in the same way; a ``FileKind`` says what may stand in one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardwire.models import catalogue
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
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
    others : further keys, left to the reader of the kind.
    marked : what the file says under ``kind``; "" where it must not have that key.
    """

    catalogue: str
    sections: Mapping[str, type]
    references: Mapping[str, str] = dataclasses.field(default_factory=dict)
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
    parent : the catalogue entry that it extends, or None.
    stated : keys that the file states itself.
    references : by key, a name that is in the catalogue.
    others : by key, as read.
    sections : by name, with plain values.
    parameters : by dotted name, with their origin.
    """

    name: str
    title: str
    parent: str | None
    stated: frozenset[str]
    references: dict[str, str]
    others: dict[str, Any]
    sections: dict[str, Any]
    parameters: dict[str, Parameter]


def read_description(path: Path, kind: FileKind) -> Description:
    """Read a description file and the catalogue file that it ``extends``, if any.

    A file that extends another states only what differs, parameter by parameter.

    Raises
    ------
    InputError
        On an unreadable file, a name that is not in the catalogue, an unknown key, a missing
        parameter, a wrong unit or a value out of range; the sentence begins with the file's name.
    """
    where = path.name
    data, parent, stated = _with_parent(path, kind)
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
        _entry(where, key, of, words[key])
    others = {key: data.pop(key) for key in kind.others if key in data}
    sections: dict[str, Any] = {}
    parameters: dict[str, Parameter] = {}
    for name, section in kind.sections.items():
        body = data.get(name, {}) if name else data
        sections[name], found = read_section(where, name, body, section, kind.names)
        parameters |= {f"{name}.{key}" if name else key: p for key, p in found.items()}
    title = words.pop("title")
    return Description(path.stem, title, parent, stated, words, others, sections, parameters)


def mark_of(path: Path, kind: str) -> str:
    """What a description file, or the catalogue file that it extends, says under ``kind``.

    Raises
    ------
    InputError
        As ``read_description``, on what is read here.
    """
    data, _, _ = _with_parent(path, FileKind(kind, {}))
    return str(data.get("kind", ""))


def _with_parent(path: Path, kind: FileKind) -> tuple[dict[str, Any], str | None, frozenset[str]]:
    """A file over the one that it extends, the name of that one, and the file's own keys."""
    data = read_yaml(path)
    parent = data.pop("extends", None)
    stated = frozenset(str(key) for key in data)
    if parent is None:
        return data, None, stated
    parent = str(parent)
    base = read_yaml(_entry(path.name, "extends", kind.catalogue, parent))
    if "extends" in base:
        raise InputError(f"{path.name}: extends: {parent} itself extends another {kind.catalogue}")
    for key, value in data.items():
        if key in kind.sections and isinstance(value, dict) and isinstance(base.get(key), dict):
            base[key] = {**base[key], **value}
        else:
            base[key] = value
    return base, parent, stated


def _entry(where: str, key: str, kind: str, name: str) -> Path:
    """The catalogue entry that a file names under ``key``."""
    try:
        return catalogue.resolve(kind, name)
    except InputError as error:
        raise InputError(f"{where}: {key}: {error}") from None
