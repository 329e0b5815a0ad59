"""Files that a user named: whatever is wrong with one ends in one sentence."""

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hardwire.models.errors import InputError

_LARGEST_DESCRIPTION = 4 * 2**20


def file_size(path: Path) -> int:
    """Return the size in bytes of a regular file.

    Raises
    ------
    InputError
        If there is no such file, it cannot be reached, or it is a folder, pipe or device (reading
        a pipe could wait for ever).
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise InputError(f"{path}: is {kind}, but a file is needed")
    return status.st_size


def read_bytes(path: Path, *, offset: int = 0, count: int) -> bytes:
    """Return ``count`` bytes of a file from ``offset``, fewer where the file ends before.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(count)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file of at most 4 MiB holds.

    Raises
    ------
    InputError
        If the file cannot be read, is larger, is not JSON, or is JSON but no object.
    """
    if file_size(path) > _LARGEST_DESCRIPTION:
        raise InputError(f"{path}: is larger than 4 MiB, which no file of its kind is")
    return parse_json_object(read_bytes(path, count=_LARGEST_DESCRIPTION), str(path))


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises
    ------
    InputError
        If it exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path}: already exists") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)})") from None


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write in that becomes ``out`` at the end, or nothing at all.

    The files are written to a hidden sibling, which is renamed when the block ends and removed
    when it fails or is interrupted.

    Raises
    ------
    InputError
        If ``out`` exists and is not an empty folder, or the operating system refuses to write.
    """
    temporary = out.absolute().parent / f".{out.absolute().name}.{secrets.token_hex(4)}.tmp"
    try:
        if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
            raise InputError(f"{out}: already exists; give a new or an empty folder")
        temporary.mkdir()
        yield temporary
        temporary.replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({reason(error)})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def parse_json_object(content: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in ``content``; ``where`` begins the message of the `InputError`."""
    try:
        parsed = json.loads(content)
    except RecursionError as error:
        raise InputError(f"{where}: is JSON nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: is not valid JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{where}: must hold a JSON object, not a {type(parsed).__name__}")
    return parsed


_MUST_BE = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def complaint(error: ValidationError) -> str:
    """Return the first thing that pydantic found wrong, as ``field: what``."""
    first = error.errors(include_url=False)[0]
    # pydantic adds the type it tried to the place of a value that may be of several types.
    tags = ("str", "int", "bool", "constrained-str", "list[str]", "list[int]")
    field = ".".join(str(part) for part in first["loc"] if part not in tags)
    what = what_is_wrong(error)
    return f"{field}: {what}" if field else what


def what_is_wrong(error: ValidationError) -> str:
    """Return the first thing that pydantic found wrong in our words, without the field."""
    first = error.errors(include_url=False)[0]
    kind, bounds = first["type"], first.get("ctx", {})
    if kind == "missing":
        return "this field is missing"
    if kind == "extra_forbidden":
        return "is no known field"
    if kind == "value_error":
        return first["msg"].removeprefix("Value error, ")
    if kind == "string_too_short":
        return "must not be empty"
    bound = next((key for key in _BOUNDS if key in bounds), None)
    if kind == "finite_number":
        must = "must be a finite number"
    elif bound is not None:
        return f"must be {_BOUNDS[bound]} {bounds[bound]:.15g}, not {first['input']}"
    elif kind == "literal_error":
        must = f"must be {bounds['expected']}"
    elif (first_word := kind.partition("_")[0]) in _MUST_BE:
        must = f"must be {_MUST_BE[first_word]}"
    else:
        must = first["msg"][0].lower() + first["msg"][1:]
    return f"{must}, not {first['input']!r:.60}"


def reason(error: Exception) -> str:
    """Return why the operating system refused, without the path, which the caller names."""
    return getattr(error, "strerror", None) or str(error)
