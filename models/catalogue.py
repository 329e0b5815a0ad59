"""The catalogue: the description files that come with the package, found by name."""

import difflib
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


def resolve(kind: str, name: str) -> Path:
    """Return the file of a catalogue entry.

    Parameters
    ----------
    kind : {"chip", "process", "model", "server"}
    name : str
        The entry's name; upper and lower case are the same.

    Raises
    ------
    InputError
        If there is no such entry; the message names the nearest ones.
    """
    folder, ending = _FOLDERS[kind]
    for entry in names(kind):
        if entry.lower() == name.lower():
            return Path(__file__).parent / folder / f"{entry}{ending}"
    raise InputError(
        f"'{name}' is no {kind} in the catalogue{did_you_mean(name, names(kind))}"
        " (hardwire list shows all)"
    )


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean X or Y?"`` for the nearest choices, or nothing if none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=2)
    return f"; did you mean {' or '.join(by_lower[key] for key in near)}?" if near else ""
