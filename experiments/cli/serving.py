"""The commands ``replay`` and ``compare``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import clocks, finish, refuse, stop, took
from hardwire.experiments.cli.options import (
    CsvOption,
    Figures,
    FiguresOption,
    JsonOption,
    LatexOption,
    MarkdownOption,
    ReplayOptions,
    SourceArgument,
    Text,
    chosen,
    save_option,
    settings_of,
    takes,
)

SERVER = "hc1x10"


@takes(ReplayOptions)
def replay(
    source: SourceArgument = None,
    server: Annotated[
        Text,
        typer.Option(
            metavar="NAME|FILE",
            help=f"Catalogue name or a server's YAML file [default: {SERVER}]",
            autocompletion=complete.names_of("server"),
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A saved config.yaml; options given beside it win."),
    ] = None,
    as_json: JsonOption = False,
    save: Annotated[
        Path | None,
        save_option("Write requests, adapters, memory, numbers, config and a trace."),
    ] = None,
    **options: Unpack[ReplayOptions],
) -> None:
    """Replay a request trace on a server with many adapters."""
    from hardwire.experiments.replay import save as files  # noqa: PLC0415
    from hardwire.experiments.replay import view  # noqa: PLC0415
    from hardwire.experiments.replay.config import read_config  # noqa: PLC0415
    from hardwire.experiments.replay.replay import (  # noqa: PLC0415
        prepare,
        refuse_what_is_never_served,
        run,
    )
    from hardwire.experiments.replay.setup import Setup  # noqa: PLC0415

    known = {} if config is None else read_config(config)
    given = _given({"source": source, "server": server, **options})
    if "settings" in given:
        given["settings"] = {**known.get("settings", {}), **given["settings"]}
    prepared = prepare(Setup.from_options({"server": SERVER, **known, **given}))
    with clocks(hidden=as_json) as clock:
        done = run(prepared, clock(prepared.server.name, prepared.workload.duration_s))
    refuse_what_is_never_served(done)
    took(done.wall_s)
    saved = finish(
        done,
        lambda one: view.render(one.summary, one.title, one.memory, one.words()),
        files.save,
        as_json,
        save,
    )
    if done.interrupted:
        stop(_complete(saved))
    if done.setup.strict:
        refuse(done.summary["obstacles"])


@takes(ReplayOptions)
def compare(
    source: SourceArgument = None,
    servers: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Names or YAML files, joined by commas.",
            autocompletion=complete.server_lists,
        ),
    ] = "hc1x10,vllm-h100",
    *,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    as_markdown: MarkdownOption = False,
    as_latex: LatexOption = False,
    save: Annotated[Path | None, save_option("Write a figure, JSON and CSV.")] = None,
    figures: FiguresOption = Figures.PNG,
    **options: Unpack[ReplayOptions],
) -> None:
    """Put servers side by side under the same load."""
    from hardwire.experiments.replay import compare as comparing  # noqa: PLC0415
    from hardwire.experiments.replay import compare_save, compare_view  # noqa: PLC0415
    from hardwire.experiments.replay.setup import Setup  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415

    form = chosen(json=as_json, csv=as_csv, markdown=as_markdown, latex=as_latex)
    names = [name.strip() for name in servers.split(",") if name.strip()]
    if not names:
        raise InputError("--servers: names at least one server")
    given = _given({"source": source, **options})
    with clocks(hidden=as_json) as clock:
        found = comparing.compare(Setup.from_options({"server": names[0], **given}), names, clock)
    took(sum(one.wall_s for one in found.done))
    saved = finish(
        found, compare_view.render, partial(compare_save.save, figures=figures), as_json, save, form
    )
    if found.interrupted:
        stop(_complete(saved))
    if options.get("strict"):
        refuse(
            f"{one.summary['server']}: {sentence}"
            for one in found.done
            for sentence in one.summary["obstacles"]
        )


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(replay)
    app.command()(compare)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as ``Setup`` has them."""
    from hardwire.experiments.replay.options import parse_rates, parse_slo  # noqa: PLC0415

    readers: dict[str, Callable[[Any], Any]] = {
        "slo": parse_slo,
        "adapter_rates": parse_rates,
        "settings": settings_of,
    }
    return {
        name: readers[name](value) if name in readers else value
        for name, value in options.items()
        if value is not None and value != []
    }


def _complete(saved: str) -> str:
    return f"what was complete is saved in {saved}" if saved else ""
