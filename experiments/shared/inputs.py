"""Files behind the names that a user gives, the catalogue's own included, and their digests.

What is computed from a file is known by the file's bytes: a digest here is part of a point's key,
of a study's and a search's identity, and of a saved run's configuration. Times of files do not
count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from hardwire.models import catalogue
from hardwire.models.adapter.stored import CONFIG, WEIGHTS
from hardwire.models.errors import InputError
from hardwire.models.files import file_size, reason
from hardwire.models.parameters import read_yaml

_REFERENCES = {"chip": "chip", "process": "process", "model": "model"}
"""Keys of description files that name another one, and its kind."""


def description_files(kind: str, text: str, folder: Path = Path()) -> tuple[Path, ...]:
    """Files of a chip, process, model or server: its own, what it extends and what it names.

    Parameters
    ----------
    kind : of the catalogue.
    text : name or path, as ``hardwire.models.catalogue.locate`` takes it.
    folder : what a relative path starts from.

    Raises
    ------
    InputError
        On an unknown name or a file that cannot be read.
    """
    path = folder / catalogue.locate(kind, text)
    if kind == "model":
        return (path / "config.json" if path.is_dir() else path,)
    data = read_yaml(path)
    found = [path]
    for key, of in {"extends": kind, **_REFERENCES}.items():
        if isinstance(data.get(key), str):
            found += description_files(of, data[key], path.parent)
    return tuple(found)


def adapter_files(text: str, folder: Path = Path()) -> tuple[Path, ...]:
    """Files of an adapter: none of a shape or of ``none``."""
    path = folder / text
    if path.is_dir():
        return path / CONFIG, path / WEIGHTS
    is_shape = ":" in text and not path.exists()
    return () if is_shape or text.lower() == "none" else (path,)


def adapter_set_files(text: str) -> tuple[Path, ...]:
    """Files of the adapters that a server offers: none of a number, else the catalogue's."""
    if text.strip().removeprefix("-").isdigit():
        return ()
    path = Path(text)
    entries = read_yaml(path).get("adapters")
    found = [path]
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            found += adapter_files(entry["path"], path.parent)
    return tuple(dict.fromkeys(found))


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    file_size(path)
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None


def joint_digest(paths: Sequence[Path]) -> str:
    """SHA-256 of several files in their order, whatever they are called."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(digest(path).encode())
    return f"sha256:{whole.hexdigest()}"
