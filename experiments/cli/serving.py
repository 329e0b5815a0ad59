"""The commands ``replay`` and ``compare``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hardwire.experiments.cli.console import names, print_rich, say_saved
from hardwire.models.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130
QUICK_S = 2.0
"""Runs that are done by then show no progress bar."""

Text = str | None
SERVER = "hc1x10"

SourceArgument = Annotated[
    Text,
    typer.Argument(
        metavar="SOURCE", help="A preset (azure-conv, azure-code, sharegpt) or a trace file."
    ),
]
AdaptersOption = Annotated[
    Text,
    typer.Option(help="How many, or a catalogue file (YAML) [the trace's own, or none]."),
]
PopularityOption = Annotated[
    Text,
    typer.Option(help="uniform, zipf:ALPHA, local:HIT_RATE, tenants:CV … [the catalogue's]."),
]
SloOption = Annotated[Text, typer.Option(help="Goals in seconds, as ttft=0.2,tpot=0.02.")]
RateOption = Annotated[float | None, typer.Option(help="Requests/s [the source's].")]
DurationOption = Annotated[
    float | None, typer.Option(help="Seconds of the workload [the source's].")
]
RequestsOption = Annotated[int | None, typer.Option(help="Requests [the source's].")]
UntilOption = Annotated[
    float | None,
    typer.Option(help="Stop the clock at so many seconds, as a measured run does [never]."),
]
ArrivalsOption = Annotated[Text, typer.Option(help="source, poisson or gamma:CV [source].")]
SlotsOption = Annotated[
    int | None, typer.Option(help="Fixed adapter slots per card or GPU [the server's].")
]
RankOption = Annotated[int | None, typer.Option(help="Rank of a number of adapters [16].")]
RatesOption = Annotated[
    Text, typer.Option(help="Requests/s of each adapter, in turn, as 1.6,0.8,0.4.")
]
SeedOption = Annotated[int | None, typer.Option(help="Same seed, same bytes [0].")]
EngineOption = Annotated[Text, typer.Option(help="compiled or reference [compiled].")]
ResidencyOption = Annotated[Text, typer.Option(help="lru, lfu, cost or belady [lru].")]
SwapOption = Annotated[Text, typer.Option(help="blocking, double_buffered or streamed [streamed].")]
ScheduleOption = Annotated[Text, typer.Option(help="fcfs, grouped, shortest or slo [fcfs].")]
RoutingOption = Annotated[
    Text,
    typer.Option(help="round_robin, least_loaded, affine or affine_spill [affine_spill]."),
]
PrefetchOption = Annotated[
    int | None, typer.Option(help="Requests ahead whose adapters are loaded [1].")
]
AdmissionOption = Annotated[Text, typer.Option(help="prompt or whole [prompt].")]
PreemptionOption = Annotated[Text, typer.Option(help="recompute or offload [recompute].")]
PrefixOption = Annotated[
    bool | None,
    typer.Option("--prefix-reuse/--no-prefix-reuse", help="Keep KV of prompt prefixes [no]."),
]
PowerOption = Annotated[
    float | None, typer.Option(help="Watts of the whole server [the server's].")
]
StrictOption = Annotated[
    bool | None,
    typer.Option(
        "--strict/--no-strict",
        help="Refuse a load with a request that can never be served [counted and reported].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, SI units.")]


def replay(
    source: SourceArgument = None,
    server: Annotated[
        Text, typer.Option(help=f"Catalogue name or a server's YAML file [{SERVER}].")
    ] = None,
    adapters: AdaptersOption = None,
    popularity: PopularityOption = None,
    slo: SloOption = None,
    rate: RateOption = None,
    duration: DurationOption = None,
    requests: RequestsOption = None,
    until: UntilOption = None,
    arrivals: ArrivalsOption = None,
    slots: SlotsOption = None,
    rank: RankOption = None,
    adapter_rates: RatesOption = None,
    residency: ResidencyOption = None,
    swap: SwapOption = None,
    schedule: ScheduleOption = None,
    routing: RoutingOption = None,
    prefetch: PrefetchOption = None,
    admission: AdmissionOption = None,
    preemption: PreemptionOption = None,
    prefix_reuse: PrefixOption = None,
    power_limit: PowerOption = None,
    strict: StrictOption = None,
    seed: SeedOption = None,
    engine: EngineOption = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A saved config.yaml; options given beside it win."),
    ] = None,
    as_json: JsonOption = False,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write requests, adapters, memory, numbers, config and a trace."
        ),
    ] = None,
) -> None:
    """Replay a request trace on a server with many adapters."""
    given = _given(locals())
    from hardwire.experiments.replay.replay import (  # noqa: PLC0415
        Setup,
        prepare,
        read_config,
        refuse_what_is_never_served,
        run,
    )
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415

    known = {} if config is None else read_config(config)
    setup = Setup.from_options({"server": SERVER, **known, **_parsed(given)})
    prepared = prepare(setup)
    with _progress(as_json) as bars:
        done = run(prepared, bars(prepared.server.name, prepared.workload.duration_s))
    refuse_what_is_never_served(done)
    written = []
    if save is not None:
        from hardwire.experiments.replay.save import save as save_replay  # noqa: PLC0415

        written = save_replay(done, save)
    if as_json:
        print(to_json(done.to_dict()))
    else:
        from hardwire.experiments.replay.view import render  # noqa: PLC0415

        print_rich(render(done.summary, done.title, done.memory, done.words()))
    _close(done.interrupted, save, written, as_json)


def compare(
    source: SourceArgument = None,
    servers: Annotated[
        str, typer.Option(help="Names or YAML files, joined by commas.")
    ] = "hc1x10,vllm-h100",
    adapters: AdaptersOption = None,
    popularity: PopularityOption = None,
    slo: SloOption = None,
    rate: RateOption = None,
    duration: DurationOption = None,
    requests: RequestsOption = None,
    until: UntilOption = None,
    arrivals: ArrivalsOption = None,
    slots: SlotsOption = None,
    rank: RankOption = None,
    adapter_rates: RatesOption = None,
    residency: ResidencyOption = None,
    swap: SwapOption = None,
    schedule: ScheduleOption = None,
    routing: RoutingOption = None,
    prefetch: PrefetchOption = None,
    admission: AdmissionOption = None,
    preemption: PreemptionOption = None,
    prefix_reuse: PrefixOption = None,
    power_limit: PowerOption = None,
    strict: StrictOption = None,
    seed: SeedOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a figure, JSON and CSV.")
    ] = None,
) -> None:
    """Put servers side by side under the same load."""
    given = _given(locals())
    from hardwire.experiments.replay import compare as comparing  # noqa: PLC0415
    from hardwire.experiments.replay.replay import Setup  # noqa: PLC0415
    from hardwire.experiments.shared.folder import to_json  # noqa: PLC0415

    names = [name.strip() for name in servers.split(",") if name.strip()]
    if not names:
        raise InputError("--servers: names at least one server")
    setup = Setup.from_options({"server": names[0], **_parsed(given)})
    with _progress(as_json) as bars:
        comparison = comparing.compare(setup, names, bars)
    written = [] if save is None else comparing.save(comparison, save)
    if as_json:
        print(to_json(comparison.to_dict()))
    else:
        print_rich(comparing.render(comparison))
    _close(comparison.interrupted, save, written, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(replay)
    app.command()(compare)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the simulation that were given."""
    beside = ("config", "as_json", "save", "servers")
    return {k: v for k, v in options.items() if k not in beside and v is not None}


def _parsed(given: dict[str, Any]) -> dict[str, Any]:
    from hardwire.experiments.replay.replay import parse_rates, parse_slo  # noqa: PLC0415

    parsers = {"slo": parse_slo, "adapter_rates": parse_rates}
    return {k: parsers[k](v) if k in parsers else v for k, v in given.items()}


def _close(interrupted: bool, folder: Path | None, written: list[Path], as_json: bool) -> None:
    """Say what was saved and, of an interrupted run, that it is what was complete."""
    if not as_json:
        say_saved(folder, written)
    if interrupted:
        if written:
            saved = f"hardwire: what was complete is saved in {folder}: {names(written)}"
            print(saved, file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _progress(
    as_json: bool,
) -> Iterator[Callable[[str, float], Callable[[float], None] | None]]:
    """Give bars on standard error, for people only: none in a pipe or beside ``--json``.

    A bar takes a server's name and the seconds to simulate, and appears once the run is long.
    """
    if as_json or not sys.stderr.isatty() or not sys.stdout.isatty():
        yield lambda name, total_s: None
        return
    shown: list[Progress] = []

    def bar(name: str, total_s: float) -> Callable[[float], None]:
        begin = time.monotonic()
        task: list[Any] = []

        def report(simulated_s: float) -> None:
            if time.monotonic() - begin < QUICK_S:
                return
            if not task:
                if not shown:
                    shown.append(_bars())
                    shown[0].start()
                task.append(shown[0].add_task(name, total=max(total_s, 1e-9)))
            shown[0].update(task[0], completed=min(simulated_s, total_s))

        return report

    try:
        yield bar
    finally:
        for progress in shown:
            progress.stop()


def _bars() -> Progress:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
