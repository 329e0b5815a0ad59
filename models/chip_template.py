"""A chip file to begin with: valid as it is, with every parameter that it may set in comments."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from hardwire.models import catalogue
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.errors import InputError
from hardwire.models.files import write_new
from hardwire.models.schema import editor_line

_HEAD = """\
{schema}
# A chip over {parent}: what is not stated here is as there.
#   capacity_mib: 512                                a value; units such as 0.5GiB are converted
#   clock_ghz: {{value: 1.5, range: [1.4, 1.6], kind: assumed, source: "why"}}   and what is open
# `hardwire show {file}` lists every parameter, `hardwire run --chip {file}` runs it.
extends: {extends}
title: {title}
"""


def chip_template(name: str, extends: str, file: Path) -> str:
    """The text of a chip file that extends another.

    Parameters
    ----------
    name : of the new chip, for its title.
    extends : a chip of the catalogue, or a path.
    file : where the text will lie; a path to the other chip is written relative to it.

    Raises
    ------
    InputError
        If the name cannot be one of a file, or the chip cannot be opened.
    """
    if not re.fullmatch(r"[\w][\w.+ -]*", name):
        raise InputError(f"NAME: '{name}' is no name of a chip: letters, digits, '-', '_' and '.'")
    chip = Chip.open(extends)
    parent = extends
    if catalogue.is_path("chip", extends):
        parent = os.path.relpath(Path(extends).resolve(), file.absolute().parent.resolve())
    text = _HEAD.format(
        schema=editor_line("chip", file.absolute().parent),
        parent=chip.name,
        file=file,
        extends=json.dumps(parent, ensure_ascii=False) if parent != chip.name else parent,
        title=json.dumps(f"{name}, over {chip.name}", ensure_ascii=False),
    )
    section = ""
    for key in chip.parameters:
        group, _, field = key.partition(".")
        if group == "process":
            continue
        if group != section:
            text += f"\n# {group}:\n"
            section = group
        spec = DECLARED[key]
        value = chip.value(key)
        shown = value if isinstance(value, str) else f"{value:.10g}"
        unit = f"{spec.unit}, " if spec.unit else ""
        text += f"#   {field}: {shown}".ljust(38) + f" # {unit}{spec.meaning}\n"
    return text


def write_chip(name: str, extends: str, out: Path | None = None) -> Path:
    """Write ``chip_template`` to a new file, by default ``NAME.yaml`` in the working folder.

    Raises
    ------
    InputError
        As ``chip_template``, or if the file exists, ends in neither ``.yaml`` nor ``.yml``, or
        cannot be written.
    """
    path = Path(f"{name}.yaml") if out is None else out
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"--out {path}: a chip's file ends in .yaml")
    text = chip_template(name, extends, path)
    write_new(path, text)
    return path
