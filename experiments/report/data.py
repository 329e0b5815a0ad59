"""What a saved folder holds for the report: the resolved configuration, and curves as numbers.

``configuration.json`` states every parameter with its kind, range and source as the run had it, so
that a report never shows what the catalogue has become since.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.gpu_server import Batching, BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter, Quantity, quantities
from hardwire.models.server import Machine, Server
from hardwire.simulator.belief.draws import PERCENTILES, draw_chips
from hardwire.simulator.closed_form import predict
from hardwire.simulator.serving.replay import open_server
from hardwire.simulator.single import Result

if TYPE_CHECKING:
    from hardwire.experiments.sweep import Study

CONFIGURATION = "configuration.json"
RANKS = "rank.json"
BAND_DRAWS = 500
CURVE_POINTS = 32


def run_configuration(result: Result) -> dict[str, Any]:
    """The resolved configuration of ``hardwire run``."""
    adapter = result.adapter
    return {
        "hardwire": version("hardwire"),
        "command": "run",
        "options": {
            "chip": result.chip.name,
            "model": result.model.name,
            "adapter": "none" if adapter is None else adapter.adapter.name,
            "prompt": result.prompt,
            "output": result.output,
            "users": result.users,
            "issue": result.chip.datapath.issue,
            "engine": result.engine,
        },
        "model": model_configuration(result.model),
        "chips": [chip_configuration(result.chip)],
    }


def replay_configuration(
    command: str, options: Mapping[str, Any], servers: list[str]
) -> dict[str, Any]:
    """The resolved configuration of ``hardwire replay`` or ``hardwire compare``.

    Parameters
    ----------
    options : of the replay, by name.
    servers : catalogue names or files.

    Raises
    ------
    InputError
        If a server's file, or its chip's, cannot be read.
    """
    opened = [open_server(name) for name in servers]
    chips = {server.chip: Chip.open(server.chip) for server in opened if isinstance(server, Server)}
    models = {
        model.name: model
        for model in (
            *(server.model for server in opened if isinstance(server, BatchServer)),
            *(LanguageModel.open(chip.model) for chip in chips.values()),
        )
    }
    return {
        "hardwire": version("hardwire"),
        "command": command,
        "options": {key: value for key, value in options.items() if value is not None},
        "model": model_configuration(next(iter(models.values()))),
        "servers": [server_configuration(server) for server in opened],
        "chips": [chip_configuration(chip) for chip in chips.values()],
    }


def study_configuration(study: Study) -> dict[str, Any]:
    """The resolved configuration of ``hardwire sweep``: the base design, and what varies."""
    base = study.base
    values = base.resolved()
    filed = {name: parameter.value for name, parameter in base.chip.parameters.items()}
    changed = {name: values[name] for name, value in filed.items() if values[name] != value}
    chip = dataclasses.replace(base.chip, overrides=changed, as_filed=base.chip.with_values(filed))
    others = {k: v for k, v in values.items() if k.startswith(("workload.", "adapter."))}
    return {
        "hardwire": version("hardwire"),
        "command": "sweep",
        "options": {
            "study": study.name,
            "chip": base.chip.name,
            "fidelity": study.fidelity,
            "sampling": study.sampling,
            "axes": [axis.name for axis in study.axes],
            "constraints": [constraint.text for constraint in study.constraints],
            "objectives": dict(study.objectives),
            **others,
            **study.replay,
        },
        "model": model_configuration(base.model),
        "chips": [chip_configuration(chip)],
    }


def model_configuration(model: LanguageModel) -> dict[str, Any]:
    """Name and dimensions of a model."""
    fields = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab")
    return {"name": model.name, **{field: int(getattr(model, field)) for field in fields}}


def chip_configuration(chip: Chip) -> dict[str, Any]:
    """A chip's parameters with their origin, and the measurement that one was fitted to.

    Parameters that a user set carry ``filed``, the value of the file.
    """
    filed = chip.as_filed or chip
    entries = []
    for name, spec in DECLARED.items():
        value = chip.value(name)
        parameter = filed.parameters.get(name) or chip.parameters.get(name)
        if parameter is None and name not in chip.overrides:
            continue
        entry = _entry(name, value, spec, parameter)
        if name in chip.overrides:
            entry["filed"] = _plain(filed.value(name))
        entries.append(entry)
    calibration = None if chip.calibration is None else chip.calibration.model_dump(mode="json")
    return {
        "name": chip.name,
        "title": chip.title,
        "process": chip.process_name,
        "calibration": calibration,
        "parameters": entries,
    }


def server_configuration(server: Server | BatchServer) -> dict[str, Any]:
    """A server's parameters with their origin."""
    is_batch = isinstance(server, BatchServer)
    values: Any = server.batching if isinstance(server, BatchServer) else server.machine
    declared = quantities(Batching if is_batch else Machine)
    return {
        "name": server.name,
        "title": server.title,
        "chip": None if isinstance(server, BatchServer) else server.chip,
        "issue": None if isinstance(server, BatchServer) else server.issue,
        "parameters": [
            _entry(name, getattr(values, name), declared[name], parameter)
            for name, parameter in server.parameters.items()
        ],
    }


def rank_curve(result: Result) -> dict[str, Any]:
    """Decode rate of one user by the rank of an adapter, with its 90 % interval, as plain lists.

    On the targets and in the format of the run's adapter, or on all linear layers.
    """
    chip, model, report = result.chip, result.model, result.adapter
    targets = "+".join(report.adapter.targets) if report else "all-linear"
    fmt = report.sram_format if report else str(chip.lora.format)
    load = {"prompt": result.prompt, "output": result.output, "users": result.users}
    top = int(chip.lora.max_rank)
    ranks = np.unique(np.linspace(1, top, min(top, CURVE_POINTS)).astype(int))
    drawn = draw_chips(chip, BAND_DRAWS)
    bounds = []
    for rank in ranks:
        shape = Adapter.from_shape(f"r{rank}:{targets}:{fmt}", model)
        rates = predict(drawn, model, adapter=shape, **load).decode_tokens_per_s_user
        bounds.append(np.percentile(rates, PERCENTILES))
    shapes = AdapterShape.of(targets, ranks, fmt)
    rate = predict(chip, model, adapter=shapes, **load).decode_tokens_per_s_user
    return {
        "targets": targets,
        "format": fmt,
        "adapter_rank": None if report is None else report.adapter.max_rank,
        "rank": ranks.tolist(),
        "decode_tokens_per_s_user": np.broadcast_to(rate, ranks.shape).tolist(),
        "low": [float(low) for low, _ in bounds],
        "high": [float(high) for _, high in bounds],
    }


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
