"""Options of ``hardwire replay`` as settings of a study: ``replay.rate``, ``replay.routing``, …"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.parameters import Quantity, check_value

PREFIX = "replay."

OPTION_NUMBERS: dict[str, Quantity] = {
    "servers": Quantity("", 1, 1000, "like servers behind a router", integer=True),
    "rank": Quantity("", 1, 1024, "rank of every adapter", integer=True),
    "rate": Quantity("requests/s", 0, 1e9, "mean rate of arrivals"),
    "duration": Quantity("s", 0, 1e9, "length of the workload"),
    "requests": Quantity("", 1, 1_000_000_000, "requests of the workload", integer=True),
    "concurrency": Quantity("", 1, 1_000_000_000, "requests in flight", integer=True),
    "until": Quantity("s", 0, 1e9, "where the simulation stops"),
    "slots": Quantity("", 1, 100_000, "adapter slots of a card", integer=True),
    "prefetch": Quantity("", 0, 100_000, "requests ahead whose adapters load", integer=True),
    "reserve": Quantity("s", 0, 1e9, "wait after which nobody passes by"),
    "power_limit": Quantity("W", 0, 1e6, "power limit of the server"),
    "seed": Quantity("", 0, 2**53, "seed of what is drawn", integer=True),
}
"""Options that are numbers; what is narrower than here the replay itself refuses."""

OPTION_WORDS = (
    "source", "server", "adapters", "popularity", "arrivals", "adapter_rates", "slo", "residency",
    "swap", "schedule", "routing", "admission", "prefill", "preemption", "engine", "prefix_reuse",
    "strict", "client_rates", "time_unit", "sort", "chip", "server_routing",
)  # fmt: skip
"""Options that are words, counts of adapters, or yes and no."""

OPTION_SETTINGS: dict[str, Quantity] = {PREFIX + k: v for k, v in OPTION_NUMBERS.items()}
"""Numbers by the name that an axis has."""

OPTIONS: tuple[str, ...] = (*OPTION_SETTINGS, *(PREFIX + name for name in OPTION_WORDS))


def check_option(where: str, name: str, value: Any) -> Any:
    """One value of the option that an axis ``replay.…`` varies, as far as it shows alone.

    Raises
    ------
    InputError
        On a value that is neither a number of the option's unit and range nor a word.
    """
    spec = OPTION_SETTINGS.get(name)
    if spec is not None:
        return check_value(where, value, spec)
    if type(value) is int and name == "replay.adapters":
        return str(value)
    if not isinstance(value, str | bool):
        raise InputError(f"{where}: a word is expected, not '{value}'")
    return value


def read_options(data: Any, where: str) -> dict[str, Any]:
    """The ``replay`` section of a study: options as typed for ``experiments.replay.setup.Setup``.

    Names may be written with ``-`` or ``_``; a server is ``hc1x10`` where none is named.

    Raises
    ------
    InputError
        On an unknown option, or a value that none can have.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: a mapping of options is expected")
    known = [name.removeprefix(PREFIX) for name in OPTIONS]
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise InputError(f"{where}.{key}: no such option{did_you_mean(name, known)}")
        found[name] = value
    try:
        found = {"server": "hc1x10", **typed(found)}
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if not isinstance(found["server"], str):
        raise InputError(f"{where}.server: a name or a YAML file is expected")
    return found


def typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Values out of YAML or out of arrays as the options of a replay have them.

    Raises
    ------
    InputError
        If ``slo`` or ``adapter_rates`` is text that cannot be read.
    """
    from hardwire.experiments.replay.options import parse_rates, parse_slo, seconds  # noqa: PLC0415 - of replays only

    found = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
    if type(found.get("adapters")) is int:
        found["adapters"] = str(found["adapters"])
    if isinstance(found.get("slo"), str):
        found["slo"] = parse_slo(found["slo"])
    elif isinstance(found.get("slo"), Mapping):
        found["slo"] = {
            goal: seconds(value, f"slo.{goal}") if isinstance(value, str | int | float) else value
            for goal, value in found["slo"].items()
        }
    if isinstance(found.get("adapter_rates"), str):
        found["adapter_rates"] = parse_rates(found["adapter_rates"])
    return {k: v for k, v in found.items() if v is not None}
