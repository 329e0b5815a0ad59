"""The catalogue: the description files that come with the package, found by name."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from hardwire.models.errors import InputError

_FOLDERS = {
    "chip": ("chips", ".yaml"),
    "process": ("processes", ".yaml"),
    "model": ("llms", ".json"),
    "server": ("servers", ".yaml"),
}


def names(kind: str) -> list[str]:
    """List what the catalogue holds, sorted.

    Parameters
    ----------
    kind : {"chip", "process", "model", "server"}

    Returns
    -------
    list of str
        File names without their ending, such as ``llama-3.1-8b``.
    """
    folder, ending = _FOLDERS[kind]
    files = (Path(__file__).parent / folder).glob(f"*{ending}")
    return sorted(file.name.removesuffix(ending) for file in files)


def resolve(kind: str, name: str | os.PathLike[str]) -> Path:
    """Return the file of a catalogue entry.

    Parameters
    ----------
    kind : {"chip", "process", "model", "server"}
    name : str or path-like
        The entry's name; upper and lower case are the same.

    Raises
    ------
    InputError
        If there is no such entry; the message names the nearest ones.
    """
    text = name_or_path(kind, name)
    folder, ending = _FOLDERS[kind]
    for entry in names(kind):
        if entry.lower() == text.lower():
            return Path(__file__).parent / folder / f"{entry}{ending}"
    raise InputError(
        f"'{text}' is no {kind} in the catalogue{did_you_mean(text, names(kind))}"
        " (hardwire list shows all)"
    )


def locate(kind: str, name: str | os.PathLike[str]) -> Path:
    """Return the file that a user means: a path, or the name of a catalogue entry.

    A path has the ending of its kind (in upper or lower case) or a separator.

    Parameters
    ----------
    kind : {"chip", "process", "model", "server"}
    name : str or path-like

    Raises
    ------
    InputError
        If it is no path and there is no such entry, or it is neither text nor path.
    """
    text = name_or_path(kind, name)
    endings = (".json",) if kind == "model" else (".yaml", ".yml")
    if text.lower().endswith(endings) or "/" in text or "\\" in text:
        return Path(text)
    return resolve(kind, text)


def name_or_path(what: str, value: str | os.PathLike[str]) -> str:
    """Return a name or path as text; ``what`` begins the message of the `InputError`."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InputError(f"{what}: a name or a path is expected, not {type(value).__name__}")
    return text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean X or Y?"`` for the nearest choices, or nothing if none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=2)
    return f"; did you mean {' or '.join(by_lower[key] for key in near)}?" if near else ""
