"""What decides a point that is a replay: its options and chip, whether they can be, its key."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.experiments.shared.inputs import joint_digest
from hardwire.experiments.sweep.axis import Axis
from hardwire.experiments.sweep.design import Design
from hardwire.experiments.sweep.fidelity_options import PREFIX, typed
from hardwire.experiments.sweep.keys import KEY, point_keys, program_version
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import check_value
from hardwire.models.server import Server

if TYPE_CHECKING:
    from hardwire.experiments.replay.setup import Setup
    from hardwire.simulator.serving.replay import AnyServer


class Opened:
    """Servers, chips and models by name, each read once for many points.

    Not for longer: another sweep finds what the files say then.
    """

    def __init__(self) -> None:
        from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415 - of replays only

        self.server = functools.cache(open_server)
        self.chip = functools.cache(Chip.open)
        self.model = functools.cache(LanguageModel.open)

    def chip_of(self, server: Server, chip: str | None) -> Chip:
        """The chip on the cards of a server, or the one that the options name instead."""
        return self.chip(chip or server.chip)


def card_chip(options: Mapping[str, Any]) -> str:
    """The chip of the study's base, or on the cards of the server; ``hc1`` for a GPU server.

    Raises
    ------
    InputError
        On a server that cannot be used.
    """
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415 - of replays only

    if "chip" in options:
        return str(options["chip"])
    server = open_server(str(options["server"]))
    return server.chip if isinstance(server, Server) else "hc1"


def check_replays(
    options: Mapping[str, Any], varied: tuple[Axis, ...], base: Mapping[str, Any], where: str
) -> None:
    """Refuse what a study says that no replay can take.

    Parameters
    ----------
    options, varied, base : the sections ``replay``, ``axes`` and ``base`` of the study.

    Raises
    ------
    InputError
        On settings of load, model or adapter, chip settings of a GPU server, or options of which a
        value is wrong whatever the others are.
    """
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415 - of replays only

    for name in base:
        if name.startswith(PREFIX):
            raise InputError(f"{where}: base.{name}: options stand in the section replay")
    axes = {name: axis for axis in varied for name in axis.names}
    at = {**{name: f"base.{name}" for name in base}, **{name: f"axes.{name}" for name in axes}}
    for name, place in at.items():
        if not name.startswith(PREFIX) and name not in (*DECLARED, "process", "chip"):
            raise InputError(
                f"{where}: {place}: a replay takes load and adapters from its options "
                "(replay.rate, replay.adapters, replay.rank, …), and the model from its server"
            )
    if "source" not in options and "replay.source" not in axes:
        raise InputError(f"{where}: replay.source: name a preset or a trace file")
    chip = [name for name in at if not name.startswith(PREFIX)]
    if chip and "replay.server" not in axes:
        server = open_server(str(options["server"]))
        refuse_gpu(server, f"{where}: {at[chip[0]]}")
    for name, axis in axes.items():
        if name.startswith(PREFIX):
            for value in _values(axis, name):
                point_setup(options, {name: value}, f"{where}: axes.{name}: ")
    if not any(name.startswith(PREFIX) for name in axes):
        point_setup(options, {}, f"{where}: ")


def replay_keys(
    options: Mapping[str, Any],
    chip: Chip,
    columns: tuple[str, ...],
    settings: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Keys of points: all options, server and chip as resolved, and every file behind them.

    Parameters
    ----------
    options, chip : of the study: its section ``replay``, and its base's chip.
    columns : metrics that are stored.
    settings : by name, arrays of shape ``(points,)``.

    Returns
    -------
    Array of dtype ``KEY``, shape ``(points,)``.
    """
    from hardwire.experiments.replay.config import FILE_FIELDS, inputs  # noqa: PLC0415 - of replays only

    points = len(next(iter(settings.values())))
    context = {
        "version": program_version(),
        "fidelity": "replay",
        "columns": ",".join(columns),
    }
    over = set_over(options, chip)
    digests, opened = functools.cache(joint_digest), Opened()
    read: dict[tuple[Any, ...], dict[str, str]] = {}
    alike: dict[tuple[tuple[str, bool], ...], list[int]] = {}
    of_points = []
    for point in range(points):
        mine = {name: values[point] for name, values in settings.items()}
        setup = point_setup(options, mine)
        server = opened.server(setup.server)
        found: dict[str, Any] = {
            PREFIX + k: repr(v) for k, v in setup.model_dump(exclude_none=True).items()
        }
        found["server"] = repr(dataclasses.astuple(server))
        files = tuple(getattr(setup, field) for field in FILE_FIELDS)
        if files not in read:
            read[files] = {f"file.{k}": digests(paths) for k, paths in inputs(setup).items()}
        found |= read[files]
        if isinstance(server, Server):
            found |= card_design(over, server, mine, setup.chip, opened).resolved()
        else:  # whose points fail where chip settings stand beside it
            found |= {k: v for k, v in mine.items() if not k.startswith(PREFIX)}
        of_points.append(found)
        kind = tuple((name, isinstance(value, str)) for name, value in found.items())
        alike.setdefault(kind, []).append(point)
    keys = np.empty(points, KEY)
    for kind, members in alike.items():
        columns_of = {name: np.array([of_points[n][name] for n in members]) for name, _ in kind}
        keys[members] = point_keys({**context, **columns_of}, len(members))
    return keys


def point_setup(options: Mapping[str, Any], settings: Mapping[str, Any], where: str = "") -> Setup:
    """The options of a point: the section, and what the axes set over it.

    Raises
    ------
    InputError
        On a value that none can have; ``where`` begins the message.
    """
    from hardwire.experiments.replay.setup import Setup  # noqa: PLC0415 - of replays only

    varied = {k.removeprefix(PREFIX): v for k, v in settings.items() if k.startswith(PREFIX)}
    both = {**options, **typed(varied)}
    both.setdefault("source", "sharegpt")  # named by an axis, where only others are checked
    both.setdefault("engine", "compiled")  # the same log in a fraction of the time
    return Setup.of(both, lambda problem: f"{where}{PREFIX}{problem}")


def _values(axis: Axis, name: str) -> tuple[Any, ...]:
    """What an axis sets one option to; of an interval its ends."""
    if axis.variants:
        return tuple(variant[name] for variant in axis.variants)
    return axis.values or (axis.low, axis.high)


def refuse_gpu(server: AnyServer, name: str) -> None:
    """Refuse a setting of a chip on a server that has none.

    Raises
    ------
    InputError
        On a GPU server, or one of several dies; ``name`` is the setting.
    """
    if not isinstance(server, Server):
        gpu = isinstance(server, BatchServer)
        what = "is a GPU server, which has none" if gpu else "has dies with chips of their own"
        raise InputError(f"{name}: is of a hardwired chip; {server.name} {what}")


def set_over(options: Mapping[str, Any], chip: Chip) -> dict[str, Any]:
    """What the chip of a study's base has set over the one that it starts from."""
    filed = Chip.open(card_chip(options))
    values = {name: chip.value(name) for name in DECLARED}
    return {name: value for name, value in values.items() if value != filed.value(name)}


def card_design(
    over: Mapping[str, Any],
    server: Server,
    settings: Mapping[str, Any],
    chip: str | None,
    opened: Opened,
) -> Design:
    """The chip on the cards, with what the study's base (``set_over``) and a point set over it.

    Parameters
    ----------
    chip : that the options name, if any; otherwise it is the server's.

    Raises
    ------
    InputError
        If there can be no such chip.
    """
    values = dict(over)
    if "process" in settings:
        values = {k: v for k, v in values.items() if not k.startswith("process.")}
    for name, value in settings.items():
        if not name.startswith(PREFIX):
            values[name] = value.item() if isinstance(value, np.generic) else value
    filed = opened.chip_of(server, chip)
    design = Design(filed, opened.model(filed.model)).with_settings(values)
    kv_bits = "formats.kv_bits"  # a count between those that exist can be drawn
    check_value(f"{server.name}: {kv_bits}", design.chip.value(kv_bits), DECLARED[kv_bits])
    return design
