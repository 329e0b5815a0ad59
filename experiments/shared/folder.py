"""Files into a folder: all of them or none; and values as JSON."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hardwire.models.errors import InputError
from hardwire.models.files import file_size, read_bytes


def write_all(folder: Path, writers: Mapping[str, Callable[[Path], Any]]) -> list[Path]:
    """Write files by name to ``folder``, which is made if need be.

    Everything is first written beside its place and then renamed file by file, so that a full disk
    or an interrupt leaves earlier files as they were.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".hardwire-", dir=folder))
        try:
            for name, write in writers.items():
                write(staging / name)
            for name in writers:
                os.replace(staging / name, folder / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise InputError(f"--save {folder}: {error.strerror or error}") from None
    finally:
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return [folder / name for name in writers]


def write_text(target: Path, text: str) -> None:
    """Write one file, which appears whole or not at all.

    What is no file, such as a device or a pipe, is written to where it is: a file that takes its
    name would take its place.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
        descriptor, name = tempfile.mkstemp(prefix=".hardwire-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from None


def text_file(text: str) -> Callable[[Path], Any]:
    """A writer of a text, for ``write_all``."""
    return lambda path: path.write_text(text, encoding="utf-8")


def json_file(data: Mapping[str, Any]) -> Callable[[Path], Any]:
    """A writer of one JSON object, for ``write_all``."""
    return text_file(to_json(data) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises
    ------
    InputError
        If it cannot be read, is not JSON, or not an object.
    """
    try:
        data = json.loads(read_bytes(path, count=file_size(path)).decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}: not valid JSON{where}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: a JSON object is expected")
    return data


def to_json(data: Mapping[str, Any]) -> str:
    """JSON text; infinities, which JSON has not, become null."""
    return json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
