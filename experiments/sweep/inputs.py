"""The files that a study names: digests of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardwire.experiments.shared.inputs import (
    adapter_files,
    adapter_set_files,
    description_files,
    joint_digest,
)
from hardwire.experiments.sweep.fidelity_options import PREFIX
from hardwire.experiments.sweep.system_settings import LINK
from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.synthetic import source_file

if TYPE_CHECKING:
    from hardwire.experiments.sweep.study import Study

_FILES: dict[str, Callable[[str], tuple[Path, ...]]] = {
    "process": lambda text: description_files("process", text),
    "model": lambda text: description_files("model", text),
    "adapter": adapter_files,
    LINK: lambda text: description_files("link", text),
    "replay.source": lambda text: (source_file(text),),
    "replay.server": lambda text: description_files("server", text),
    "replay.adapters": adapter_set_files,
    "replay.client_rates": lambda text: (Path(text),),
}
"""Settings that lead to files, and which. A chip stands in the base alone, which is read once."""


def names_files(study: Study) -> bool:
    """Whether points of a study read files, besides the base, which is read already."""
    return study.fidelity == "replay" or any(
        name in _FILES for axis in study.axes for name in axis.names
    )


def study_inputs(study: Study) -> dict[tuple[str, Any], str]:
    """Digests of the files that points of a study read, by setting and value.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    named: dict[str, tuple[Any, ...]] = {PREFIX + k: (v,) for k, v in study.replay.items()}
    for axis in study.axes:
        for name in axis.names:
            varied = tuple(variant[name] for variant in axis.variants)
            named[name] = varied or axis.values
    found = {}
    for name in named.keys() & _FILES.keys():
        for value in named[name]:
            if files := _FILES[name](str(value)):
                found[name, value] = joint_digest(files)
    return found


def refuse_edited(study: Study, before: Mapping[tuple[str, Any], str]) -> None:
    """Refuse to go on with files that have changed since ``study_inputs`` gave ``before``.

    Raises
    ------
    InputError
        Naming one that is not what it was.
    """
    now = study_inputs(study)
    for name, value in before:
        if now[name, value] != before[name, value]:
            raise InputError(
                f"{study.name}: {name}: what {value} stands for changed meanwhile; start again"
            )
