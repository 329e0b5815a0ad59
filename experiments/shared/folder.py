"""Files into a folder: all of them or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hardwire.models.errors import InputError


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
