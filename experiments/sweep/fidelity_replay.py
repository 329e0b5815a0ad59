"""Points of a study that are replays: a workload on a server, whose chip the study may vary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.experiments.sweep.design import OBSTACLES, Design
from hardwire.experiments.sweep.fidelity_options import PREFIX, typed
from hardwire.experiments.sweep.keys import KEY, point_keys, program_version
from hardwire.experiments.sweep.metrics import CLOSED_FORM, Metric
from hardwire.models.area import area
from hardwire.models.chip import DECLARED, Chip
from hardwire.models.cost import die_cost_usd
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server

if TYPE_CHECKING:
    from hardwire.experiments.replay.replay import Prepared, Setup
    from hardwire.experiments.sweep.axis import Axis
    from hardwire.experiments.sweep.study import Study
    from hardwire.models.gpu_server import BatchServer
    from hardwire.simulator.serving.load.adapters import AdapterSet
    from hardwire.simulator.serving.load.workload import Workload

REFUSED = OBSTACLES.index("the replay cannot be set up so")
"""Obstacle of a point whose replay raises ``InputError``."""

OF_CHIP = ("area_mm2.total", "die_mm2", "die_cost_usd")
"""Closed forms of the chip on the cards, stored beside the replay's numbers."""


def _spread(name: str, unit: str, meaning: str, parts: tuple[str, ...]) -> dict[str, Metric]:
    better = "max" if name.startswith(("offered", "served", "utilization")) else "min"
    return {
        f"{name}.{part}": Metric(unit, f"{meaning}, {part}", better)  # type: ignore[arg-type]
        for part in parts
    }


_LATENCY = ("mean", "p50", "p90", "p99")
_USE = ("mean", "max")

REPLAY: dict[str, Metric] = {
    "goodput": Metric("requests/s", "completed requests that met every SLO", "max"),
    "ttft_s.p99": Metric("s", "time to first token, p99", "min"),
    "tpot_s.p99": Metric("s", "time per output token, p99", "min"),
    "energy_j_per_token": Metric("J", "energy of the server per output token", "min"),
    **_spread("ttft_s", "s", "time to first token", _LATENCY[:3]),
    **_spread("tpot_s", "s", "time per output token", _LATENCY[:3]),
    **_spread("e2e_s", "s", "last output token after arrival", _LATENCY),
    "slo_met": Metric("", "share of all requests that met every SLO", "max"),
    "output_tokens_per_s": Metric("tokens/s", "output tokens served", "max"),
    **{
        f"{side}.{rate}": Metric(unit, f"{side} {words}", "max")
        for side in ("offered", "served")
        for rate, unit, words in (
            ("requests_per_s", "requests/s", "requests"),
            ("output_tokens_per_s", "tokens/s", "output tokens"),
            ("prompt_tokens_per_s", "tokens/s", "prompt tokens"),
        )
    },
    "requests": Metric("", "requests of the workload", "max"),
    "completed": Metric("", "requests completed", "max"),
    "refused": Metric("", "requests that can never be served", "min"),
    "unfinished": Metric("", "requests not ended where the replay stopped", "min"),
    "duration_s": Metric("s", "from the first arrival to the end of the last request", "min"),
    "generated_tokens": Metric("tokens", "output tokens", "max"),
    "prompt_tokens": Metric("tokens", "prompt tokens", "max"),
    "reused_prompt_tokens": Metric("tokens", "prompt tokens found in the KV cache", "max"),
    "swaps": Metric("", "adapter loads", "min"),
    "adapter_hit_rate": Metric("", "adapter resident when its request was let in", "max"),
    "swap_wait_s": Metric("s", "waiting for adapters, all requests", "min"),
    "swap_wait_share": Metric("", "share of the requests' time that waits for adapters", "min"),
    "preemptions": Metric("", "requests that had to make room", "min"),
    **_spread("utilization.compute", "", "busy share of the cards or GPUs", _USE),
    **_spread("utilization.link", "", "busy share of the host links", _USE),
    **_spread("utilization.disk", "", "busy share of the disk", _USE),
    "sram.capacity_bytes": Metric("B", "memory of a card for KV and adapters", "max"),
    "sram.peak_bytes": Metric("B", "KV and adapters at the peak of a card", "min"),
    "sram.mean_bytes": Metric("B", "KV and adapters, mean over cards and time", "min"),
    "sram.peak_kv_bytes": Metric("B", "KV at its peak", "min"),
    "sram.mean_kv_bytes": Metric("B", "KV, mean", "min"),
    "sram.peak_adapter_bytes": Metric("B", "adapters at their peak", "min"),
    "sram.mean_adapter_bytes": Metric("B", "adapters, mean", "min"),
    "energy_j": Metric("J", "energy of the whole server", "min"),
    "power_w": Metric("W", "mean power of the whole server", "min"),
    "usd": Metric("USD", "share of the purchase, and electricity", "min"),
    "usd_per_million_tokens": Metric("USD", "cost per million output tokens", "min"),
    **{name: CLOSED_FORM[name] for name in OF_CHIP},
}
"""Numbers of ``hardwire.simulator.serving.metrics.summarize``, nested names joined by dots; the
closed forms of the chip. NaN where one is undefined: a percentile of no requests, a GPU's die."""


def card_chip(options: Mapping[str, Any]) -> str:
    """The chip on the cards of the server that options name; ``hc1`` for a GPU server.

    Raises
    ------
    InputError
        On a server that cannot be used.
    """
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415 - of replays only

    server = open_server(str(options["server"]))
    return server.chip if isinstance(server, Server) else "hc1"


def check_replays(study: Study, where: str, base: Mapping[str, Any]) -> None:
    """Refuse what a study says that no replay can take.

    Parameters
    ----------
    base : the section of the study.

    Raises
    ------
    InputError
        On settings of load, model or adapter, chip settings of a GPU server, or options of which a
        value is wrong whatever the others are.
    """
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415 - of replays only

    if "chip" in base:
        raise InputError(f"{where}: base.chip: a replay takes the chip of its server")
    for name in base:
        if name.startswith(PREFIX):
            raise InputError(f"{where}: base.{name}: options stand in the section replay")
    axes = {name: axis for axis in study.axes for name in axis.names}
    at = {**{name: f"base.{name}" for name in base}, **{name: f"axes.{name}" for name in axes}}
    for name, place in at.items():
        if not name.startswith(PREFIX) and name not in DECLARED and name != "process":
            raise InputError(
                f"{where}: {place}: a replay takes load and adapters from its options "
                "(replay.rate, replay.adapters, replay.rank, …), and the model from its server"
            )
    if "source" not in study.replay and "replay.source" not in axes:
        raise InputError(f"{where}: replay.source: name a preset or a trace file")
    chip = [name for name in at if not name.startswith(PREFIX)]
    if chip and "replay.server" not in axes:
        server = open_server(str(study.replay["server"]))
        _refuse_gpu(server, f"{where}: {at[chip[0]]}")
    for name, axis in axes.items():
        if name.startswith(PREFIX):
            for value in _values(axis, name):
                _setup(study, {name: value}, f"{where}: axes.{name}: ")
    if not any(name.startswith(PREFIX) for name in axes):
        _setup(study, {}, f"{where}: ")


def evaluate_replay(study: Study, settings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replay every point; see ``hardwire.experiments.sweep.fidelity.evaluate``.

    Points that differ in policy or chip alone share one workload.
    """
    from hardwire.experiments.replay.replay import LOAD_FIELDS, make_load, prepare, run  # noqa: PLC0415

    points = len(next(iter(settings.values())))
    result = {name: np.full(points, np.nan) for name in study.columns}
    result["obstacle"] = np.zeros(points, np.int8)
    result["failure"] = np.full(points, "", object)
    over = _set_over(study)
    loads: dict[tuple[Any, ...], tuple[Workload, AdapterSet]] = {}

    def load(setup: Setup, model: LanguageModel) -> tuple[Workload, AdapterSet]:
        key = (model, *(getattr(setup, field) for field in LOAD_FIELDS))
        if key not in loads:
            loads[key] = make_load(setup, model)
        return loads[key]

    for point in range(points):
        mine = {name: values[point] for name, values in settings.items()}
        try:
            prepared = prepare(_setup(study, mine), load)
            prepared, chip = _with_chip(over, prepared, mine)
            summary = run(prepared, chip=chip).summary
        except InputError as error:
            result["obstacle"][point] = REFUSED
            result["failure"][point] = str(error)
            continue
        for name, value in _numbers(summary, chip).items():
            result[name][point] = value
    return result


def replay_keys(study: Study, settings: Mapping[str, np.ndarray]) -> np.ndarray:
    """Keys of points: all options, server and chip as resolved, and the files that they name."""
    from hardwire.experiments.replay.replay import digest  # noqa: PLC0415 - of replays only
    from hardwire.simulator.serving.load import synthetic  # noqa: PLC0415 - of replays only
    from hardwire.simulator.serving.replay import open_server  # noqa: PLC0415 - of replays only

    points = len(next(iter(settings.values())))
    keys = np.empty(points, KEY)
    columns = ",".join(study.columns)
    context = {"version": program_version(), "fidelity": "replay", "columns": columns}
    over = _set_over(study)
    presets = Path(synthetic.__file__).parent / "presets"
    for point in range(points):
        mine = {name: values[point] for name, values in settings.items()}
        setup = _setup(study, mine)
        server = open_server(setup.server)
        found: dict[str, Any] = {
            PREFIX + k: repr(v) for k, v in setup.model_dump(exclude_none=True).items()
        }
        found["file.server"] = repr(server)
        found |= {f"file.{field}": digest(path) for field, path in setup.files().items()}
        preset = presets / f"{setup.source}.yaml"
        if preset.is_file():
            found["file.preset"] = digest(preset)
        if isinstance(server, Server):
            found |= _card_design(over, server, mine).resolved()
        else:  # whose points fail where chip settings stand beside it
            found |= {k: v for k, v in mine.items() if not k.startswith(PREFIX)}
        keys[point : point + 1] = point_keys({**context, **found}, 1)
    return keys


def _setup(study: Study, settings: Mapping[str, Any], where: str = "") -> Setup:
    """The options of a point: the section, and what the axes set over it."""
    from hardwire.experiments.replay.replay import Setup  # noqa: PLC0415 - of replays only

    options = {k.removeprefix(PREFIX): v for k, v in settings.items() if k.startswith(PREFIX)}
    both = {**study.replay, **typed(options)}
    both.setdefault("source", "sharegpt")  # named by an axis, where only others are checked
    return Setup.of(both, lambda problem: f"{where}{PREFIX}{problem}")


def _values(axis: Axis, name: str) -> tuple[Any, ...]:
    """What an axis sets one option to; of an interval its ends."""
    if axis.variants:
        return tuple(variant[name] for variant in axis.variants)
    return axis.values or (axis.low, axis.high)


def _refuse_gpu(server: Server | BatchServer, name: str) -> None:
    if not isinstance(server, Server):
        raise InputError(
            f"{name}: is of a hardwired chip; {server.name} is a GPU server, which has none"
        )


def _set_over(study: Study) -> dict[str, Any]:
    """What the study's base sets over the chip that it starts from."""
    filed, base = Chip.open(card_chip(study.replay)), study.base.chip
    values = {name: base.value(name) for name in DECLARED}
    return {name: value for name, value in values.items() if value != filed.value(name)}


def _card_design(over: Mapping[str, Any], server: Server, settings: Mapping[str, Any]) -> Design:
    """The server's chip, with what the study's base (``_set_over``) and a point set over it."""
    values = dict(over)
    if "process" in settings:
        values = {k: v for k, v in values.items() if not k.startswith("process.")}
    for name, value in settings.items():
        if not name.startswith(PREFIX):
            values[name] = value.item() if isinstance(value, np.generic) else value
    chip = Chip.open(server.chip)
    design = Design(chip, LanguageModel.open(chip.model)).with_settings(values)
    design.chip.check(server.name)
    return design


def _with_chip(
    over: Mapping[str, Any], prepared: Prepared, settings: Mapping[str, Any]
) -> tuple[Prepared, Chip | None]:
    """What a point runs on: its server, and the chip on the cards of a hardwired one."""
    server = prepared.server
    stated = [name for name in settings if not name.startswith(PREFIX)]
    if not isinstance(server, Server):
        for name in stated:
            _refuse_gpu(server, name)
        return prepared, None
    if "datapath.issue" in stated:  # over the server's, which is over the chip's
        prepared = dataclasses.replace(prepared, server=dataclasses.replace(server, issue=None))
    return prepared, _card_design(over, server, settings).chip


def _numbers(summary: Mapping[str, Any], chip: Chip | None) -> dict[str, float]:
    """Every metric that a summary has a number for."""
    found: dict[str, float] = {}
    for name in REPLAY:
        value: Any = summary
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found[name] = float(value)
    if chip is not None:
        found["area_mm2.total"] = float(area(chip, LanguageModel.open(chip.model))["total"])
        found["die_mm2"] = float(chip.die.area_mm2)
        found["die_cost_usd"] = float(die_cost_usd(chip))
    return found
