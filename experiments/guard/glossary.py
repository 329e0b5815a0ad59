"""docs/glossary.md: every term, metric and key of ``--json`` by its one name, with its unit.

Metrics are those of ``experiments/sweep/metrics.py``; what ``run`` and ``replay`` say besides them
stands here. A test holds the page against what the commands print.
"""

from __future__ import annotations

from collections.abc import Iterable

from hardwire.experiments.sweep.metrics import METRICS, Metric
from hardwire.simulator.datapath import OPERATIONS

PAGE = "glossary.md"

INTRODUCTION = """\
# Glossary

<!-- Written by `python -m hardwire.experiments.guard.pages` from experiments/guard/glossary.py and
the metrics of sweeps; change those instead. -->

One name for each thing, in `--json`, in files, in sweeps and in Python. Dots go into nested
objects. Parameters of a chip, by their dotted names, are on [Chips and processes](chips.md).
"""

TERMS = {
    "die": "the piece of silicon. `die.area_mm2` is a parameter: what the chip file states. "
    "`die_area_mm2` is the same in results. `area_mm2.total` is the sum of the blocks: a design "
    "fits where that is not the larger. `die_margin_mm2` is what it leaves",
    "step, token time, TPOT": "the time of a decoded token. `token_s` is of one user on one chip, "
    "`1 / decode_tokens_per_s_user`; `tpot_s` is of one served request, waiting included",
    "TTFT": "time to first token, `ttft_s`: from arrival to the end of the first output token",
    "adapter format": "how an adapter lies in SRAM, `adapter_format` in results and tables: "
    "`formats.adapter_format` of a chip file, unless the adapter names its own, in studies by the "
    "axis `adapter.format`",
    "rate": "tokens per second: `decode_tokens_per_s_user` of one user, "
    "`decode_tokens_per_s_chip` of all users",
    "card and server": "`power_w` and `energy_j_per_decode_token` are of one card that decodes; "
    "`server_power_w` and `server_energy_j_per_output_token` of the whole server over a replay, "
    "idle time and prompts included; `fleet_power_w` of several servers",
    "system, stage, group": "several dies that hold one model; layers that follow each other on a "
    "group of dies; `decode_tokens_per_s_system` is of all users of a system",
    "free rank": "`free_rank`: the highest rank that adds no cycle to any token",
    "interval": "5th to 95th percentile over the draws of all uncertain parameters",
    "obstacle": "what stands in a design's way: blocks larger than the die, a power limit",
    "goodput": "`goodput`, requests/s: completed requests that met every goal given",
    "hit, swap": "an adapter that was in memory when its request was let in; one that was loaded",
    "published, derived, assumed, calibrated, set": "where a parameter comes from: see "
    "[Uncertainty](uncertainty.md)",
}

RUN: dict[str, tuple[str, str]] = {
    "chip": ("", "its name"),
    "model": ("", "its name"),
    "adapter": ("", "its name; null without one"),
    "issue": ("", "serial or pipelined"),
    "engine": ("", "compiled or reference"),
    "prompt": ("tokens", "of a user"),
    "output": ("tokens", "of a user"),
    "users": ("", "at a time"),
    "settings": ("as the parameter", "what was set over the chip, by parameter"),
    "own": ("as the parameter", "what a file states over a measured chip, with range and source"),
    "fits_die": ("", "whether the blocks fit the die, or are no larger than the measured chip's"),
    "power_capped": ("", "whether a power limit slows decode or prefill"),
    "obstacles": ("", "a sentence for each thing in the way"),
    "target_tokens_per_s": ("tokens/s", "the rate to reach"),
    "target_met": ("", "whether a design without obstacles reaches it; null without a target"),
    "interval": ("as the key", "`[p5, p95]` of each headline figure; `adapter_…` with the adapter"),
    "interval_draws_share": ("", "of the draws that can run at all, which the intervals are of"),
    "critical_unit": ("", "the unit that is busy longest per token"),
    "critical_unit_s": ("s", "for how long"),
    "adapter_detail": ("as the key", "the figures with the adapter; and those of the next rows"),
    "adapter_detail.parameters": ("", "weights of A and B"),
    "adapter_detail.adapter_format": ("", "adapter format"),
    "adapter_detail.bytes": ("B", "of its image in SRAM"),
    "adapter_detail.room_bytes": ("B", "that it takes there from the KV cache"),
    "adapter_detail.swap_j": ("J", "of the card, to load it from host memory"),
    "adapter_detail.swap_s": ("s", "until it can be used: `cold`, `warm`, `streamed`, `resident`"),
    "sram.kv_bytes_per_token": ("B", "KV cache of a token"),
    "sram.capacity_bytes": ("B", "SRAM for KV cache and adapters"),
    "power_limit_w": ("W", "of the card"),
    "power_by_part_w": ("W", "card power by where it goes; the sum is `power_w`"),
    "full_activity_w": ("W", "of the card, if every unit worked in every cycle"),
    "pj_per_weight_use": ("pJ", "energy of the chip per weight of a decoded token"),
    "published_transistors": ("", "as published of this chip; else null"),
}
"""Keys of ``run --json`` that are no metric of a study: unit and meaning."""

REPLAY: dict[str, tuple[str, str]] = {
    "server": ("", "its name"),
    "workload": ("", "preset or trace"),
    "refusals": ("", "refused requests by reason"),
    "refusal_causes": ("", "what is in the way, by reason"),
    "interrupted": ("", "when Ctrl-C cut the run off; else null"),
    "warnings": ("", "a sentence for each way in which the load goes beyond what was measured"),
    "adapters": ("", "that requests may want"),
    "concurrency": ("", "requests in flight, of a closed loop"),
    "intervals": ("as the key", "`[p5, p95]` over draws of the server, by dotted name"),
    "interval_draws": ("", "draws of what is not known of the server"),
    "interval_not_started": ("", "of them, those that lack memory or power to start"),
    "skipped": ("", "requests that failed where the trace was recorded"),
    "offered.duration_s": ("s", "length of the workload"),
    "slo": ("s", "the goals, `ttft_s` and `tpot_s`"),
    "units": ("", "cards or GPUs"),
    "peak_sram_bytes": ("B", "most KV and adapters at a time on one card or GPU"),
    "server_energy_by_part_j": ("J", "energy of the server by part"),
    "price_usd": ("USD", "of the server"),
    "fits_die": ("", "whether the blocks of the chip on the cards fit its die"),
    "power_capped": ("", "whether a card's share of the power limit slows it"),
    "obstacles": ("", "a sentence for each thing in the way"),
    "definitions": ("", "terms as this server has them"),
}
"""Keys of ``replay --json`` that are no metric of a study: unit and meaning."""


def render() -> str:
    """The page as Markdown."""
    words = [f"| {name} | {meaning} |" for name, meaning in TERMS.items()]
    closed = {**METRICS["closed-form"], **METRICS["engine"]}
    parts = [INTRODUCTION, "## Terms\n", "| Term | Meaning |", "|---|---|", *words, ""]
    parts += ["## Of a chip: `run --json`, studies of fidelity closed-form and engine\n"]
    parts += _table([*_rows(RUN), *_metrics(closed)])
    parts += ["## Of a server: `replay --json`, `compare --json`, studies of fidelity replay\n"]
    parts += _table([*_rows(REPLAY), *_metrics(METRICS["replay"])])
    parts += ["## Of a system of several dies: studies of fidelity system\n"]
    parts += _table(_metrics(METRICS["system"]))
    operations = ", ".join(f"`{name}`" for name in OPERATIONS)
    parts += [f"`breakdown_s` has {operations}; in simulations `waiting` and `power_cap`, too.", ""]
    return "\n".join(parts)


def _rows(keys: dict[str, tuple[str, str]]) -> Iterable[tuple[str, str, str]]:
    return ((name, unit, meaning) for name, (unit, meaning) in keys.items())


def _metrics(metrics: dict[str, Metric]) -> Iterable[tuple[str, str, str]]:
    return ((name, one.unit.replace("mm2", "mm²"), one.meaning) for name, one in metrics.items())


def _table(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    ordered = sorted(rows)
    lines = [f"| `{name}` | {unit} | {meaning} |" for name, unit, meaning in ordered]
    return ["| Name | Unit | Meaning |", "|---|---|---|", *lines, ""]
