"""Chips, servers and studies taken apart for a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hardwire.experiments.report.diff_lines import Diff, Side, Value, Values, compare
from hardwire.experiments.shared.configuration import chip_configuration, server_configuration
from hardwire.experiments.shared.nested import at_or_none
from hardwire.experiments.shared.style import block_name
from hardwire.experiments.sweep.axis import Axis
from hardwire.experiments.sweep.save import study_configuration
from hardwire.experiments.sweep.study import Study
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Ownership, Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.server_split import SplitServer
from hardwire.models.system.budget import budgets
from hardwire.simulator.belief.spread import Load, changes
from hardwire.simulator.load import check_load
from hardwire.simulator.serving.cards.costs import token_costs
from hardwire.simulator.serving.replay import AnyServer
from hardwire.simulator.single import Result, run

MOST_LISTED = 8
"""An axis of more values is told by its ends and its step, where it has one."""


class _Figure(NamedTuple):
    """A result of a run: where it stands, its words, and the name of its interval."""

    path: str
    words: str
    unit: str
    interval: str = ""


_FIGURES = (
    _Figure("adapter_detail.decode_tokens_per_s_user", "Decode, one user, with the adapter",
            "tokens/s", "adapter_decode_tokens_per_s_user"),
    _Figure("decode_tokens_per_s_user", "Decode, one user, base alone", "tokens/s",
            "decode_tokens_per_s_user"),
    _Figure("decode_tokens_per_s_chip", "Decode, chip, base alone", "tokens/s",
            "decode_tokens_per_s_chip"),
    _Figure("token_s", "Time per token", "s", "token_s"),
    _Figure("ttft_s", "Time to first token", "s", "ttft_s"),
    _Figure("prefill_tokens_per_s", "Prefill", "tokens/s", "prefill_tokens_per_s"),
    _Figure("adapter_detail.free_rank", "Free rank", "", "adapter_free_rank"),
    _Figure("adapter_detail.swap_s.cold", "Swap, cold", "s"),
    _Figure("adapter_detail.swap_s.streamed", "Swap, streamed", "s"),
    _Figure("sram.capacity_bytes", "SRAM", "B"),
    _Figure("sram.free_bytes", "SRAM, free", "B"),
    _Figure("sram.max_context_tokens", "Longest context", "tokens"),
    _Figure("sram.max_users", "Users that fit", ""),
    _Figure("area_mm2.total", "Area of all blocks", "mm2", "area_mm2.total"),
    _Figure("die_area_mm2", "Die", "mm2"),
    _Figure("transistors", "Transistors", "", "transistors"),
    _Figure("power_w", "Card power", "W", "power_w"),
    _Figure("idle_w", "Card power, idle", "W", "idle_w"),
    _Figure("energy_j_per_decode_token", "Energy a decode token", "J",
            "energy_j_per_decode_token"),
    _Figure("energy_j_per_request", "Energy a whole request", "J", "energy_j_per_request"),
    _Figure("die_cost_usd", "Die cost", "USD", "die_cost_usd"),
    _Figure("usd_per_million_tokens", "Cost of a million tokens", "USD", "usd_per_million_tokens"),
    _Figure("fits_die", "Fits the die", ""),
    _Figure("power_capped", "Held by the power limit", ""),
)  # fmt: skip
"""What a run is compared by, whether it differs or not."""


def run_results(data: Mapping[str, Any]) -> dict[str, Values]:
    """The results of a run, from the object of ``hardwire run --json``."""
    headline: dict[str, Value] = {}
    for path, words, unit, interval in _FIGURES:
        value = at_or_none(data, path)
        if value is None and path.startswith("adapter_detail") and not data["adapter_detail"]:
            continue
        ends = data["interval"].get(interval)
        span = None if ends is None or None in ends else (ends[0], ends[1])
        headline[path] = Value(value, unit, words, "", span, headline=True)
    blocks = {
        f"area_mm2.{name}": Value(area, "mm2", block_name(name))
        for name, area in data["area_mm2"].items()
        if name != "total"
    }
    return {"Results": headline, "Area by block": blocks}


def parameter_values(entries: list[Mapping[str, Any]]) -> dict[str, Value]:
    """Parameters as a configuration lists them; one that a user set has the kind *set*, and none
    of the ranges that are of the file's value."""
    found = {}
    for entry in entries:
        by_hand = entry.get("set", False)
        ends = None if by_hand else entry.get("range")
        found[entry["name"]] = Value(
            entry["value"],
            entry["unit"],
            entry["meaning"],
            "set" if by_hand else entry.get("kind", "set"),
            None if ends is None else (ends[0], ends[1]),
        )
    return found


def chip_parameters(entry: Mapping[str, Any]) -> dict[str, Values]:
    """A chip in a configuration: its process and what it was fitted to, and its parameters."""
    fitted = entry["calibration"]
    words = {"process": Value(entry["process"])}
    if fitted is not None:
        words["fitted"] = Value(
            f"{fitted['parameter']} to {fitted['metric']} {fitted['value']:.4g}"
        )
    return {"Chip": words, "Parameters": parameter_values(entry["parameters"])}


def _of_chip(chip: Chip) -> dict[str, Values]:
    parts = chip_parameters(chip_configuration(chip))
    return {**parts, "Chip": {"model": Value(LanguageModel.open(chip.model).name), **parts["Chip"]}}


def chips(
    a: Chip,
    b: Chip,
    model: LanguageModel,
    adapter: Adapter | None,
    *,
    prompt: int = 1024,
    output: int = 1024,
    users: int = 1,
) -> Diff:
    """Two chips: their parameters, and a run of both on the same model, adapter and load.

    A chip that cannot run the load has an obstacle instead of results.
    """
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    runs: list[Result] = []
    sides = []
    for chip in (a, b):
        results: Mapping[str, Values] = {}
        try:
            done = run(chip, model, adapter, prompt=prompt, output=output, users=users)
            runs.append(done)
            results = run_results(done.to_dict())
            obstacles = tuple(str(one) for one in done.obstacles)
        except InputError as error:
            obstacles = (f"Cannot run: {str(error).removeprefix(f'{chip.name}: ')}",)
        sides.append(Side("chip", chip.name, _of_chip(chip), results, obstacles))
    moved = {}
    if len(runs) == 2:
        drawn = changes((a, b), model, adapter, Load(prompt, output, users))
        moved = {f.path: (drawn[f.interval][0], drawn[f.interval][1])
                 for f in _FIGURES if f.interval in drawn}  # fmt: skip
    question = {
        "model": model.name,
        "adapter": "none" if adapter is None else adapter.name,
        "prompt": prompt,
        "output": output,
        "users": users,
    }
    return compare(sides[0], sides[1], question=question, changes=moved)


def servers(a: AnyServer, b: AnyServer) -> Diff:
    """Two servers: their parameters, those of the chips on their cards, and what is known of them
    without a load. Of servers of the two kinds, what both kinds have."""
    if isinstance(a, BatchServer) == isinstance(b, BatchServer):
        return compare(server_side(a), server_side(b))
    both = set(a.parameters) & set(b.parameters)
    sides = []
    for one in (server_side(a), server_side(b)):
        shared = {name: v for name, v in one.parameters["Server"].items() if name in both}
        sides.append(dataclasses.replace(one, parameters={"Server": shared}))
    note = "a GPU server beside one of hardwired cards: parameters that both kinds have"
    return compare(*sides, note=note)


def server_side(server: AnyServer) -> Side:
    """A server, and the chip on its cards."""
    whole = server_parameters(server_configuration(server))
    if isinstance(server, BatchServer):
        parameters: dict[str, Values] = {"Server": {"model": Value(server.model.name), **whole}}
    elif not isinstance(server, Server):
        parameters = {"Server": whole}
    else:
        parameters = {"Server": whole, **_of_chip(Chip.open(server.chip))}
    return Side("server", server.name, parameters, {"Without a load": _at_rest(server)})


def server_parameters(entry: Mapping[str, Any]) -> Values:
    """Parameters of a server in a configuration, its chip and its issue."""
    words = {key: entry[key] for key in ("chip", "system", "issue") if entry.get(key)}
    return {**{k: Value(v) for k, v in words.items()}, **parameter_values(entry["parameters"])}


def _at_rest(server: AnyServer) -> Values:
    """Units, memory, power at rest and cost of an hour."""
    if isinstance(server, SplitServer):
        return {
            name: dataclasses.replace(both, value=both.value + other.value)
            for (name, both), other in zip(
                _at_rest(server.prefill).items(), _at_rest(server.decode).values(), strict=True
            )
        }
    owned: Ownership
    if isinstance(server, BatchServer):
        batching = server.batching
        owned, units, rest_w = batching, 1, float(batching.idle_w)
        memory = 1e9 * float(
            batching.gpu_memory_gb * batching.memory_share
            - batching.weights_gb
            - batching.overhead_gb
        )
    elif isinstance(server, SystemServer):
        owned, units = server.machine, server.cards
        found = budgets(server.system)
        memory = units * sum(one.sram_bytes + one.memory_bytes for one in found.values())
        links_w = sum(float(link.kind.idle_w) for link in server.system.links)
        idle_w = links_w + sum(one.card_idle_w for one in found.values())
        rest_w = float(server.power_w(idle_w))
    else:
        chip = Chip.open(server.chip)
        owned, units = server.machine, server.cards
        memory = units * float(chip.sram.capacity_mib) * BYTES_PER_MIB
        costs = token_costs(chip, LanguageModel.open(chip.model), (), longest=1)
        rest_w = float(server.power_w(costs.idle_w))
    written_off = 3600 * owned.capex_usd_per_s
    return {
        name: Value(value, unit, words, headline=True)
        for name, value, unit, words in (
            ("units", units, "", "Cards or GPUs"),
            ("price_usd", float(owned.price_usd), "USD", "Price"),
            ("memory_bytes", memory, "B", "Memory for KV cache and adapters"),
            ("rest_w", rest_w, "W", "Power at rest"),
            ("written_off_usd_per_h", written_off, "USD", "Written off in an hour"),
            ("rest_usd_per_h", 3600 * rest_w * owned.energy_usd_per_j, "USD",
             "Electricity of an hour at rest"),
        )
    }  # fmt: skip


def study_side(study: Study) -> Side:
    """A study's axes, aims and base design; nothing is computed."""
    whole = study_configuration(study, dict(study.objectives))
    options = {
        name: value
        for name, value in whole["options"].items()
        if name not in ("study", "axes", "constraints", "objectives")
    }
    said = {
        "title": study.title,
        "points": study.points,
        "metrics": ", ".join(study.metrics),
        "model": study.base.model.name,
        **options,
    }
    parts = {
        "Study": {name: Value(value) for name, value in said.items()},
        "Axes": {axis.name: Value(axis_words(axis)) for axis in study.axes},
        "Constraints": {one.text: Value(True) for one in study.constraints},
        "Objectives": {name: Value(side) for name, side in study.objectives.items()},
        **chip_parameters(whole["chips"][0]),
    }
    return Side("study", study.name, parts)


def axis_words(axis: Axis) -> str:
    """The values of an axis, or the ends and the scale of its interval."""
    if axis.variants:
        each = zip(axis.values, axis.variants, strict=True)
        return "; ".join(
            f"{label}: {', '.join(f'{k} {_exact(v)}' for k, v in settings.items())}"
            for label, settings in each
        )
    if not axis.values:
        return f"{_exact(axis.low)} … {_exact(axis.high)}{', log' if axis.log else ''}"
    values = axis.values
    if len(values) > MOST_LISTED and not isinstance(values[0], str):
        step = values[1] - values[0]
        even = np.allclose(np.diff(np.array(values, dtype=float)), step, rtol=1e-6, atol=0)
        if even:
            return f"{_exact(values[0])} … {_exact(values[-1])} by {_exact(step)}"
    return ", ".join(map(_exact, values))


def _exact(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"
