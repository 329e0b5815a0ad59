"""The serving study: hardwired servers and a GPU under many adapters, at equal usefulness.

``python -m hardwire.experiments.studies.serving [--out DIR] [--quick]`` runs everything behind
``docs/serving-study.md`` and writes its tables (CSV) and figures (PNG) to a folder.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hardwire.experiments.studies.command import Say, Tables, run_study
from hardwire.experiments.studies.serving_bench import (
    AFFINE,
    BASE_ONLY,
    BASE_POLICY,
    GPU,
    HARDWIRED,
    LOCAL,
    PUBLISHED_SERVER_W,
    QUICK,
    TRACE,
    UNIFORM,
    Bench,
    Fleet,
    Row,
    Settings,
    shown,
)
from hardwire.models.gpu_server import Batching, BatchServer
from hardwire.models.parameters import draw, quantities
from hardwire.models.server import Machine, Server
from hardwire.simulator.belief.draws import MIN_ACCEPTED, draw_chips, interval
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.load.popularity import assign_adapters, parse_popularity
from hardwire.simulator.serving.load.synthetic import make_workload, stream
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import AnyServer

SHARED = ("lifetime_years", "pue", "electricity_usd_per_kwh")
"""Of the site and the buyer, so that one draw serves both kinds of server."""

GPU_DRAWN = (
    "step_us", "sequence_us", "kv_token_ns", "prefill_token_us", "request_us", "frontend_us",
    "lora_step_us", "slot_us", "distinct_us", "lora_sequence_us", "slot_prefill_ns", "load_us",
    "busy_w", "price_usd",
)  # fmt: skip


def by_adapters(bench: Bench) -> tuple[list[Row], list[Row]]:
    """Question 1: capacity, power and cost by number of adapters; and the GPU's by its slots."""
    rows, slots = [], []
    for popularity in bench.settings.popularities:
        guess = dict.fromkeys(HARDWIRED, 100.0)
        for count in bench.settings.adapters:
            key = {"popularity": popularity, "adapters": count}
            for name in bench.settings.servers:
                load = bench.load(bench.settings.count(name), count, popularity)
                row = bench.capacity(bench.servers[name], load, guess=guess[name])
                guess[name] = row["rate"] or 100.0
                rows.append(shown(row, server=name, **key, slots=""))
            load = bench.load(bench.settings.count(GPU), count, popularity)
            best, tried = bench.gpu(load)
            rows.append(shown(best, server=GPU, **key, slots=best["slots"]))
            slots += [shown(row, server=GPU, **key, slots=row["slots"]) for row in tried]
    return rows, slots


def by_goal(bench: Bench) -> list[Row]:
    """Question 1: other SLOs, and no adapters at all."""
    rows = []
    for slo in bench.settings.slos:
        for name in (*bench.settings.servers, GPU, *BASE_ONLY):
            for count in (0,) if name in BASE_ONLY else (0, 8, 64) if name == GPU else (0, 64):
                load = bench.load(bench.settings.count(name), count, UNIFORM)
                if name == GPU and count:
                    row, _ = bench.gpu(load, slo, slots=(8, 16, 32, 64))
                else:
                    policy = BASE_POLICY if name in HARDWIRED else Policy()
                    guess = 100.0 if name in HARDWIRED else 10.0
                    row = bench.capacity(bench.servers[name], load, policy, slo, guess=guess)
                key = {"ttft_s": slo.ttft_s, "tpot_s": slo.tpot_s}
                rows.append(shown(row, **key, server=name, adapters=count))
    return rows


def compared(bench: Bench, rows: list[Row]) -> list[Row]:
    """Question 1: ratios to the GPU, and at the load of the trace itself."""
    result = []
    for popularity in bench.settings.popularities:
        fleet = Fleet(rows, popularity)
        for count in bench.settings.adapters:
            same = [r for r in rows if (r["popularity"], r["adapters"]) == (popularity, count)]
            alone = next(r for r in same if r["server"] == GPU)
            for row in same:
                if row["server"] != GPU and row["capacity_per_s"]:
                    result.append(_against(bench, row, alone, fleet))
    return result


def _against(bench: Bench, row: Row, alone: Row, fleet: Fleet) -> Row:
    """One hardwired server, at its capacity and at the trace's load, against GPUs."""
    count, rate = row["adapters"], row["capacity_per_s"]
    server = bench.servers[row["server"]]
    names = AdapterSet.equal(count, bench.model).names
    plain = make_workload(TRACE, requests=bench.settings.count(row["server"]))
    own = make_workload(TRACE).describe()["requests_per_s"]
    load = assign_adapters(plain, names, parse_popularity(row["popularity"]))
    idle = bench.run(server, load, BASE_POLICY)
    at = len(load) / load.duration_s

    def line(key: str) -> Callable[[float], float]:
        slope = (row[key] - idle[key]) / (rate - at)
        return lambda load_per_s: idle[key] + slope * (load_per_s - at)

    watts, usd = line("server_power_w"), line("usd_per_s")
    gpus = fleet.gpus(rate, count)
    needed = fleet.gpus(own, count)
    single = {k: alone.get(k, math.inf) for k in ("j_per_request", "usd_per_million_requests")}
    return {
        "server": row["server"],
        "popularity": row["popularity"],
        "adapters": count,
        "per_watt_of_one_gpu": single["j_per_request"] / row["j_per_request"],
        "per_usd_of_one_gpu": single["usd_per_million_requests"] / row["usd_per_million_requests"],
        "per_watt_published_of_one_gpu": single["j_per_request"] * rate / PUBLISHED_SERVER_W,
        "fleet_gpus": gpus,
        "per_watt_of_fleet": gpus * fleet.power_w / row["server_power_w"],
        "per_usd_of_fleet": gpus * fleet.usd_per_s / row["usd_per_s"],
        "per_watt_published_of_fleet": gpus * fleet.power_w / PUBLISHED_SERVER_W,
        "break_even_per_s_watt": fleet.passed(count, watts, fleet.power_w),
        "break_even_per_s_watt_published": fleet.passed(
            count, lambda _: PUBLISHED_SERVER_W, fleet.power_w
        ),
        "break_even_per_s_usd": fleet.passed(count, usd, fleet.usd_per_s),
        "trace_per_s": own,
        "trace_server_power_w": watts(own),
        "trace_usd_per_h": 3600 * usd(own),
        "trace_ttft_p99_s": idle["ttft_s"]["p99"],
        "trace_gpus": needed,
        "trace_gpus_power_w": needed * fleet.power_w,
        "trace_gpus_usd_per_h": 3600 * needed * fleet.usd_per_s,
    }


def policies(bench: Bench) -> list[Row]:
    """Question 2: one choice changed at a time, at nine tenths of the base policy's capacity."""
    base = BASE_POLICY
    change = dataclasses.replace
    variants = {
        "base": base,
        "swap blocking": change(base, swap="blocking"),
        "swap double_buffered": change(base, swap="double_buffered"),
        "prefetch 0": change(base, prefetch=0),
        "prefetch 4": change(base, prefetch=4),
        "residency lfu": change(base, residency="lfu"),
        "residency cost": change(base, residency="cost"),
        "residency belady": change(base, residency="belady"),
        "routing round_robin": change(base, routing="round_robin"),
        "routing affine": change(base, routing="affine"),
        "routing affine_spill": AFFINE,
        "routing affine_spill, lfu": change(AFFINE, residency="lfu"),
        "routing affine_spill, belady": change(AFFINE, residency="belady"),
        "schedule grouped": change(base, schedule="grouped", fairness_s=0.1),
        "blocking, prefetch 0": change(base, swap="blocking", prefetch=0),
    }
    rows = []
    for name in bench.settings.servers:
        load = bench.load(bench.settings.count(name), bench.settings.many, "zipf:1")
        reference = 0.0
        for variant, policy in list(variants.items())[: bench.settings.variants]:
            guess = reference or 100.0
            found = bench.capacity(bench.servers[name], load, policy, guess=guess)
            reference = reference or found["rate"]
            key = {"server": name, "variant": variant, "capacity_per_s": found["rate"]}
            rows.append({**key, **_at(bench, bench.servers[name], load, policy, 0.9 * reference)})
    return rows


def _at(bench: Bench, server: AnyServer, load: Workload, policy: Policy, rate: float) -> Row:
    """Latency and swaps at one rate."""
    scaled = dataclasses.replace(
        load, arrival_s=load.arrival_s / rate, duration_s=load.duration_s / rate
    )
    row = bench.run(server, scaled, policy)
    return {
        "load_per_s": rate,
        "slo_met": row["slo_met"],
        "refused": row["refused"] / row["requests"],
        "ttft_p50_s": row["ttft_s"]["p50"],
        "ttft_p99_s": row["ttft_s"]["p99"],
        "hit_rate": row["adapter_hit_rate"],
        "swaps_per_request": row["swaps"] / row["requests"],
        "swap_wait_share": row["swap_wait_share"],
        "preemptions": row["preemptions"],
        "server_power_w": row["server_power_w"],
    }


def lru_hit_rate(adapter: Sequence[int], slots: int) -> float:
    """Share of requests whose adapter is among the last ``slots`` different ones used."""
    recent: dict[int, None] = {}
    hits = 0
    for wanted in adapter:
        if wanted in recent:
            hits += 1
            del recent[wanted]
        elif len(recent) == slots:
            del recent[next(iter(recent))]
        recent[wanted] = None
    return hits / len(adapter)


def locality(bench: Bench) -> list[Row]:
    """Question 3: the same counts in another order, at nine tenths of the shuffled capacity."""
    rows = []
    for name, policy in [(n, p) for n in bench.settings.servers for p in (BASE_POLICY, AFFINE)] + [
        (GPU, Policy())
    ]:
        reference = 0.0
        for popularity in (f"{LOCAL} shuffled", LOCAL, UNIFORM, "zipf:1"):
            load = bench.load(bench.settings.count(name), bench.settings.many, popularity)
            if name == GPU:
                found, _ = bench.gpu(load, slots=(8, 16, 32, 64))
                used = Policy(slots=found["slots"])
            else:
                found = bench.capacity(bench.servers[name], load, policy, guess=reference or 100.0)
                used = policy
            reference = reference or found["rate"]
            rows.append(
                {
                    "server": name,
                    "routing": "" if name == GPU else policy.routing,
                    "slots": used.slots or "",
                    "popularity": popularity,
                    "lru8_hit_rate": lru_hit_rate(load.adapter.tolist(), 8),
                    "capacity_per_s": found["rate"],
                    **_at(bench, bench.servers[name], load, used, 0.9 * reference),
                }
            )
    return rows


def sram_splits(bench: Bench) -> list[Row]:
    """Question 4: a movable border between KV and adapters, or fixed slots."""
    rows = []
    for name in bench.settings.servers:
        load = bench.load(bench.settings.count(name), 64, UNIFORM)
        best = bench.capacity(bench.servers[name], load, guess=100.0)["rate"]
        for share in (0.5, 0.9):
            for slots in (None, *range(1, 9)):
                policy = dataclasses.replace(BASE_POLICY, slots=slots)
                row = _at(bench, bench.servers[name], load, policy, share * best)
                rows.append({"server": name, "slots": slots or "movable", "share": share, **row})
    return rows


def _drawn(file: AnyServer, section: type, names: Iterable[str], count: int) -> Row:
    specs = quantities(section)
    return {
        key: draw(file.parameters[key], specs[key], count, stream(0, f"{file.name} {key}"))
        for key in names
    }


def bands(bench: Bench, ratios: list[Row]) -> list[Row]:
    """Question 5: 5th to 95th percentile of the ratios to the fleet, under drawn parameters.

    Chips and the GPU's step times are drawn and run, the former with 64 adapters and the latter
    with the 8 that a GPU of the fleet then has; the effect on capacity is taken to be the same at
    every number of adapters. Prices and powers only rescale.
    """
    s = bench.settings
    few, many = (bench.load(s.drawn_requests, n, UNIFORM) for n in (8, 64))
    gpu = bench.servers[GPU]
    assert isinstance(gpu, BatchServer)
    drawn = _drawn(gpu, Batching, (*GPU_DRAWN, *SHARED), s.draws)
    limit: dict[str, Any] = {"tolerance": s.drawn_tolerance}

    def drawn_gpu(i: int) -> BatchServer:
        values = {key: float(column[i]) for key, column in drawn.items()}
        return dataclasses.replace(gpu, batching=dataclasses.replace(gpu.batching, **values))

    def gpu_row(server: BatchServer) -> Row:
        return bench.gpu(few, server=server, slots=(8,), **limit)[0]

    of_gpu = [gpu_row(drawn_gpu(i)) for i in range(s.draws)]
    gpu_base = gpu_row(gpu)
    nominal = bench.chip
    chips = draw_chips(nominal, max(MIN_ACCEPTED, s.draws), seed=0)
    result = []
    for name in s.servers:
        server = bench.servers[name]
        assert isinstance(server, Server)
        own = _drawn(server, Machine, ("host_w", "price_usd"), s.draws)
        base = bench.capacity(server, many, guess=100.0, **limit)
        change: dict[str, list[float]] = {"capacity": [], "watt": [], "published": [], "usd": []}
        for i in range(s.draws):
            values = {
                key: np.asarray(chips.value(key))[i].item()
                for key, parameter in nominal.parameters.items()
                if parameter.range is not None
            }
            machine = {key: float(column[i]) for key, column in own.items()}
            machine |= {key: float(drawn[key][i]) for key in SHARED}
            other = dataclasses.replace(
                server, machine=dataclasses.replace(server.machine, **machine)
            )
            row = bench.capacity(
                other, many, guess=base["rate"], chip=nominal._replaced(values), **limit
            )
            if not row["rate"]:
                for column in change.values():
                    column.append(0.0)
                continue
            faster = row["rate"] / base["rate"] * gpu_base["rate"] / of_gpu[i]["rate"]
            dearer_gpu = {k: of_gpu[i][k] / gpu_base[k] for k in ("server_power_w", "usd_per_s")}
            change["capacity"].append(row["rate"] / base["rate"])
            change["published"].append(faster * dearer_gpu["server_power_w"])
            change["watt"].append(
                faster
                * dearer_gpu["server_power_w"]
                * base["server_power_w"]
                / row["server_power_w"]
            )
            change["usd"].append(
                faster * dearer_gpu["usd_per_s"] * base["usd_per_s"] / row["usd_per_s"]
            )
        for row in ratios:
            if row["server"] == name and row["popularity"] == UNIFORM:
                result.append(_band(row, change))
    return result


def _band(row: Row, change: dict[str, list[float]]) -> Row:
    result = {"server": row["server"], "adapters": row["adapters"]}
    for key, column in (
        ("watt", "per_watt_of_fleet"),
        ("published", "per_watt_published_of_fleet"),
        ("usd", "per_usd_of_fleet"),
    ):
        low, high = interval(np.array(change[key]) * row[column])
        result |= {key: row[column], f"{key}_low": low, f"{key}_high": high}
    low, high = interval(change["capacity"])
    return {**result, "capacity_factor_low": low, "capacity_factor_high": high}


def study(settings: Settings, say: Callable[[str], None]) -> dict[str, list[Row]]:
    """All tables by name.

    Parameters
    ----------
    say : called with the name of each part when it is done.
    """
    bench = Bench(settings)
    tables: dict[str, list[Row]] = {}

    def done(**more: list[Row]) -> None:
        tables.update(more)
        say(", ".join(more))

    capacity, slots = by_adapters(bench)
    done(capacity=capacity, gpu_slots=slots)
    done(ratios=compared(bench, capacity))
    done(goals=by_goal(bench))
    done(policies=policies(bench))
    done(locality=locality(bench))
    done(sram=sram_splits(bench))
    done(bands=bands(bench, tables["ratios"]))
    return tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study; the exit status."""
    return run_study("serving", arguments, _tables, _figures)


def _tables(quick: bool, say: Say) -> Tables:
    return study(QUICK if quick else Settings(), say)


def _figures(tables: Tables) -> dict[str, Any]:
    from hardwire.experiments.studies.serving_plot import figures  # noqa: PLC0415 - matplotlib is slow to import

    return figures(tables)


if __name__ == "__main__":
    sys.exit(main())
