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

KINDS = ("chip", "server", "process", "breakdown", "gpu", "model")
"""Kinds of files in the catalogue."""


def kind_of_name(text: str, studies: list[str]) -> str:
    """``chip``, ``server``, ``process``, ``breakdown``, ``gpu``, ``model`` or ``study``.

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
        data = read_yaml(path)
        if "axes" in data:
            return "study"
        parent = data.get("extends")
        if kind_of(data) == "breakdown" or parent in catalogue.names("breakdown"):
            return "breakdown"
        if "memory_tb_per_s" in data or parent in catalogue.names("gpu"):
            return "gpu"
        if {"kind", "chip", "issue", *SERVER.names} & data.keys():
            return "server"
        if isinstance(parent, str) and parent.lower() in catalogue.names("server"):
            return "server"
        if set(PROCESS.names) & data.keys() or parent in catalogue.names("process"):
            return "process"
        return "chip"
    if text.lower().endswith(".json") or path.is_dir():
        return "model"
    ready = {kind: catalogue.names(kind) for kind in KINDS}
    ready["study"] = studies
    for kind, names in ready.items():
        if text.lower() in names:
            return kind
    near = did_you_mean(text, [name for names in ready.values() for name in names])
    raise InputError(
        f"'{text}' is no chip, server, process, breakdown, GPU, model or study{near} "
        "(hardwire list shows all)"
    )
