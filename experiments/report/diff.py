"""Two names, files, folders or objects of one kind, compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardwire.experiments.report.diff_lines import Diff, Side, compare
from hardwire.experiments.report.diff_saved import is_saved, saved_side
from hardwire.experiments.report.diff_sides import chips, server_side, servers, study_side
from hardwire.experiments.shared.kinds import kind_of_name
from hardwire.experiments.sweep.study import Study, ready_studies
from hardwire.models import catalogue
from hardwire.models.adapter.shape import open_adapter
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.serving.replay import AnyServer, open_server

Thing = Chip | AnyServer | Study
ADAPTER = "r16:all-linear"
LOAD = ("prompt", "output", "users")
KINDS = "chips, servers, studies and folders of saved runs"


def diff(a: str | Thing, b: str | Thing, asked: Mapping[str, Any] | None = None) -> Diff:
    """Say what differs between two things of one kind, in parameters and in results.

    Two chips run on the same model, adapter and load; nothing else is run. Of saved runs the
    results are those that were saved.

    Parameters
    ----------
    a, b : a chip, server or study, by name, file or as it is; or the folder of a saved run.
    asked : for two chips ``model``, ``adapter``, ``prompt``, ``output`` and ``users``, as
        ``hardwire run`` takes them; where there is no model, the first chip's own.

    Raises
    ------
    InputError
        If one of them cannot be read, if they are of different kinds, or if something is asked
        of others than chips.
    """
    asked = asked or {}
    first, second = (_opened(one) for one in (a, b))
    if isinstance(first, Chip) and isinstance(second, Chip):
        base = asked.get("model") or first.model
        model = base if isinstance(base, LanguageModel) else LanguageModel.open(base)
        adapter = asked.get("adapter", ADAPTER)
        loaded = open_adapter(adapter, model) if isinstance(adapter, str) else adapter
        load = {name: asked[name] for name in LOAD if name in asked}
        return chips(first, second, model, loaded, **load)
    for name in asked:
        raise InputError(f"--{name}: is for two chips, which are run to be compared")
    if isinstance(first, AnyServer) and isinstance(second, AnyServer):
        return servers(first, second)
    return compare(_side(first), _side(second))


def _opened(one: str | Thing) -> Thing | Path:
    """What a name stands for; a folder is a saved run."""
    if not isinstance(one, str):
        return one
    named = any(one.lower() in catalogue.names(kind) for kind in ("chip", "server"))
    if not named and is_saved(Path(one)):
        return Path(one)
    if not named and Path(one).is_dir():
        raise InputError(f"{one}: is no folder of a saved run (hardwire … --save {one})")
    kind = kind_of_name(one, list(ready_studies()))
    if kind == "chip":
        return Chip.open(one)
    if kind == "server":
        return open_server(one)
    if kind == "study":
        return Study.open(one)
    raise InputError(f"{one}: is a {kind}; what can be compared are {KINDS}")


def _side(one: Thing | Path) -> Side:
    """Anything but a chip, which is run, and one of two servers."""
    if isinstance(one, Path):
        return saved_side(one)
    if isinstance(one, Study):
        return study_side(one)
    if isinstance(one, Chip):
        return Side("chip", one.name)
    return server_side(one)
