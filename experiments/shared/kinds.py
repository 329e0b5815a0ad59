"""What a name or a file that a user gives is of."""

from __future__ import annotations

from pathlib import Path

from hardwire.models import catalogue
from hardwire.models.catalogue import did_you_mean
from hardwire.models.description import kind_of
from hardwire.models.errors import InputError
from hardwire.models.parameters import read_yaml
from hardwire.models.process import PROCESS
from hardwire.models.server import SERVER

KINDS = ("chip", "server", "process", "breakdown", "system", "gpu", "link", "model")
"""Kinds of files in the catalogue."""


def kind_of_name(text: str, studies: list[str]) -> str:
    """The first of ``kinds_of_name``, for those who want one."""
    return kinds_of_name(text, studies)[0]


def kinds_of_name(text: str, studies: list[str]) -> list[str]:
    """One of ``KINDS`` or ``study``; several where things of different kinds have one name.

    Parameters
    ----------
    text : a name, or a path.
    studies : names of those that are ready.

    Raises
    ------
    InputError
        If nothing is called so, or a file cannot be read.
    """
    path = Path(text)
    if text.lower().endswith((".yaml", ".yml")):
        return [_kind_of_file(path)]
    if text.lower().endswith(".json") or path.is_dir():
        return ["model"]
    ready = {kind: catalogue.names(kind) for kind in KINDS}
    ready["study"] = studies
    found = [kind for kind, names in ready.items() if text.lower() in names]
    if found:
        return found
    near = did_you_mean(text, [name for names in ready.values() for name in names])
    raise InputError(
        f"'{text}' is no chip, server, process, breakdown, system, GPU, link, model or study{near} "
        "(hardwire list shows all)"
    )


def _kind_of_file(path: Path) -> str:
    """The kind of a YAML file, by its keys and by what it extends."""
    data = read_yaml(path)
    parent = data.get("extends")
    if "axes" in data:
        return "study"
    looks = kind_of(data)
    for kind in ("breakdown", "system", "link"):
        if looks == kind or parent in catalogue.names(kind):
            return kind
    if "memory_tb_per_s" in data or parent in catalogue.names("gpu"):
        return "gpu"
    if {"kind", "chip", "issue", *SERVER.names} & data.keys():
        return "server"
    if isinstance(parent, str) and parent.lower() in catalogue.names("server"):
        return "server"
    if set(PROCESS.names) & data.keys() or parent in catalogue.names("process"):
        return "process"
    return "chip"
