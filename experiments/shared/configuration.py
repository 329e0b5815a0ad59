"""The resolved configuration of what is saved: every parameter with kind, range and source.

``configuration.json`` states them as the run had them, so that a report never shows what the
catalogue has become since. Each room puts its own together from these parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hardwire.models import catalogue
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter, Quantity, quantities
from hardwire.models.server import Machine, Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import Handover, SplitServer
from hardwire.simulator.serving.replay import AnyServer

CONFIGURATION = "configuration.json"


def configuration(
    command: str, options: Mapping[str, Any], model: LanguageModel, **parts: list[dict[str, Any]]
) -> dict[str, Any]:
    """The whole of a command.

    Parameters
    ----------
    options : of the command, by name.
    parts : ``chips``, and ``servers`` where there are any, as the functions below give them; a
        sweep's ``axes`` and ``aims``.
    """
    return {
        "hardwire": version("hardwire"),
        "command": command,
        "options": dict(options),
        "model": model_configuration(model),
        **parts,
    }


def model_configuration(model: LanguageModel) -> dict[str, Any]:
    """Name and dimensions of a model."""
    fields = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab")
    return {"name": model.name, **{field: int(getattr(model, field)) for field in fields}}


def chip_configuration(chip: Chip) -> dict[str, Any]:
    """A chip's parameters with their origin, and the measurement that one was fitted to.

    Parameters that a user set carry ``filed``, the value of the file; those that a file sets over
    the measured chip that it extends carry its kind, range and source, and as ``filed`` the value
    of the measured chip; ``set`` tells the former, which is true, from the latter.
    ``calibration`` says of which chip it is, and whether the value that was
    fitted is still there.
    """
    measured = chip.as_filed or chip
    entries = []
    for name, spec in DECLARED.items():
        value = chip.value(name)
        parameter = chip.parameters.get(name)
        if parameter is None and name not in chip.overrides:
            continue
        entry = _entry(name, value, spec, parameter)
        if name in chip.overrides:
            # What a user set over a file's own parameter stands beside the value of that file.
            of_file = name not in chip.own and parameter != measured.parameters.get(name)
            filed = parameter.value if parameter and of_file else measured.value(name)
            entry["filed"] = _plain(filed)
            entry["set"] = name not in chip.own
        entries.append(entry)
    calibration = None
    if chip.calibration is not None:
        calibration = chip.calibration.model_dump(mode="json")
        calibration["chip"] = measured.name
        calibration["kept"] = chip.calibration.parameter not in chip.overrides
    return {
        "name": chip.name,
        "title": chip.title,
        "process": chip.process_name,
        "calibration": calibration,
        "parameters": entries,
    }


def server_configuration(server: AnyServer) -> dict[str, Any]:
    """A server's parameters with their origin."""
    if isinstance(server, BatchServer):
        declared, value = server.declared, server.value
    elif isinstance(server, SplitServer):
        declared, value = quantities(Handover), partial(getattr, server.handover)
    else:
        declared, value = quantities(Machine), partial(getattr, server.machine)
    return {
        "name": server.name,
        "title": server.title,
        "chip": chip_name(server.chip) if isinstance(server, Server) else None,
        "system": server.system.name if isinstance(server, SystemServer) else None,
        "issue": server.issue if isinstance(server, Server | SystemServer) else None,
        **_two_servers(server),
        "parameters": [
            _entry(name, value(name), declared[name], parameter)
            for name, parameter in server.parameters.items()
        ],
    }


def _two_servers(server: AnyServer) -> dict[str, Any]:
    """Both servers of a disaggregated one, and the link between them."""
    if not isinstance(server, SplitServer):
        return {}
    return {
        "prefill": server_configuration(server.prefill),
        "decode": server_configuration(server.decode),
        "link": server.link.name,
    }


def chip_name(chip: str) -> str:
    """A chip by name; of a file without its folder, which is nothing for a page that is sent."""
    return Path(chip).stem if catalogue.is_path("chip", chip) else chip


def _entry(name: str, value: Any, spec: Quantity, parameter: Parameter | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "value": _plain(value), "unit": spec.unit}
    found["meaning"] = spec.meaning
    if parameter is not None:
        found |= {
            "kind": parameter.kind,
            "range": None if parameter.range is None else list(parameter.range),
            "source": parameter.source,
        }
    return found


def _plain(value: Any) -> Any:
    """A parameter's value as JSON has it; infinite is None."""
    if isinstance(value, str):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number
