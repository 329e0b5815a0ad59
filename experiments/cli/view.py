"""Tables of what exists: the catalogue, a chip's parameters, an adapter."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from hardwire.experiments.shared.tables import count, mib, plain_table, text_table
from hardwire.models import catalogue
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.models.parameters import read_yaml


def catalogue_tables() -> RenderableType:
    """Chips, models, processes and servers by name."""
    chips = text_table("Chips (--chip)", "name", "what")
    for name in catalogue.names("chip"):
        chips.add_row(name, str(read_yaml(catalogue.resolve("chip", name)).get("title", "")))
    models = plain_table(
        "Models (--model)", "name", "parameters", "layers", "hidden", "KV/token, 8 bit"
    )
    for name in catalogue.names("model"):
        model = LanguageModel.by_name(name)
        models.add_row(
            name,
            f"{model.parameter_count / 1e9:.2f} B",
            str(model.layers),
            count(model.hidden),
            f"{model.kv_elements_per_token / 1024:g} KiB",
        )
    parts: list[RenderableType] = [chips, "", models]
    for kind, title in (("process", "Processes"), ("server", "Servers")):
        names = catalogue.names(kind)
        if names:
            parts += [
                "",
                Text(f"{title}: ", style="bold") + Text(", ".join(names), style="default"),
            ]
    return Group(*parts)


def chip_tables(chip: Chip) -> RenderableType:
    """Every parameter of a chip with its birth certificate, section by section."""
    table = text_table(
        f"{chip.name}: {chip.title}", "parameter", "value", "kind", "range", "source"
    )
    table.columns[1].justify = "right"
    section = ""
    for name, parameter in chip.parameters.items():
        if name.partition(".")[0] != section:
            if section:
                table.add_section()
            section = name.partition(".")[0]
        unit = DECLARED[name].unit
        value = parameter.value if isinstance(parameter.value, str) else f"{parameter.value:g}"
        low_high = "" if parameter.range is None else "{:g} … {:g}".format(*parameter.range)
        table.add_row(name, f"{value} {unit}".strip(), parameter.kind, low_high, parameter.source)
    return table


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
    verdict = "[green]yes[/]" if obstacle is None else f"[red]no[/]: {obstacle}"
    table.add_row("[bold]Fits[/]", verdict)
    return table
