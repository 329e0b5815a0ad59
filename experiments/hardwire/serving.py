"""A load on a server, or on several: ``replay`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from hardwire.experiments.replay import compare as comparing
from hardwire.experiments.replay import replay as replaying
from hardwire.experiments.replay.intervals import with_intervals
from hardwire.experiments.replay.options import parse_rates, parse_slo, seconds
from hardwire.experiments.replay.setup import ServerOrName, Setup
from hardwire.models.catalogue import did_you_mean
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.resolve import (
    ChipLike,
    Named,
    ServerLike,
    folder_of,
    format_of,
    in_python_words,
    text_of,
)
from hardwire.show import Shown, chosen, picture
from hardwire.simulator.serving.replay import AnyServer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from hardwire.simulator.serving.policies import policy

SERVER = "hc1x10"


class ReplayOptions(TypedDict, total=False):
    """Choices of a replay, by the names of the command's options; the defaults are the command's.

    Each may also be None, which leaves the choice to the source, the catalogue or the server.
    """

    server_routing: policy.Routing | None
    chip: ChipLike | None
    settings: Mapping[str, Any] | None
    adapters: int | Named | None
    rank: int | None
    popularity: str | None
    adapter_rates: Sequence[float] | None
    client_rates: Named | None
    arrivals: str | None
    time_unit: Literal["s", "ms", "us", "ns"] | None
    sort: bool
    rate: float | None
    duration: float | None
    requests: int | None
    concurrency: int | None
    until: float | None
    slots: int | None
    residency: policy.Residency | None
    swap: policy.Swap | None
    schedule: policy.Schedule | None
    routing: policy.Routing | None
    prefetch: int | None
    admission: policy.Admission | None
    prefill: policy.Prefill | None
    preemption: policy.Preemption | None
    prefix_reuse: bool | None
    reserve: float | None
    power_limit: float | None
    slo: Mapping[Literal["ttft", "tpot"], float | str] | str | None
    intervals: bool
    draws: int
    strict: bool
    seed: int
    engine: Literal["events", "compiled", "reference"]


class Replay(Shown, replaying.Replay):
    """The answer of ``replay``: see ``hardwire.experiments.replay.replay.Replay`` for its fields.

    ``summary`` has every number of the tables; ``log`` what happened to each request.
    """

    def tables(self) -> RenderableType:
        """Load, latencies, adapters, utilization, memory, energy and cost."""
        from hardwire.experiments.replay.view import render  # noqa: PLC0415

        return render(self.summary, self.title, self.memory, self.words())

    def to_frame(
        self, what: Literal["requests", "adapters", "memory", "summary"] = "requests"
    ) -> pd.DataFrame:
        """What happened, times in seconds.

        Parameters
        ----------
        what : {"requests", "adapters", "memory", "summary"}
            A row per request; per load or eviction of an adapter; memory in use at its changes; or
            one row of all numbers of the summary, nested ones by dotted names.
        """
        from hardwire.experiments.replay import save  # noqa: PLC0415

        return chosen(
            "what",
            what,
            {
                "requests": lambda: save.requests_frame(self),
                "adapters": lambda: save.adapters_frame(self),
                "memory": lambda: save.memory_frame(self),
                "summary": lambda: _summaries([self]),
            },
        )

    def plot(self) -> Figure:
        """Latencies as cumulative shares, and the memory of one card or GPU over time."""
        from hardwire.experiments.replay.plot import replay_figure  # noqa: PLC0415

        return picture(replay_figure(self))

    @in_python_words
    def save(self, folder: Named) -> list[Path]:
        """Write the files of ``hardwire replay --save`` to a folder: all of them or none."""
        from hardwire.experiments.replay.save import save  # noqa: PLC0415

        return save(self, folder_of("folder", folder))


class Comparison(Shown, comparing.Comparison):
    """The answer of ``compare``: ``done`` has a replay per server, ``obstacles`` the others."""

    def tables(self) -> RenderableType:
        """A column per server."""
        from hardwire.experiments.replay.compare_view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self) -> pd.DataFrame:
        """A row per server that ran: all numbers of its summary, nested ones by dotted names."""
        return _summaries(self.done)

    def plot(self) -> Figure:
        """Load, latencies, energy and cost of the servers beside each other."""
        from hardwire.experiments.replay.compare_plot import compare_figure  # noqa: PLC0415

        return picture(compare_figure(self))

    @in_python_words
    def save(self, folder: Named, figures: str = "png") -> list[Path]:
        """Write the files of ``hardwire compare --save`` to a folder: all of them or none.

        Figures are written as ``png``, ``svg`` or ``pdf``.
        """
        from hardwire.experiments.replay.compare_save import save  # noqa: PLC0415

        return save(self, folder_of("folder", folder), format_of(figures))


@in_python_words
def replay(
    source: Named,
    server: ServerLike = SERVER,
    *,
    servers: int | None = None,
    stream: Named | None = None,
    **options: Unpack[ReplayOptions],
) -> Replay:
    """Replay a request trace on a server, with many adapters.

    Parameters
    ----------
    source : str or path
        A preset (``azure-conv``, ``azure-code``, ``sharegpt``) or a trace file.
    server : str, path or Server
        Catalogue name or YAML file.
    servers : int
        Several like it behind a router; ``summary["fleet"]`` says what each of them did.
    stream : str or path
        A folder: ``requests`` of a preset are served part by part, in bounded memory, and written
        there; the answer has the numbers alone.
    server_routing : str
        To which of them a request goes: ``round_robin``, or as ``routing`` among cards.
    chip : str, path or Chip
        On the cards of a hardwired server, instead of the server's own.
    settings : mapping
        Parameters to set over that chip, by dotted name, as ``{"sram.capacity_mib": "512 MiB"}``.
    adapters : int, str or path
        How many, or a catalogue file (YAML); by default the trace's own, or none.
    rank, popularity, adapter_rates
        Of the adapters: rank of a number of them (16); ``uniform``, ``zipf:ALPHA``,
        ``local:HIT_RATE`` or ``tenants:CV``; requests/s of each in turn.
    rate, duration, requests, until, arrivals, seed
        The load: requests/s, seconds, how many, when to stop the clock (s), ``source``,
        ``poisson`` or ``gamma:CV``, and the seed (0).
    concurrency : int
        A closed loop of so many requests in flight, where the next one comes when one ends,
        instead of arrivals of the source.
    client_rates : str or path
        A CSV of clients' measured rates, each client with an adapter.
    time_unit : {"s", "ms", "us", "ns"}
        Unit of a trace's times, by default the format's.
    sort : bool
        Sort a trace by arrival; by default one that is out of order is refused.
    slo : mapping
        Goals in seconds, as ``{"ttft": 0.2, "tpot": "20ms"}``.
    slots, residency, swap, schedule, routing, prefetch, admission, prefill, preemption, \
prefix_reuse, reserve, power_limit
        Policies of the server, as ``hardwire replay --help`` lists them.
    intervals : bool
        With the 5th to 95th percentile of each figure over draws of what is not known of the
        server, in ``summary["intervals"]``; ``compare`` has them unless this is False.
    draws : int
        How many, 19 or more: 64 of a GPU server, 19 of hardwired ones, which take longer.
    strict : bool
        Refuse a load with a request that can never be served.
    engine : {"events", "compiled", "reference"}
        All give the same answer: ``compiled`` is faster once it is compiled, which takes long at
        its first use; the reference is for small loads. By default ``events``, and ``compiled``
        from 100,000 requests on.

    Returns
    -------
    Replay
        With ``summary``, ``to_frame`` and ``save``; ``print`` shows the tables.

    Raises
    ------
    InputError
        On what cannot be read, is out of range or does not go together.

    Examples
    --------
    >>> import hardwire as hw
    >>> done = hw.replay("azure-conv", adapters=64, requests=200, slo={"ttft": 0.2, "tpot": 0.02})
    >>> done.summary["completed"]
    200
    >>> len(done.to_frame()), len(done.to_frame("summary"))
    (200, 1)
    """
    setup, opened, chip = _setup(source, [server], options, servers)
    one = opened[0]
    if stream is not None:
        return _streamed(setup, one, chip, folder_of("stream", stream))
    prepared = replaying.prepare(setup, server=None if isinstance(one, str) else one, chip=chip)
    done = replaying.run(prepared)
    replaying.refuse_what_is_never_served(done)
    if setup.with_intervals(usually=False):
        done = with_intervals(done)
    return Replay.of(done)


def _streamed(setup: Setup, server: ServerOrName, chip: Chip | None, folder: Path) -> Replay:
    """A replay part by part, of what names and files say."""
    from hardwire.experiments.replay.streaming import stream  # noqa: PLC0415

    if not isinstance(server, str) or chip is not None:
        raise InputError("stream: name the server and the chip, or their files")
    done, _ = stream(setup, folder)
    replaying.refuse_nothing_served(done)
    return Replay.of(done)


@in_python_words
def compare(
    source: Named,
    servers: Sequence[ServerLike] = (SERVER, "vllm-h100"),
    **options: Unpack[ReplayOptions],
) -> Comparison:
    """Put servers side by side under the same load.

    Parameters
    ----------
    source : str or path
        As ``replay`` takes it.
    servers : sequence of str, path or Server
        Catalogue names or YAML files.
    **options
        As ``replay`` takes them; choices that a server does not have are left out for it.

    Returns
    -------
    Comparison
        With ``to_frame``, ``plot`` and ``save``; ``print`` shows the tables.

    Raises
    ------
    InputError
        As ``replay``. A server that cannot run, for want of memory for instance, is one of the
        ``obstacles`` instead.

    Examples
    --------
    >>> import hardwire as hw
    >>> both = hw.compare("azure-conv", servers=["hc1x10", "vllm-h100"], adapters=8, requests=100)
    >>> both.to_frame()[["server", "completed"]]
          server  completed
    0     hc1x10        100
    1  vllm-h100        100
    """
    if isinstance(servers, str) or not isinstance(servers, Sequence) or not servers:
        raise InputError(f"servers: a list of at least one server is expected, not {servers!r:.80}")
    setup, opened, chip = _setup(source, servers, options)
    found = comparing.compare(setup, opened, chip=chip)
    if setup.with_intervals(usually=True):
        found = found.with_each(with_intervals)
    return Comparison.of(found)


def _setup(
    source: Named,
    servers: Sequence[ServerLike],
    options: Mapping[str, Any],
    many: int | None = None,
) -> tuple[Setup, list[ServerOrName], Chip | None]:
    """The options as the rooms take them, for the first server; all servers; a chip that is one.

    ``many`` is how many of the first there are.
    """
    opened: list[ServerOrName] = [
        one if isinstance(one, AnyServer) else text_of("server", one, "a Server") for one in servers
    ]
    for name in options:
        if name not in ReplayOptions.__annotations__:
            hint = did_you_mean(name, ReplayOptions.__annotations__)
            raise InputError(f"{name}: no such argument{hint}")
    values = {name: value for name, value in options.items() if value is not None}
    adapters, slo, rates = (values.get(name) for name in ("adapters", "slo", "adapter_rates"))
    if isinstance(adapters, Integral):
        values["adapters"] = str(adapters)
    elif adapters is not None:
        values["adapters"] = text_of("adapters", adapters, "a number")
    if (clients := values.get("client_rates")) is not None:
        values["client_rates"] = text_of("client_rates", clients, "its text")
    if isinstance(slo, str):
        values["slo"] = parse_slo(slo)
    elif isinstance(slo, Mapping):
        values["slo"] = {
            goal: seconds(value, f"--slo {goal}") if isinstance(value, str | int | float) else value
            for goal, value in slo.items()
        }
    if isinstance(rates, str):
        values["adapter_rates"] = parse_rates(rates)
    chip = values.get("chip")
    if isinstance(chip, Chip):
        values["chip"] = chip.name
    elif chip is not None:
        values["chip"] = text_of("chip", chip, "a Chip")
    if "settings" in values:
        values["settings"] = _settings(values["settings"])
    first = opened[0] if isinstance(opened[0], str) else opened[0].name
    source_ = text_of("source", source, "its text")
    if many is not None:
        values["servers"] = many
    setup = Setup.from_options({"source": source_, "server": first, **values})
    return setup, opened, chip if isinstance(chip, Chip) else None


def _settings(settings: Any) -> dict[str, Any]:
    """Settings of one design, without NumPy's types."""
    if not isinstance(settings, Mapping):
        raise InputError(f"settings: a mapping of names is expected, not {settings!r:.80}")
    for name, value in settings.items():
        if np.ndim(value):
            raise InputError(f"{name}: one value is expected: a replay is of one design")
    return {
        str(name): value.item() if isinstance(value, np.generic) else value
        for name, value in settings.items()
    }


def _summaries(replays: Sequence[replaying.Replay]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    numbers = [{k: v for k, v in one.summary.items() if k != "definitions"} for one in replays]
    return pd.json_normalize(numbers)
