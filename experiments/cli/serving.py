"""The commands ``replay`` and ``compare``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import typer

from hardwire.experiments.cli import complete
from hardwire.experiments.cli.console import clocks, finish, progress, refuse, stop, took
from hardwire.experiments.cli.help import SIMULATE, add
from hardwire.experiments.cli.options import (
    FORMS,
    SERVER,
    Figures,
    FiguresOption,
    Replays,
    SourceArgument,
    Text,
    chosen,
    save_option,
    settings_of,
    takes,
)
from hardwire.experiments.replay.meanings import MEANINGS

if TYPE_CHECKING:
    from hardwire.experiments.replay.replay import Replay
    from hardwire.experiments.replay.setup import Setup

USUAL = "hc1x10"
REPLAY_EXAMPLES = (
    "hardwire replay azure-conv --adapters 64 --slo ttft=0.2,tpot=20ms",
    "hardwire replay sharegpt --server vllm-h100 --concurrency 64 --intervals",
    "hardwire replay my_trace.csv --server vllm-h100 --adapters catalogue.yaml",
    "hardwire replay azure-conv --rate 100 --adapters 64 --servers 20",
    "hardwire replay --config out/config.yaml --routing affine --save out-affine",
)
COMPARE_EXAMPLES = (
    "hardwire compare azure-conv --servers hc1x10,vllm-h100 --adapters 64",
    "hardwire compare sharegpt --rate 20 --slo ttft=0.2 --save out",
)


@takes(Replays)
def replay(
    source: SourceArgument = None,
    server: Annotated[
        Text,
        typer.Option(
            metavar="NAME|FILE",
            help=f"Catalogue name or a server's YAML file [default: {USUAL}]",
            autocompletion=complete.names_of("server"),
            rich_help_panel=SERVER,
        ),
    ] = None,
    *,
    servers: Annotated[
        int | None,
        typer.Option(metavar="N", help=MEANINGS["servers"].capitalize(), rich_help_panel=SERVER),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Requests of a preset part by part, in bounded memory."),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A saved config.yaml; options given beside it win."),
    ] = None,
    save: Annotated[
        Path | None,
        save_option("Write requests, adapters, memory, numbers, config and a trace."),
    ] = None,
    **options: Unpack[Replays],
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

    form = chosen(options)
    known = {} if config is None else read_config(config)
    given = _given({"source": source, "server": server, "servers": servers, **options})
    if "settings" in given:
        given["settings"] = {**known.get("settings", {}), **given["settings"]}
    setup = Setup.from_options({"server": USUAL, **known, **given})
    if stream:
        _stream(setup, form, save)
        return
    prepared = prepare(setup)
    with clocks(hidden=bool(form)) as clock:
        done = run(prepared, clock(prepared.name, prepared.workload.duration_s))
    refuse_what_is_never_served(done)
    took(done.wall_s)
    if prepared.setup.with_intervals(usually=False):
        done = _with_intervals(done, hidden=bool(form))
    saved = finish(
        done,
        lambda one: view.render(one.summary, one.title, one.memory, one.words()),
        files.save,
        form,
        save,
    )
    if done.interrupted:
        stop(_complete(saved))
    if done.setup.strict:
        refuse(done.summary["obstacles"])


@takes(Replays)
def compare(
    source: SourceArgument = None,
    servers: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Names or YAML files, joined by commas; NAME:20 is 20 of them behind a router.",
            autocompletion=complete.server_lists,
            rich_help_panel=SERVER,
        ),
    ] = "hc1x10,vllm-h100",
    *,
    save: Annotated[Path | None, save_option("Write a figure, JSON and CSV.")] = None,
    figures: FiguresOption = Figures.PNG,
    **options: Unpack[Replays],
) -> None:
    """Put servers side by side under the same load."""
    from hardwire.experiments.replay import compare as comparing  # noqa: PLC0415
    from hardwire.experiments.replay import compare_save, compare_view  # noqa: PLC0415
    from hardwire.experiments.replay.setup import Setup  # noqa: PLC0415
    from hardwire.models.errors import InputError  # noqa: PLC0415

    form = chosen(options)
    names = [name.strip() for name in servers.split(",") if name.strip()]
    if not names:
        raise InputError("--servers: names at least one server")
    given = _given({"source": source, **options})
    setup = Setup.from_options({"server": names[0], **given})
    with clocks(hidden=bool(form)) as clock:
        found = comparing.compare(setup, names, clock)
    took(sum(one.wall_s for one in found.done))
    if setup.with_intervals(usually=True):
        found = found.with_each(partial(_with_intervals, hidden=bool(form)))
    saved = finish(
        found, compare_view.render, partial(compare_save.save, figures=figures), form, save
    )
    if found.interrupted:
        stop(_complete(saved))
    if options.get("strict"):
        refuse(
            f"{one.summary['server']}: {sentence}"
            for one in found.done
            for sentence in one.summary["obstacles"]
        )


def _stream(setup: Setup, form: str, folder: Path | None) -> None:
    """Replay part by part: its files are there before its tables are."""
    from hardwire.experiments.replay import view  # noqa: PLC0415
    from hardwire.experiments.replay.replay import refuse_nothing_served  # noqa: PLC0415
    from hardwire.experiments.replay.streaming import stream  # noqa: PLC0415

    done, files = stream(setup, folder)
    refuse_nothing_served(done)
    took(done.wall_s)
    finish(
        done,
        lambda one: view.render(one.summary, one.title, one.memory, one.words()),
        lambda one, where: files,
        form,
        folder,
    )
    if setup.strict:
        refuse(done.summary["obstacles"])


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    add(app, replay, SIMULATE, REPLAY_EXAMPLES)
    add(app, compare, SIMULATE, COMPARE_EXAMPLES)


def _with_intervals(done: Replay, *, hidden: bool) -> Replay:
    """A replay with its intervals; a bar says how many draws there are, and about how long."""
    from hardwire.experiments.replay.intervals import expected_s, with_intervals  # noqa: PLC0415

    words = f"intervals of {done.summary['server']}, about {expected_s(done):,.0f} s"
    with progress(words, hidden=hidden) as report:
        return with_intervals(done, report)


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
        if name not in FORMS and value is not None and value != []
    }


def _complete(saved: str) -> str:
    return f"what was complete is saved in {saved}" if saved else ""
