"""A replay's options as a file that runs the same again: ``config.yaml``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from hardwire.experiments.replay.meanings import MEANINGS
from hardwire.experiments.replay.setup import Setup, field_choices
from hardwire.experiments.shared.inputs import (
    adapter_set_files,
    description_files,
    digest,
    joint_digest,
)
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.parameters import read_yaml
from hardwire.models.schema import Schema, editor_line, head, name_of, of_record, word
from hardwire.simulator.serving.load.synthetic import source_file

_CONTENTS = "contents"
_FILES = "files"
_VERSION = "hardwire"
FILE_FIELDS = ("source", "server", "chip", "adapters", "client_rates")
"""Options that lead to files."""


def inputs(setup: Setup) -> dict[str, tuple[Path, ...]]:
    """Every file that a replay reads, by the option that leads to it.

    Raises
    ------
    InputError
        On an option that names nothing, or a description file that cannot be read.
    """
    found = {
        "server": description_files("server", setup.server),
        "chip": () if setup.chip is None else description_files("chip", setup.chip),
        **load_files(setup),
    }
    return {field: found[field] for field in FILE_FIELDS if found.get(field)}


def load_files(setup: Setup) -> dict[str, tuple[Path, ...]]:
    """Those of them that hold requests or adapters.

    Raises
    ------
    InputError
        As ``inputs``.
    """
    found = {
        "source": (source_file(setup.source),),
        "adapters": adapter_set_files(setup.adapters or "0"),
        "client_rates": () if setup.client_rates is None else (Path(setup.client_rates),),
    }
    return {field: paths for field, paths in found.items() if paths}


def config_schema() -> Schema:
    """The JSON Schema of a saved ``config.yaml``."""
    found = head(
        "Saved replay",
        "What hardwire replay --save wrote: hardwire replay --config runs it again.",
    )
    found |= of_record(Setup)
    found["properties"] = {
        name: {"description": MEANINGS[name], **field}
        for name, field in found["properties"].items()
    }
    nothing = {"type": "null"}
    for name, choices in field_choices().items():
        field, forms = found["properties"][name], word(choices)["anyOf"]
        forms += [nothing] if nothing in field.get("anyOf", ()) else []
        found["properties"][name] = {"description": MEANINGS[name], "anyOf": forms}
    server = name_of("server", or_path=True)
    found["properties"]["server"] = {"description": MEANINGS["server"], **server}
    found["properties"][_VERSION] = {"description": "the version that saved it", "type": "string"}
    for key, which in ((_FILES, "files of your own"), (_CONTENTS, "all that an option stands for")):
        found["properties"][key] = {
            "description": f"SHA-256 of {which}, by option",
            "type": "object",
            "properties": {name: {"type": "string"} for name in FILE_FIELDS},
            "additionalProperties": False,
        }
    return found


def read_config(path: Path) -> dict[str, Any]:
    """The options in a saved ``config.yaml``, which runs the same again.

    Raises
    ------
    InputError
        If the file cannot be read, or a file that it names has changed since.
    """
    data = read_yaml(path)
    if not isinstance(data.pop(_VERSION, ""), str):
        raise InputError(f"{path}: {_VERSION}: must be the version that saved the file")
    files, contents = (data.pop(key, {}) for key in (_FILES, _CONTENTS))
    for key, digests in ((_FILES, files), (_CONTENTS, contents)):
        if not isinstance(digests, dict):
            raise InputError(f"{path}: {key}: must be a mapping of options to digests")
        for field in digests:
            if field not in FILE_FIELDS:
                hint = did_you_mean(str(field), FILE_FIELDS)
                raise InputError(f"{path}: {key}.{field}: is no option that names a file{hint}")
    checked = Setup.of(data, lambda problem: f"{path}: {problem}")
    for field, file in checked.files().items():
        if field in files and digest(file) != files[field]:
            raise InputError(f"{path}: {field}: {file} has changed since the run was saved")
    for field in files:
        if field not in checked.files():
            missing = data.get(field, f"what {field} names")
            raise InputError(f"{path}: {field}: {missing} does not exist any more")
    try:
        behind_all = inputs(checked)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for field, behind in behind_all.items():
        if field in contents and joint_digest(behind) != contents[field]:
            names = ", ".join(file.name for file in behind)
            raise InputError(
                f"{path}: {field}: what {data[field]} stands for ({names}) has changed since the "
                f"run was saved; without its line under {_CONTENTS} it runs as it is now"
            )
    return data


def config_text(setup: Setup, folder: Path) -> str:
    """The text of ``config.yaml`` in a folder: its schema, all options as resolved, and digests.

    Those under ``files`` are of the user's own, those under ``contents`` of all that an option
    stands for, the catalogue's files and adapters included.
    """
    values = setup.model_dump(mode="json", exclude_none=True)
    files = setup.files()
    for field, path in files.items():
        values[field] = str(path.absolute())
    if files:
        values[_FILES] = {field: digest(path) for field, path in files.items()}
    values[_CONTENTS] = {field: joint_digest(behind) for field, behind in inputs(setup).items()}
    head = (
        f"{editor_line('config', folder)}\n"
        "# hardwire replay --config FILE runs this again, to the same bytes.\n"
    )
    body = {_VERSION: version("hardwire"), **values}
    return head + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
