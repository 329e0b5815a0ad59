"""One thing as the object of ``--json``: what ``show`` knows, or an adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hardwire.experiments.shared.configuration import chip_name
from hardwire.experiments.shared.kinds import kinds_of_name
from hardwire.models import breakdown, catalogue
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.description import read_description
from hardwire.models.gpu import Gpu, GpuSheet
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter, Quantity, quantities
from hardwire.models.process import PROCESS, Process
from hardwire.models.server import Machine
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import Handover, SplitServer
from hardwire.models.system.link import LinkKind, LinkSheet
from hardwire.models.system.system import System


@dataclass(frozen=True)
class Shown:
    """What ``show`` was asked for, by name or file.

    Raises
    ------
    InputError
        Of ``to_dict``, where there is none of that name, or its file cannot be used.
    """

    text: str

    def to_dict(self) -> dict[str, Any]:
        """Kind, name and all that it states; of parameters value, unit, kind, range and source.

        Under ``also`` what else has the name, of other kinds.
        """
        from hardwire.experiments.sweep.study import ready_studies  # noqa: PLC0415 - slow to import

        kinds = kinds_of_name(self.text, list(ready_studies()))
        first, *more = [{"kind": kind, **_OBJECTS[kind](self.text)} for kind in kinds]
        return {**first, "also": more} if more else first


@dataclass(frozen=True)
class Inspected:
    """An adapter on a chip, and what keeps it from being used there."""

    chip: Chip
    model: LanguageModel
    adapter: Adapter
    obstacle: str | None

    def to_dict(self) -> dict[str, Any]:
        """What the adapter holds, its bytes, and whether it fits."""
        from hardwire.simulator.datapath import adapter_bytes, adapter_format  # noqa: PLC0415

        adapter = self.adapter
        return {
            "adapter": adapter.name,
            "model": self.model.name,
            "chip": self.chip.name,
            "targets": list(adapter.targets),
            "ranks": sorted(adapter.ranks),
            "scales": sorted({module.scale for module in adapter.modules}),
            "layers": len({module.layer for module in adapter.modules}),
            "parameters": adapter.parameters,
            "file_bytes": {
                name: adapter.checkpoint_bytes(dtype)
                for name, dtype in (("float32", "F32"), ("float16", "F16"))
            },
            "adapter_format": adapter_format(self.chip, adapter),
            "bytes": adapter_bytes(self.chip, adapter),
            "fits": self.obstacle is None,
            "obstacle": self.obstacle,
        }


def _parameters(
    parameters: Mapping[str, Parameter], declared: Mapping[str, Quantity]
) -> dict[str, Any]:
    return {
        name: {
            "value": parameter.value,
            "unit": declared[name].unit,
            "kind": parameter.kind,
            "range": None if parameter.range is None else list(parameter.range),
            "source": parameter.source,
        }
        for name, parameter in parameters.items()
    }


def _chip(text: str) -> dict[str, Any]:
    chip = Chip.open(text)
    about = {"name": chip.name, "title": chip.title, "model": chip.model}
    return {**about, "parameters": _parameters(chip.parameters, DECLARED)}


def _server(text: str) -> dict[str, Any]:
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415

    server = open_server(text)
    about = {"name": server.name, "title": server.title}
    if isinstance(server, BatchServer):
        parameters = _parameters(server.parameters, server.declared)
        return {**about, "model": server.model.name, "parameters": parameters}
    if isinstance(server, SplitServer):
        about |= {"prefill": server.prefill.name, "decode": server.decode.name}
        about |= {"link": server.link.name, "model": server.model.name}
        return {**about, "parameters": _parameters(server.parameters, quantities(Handover))}
    if isinstance(server, SystemServer):
        about |= {"system": server.system.name, "model": server.model.name}
    else:
        about |= {"chip": chip_name(server.chip)}
    return {**about, "parameters": _parameters(server.parameters, quantities(Machine))}


def _gpu(text: str) -> dict[str, Any]:
    gpu = Gpu.open(text)
    parameters = _parameters(gpu.parameters, quantities(GpuSheet))
    return {"name": gpu.name, "title": gpu.title, "parameters": parameters}


def _link(text: str) -> dict[str, Any]:
    kind = LinkKind.open(text)
    parameters = _parameters(kind.parameters, quantities(LinkSheet))
    return {"name": kind.name, "title": kind.title, "parameters": parameters}


def _process(text: str) -> dict[str, Any]:
    found = read_description(catalogue.locate("process", text), PROCESS)
    about = {"name": found.name, "title": found.title}
    return {**about, "parameters": _parameters(found.parameters, quantities(Process))}


def _breakdown(text: str) -> dict[str, Any]:
    chip = breakdown.Breakdown.open(text)
    about = {"name": chip.name, "title": chip.title, "process": chip.process_name}
    stated = {name: chip.parameters[name] for name in breakdown.DECLARED}
    return {**about, "parameters": _parameters(stated, breakdown.DECLARED)}


def _model(text: str) -> dict[str, Any]:
    model = LanguageModel.open(text)
    return {**dataclasses.asdict(model), "parameter_count": model.parameter_count}


def _study(text: str) -> dict[str, Any]:
    from hardwire.experiments.sweep.study import Study  # noqa: PLC0415

    study = Study.open(text)
    axes = {
        axis.name: {"values": list(axis.values), "range": [axis.low, axis.high]}
        for axis in study.axes
    }
    return {
        "name": study.name,
        "title": study.title,
        "points": study.points,
        "sampling": study.sampling,
        "fidelity": study.fidelity,
        "chip": study.base.chip.name,
        "axes": axes,
        "constraints": [one.text for one in study.constraints],
        "objectives": dict(study.objectives),
        "metrics": list(study.metrics),
    }


_OBJECTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "chip": _chip,
    "server": _server,
    "gpu": _gpu,
    "link": _link,
    "system": lambda text: System.open(text).to_dict(),
    "process": _process,
    "breakdown": _breakdown,
    "model": _model,
    "study": _study,
}
