"""The catalogue: the description files that come with the package, found by name."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from hardwire.models.errors import InputError

_FOLDERS = {
    "breakdown": ("breakdowns", ".yaml"),
    "chip": ("chips", ".yaml"),
    "process": ("processes", ".yaml"),
    "model": ("llms", ".json"),
    "server": ("servers", ".yaml"),
    "gpu": ("gpus", ".yaml"),
    "link": ("links", ".yaml"),
    "system": ("systems", ".yaml"),
    "engine": ("engines", ".yaml"),
}

_TRACES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz", ".csv.zst", ".jsonl.zst")

_NEAR = 0.6
"""Names at least as alike as this are offered for one that is wrong."""


def names(kind: str) -> list[str]:
    """List what the catalogue holds, sorted.

    Parameters
    ----------
    kind : str
        A key of the folders above: ``chip``, ``model``, ``system`` and so on.

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
    kind : str
        A key of the folders above: ``chip``, ``model``, ``system`` and so on.
    name : str or path-like
        The entry's name; upper and lower case are the same.

    Raises
    ------
    InputError
        If there is no such entry; the message names the nearest ones, or says that a file of that
        name has another ending.
    """
    text = name_or_path(kind, name)
    folder, ending = _FOLDERS[kind]
    for entry in names(kind):
        if entry.lower() == text.lower():
            return Path(__file__).parent / folder / f"{entry}{ending}"
    if text.lower().endswith(_TRACES):
        raise InputError(f"{text}: is a trace by its name, not a {kind}, whose file ends in .yaml")
    if os.path.isfile(text):
        raise InputError(f"{text}: is there, but the file of a {kind} ends in {ending}")
    raise InputError(
        f"'{text}' is no {kind} in the catalogue{did_you_mean(text, names(kind))}"
        " (hardwire list shows all)"
    )


def locate(kind: str, name: str | os.PathLike[str], folder: Path = Path()) -> Path:
    """Return the file that a user means: a path, or the name of a catalogue entry.

    Parameters
    ----------
    kind : str
        A key of the folders above: ``chip``, ``model``, ``system`` and so on.
    name : str or path-like
    folder : of the file that names it; a relative path begins there.

    Raises
    ------
    InputError
        If it is no path and there is no such entry, or it is neither text nor path.
    """
    text = name_or_path(kind, name)
    return folder / text if is_path(kind, text) else resolve(kind, text)


def is_path(kind: str, text: str) -> bool:
    """Whether a name is a path: it has the ending of its kind, in any case, or a separator."""
    endings = (".json",) if kind == "model" else (".yaml", ".yml")
    return text.lower().endswith(endings) or "/" in text or "\\" in text


def name_or_path(what: str, value: str | os.PathLike[str]) -> str:
    """Return a name or path as text; ``what`` begins the message of the `InputError`."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InputError(f"{what}: a name or a path is expected, not {type(value).__name__}")
    return text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean X or Y?"`` for the nearest choices, or nothing if none is near.

    Of dotted names such as ``sram.capacity_mib`` the field alone may be near: it may have moved to
    another section, have become one, or have got a longer name that ends in it.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    scores = {lower: _nearness(word.lower(), lower) for lower in by_lower}
    near = sorted((lower for lower in scores if scores[lower][0] >= _NEAR), key=scores.__getitem__)
    near = near[:-3:-1]
    return f"; did you mean {' or '.join(by_lower[key] for key in near)}?" if near else ""


def _nearness(word: str, choice: str) -> tuple[float, float]:
    """How alike two names are, from 0 to 1, and how alike as a whole."""

    def alike(one: str, other: str) -> float:
        return difflib.SequenceMatcher(None, other, one).ratio()

    whole = alike(word, choice)
    section, _, field = choice.partition(".")
    if not (section.isidentifier() and field.isidentifier()):
        return whole, whole
    asked = word.rpartition(".")[2]
    near_field = max(0.99 * alike(asked, field), 0.95 * field.endswith(f"_{asked}"))
    # Of a section that is asked for as if it were one number, its total is meant first.
    near_section = (0.95 if field == "total" else 0.9) * alike(asked, section)
    return max(whole, near_field, near_section), whole
