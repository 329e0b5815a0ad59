"""Tables of one thing: of a file of the catalogue, a study, an adapter, the machine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from hardwire.experiments.shared.configuration import chip_name
from hardwire.experiments.shared.fitted_view import FittedTable
from hardwire.experiments.shared.kinds import kinds_of_name
from hardwire.experiments.shared.machine import Machine as Computer
from hardwire.experiments.shared.style import BAD, GOOD
from hardwire.experiments.shared.tables import (
    LARGE,
    count,
    large,
    mib,
    number,
    styled,
    text_table,
)
from hardwire.models import breakdown, catalogue
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.breakdown import Breakdown
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.description import read_description
from hardwire.models.gpu import Gpu, GpuSheet
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.models.parameters import Parameter, Quantity, quantities
from hardwire.models.process import PROCESS, Process
from hardwire.models.server import Machine
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import Handover, SplitServer
from hardwire.models.sram import kv_bytes_per_token
from hardwire.models.system.link import LinkKind, LinkSheet
from hardwire.models.system.placement import brief_names
from hardwire.models.system.system import System


def show_tables(text: str) -> RenderableType:
    """A chip, server, process, breakdown, system, GPU, link, model or study, by name or file.

    Things of different kinds that have one name, one under the other.

    Raises
    ------
    InputError
        Where there is none of that name, or its file cannot be used.
    """
    from hardwire.experiments.sweep.study import ready_studies  # noqa: PLC0415 - slow to import

    kinds = kinds_of_name(text, list(ready_studies()))
    tables = [_SHOWN[kind](text) for kind in kinds]
    return tables[0] if len(tables) == 1 else Group(*tables)


def chip_tables(chip: Chip) -> RenderableType:
    """Every parameter of a chip with its birth certificate, section by section."""
    return _parameter_table(f"{chip.name}: {chip.title}", chip.parameters, DECLARED)


def _parameter_table(
    title: str, parameters: Mapping[str, Parameter], declared: Mapping[str, Quantity]
) -> FittedTable:
    table = text_table(title, "parameter", "value", "unit", "kind", "range", "source")
    table.columns[1].justify = "right"
    table.beneath = True
    section = ""
    for name, parameter in parameters.items():
        if name.partition(".")[0] != section and "." in name:
            if section:
                table.add_section()
            section = name.partition(".")[0]
        value = _exact(parameter.value)
        low_high = "" if parameter.range is None else " … ".join(map(_exact, parameter.range))
        unit = declared[name].unit
        table.add_row(name, value, unit, parameter.kind, low_high, parameter.source)
    return table


def _exact(value: float | str) -> str:
    """A value as its file has it; large ones with an exponent of three."""
    if isinstance(value, str):
        return value
    return large(value) if LARGE <= abs(value) < math.inf else f"{value:g}"


def _server_tables(text: str) -> RenderableType:
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415

    server = open_server(text)
    if isinstance(server, BatchServer):
        of, declared = f"serves {server.model.name}", server.declared
    elif isinstance(server, SplitServer):
        of = f"prompts on {server.prefill.name}, then {server.link.name} and {server.decode.name}"
        declared = quantities(Handover)
    else:
        issue = f", {server.issue} issue" if server.issue else ""
        if isinstance(server, SystemServer):
            what = server.system.name
        else:
            what = f"cards of {chip_name(server.chip)}"
        of, declared = f"{what}{issue}", quantities(Machine)
    return _parameter_table(f"{server.name}: {server.title}; {of}", server.parameters, declared)


def _gpu_tables(text: str) -> RenderableType:
    gpu = Gpu.open(text)
    return _parameter_table(f"{gpu.name}: {gpu.title}", gpu.parameters, quantities(GpuSheet))


def _link_tables(text: str) -> RenderableType:
    kind = LinkKind.open(text)
    return _parameter_table(f"{kind.name}: {kind.title}", kind.parameters, quantities(LinkSheet))


def _system_tables(text: str) -> RenderableType:
    system = System.open(text)
    placement = system.placement
    table = text_table(f"{system.name}: {system.title}", "", "")
    chips = Counter(die.chip.name for die in system.dies)
    kinds = Counter(link.kind.name for link in system.links)
    table.add_row("Model", system.model.name)
    table.add_row("Dies", ", ".join(f"{number} of {name}" for name, number in chips.items()))
    table.add_row("Links", ", ".join(f"{number} of {name}" for name, number in kinds.items()))
    table.add_row("Host links", system.host_links)
    if system.places is not None:
        table.add_row("Tokens in flight", f"at most {count(system.places)}")
    for stage in placement.stages:
        layers = f"Layers {stage.layers.start} to {stage.layers.stop - 1}"
        words = [brief_names(stage.dies)]
        if len(stage.dies) > 1:
            split = ", ".join(f"{name} {how}" for name, how in stage.split.items())
            words += [f"{stage.rows} rows" * (stage.rows > 1), split, f"KV by {stage.kv}"]
        table.add_row(layers, "; ".join(filter(None, words)))
    table.add_row("Embedding", placement.embedding)
    table.add_row("LM head", brief_names(placement.head))
    table.add_row("Source", system.source)
    return table


def _process_tables(text: str) -> RenderableType:
    found = read_description(catalogue.locate("process", text), PROCESS)
    return _parameter_table(f"{found.name}: {found.title}", found.parameters, quantities(Process))


def _breakdown_tables(text: str) -> RenderableType:
    chip = Breakdown.open(text)
    stated = {name: chip.parameters[name] for name in breakdown.DECLARED}
    return _parameter_table(f"{chip.name}: {chip.title}", stated, breakdown.DECLARED)


def _model_tables(text: str) -> RenderableType:
    model = LanguageModel.open(text)
    table = text_table(f"{model.name}: {model.family}", "", "")
    for name, value in (
        ("Parameters", count(model.parameter_count)),
        ("Layers", str(model.layers)),
        ("Hidden size", count(model.hidden)),
        ("Intermediate size", count(model.intermediate)),
        *_experts(model),
        ("Heads", f"{model.heads} of {model.head_dim}, {_kept(model)}"),
        ("Vocabulary", f"{count(model.vocab)} tokens"),
        ("Embeddings", "tied with the LM head" if model.tied_embeddings else "not tied"),
        (
            "Longest context",
            f"{count(model.max_position)} tokens"
            + (
                f"; {len(model.sliding_layers)} layers attend to {count(model.sliding_window)}"
                if model.sliding_window
                else ""
            ),
        ),
        *_further(model),
        ("KV cache", f"{kv_bytes_per_token(model, 8) / 1024:g} KiB a token at 8 bits"),
    ):
        table.add_row(name, value)
    return table


def _further(model: LanguageModel) -> list[tuple[str, str]]:
    """A row on layers that predict further tokens."""
    if not model.extra_predictors:
        return []
    more = f"{count(model.extra_parameter_count)} parameters more, counted apart and not run"
    return [("Further tokens", f"{model.extra_predictors} layer that predicts them, {more}")]


def _kept(model: LanguageModel) -> str:
    if model.latent is None:
        return f"{model.kv_heads} for keys and values"
    return f"one latent of {model.latent.kv_rank} + {model.latent.rope_dim} for keys and values"


def _experts(model: LanguageModel) -> list[tuple[str, str]]:
    """Rows on a mixture of experts."""
    experts = model.experts
    if experts is None:
        return []
    beside = f", {experts.shared} more for all" if experts.shared else ""
    dense = f"; {len(model.dense_layers)} layers are dense" if model.dense_layers else ""
    words = f"{experts.active} of {experts.count} of {count(experts.intermediate)}{beside}{dense}"
    return [("Experts", words), ("Active parameters", count(model.active_parameter_count))]


def _study_tables(text: str) -> RenderableType:
    from hardwire.experiments.sweep.study import Study  # noqa: PLC0415

    study = Study.open(text)
    table = text_table(f"{study.name}: {study.title}", "", "")
    table.add_row("Points", f"{count(study.points)}, {study.sampling}, {study.fidelity}")
    table.add_row("Chip", study.base.chip.name)
    for axis in study.axes:
        values = ", ".join(number(value) for value in axis.values)
        between = f"{number(axis.low)} … {number(axis.high)}"
        table.add_row(f"Axis {axis.name}", values or between)
    for constraint in study.constraints:
        table.add_row("Constraint", constraint.text)
    for metric, side in study.objectives.items():
        table.add_row("Objective", f"{side} {metric}")
    table.add_row("Metrics", ", ".join(study.metrics))
    return table


_SHOWN: dict[str, Callable[[str], RenderableType]] = {
    "chip": lambda text: chip_tables(Chip.open(text)),
    "server": _server_tables,
    "gpu": _gpu_tables,
    "link": _link_tables,
    "system": _system_tables,
    "process": _process_tables,
    "breakdown": _breakdown_tables,
    "model": _model_tables,
    "study": _study_tables,
}


def adapter_table(
    chip: Chip, model: LanguageModel, adapter: Adapter, obstacle: str | None
) -> RenderableType:
    """What an adapter holds, its size on the chip, and whether it fits."""
    from hardwire.simulator.datapath import adapter_bytes, adapter_format  # noqa: PLC0415

    table = text_table(f"Adapter {adapter.name}", "", "")
    ranks = sorted(adapter.ranks)
    scales = sorted({module.scale for module in adapter.modules})
    layers = {module.layer for module in adapter.modules if module.target != HEAD}
    table.add_row("For", f"{model.name}, {len(layers)} of {model.layers} layers")
    table.add_row("Targets", ", ".join(adapter.targets))
    table.add_row("Rank", ", ".join(map(str, ranks)))
    if adapter.source is not None:
        table.add_row("Scale", ", ".join(f"{scale:g}" for scale in scales))
        table.add_row("Read from", str(adapter.source))
    table.add_row("Parameters", count(adapter.parameters))
    for dtype, name in (("F32", "float32"), ("F16", "float16")):
        table.add_row(f"PEFT file, {name}", f"{count(adapter.checkpoint_bytes(dtype))} bytes")
    size = adapter_bytes(chip, adapter)
    table.add_row(
        f"SRAM on {chip.name}",
        f"{count(size)} bytes as {adapter_format(chip, adapter)}, {mib(size)} of "
        f"{chip.sram.capacity_mib:g} MiB",
    )
    no = Text.assemble(("no", BAD), f": {obstacle}")
    table.add_row(styled("Fits", "bold"), styled("yes", GOOD) if obstacle is None else no)
    return table


def machine_tables(found: Computer) -> RenderableType:
    """What ``hardwire doctor`` says, a line for each thing."""
    table = text_table("hardwire doctor", "", "", "")
    for line in found.lines:
        table.add_row(line.name, line.value, styled(line.trouble, BAD))
    return table
