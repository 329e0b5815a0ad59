"""Points of a study that are replays: a workload on a server, whose chip the study may vary."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.experiments.shared.inputs import adapter_set_files, joint_digest
from hardwire.experiments.shared.nested import at_or_none
from hardwire.experiments.sweep.fidelity_options import PREFIX
from hardwire.experiments.sweep.fidelity_setup import (
    Opened,
    card_design,
    point_setup,
    refuse_gpu,
    set_over,
)
from hardwire.experiments.sweep.metrics import REPLAY
from hardwire.models.area import area
from hardwire.models.chip import Chip
from hardwire.models.cost import die_cost_usd
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.obstacles import OBSTACLES
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.load.client_rates import ClientRates
from hardwire.simulator.serving.load.synthetic import preset_names, source_file
from hardwire.simulator.serving.load.traces.read import read_workload

if TYPE_CHECKING:
    from hardwire.experiments.replay.prepared import Prepared
    from hardwire.experiments.replay.setup import Setup
    from hardwire.experiments.sweep.study import Study
    from hardwire.simulator.serving.load.workload import Workload

REFUSED = OBSTACLES.index("the replay cannot be set up so")
"""Obstacle of a point whose replay raises ``InputError``."""


class UnreadableError(InputError):
    """A file that no point can be computed from: bad input, not a design that cannot be."""


def evaluate_replay(study: Study, settings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replay every point; see ``hardwire.experiments.sweep.fidelity.evaluate``.

    Points that differ in policy or chip alone share one workload, also from chunk to chunk.

    Raises
    ------
    UnreadableError
        If a file that a point names cannot be read.
    """
    from hardwire.experiments.replay.config import load_files  # noqa: PLC0415 - of replays only
    from hardwire.experiments.replay.replay import prepare, run  # noqa: PLC0415 - as above
    from hardwire.experiments.replay.setup import LOAD_FIELDS  # noqa: PLC0415 - as above

    points = len(next(iter(settings.values())))
    result = {name: np.full(points, np.nan) for name in study.columns}
    result["obstacle"] = np.zeros(points, np.int8)
    result["failure"] = np.full(points, "", object)
    over, opened = set_over(study.replay, study.base.chip), Opened()
    digests = functools.cache(joint_digest)

    def load(setup: Setup, model: LanguageModel) -> tuple[Workload, AdapterSet]:
        try:
            files = tuple((k, digests(paths)) for k, paths in load_files(setup).items())
            fields = tuple((field, getattr(setup, field)) for field in LOAD_FIELDS)
            return _load(fields, model, files)
        except InputError:
            _refuse_unreadable(setup, model)
            raise

    for point in range(points):
        mine = {name: values[point] for name, values in settings.items()}
        try:
            setup = point_setup(study.replay, mine)
            server = opened.server(setup.server)
            filed = opened.chip_of(server, setup.chip) if isinstance(server, Server) else None
            prepared = prepare(setup, load, server=server, chip=filed)
            prepared, chip = _with_chip(over, prepared, mine, opened)
            summary = run(prepared, chip=chip).summary
        except UnreadableError:
            raise
        except InputError as error:
            result["obstacle"][point] = REFUSED
            result["failure"][point] = str(error)
            continue
        for name, value in _numbers(summary, chip, opened).items():
            result[name][point] = value
    return result


@functools.lru_cache(maxsize=4)  # a chunk of points has few, and a long one takes much memory
def _load(
    fields: tuple[tuple[str, Any], ...], model: LanguageModel, files: tuple[tuple[str, str], ...]
) -> tuple[Workload, AdapterSet]:
    """A load, made once for all chunks of a worker.

    Parameters
    ----------
    fields : name and value of all ``LOAD_FIELDS``.
    files : the option and the digest of each file that is read, so that an edited one is another.
    """
    from hardwire.experiments.replay.replay import make_load  # noqa: PLC0415 - of replays only
    from hardwire.experiments.replay.setup import Setup  # noqa: PLC0415 - as above

    return make_load(Setup.model_construct(server="", **dict(fields)), model)


def _refuse_unreadable(setup: Setup, model: LanguageModel) -> None:
    """Read the files of a load each by itself: options that go not together are none of theirs."""
    try:
        if setup.source not in preset_names():
            read_workload(source_file(setup.source), time_unit=setup.time_unit, sort=setup.sort)
        if setup.adapters is not None and adapter_set_files(setup.adapters):
            AdapterSet.from_file(setup.adapters, model)
        if setup.client_rates is not None:
            ClientRates.open(setup.client_rates)
    except InputError as error:
        raise UnreadableError(str(error)) from None


def _with_chip(
    over: Mapping[str, Any], prepared: Prepared, settings: Mapping[str, Any], opened: Opened
) -> tuple[Prepared, Chip | None]:
    """What a point runs on: its server, and the chip on the cards of a hardwired one."""
    server = prepared.server
    stated = [name for name in settings if not name.startswith(PREFIX)]
    if not isinstance(server, Server):
        for name in stated:
            refuse_gpu(server, name)
        return prepared, None
    if "datapath.issue" in stated:  # over the server's, which is over the chip's
        prepared = dataclasses.replace(prepared, server=dataclasses.replace(server, issue=None))
    return prepared, card_design(over, server, settings, prepared.setup.chip, opened).chip


def _numbers(summary: Mapping[str, Any], chip: Chip | None, opened: Opened) -> dict[str, float]:
    """Every metric that a summary has a number for."""
    found: dict[str, float] = {}
    for name in REPLAY:
        value = at_or_none(summary, name)
        if value is not None:
            found[name] = float(value)
    if chip is not None:
        blocks_mm2 = area(chip, opened.model(chip.model))["total"]
        found["area_mm2.total"] = float(blocks_mm2)
        found["die_area_mm2"] = float(chip.die.area_mm2)
        found["die_cost_usd"] = float(die_cost_usd(chip, blocks_mm2))
    return found
