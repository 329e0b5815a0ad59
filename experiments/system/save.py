"""Answers and plans of systems on disk: all files of one or none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardwire.experiments.shared.configuration import (
    CONFIGURATION,
    chip_configuration,
    configuration,
)
from hardwire.experiments.shared.folder import json_file, write_text
from hardwire.experiments.shared.run_folder import write_run
from hardwire.experiments.shared.style import FORMATS, save_figure
from hardwire.experiments.system.answer import SystemAnswer
from hardwire.experiments.system.plan import Plan
from hardwire.models import catalogue
from hardwire.models.chip import Chip
from hardwire.models.schema import editor_line
from hardwire.models.system.write import system_text

SUMMARY, SYSTEM, CHIP = "system.json", "system.yaml", "chip.yaml"


@dataclass(frozen=True)
class Named:
    """How a user named chip, model and kind of link: by name, or by path."""

    chip: str
    model: str
    link: str


def save(
    answer: SystemAnswer, data: dict[str, Any], folder: Path, figures: str = FORMATS[0]
) -> list[Path]:
    """Write the answer, its configuration and a figure of the dies to ``folder``.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    return write_run(folder, _writers(answer, data, figures, "run"))


def save_plan(plan: Plan, named: Named, folder: Path, figures: str = FORMATS[0]) -> list[Path]:
    """Write a plan, the file of its system and a figure of the dies to ``folder``.

    ``hardwire run --system`` opens the file. A chip with settings gets a file of its own beside it.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    writers = _writers(plan.best, plan.to_dict(), figures, "plan")
    chip = plan.system.dies[0].chip
    changed = {key: value for key, value in chip.overrides.items() if key not in chip.own}
    chip_ref = _beside(named.chip, "chip", folder)
    if changed:
        text = _chip_text(chip, changed, chip_ref, folder)
        writers[CHIP] = lambda path: write_text(path, text)
        chip_ref = CHIP
    system = system_text(
        plan.system,
        folder,
        chips={chip.name: chip_ref},
        links={kind: _beside(named.link, "link", folder) for kind in _kinds(plan)},
        model=_beside(named.model, "model", folder),
    )
    writers[SYSTEM] = lambda path: write_text(path, system)
    return write_run(folder, writers)


def _kinds(plan: Plan) -> set[str]:
    return {link.kind.name for link in plan.system.links}


def _writers(
    answer: SystemAnswer, data: dict[str, Any], figures: str, command: str
) -> dict[str, Callable[[Path], Any]]:
    # Here, because matplotlib takes longer to import than an answer takes.
    from hardwire.experiments.system.plot import dies_figure  # noqa: PLC0415

    options = {
        "system": answer.system.name,
        "prompt": answer.prompt,
        "output": answer.output,
        "users": answer.users,
        "adapter": answer.adapter.name if answer.adapter else "none",
        "adapters": answer.adapters,
    }
    chips = {id(die.chip): die.chip for die in answer.system.dies}.values()
    whole = configuration(
        command, options, answer.system.model, chips=[chip_configuration(chip) for chip in chips]
    )
    return {
        SUMMARY: json_file(data),
        CONFIGURATION: json_file(whole),
        f"dies.{figures}": lambda path: save_figure(dies_figure(answer), path),
    }


def _beside(name: str, kind: str, folder: Path) -> str:
    """A name as a file in ``folder`` has to write it: a path relative to the folder."""
    if not catalogue.is_path(kind, name) and not (kind == "model" and os.path.isdir(name)):
        return name
    return os.path.relpath(Path(name).resolve(), folder.absolute())


def _chip_text(chip: Chip, changed: dict[str, Any], extends: str, folder: Path) -> str:
    """A chip file that sets over another what the user has set."""
    sections: dict[str, list[str]] = {}
    for key, value in changed.items():
        section, _, field = key.partition(".")
        shown = value if isinstance(value, str) else repr(float(value)).removesuffix(".0")
        sections.setdefault(section, []).append(f"  {field}: {shown}")
    lines = [
        editor_line("chip", folder.absolute()),
        f"extends: {json.dumps(extends, ensure_ascii=False)}",
        f"title: {json.dumps(chip.title, ensure_ascii=False)}",
    ]
    for section, fields in sections.items():
        lines += [f"{section}:", *fields]
    return "\n".join(lines) + "\n"
