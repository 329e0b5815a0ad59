"""A replay's options as a file that runs the same again: ``config.yaml``."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from hardwire.experiments.replay.replay import Setup
from hardwire.models.errors import InputError
from hardwire.models.files import file_size, reason
from hardwire.models.parameters import read_yaml

_FILES = "files"
_VERSION = "hardwire"


def read_config(path: Path) -> dict[str, Any]:
    """The options in a saved ``config.yaml``, which runs the same again.

    Raises
    ------
    InputError
        If the file cannot be read, or a file that it names has changed since.
    """
    data = read_yaml(path)
    data.pop(_VERSION, None)
    files = data.pop(_FILES, {})
    if not isinstance(files, dict):
        raise InputError(f"{path}: {_FILES}: must be a mapping of options to digests")
    checked = Setup.of(data, lambda problem: f"{path}: {problem}")
    for field, file in checked.files().items():
        if field in files and digest(file) != files[field]:
            raise InputError(f"{path}: {field}: {file} has changed since the run was saved")
    for field in files:
        if field not in checked.files():
            missing = data.get(field, f"what {field} names")
            raise InputError(f"{path}: {field}: {missing} does not exist any more")
    return data


def config_text(setup: Setup) -> str:
    """The text of ``config.yaml``: all options as resolved, and digests of the user's files."""
    values = setup.model_dump(mode="json", exclude_none=True)
    files = setup.files()
    for field, path in files.items():
        values[field] = str(path.absolute())
    if files:
        values[_FILES] = {field: digest(path) for field, path in files.items()}
    head = "# hardwire replay --config FILE runs this again, to the same bytes.\n"
    body = {_VERSION: version("hardwire"), **values}
    return head + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    file_size(path)
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
