"""The choices of a replay, by the names of its options: checked, resolved, and their files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from hardwire.experiments.shared.settings import set_over
from hardwire.models import catalogue
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.files import complaint
from hardwire.models.gpu_server import BatchServer
from hardwire.models.parameters import WHOLE, check_word, plain
from hardwire.models.server import Server
from hardwire.simulator.serving.fleet import MOST_SERVERS
from hardwire.simulator.serving.load.synthetic import preset_names
from hardwire.simulator.serving.metrics import Slo
from hardwire.simulator.serving.policies import policy
from hardwire.simulator.serving.replay import AnyServer, open_server

POLICY_FIELDS = (
    "residency", "swap", "schedule", "routing", "prefetch", "admission", "prefill",
    "preemption", "prefix_reuse", "reserve", "power_limit",
)  # fmt: skip
"""Options of hardwired servers only: a GPU server has vLLM's or TensorRT-LLM's own scheduler."""

POLICY_CHOICES = POLICY_FIELDS[:-2]  # the last two are quantities, with units in their names there

CARD_FIELDS = ("chip", "settings")
"""Options that change the chip on the cards of a hardwired server."""

LOAD_FIELDS = (
    "source", "adapters", "rank", "popularity", "adapter_rates", "arrivals", "rate", "duration",
    "requests", "concurrency", "seed", "client_rates", "time_unit", "sort",
)  # fmt: skip
"""Options that decide the requests and what adapters they want, with the server's model."""

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1), WHOLE]
ServerOrName = AnyServer | str


class Setup(BaseModel):
    """Everything that decides the bytes of a replay, by the names of the options.

    None leaves a choice to the source, the catalogue, the server or ``Policy``.
    """

    # Strict: YAML's yes, no and quoted numbers are none of these numbers.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: Annotated[str, Field(min_length=1)]
    server: str
    servers: Annotated[int, Field(ge=1, le=MOST_SERVERS), WHOLE] | None = None
    server_routing: policy.Routing | None = None
    chip: str | None = None
    settings: dict[str, StrictStr | StrictInt | StrictFloat] | None = None
    adapters: str | None = None
    rank: _Count | None = None
    popularity: str | None = None
    adapter_rates: Annotated[tuple[_Positive, ...], Field(strict=False)] | None = None
    client_rates: str | None = None
    arrivals: str | None = None
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    sort: bool = False
    rate: _Positive | None = None
    duration: _Positive | None = None
    requests: _Count | None = None
    concurrency: _Count | None = None
    until: _Positive | None = None
    slots: _Count | None = None
    residency: policy.Residency | None = None
    swap: policy.Swap | None = None
    schedule: policy.Schedule | None = None
    routing: policy.Routing | None = None
    prefetch: Annotated[int, Field(ge=0), WHOLE] | None = None
    admission: policy.Admission | None = None
    prefill: policy.Prefill | None = None
    preemption: policy.Preemption | None = None
    prefix_reuse: bool | None = None
    reserve: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    power_limit: _Positive | None = None
    slo: dict[Literal["ttft", "tpot"], _Positive] | None = None
    intervals: bool | None = None
    draws: Annotated[int, Field(ge=19), WHOLE] | None = None
    strict: bool = False
    seed: Annotated[int, Field(ge=0), WHOLE] = 0
    engine: Literal["events", "compiled", "reference"] | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any], where: Callable[[str], str]) -> Setup:
        """Check values; ``where`` turns a field and what is wrong with it into a sentence.

        Raises
        ------
        InputError
            On the first unknown, missing or wrong value.
        """
        try:
            words = {
                name: check_word(name, values[name], choices)
                for name, choices in field_choices().items()
                if isinstance(values.get(name), str)
            }
        except InputError as error:
            raise InputError(where(str(error))) from None
        try:
            return cls(**{**plain(values), **words})
        except ValidationError as error:
            raise InputError(where(complaint(error))) from None

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Setup:
        """Options as the command line has them, with underscores; those not given are None."""

        def where(problem: str) -> str:
            field, _, words = problem.partition(": ")
            if field == "source":
                return "SOURCE: name a preset or a trace file, or give --config"
            name, _, item = field.partition(".")
            return f"{option_of(name)}{f' {item}' if item else ''}: {words}"

        return cls.of({k: v for k, v in values.items() if v is not None}, where)

    @property
    def goals(self) -> Slo:
        """The SLO."""
        goals = self.slo or {}
        return Slo(ttft_s=goals.get("ttft"), tpot_s=goals.get("tpot"))

    def with_intervals(self, *, usually: bool) -> bool:
        """Whether a replay is to have intervals, where nobody says so ``usually``.

        Raises
        ------
        InputError
            If they are declined, and a number of draws is given.
        """
        if self.intervals is False and self.draws is not None:
            raise InputError("--draws: are of the intervals, which --no-intervals leaves out")
        return self.draws is not None or (usually if self.intervals is None else self.intervals)

    def only(self, server: ServerOrName) -> Setup:
        """The same for another server, without the choices that it does not have."""
        opened = open_server(server) if isinstance(server, str) else server
        changes: dict[str, Any] = {"server": server if isinstance(server, str) else server.name}
        if isinstance(opened, BatchServer):
            changes |= dict.fromkeys((*POLICY_FIELDS, *CARD_FIELDS))
        elif not isinstance(opened, Server):
            changes |= dict.fromkeys(CARD_FIELDS)
        return self.model_copy(update=changes)

    def files(self) -> dict[str, Path]:
        """Files of the user that decide the result, by field."""
        found = {}
        for field in ("source", "adapters", "client_rates"):
            text = getattr(self, field)
            is_name = field == "source" and text in preset_names()
            if text and not is_name and Path(text).is_file():
                found[field] = Path(text)
        for kind in ("server", "chip"):
            text = getattr(self, kind)
            if text and catalogue.is_path(kind, text):
                found[kind] = Path(text)
        return found

    def card_chip(self, server: Server) -> Chip:
        """The chip on the cards of a server: its own, or the one that was asked for, as set.

        Raises
        ------
        InputError
            As ``Chip.open`` and ``Chip.with_values``.
        """
        return set_over(Chip.open(self.chip or server.chip), self.settings)


@functools.cache
def field_choices() -> dict[str, tuple[str, ...]]:
    """The words that a field may be, of those that are one of a few."""
    found = {}
    for name, field in Setup.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if get_origin(kind) is Literal:
                found[name] = get_args(kind)
    return found


def option_of(field: str) -> str:
    """A field of ``Setup`` as the command line writes it."""
    return "--set" if field == "settings" else f"--{field.replace('_', '-')}"
