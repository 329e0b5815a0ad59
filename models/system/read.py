"""The keys of a system file as objects: dies, links, placement, and files of experts' loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.models import catalogue
from hardwire.models.catalogue import did_you_mean
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.files import file_size
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import check_word, is_whole
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import HOST, Placement, Stage, balanced, dealt
from hardwire.models.system.slices import experts_of
from hardwire.models.system.topology import SHAPES, Link, links_of

MOST_DIES = 4096
ALL = "all"
"""What a placement says for all dies of the system."""

ROUND_ROBIN = "round robin"


def read_dies(dies: Any, chip: Any, where: str, folder: Path) -> dict[str, Chip]:
    """Dies by name: a number of them, all of the file's ``chip``, or a mapping of names to chips.

    Raises
    ------
    InputError
        If it is neither, or a chip cannot be opened.
    """
    opened: dict[str, Chip] = {}

    def chip_of(name: Any, at: str) -> Chip:
        if not isinstance(name, str):
            raise InputError(f"{where}: {at}: the name of a chip is expected")
        if name not in opened:
            try:
                path = catalogue.locate("chip", name, folder)
                file_size(path)
            except InputError as error:
                raise InputError(f"{where}: {at}: {error}") from None
            opened[name] = Chip.from_file(path)
        return opened[name]

    if isinstance(dies, Mapping):
        if not dies:
            raise InputError(f"{where}: dies: at least one is expected")
        return {
            str(die): chip_of(chip if of is None else of, f"dies.{die}") for die, of in dies.items()
        }
    number = whole(dies, f"{where}: dies")
    if number > MOST_DIES:
        raise InputError(f"{where}: dies: at most {MOST_DIES:,}, not {number:,}")
    same = chip_of(chip, "chip")
    return dict.fromkeys(die_names(number), same)


def die_names(number: int) -> list[str]:
    """Names of dies that have none: ``d0`` and so on, as wide as the last."""
    return [f"d{die:0{len(str(number - 1))}}" for die in range(number)]


def whole(value: Any, where: str) -> int:
    """A whole number of at least one.

    Raises
    ------
    InputError
        If it is none.
    """
    if not is_whole(value) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where}: a whole number of at least 1 is expected, not {value!r:.40}")
    return int(value)


def read_topology(
    keys: Mapping[str, Any], dies: Sequence[str], where: str, folder: Path
) -> tuple[Link, ...]:
    """The links of a system: those of its ``topology``, and those of its list of ``links``.

    Raises
    ------
    InputError
        On an unknown shape or kind, or an end that is not there.
    """
    found: list[Link] = []
    if "topology" in keys:
        topology = keys["topology"]
        at = f"{where}: topology"
        keys_of(topology, ("shape", "kind", "rows"), at)
        shape = check_word(f"{at}.shape", topology.get("shape"), SHAPES)
        rows = whole(topology["rows"], f"{at}.rows") if "rows" in topology else None
        kind = _kind(topology.get("kind"), f"{at}.kind", folder)
        found += links_of(shape, dies, kind, rows, at)
    for number, one in enumerate(_list(keys.get("links", []), f"{where}: links")):
        at = f"{where}: links[{number}]"
        keys_of(one, ("ends", "kind"), at)
        ends = one.get("ends")
        texts = isinstance(ends, list) and all(isinstance(end, str) for end in ends)
        if not texts or len(ends) != 2:
            raise InputError(f"{at}.ends: two names of dies are expected")
        found.append(Link((ends[0], ends[1]), _kind(one.get("kind"), at, folder)))
    return tuple(found)


def _kind(name: Any, where: str, folder: Path) -> LinkKind:
    if not isinstance(name, str):
        raise InputError(
            f"{where}: a kind of link is expected ({', '.join(catalogue.names('link'))}, or a file)"
        )
    try:
        return LinkKind.open(name, folder)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def read_placement(
    keys: Any, dies: Sequence[str], model: LanguageModel, where: str, folder: Path
) -> Placement:
    """Where a model lies, by the file's ``placement``.

    Raises
    ------
    InputError
        On an unknown or missing key, or a value that is none of those allowed.
    """
    at = f"{where}: placement"
    keys_of(keys, ("stages", "embedding", "head"), at)
    stages = tuple(
        _stage(one, dies, model, f"{at}.stages[{number}]", folder)
        for number, one in enumerate(_list(keys.get("stages"), f"{at}.stages"))
    )
    if not stages:
        raise InputError(f"{at}.stages: at least one is expected")
    embedding = keys.get("embedding", HOST)
    if not isinstance(embedding, str):
        raise InputError(f"{at}.embedding: the name of a die is expected, or {HOST}")
    head = _dies(keys["head"], dies, f"{at}.head") if "head" in keys else stages[-1].dies
    return Placement(stages, embedding, head)


def _stage(keys: Any, dies: Sequence[str], model: LanguageModel, where: str, folder: Path) -> Stage:
    keys_of(keys, ("layers", "dies", "rows", "split", "kv", "experts"), where)
    ends = keys.get("layers")
    if not (isinstance(ends, list) and len(ends) == 2 and all(is_whole(end) for end in ends)):
        raise InputError(f"{where}.layers: a first and a last layer are expected, as [0, 7]")
    split = keys.get("split", {})
    if not isinstance(split, Mapping):
        raise InputError(f"{where}.split: a mapping of matrices to splits is expected")
    group = _dies(keys.get("dies"), dies, f"{where}.dies")
    layers = range(int(ends[0]), int(ends[1]) + 1)
    return Stage(
        layers=layers,
        dies=group,
        rows=whole(keys.get("rows", 1), f"{where}.rows"),
        split={str(name): str(how) for name, how in split.items()},
        kv=str(keys.get("kv", usual_kv(model))),
        experts=_experts(
            keys.get("experts", ROUND_ROBIN), layers, len(group), model, where, folder
        ),
    )


def usual_kv(model: LanguageModel) -> str:
    """How a group splits the KV cache where it does not say: by heads, where there are several."""
    return "head" if model.latent is None else "position"


def _experts(
    how: Any, layers: range, dies: int, model: LanguageModel, where: str, folder: Path
) -> dict[int, tuple[int, ...]]:
    """For each layer with experts the place of the die of each."""
    where = f"{where}.experts"
    numbers = {layer: experts_of(model, layer) for layer in layers if layer < model.layers}
    numbers = {layer: count for layer, count in numbers.items() if count}
    if how == ROUND_ROBIN:
        return {layer: dealt(count, dies) for layer, count in numbers.items()}
    if not numbers:
        raise InputError(f"{where}: these layers of {model.name} have no experts")
    if isinstance(how, list):
        one = _listed(how, dies, where)
        for layer, count in numbers.items():
            if len(one) != count:
                raise InputError(
                    f"{where}: {len(one)} experts are listed, but layer {layer} has {count}"
                )
        return dict.fromkeys(numbers, one)
    if isinstance(how, Mapping) and set(how) == {"load"}:
        counts = read_loads(folder / str(how["load"]), model)
        return {
            layer: balanced(counts[layer, :count].tolist(), dies)
            for layer, count in numbers.items()
        }
    raise InputError(
        f"{where}: must be '{ROUND_ROBIN}', a list of experts for each die, or load: a file"
    )


def _listed(how: list[Any], dies: int, where: str) -> tuple[int, ...]:
    if len(how) != dies:
        raise InputError(f"{where}: a list for each of {dies} dies is expected, not {len(how)}")
    place: dict[int, int] = {}
    for die, experts in enumerate(how):
        for expert in _list(experts, f"{where}[{die}]"):
            if not is_whole(expert) or expert < 0:
                raise InputError(f"{where}[{die}]: numbers of experts are expected")
            if int(expert) in place:
                raise InputError(f"{where}[{die}]: expert {int(expert)} is given twice")
            place[int(expert)] = die
    missing = [expert for expert in range(len(place)) if expert not in place]
    if missing:
        raise InputError(f"{where}: expert {missing[0]} is on no die")
    return tuple(place[expert] for expert in range(len(place)))


def read_loads(path: Path, model: LanguageModel) -> np.ndarray:
    """Tokens that each expert was chosen for, a line of a CSV file for each layer of the model.

    Returns
    -------
    ndarray, shape (layers, experts)
        Lines of layers without experts are there, too, and are not read.

    Raises
    ------
    InputError
        If the file cannot be read, has another shape, or holds what is no number from 0 on.
    """
    file_size(path)
    try:
        found = np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"{path}: numbers with commas between are expected") from None
    experts = max(experts_of(model, layer) for layer in range(model.layers))
    if found.shape != (model.layers, experts):
        raise InputError(
            f"{path}: {found.shape[0]} lines of {found.shape[1]} numbers, but {model.name} has "
            f"{model.layers} layers of {experts} experts"
        )
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise InputError(f"{path}: numbers from 0 on are expected")
    return found


def _dies(found: Any, dies: Sequence[str], where: str) -> tuple[str, ...]:
    if found == ALL:
        return tuple(dies)
    names = [found] if isinstance(found, str) else found
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or not names:
        raise InputError(f"{where}: names of dies are expected, or {ALL}")
    return tuple(names)


def _list(found: Any, where: str) -> list[Any]:
    if not isinstance(found, list):
        raise InputError(f"{where}: a list is expected")
    return found


def keys_of(found: Any, allowed: Sequence[str], where: str) -> None:
    """Refuse what is no mapping, or has keys that are not allowed.

    Raises
    ------
    InputError
        With the key, and the nearest one.
    """
    if not isinstance(found, Mapping):
        raise InputError(f"{where}: is missing, or no mapping of {', '.join(allowed)}")
    for key in found:
        if key not in allowed:
            hint = did_you_mean(str(key), allowed)
            raise InputError(f"{where}: {key} is no known key{hint}")
