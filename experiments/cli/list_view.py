"""Tables of what exists, a line for each."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from hardwire.experiments.shared.fitted_view import FittedTable
from hardwire.experiments.shared.tables import QUIET, count, plain_table, text_table
from hardwire.models import catalogue, schema
from hardwire.models.chip import DECLARED
from hardwire.models.gpu import Gpu
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import read_yaml
from hardwire.models.sram import kv_bytes_per_token
from hardwire.models.system.link import LinkKind


def overview() -> RenderableType:
    """Everything that has a name on the command line, but for metrics and parameters."""
    parts: list[RenderableType] = []
    kinds = (
        "chips", "models", "servers", "systems", "links", "gpus", "processes", "breakdowns",
        "studies", "presets",
    )  # fmt: skip
    for kind in kinds:
        parts += [LISTS[kind](), ""]
    hint = "Also: hardwire list metrics, hardwire list parameters; hardwire show NAME for one."
    return Group(*parts, Text(hint, style=QUIET))


def _titled(kind: str, title: str) -> FittedTable:
    table = text_table(title, "name", "what")
    for name in catalogue.names(kind):
        table.add_row(name, str(read_yaml(catalogue.resolve(kind, name)).get("title", "")))
    return table


def _chips() -> FittedTable:
    return _titled("chip", "Chips (--chip)")


def _models() -> FittedTable:
    table = plain_table(
        "Models (--model)", "name", "parameters", "active", "layers", "hidden", "KV/token, 8 bit"
    )
    for name in catalogue.names("model"):
        model = LanguageModel.by_name(name)
        table.add_row(
            name,
            f"{model.parameter_count / 1e9:.2f} B",
            "" if model.is_dense else f"{model.active_parameter_count / 1e9:.2f} B",
            str(model.layers),
            count(model.hidden),
            f"{kv_bytes_per_token(model, 8) / 1024:.5g} KiB",
        )
    return table


def _servers() -> FittedTable:
    return _titled("server", "Servers (--server)")


def _systems() -> FittedTable:
    return _titled("system", "Systems of several dies (run --system)")


def _links() -> FittedTable:
    table = plain_table("Links between dies (plan --link)", "name", "each way", "latency", "idle")
    for name in catalogue.names("link"):
        kind = LinkKind.open(name)
        table.add_row(
            name,
            f"{kind.bandwidth / 1e9:,.0f} GB/s",
            f"{kind.sheet.latency_ns:g} ns",
            f"{kind.idle_w:.1f} W",
        )
    return table


def _gpus() -> FittedTable:
    table = plain_table(
        "GPUs (server make --gpu)", "name", "memory", "bandwidth", "bf16, dense", "8 bits", "limit"
    )
    for name in catalogue.names("gpu"):
        sheet = Gpu.open(name).sheet
        eight = max(sheet.fp8_tflops, sheet.int8_tops)
        table.add_row(
            name,
            f"{sheet.memory_gb:g} GB",
            f"{sheet.memory_tb_per_s:g} TB/s",
            f"{sheet.bf16_tflops:g} TFLOP/s",
            f"{eight:g} T/s",
            f"{sheet.limit_w:g} W",
        )
    return table


def _processes() -> FittedTable:
    return _titled("process", "Processes")


def _breakdowns() -> FittedTable:
    return _titled("breakdown", "Breakdowns: chips by their blocks, which are not timed")


def _studies() -> FittedTable:
    from hardwire.experiments.sweep.study import Study, ready_studies  # noqa: PLC0415

    table = text_table("Studies (sweep, search)", "name", "points", "what")
    table.columns[1].justify = "right"
    for name in ready_studies():
        study = Study.open(name)
        table.add_row(name, count(study.points), study.title)
    return table


def _presets() -> FittedTable:
    from hardwire.simulator.serving.load.synthetic import (  # noqa: PLC0415
        preset_names,
        preset_title,
    )

    table = text_table("Presets (replay, compare)", "name", "what")
    for name in preset_names():
        table.add_row(name, preset_title(name))
    return table


def _metrics() -> FittedTable:
    from hardwire.experiments.sweep.metrics import METRICS  # noqa: PLC0415

    table = text_table(
        "Metrics of sweeps, searches and sensitivities", "name", "unit", "of", "what"
    )
    for name in dict.fromkeys(name for known in METRICS.values() for name in known):
        of = [fidelity for fidelity, known in METRICS.items() if name in known]
        metric = METRICS[of[0]][name]
        table.add_row(name, metric.unit, ", ".join(of), metric.meaning)
    return table


def _parameters() -> FittedTable:
    table = text_table("Parameters (--set)", "name", "unit", "may be", "what")
    for name, spec in DECLARED.items():
        table.add_row(name, spec.unit, spec.allowed(), spec.meaning)
    return table


def schemas() -> FittedTable:
    """Kinds of YAML files, which ``hardwire schema`` knows."""
    table = text_table("JSON Schemas (hardwire schema KIND)", "kind", "what")
    for kind in schema.names():
        table.add_row(kind, schema.schema(kind)["description"])
    return table


LISTS: dict[str, Callable[[], FittedTable]] = {
    "chips": _chips,
    "models": _models,
    "servers": _servers,
    "systems": _systems,
    "links": _links,
    "gpus": _gpus,
    "processes": _processes,
    "breakdowns": _breakdowns,
    "metrics": _metrics,
    "parameters": _parameters,
    "studies": _studies,
    "presets": _presets,
}
"""By the word after ``hardwire list``."""
