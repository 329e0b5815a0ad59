"""The reports of ``hardwire replay`` and ``hardwire compare``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.experiments.replay.view import (
    FLEET_COLUMNS,
    HANDOVER,
    LARGE_BYTES,
    LATENCIES,
    LEVELS,
    NEEDED_ROWS,
    NINETY,
    NONE,
    drawn_words,
    fleet_rows,
    fleet_words,
    gib,
    goals,
    interval_rows,
    load_rows,
    losses,
    number,
    occurring,
    percent,
    seconds,
)
from hardwire.experiments.report.charts import Bar, Line, bars, plot
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    calibration_text,
    configuration_section,
    provenance_section,
    without_folder,
)
from hardwire.experiments.shared.style import (
    LATENCY_COLORS,
    MEMORY_COLORS,
    server_marks,
)
from hardwire.experiments.shared.tables import count, mib, si

Data = Mapping[str, Any]

GOOD_SHARE = 0.99
CURVE_POINTS = 400
NO_INTERVAL = (
    "The numbers of a replay are those of the chips and servers as filed: one value of each "
    "parameter, one seed. Their ranges are stated below; with --intervals a replay says what they "
    "leave open."
)


def replay_page(data: Data, folder: Path, configuration: Data | None) -> Page:
    """The page of a replay, with curves from the tables in its folder.

    Parameters
    ----------
    data : ``summary.json``.
    folder : holds ``requests.parquet`` and ``memory.parquet``.
    configuration : ``configuration.json``, or None.
    """
    served = f"{count(data['completed'])} of {count(data['requests'])} requests served"
    all_served = data["completed"] == data["requests"]
    goal = goals(data)
    met = data["slo_met"]
    verdict = f"{number(data['output_tokens_per_s'], 4)} output tokens/s: {served}"
    if goal:
        verdict += f", {percent(met)} within the SLO"
    workload = without_folder(data["workload"])
    lines = [f"{data['server']} under {workload}{_left_out(data)}"]
    if goal:
        lines.append(goal)
    sections = [
        _load(data),
        _latency(data, folder),
        *([_handover(data)] if "handover" in data else []),
        *([_adapters(data)] if data["adapters"] else []),
        _units(data),
        _memory(data, folder),
        _energy(data),
        *([_fleet(data)] if "fleet" in data else []),
        _definitions(list(occurring(data).items())),
        _uncertainty(configuration, [data]),
        configuration_section(configuration),
        provenance_section(configuration),
    ]
    good = all_served if met is None else met >= GOOD_SHARE
    obstacles = list(data.get("obstacles", []))
    adapters = f", {count(data['adapters'])} adapters" if data["adapters"] else ""
    return Page(
        title=f"{data['server']} · replay of {count(data['requests'])} requests, "
        f"{workload}{adapters}",
        verdict=verdict,
        good=False if obstacles else good or None,
        lines=lines,
        sections=sections,
        obstacles=obstacles,
        warnings=losses(data),
    )


def _left_out(data: Data) -> str:
    """How many requests of a trace failed where it was recorded, which only some traces say."""
    skipped = data.get("skipped")
    return f" ({count(skipped)} that failed there left out)" if skipped else ""


def compare_page(data: Data, configuration: Data | None) -> Page:
    """The page of a comparison; ``data`` is ``compare.json``."""
    done: Sequence[Data] = data["servers"]
    names = [one["server"] for one in done]
    colors = {name: mark.color for name, mark in server_marks(names).items()}
    verdict, title = "No server ran", "Servers compared"
    warnings = [f"{name} did not run: {why}" for name, why in data["did_not_run"].items()]
    sections: list[Section] = []
    lines: list[str] = []
    if done:
        cheapest = [one for one in done if one["usd_per_million_tokens"] is not None]
        first = done[0]
        goal = goals(first)
        by_goodput = max(done, key=lambda one: one["goodput"] or 0.0)
        verdict = f"{_sized(by_goodput)}: {number(by_goodput['goodput'], 4)} requests/s "
        verdict += "within the SLO, the most" if goal else "completed, the most"
        if len(done) > 1 and len({number(one["goodput"], 4) for one in done}) == 1:
            done_s = "good requests/s" if goal else "requests/s completed"
            verdict = f"All {len(done)} servers: {number(first['goodput'], 4)} {done_s}"
        if cheapest:
            least = min(cheapest, key=lambda one: one["usd_per_million_tokens"])
            lines.append(
                f"Least cost per token: {least['server']}, "
                f"{number(least['usd_per_million_tokens'])} USD per million output tokens"
            )
        left_out = _left_out(first)
        workload = without_folder(first["workload"])
        title = f"{', '.join(names)} · compared on {workload}"
        lines.insert(0, f"{count(first['requests'])} requests of {workload}{left_out}")
        if first["adapters"]:
            lines[0] += f", {count(first['adapters'])} adapters"
        if goal:
            lines.append(goal)
        for one in done:
            found = (*one.get("obstacles", []), *losses(one))
            warnings += [f"{one['server']}: {sentence}" for sentence in found]
        needed = data.get("needed", {})
        sections = [
            _bars_section(done, colors),
            _numbers(done, needed),
            _compared_definitions(done, needed),
        ]
    return Page(
        title=title,
        verdict=verdict,
        good=None if done else False,
        lines=lines,
        sections=[
            *sections,
            _uncertainty(configuration, done),
            configuration_section(configuration),
            provenance_section(configuration),
        ],
        warnings=warnings,
    )


def _sized(data: Data) -> str:
    """A server's name, with how many cards or GPUs that is and its price."""
    units = data["units"]
    return f"{data['server']} ({units} unit{'s' * (units != 1)}, {count(data['price_usd'])} USD)"


def _load(data: Data) -> Section:
    rows = load_rows(data)
    rows.append(("Goodput, requests/s", "", number(data["goodput"], 4), percent(data["slo_met"])))
    return Section("Load", [Block(table=Table(("", "offered", "served", "share"), rows))])


def _latency(data: Data, folder: Path) -> Section:
    rows = [
        (name, *(seconds(data[key][level]) for level in LEVELS)) for key, name in LATENCIES.items()
    ]
    blocks = [Block(table=Table(("", *LEVELS), rows))]
    lines = []
    # As many in the last hundredth as before it: the tail is what one looks for.
    share = np.unique([*np.linspace(0, 1, CURVE_POINTS), *np.linspace(0.99, 1, CURVE_POINTS // 4)])
    frame = _frame(folder / "requests.parquet", list(LATENCIES))
    for key, name in LATENCIES.items():
        values = frame[key][np.isfinite(frame[key])]
        if len(values):
            lines.append(Line(name, 1e3 * np.quantile(values, share), LATENCY_COLORS[key]))
    if lines:
        chart = plot(
            100 * share, lines, x_label="ms, logarithmic", y_label="% of requests", along="y",
            log_x=True, zoom=("x", "y"), alt="Share of the requests with at most so long a latency",
        )  # fmt: skip
        first = frame["ttft_s"][np.isfinite(frame["ttft_s"])]
        text = (
            f"Half of the requests have their first token within "
            f"{seconds(float(np.quantile(first, 0.5)))}, all but one in a hundred within "
            f"{seconds(float(np.quantile(first, 0.99)))}."
        ) if len(first) else ""  # fmt: skip
        caption = "Share of the requests within so long"
        blocks.append(Block(caption=caption, text=text, chart=chart))
    return Section("Latency of completed requests", blocks)


def _handover(data: Data) -> Section:
    handed = data["handover"]
    rows = [
        (name, *(seconds(handed[key][level]) for level in LEVELS)) for key, name in HANDOVER.items()
    ]
    text = f"{mib(handed['kv_bytes'])} of keys and values went over the link."
    return Section("From prompt to decoding", [Block(text=text, table=Table(("", *LEVELS), rows))])


def _adapters(data: Data) -> Section:
    each = data["swap_wait_s"] / data["requests"] if data["requests"] else None
    rows = [
        ("Adapters", count(data["adapters"])),
        ("Hit rate", percent(data["adapter_hit_rate"])),
        ("Swaps", count(data["swaps"])),
        ("Waiting for swaps", f"{seconds(data['swap_wait_s'])}, {seconds(each)} a request, "
         f"{percent(data['swap_wait_share'])} of end-to-end time"),
    ]  # fmt: skip
    return Section("Adapters", [Block(table=Table(("", ""), rows, wide=True))])


def _units(data: Data) -> Section:
    rows = [
        Bar(
            name.replace("_", " ").capitalize(),
            share["mean"] or 0.0,
            f"{percent(share['mean'])}, busiest {percent(share['max'])}",
        )
        for name, share in data["utilization"].items()
    ]
    caption = (
        f"Busy share of time, mean of {count(data['units'])} units"
        if data["units"] > 1
        else "Busy share of time"
    )
    text = ""
    if rows:
        most = max(rows, key=lambda row: row.value)
        text = f"{most.name} is busy the most, {most.text}."
    chart = bars(rows, limit=1.0, alt=caption)
    return Section("Utilization", [Block(caption=caption, text=text, chart=chart)])


def _memory(data: Data, folder: Path) -> Section:
    sram = data["sram"]
    size: Callable[[float], str] = gib if sram["capacity_bytes"] >= LARGE_BYTES else mib
    rows = []
    for part, name in (("kv_", "KV cache"), ("adapter_", "Adapters"), ("", "Both")):
        mean, peak = sram[f"mean_{part}bytes"], sram[f"peak_{part}bytes"]
        share = peak / sram["capacity_bytes"] if sram["capacity_bytes"] else None
        rows.append((name, "–" if mean is None else size(mean), size(peak), percent(share)))
    rows.append(("Capacity", "", size(sram["capacity_bytes"]), ""))
    blocks = [Block(table=Table(("of one unit", "mean", "peak", "peak share"), rows))]
    frame = _frame(folder / "memory.parquet", ["unit", "time_s", "kv_bytes", "adapter_bytes"])
    if len(frame["time_s"]):
        # The first unit stands for all: they serve the same load.
        first = frame["unit"] == frame["unit"][0]
        time, unit = frame["time_s"][first], str(frame["unit"][0])
        lines = []
        for key, name, color in (
            ("adapter_bytes", "Adapters", MEMORY_COLORS["adapters"]),
            ("kv_bytes", "KV cache", MEMORY_COLORS["kv"]),
        ):
            used = 100 * frame[key][first] / sram["capacity_bytes"]
            middles, highest = _steps(time, used)
            lines.append(Line(name, highest, color))
        chart = plot(
            middles, lines, x_label=f"s, {unit}", y_label="% of the capacity", limit=100,
            zoom=("x",), alt="Memory in use over time",
        )  # fmt: skip
        peak = sram["peak_bytes"] / sram["capacity_bytes"] if sram["capacity_bytes"] else None
        text = f"At most {percent(peak)} of the memory of a unit is in use at a time."
        caption = f"Most in use on {unit} in each interval"
        blocks.append(Block(caption=caption, text=text, chart=chart))
    return Section("Memory", blocks)


def _steps(time: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest value in each of some equal intervals of time."""
    edges = np.linspace(time[0], time[-1] or 1.0, CURVE_POINTS + 1)
    bins = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, CURVE_POINTS - 1)
    top = np.full(CURVE_POINTS, -np.inf)
    np.maximum.at(top, bins, value)
    for i in range(CURVE_POINTS):  # where nothing changed, what was last
        if not np.isfinite(top[i]):
            before = np.searchsorted(time, edges[i], side="right") - 1
            top[i] = value[max(before, 0)]
    return (edges[:-1] + edges[1:]) / 2, top


def _energy(data: Data) -> Section:
    parts = data["server_energy_by_part_j"]
    total = sum(parts.values()) or 1.0
    rows = [
        Bar(name.replace("_", " ").capitalize(), value, f"{value / total:.1%}")
        for name, value in sorted(
            data["server_energy_by_part_j"].items(), key=lambda item: -item[1]
        )
        if value > 0
    ]
    each = data["server_energy_j_per_output_token"]
    facts = [
        ("Energy per output token", "–" if each is None else si(each, "J")),
        ("Server power on average", f"{number(data['server_power_w'], 4)} W"),
        ("USD per million output tokens", number(data["usd_per_million_tokens"])),
        ("USD for the run", number(data["usd"])),
    ]
    blocks = [Block(table=Table(("", ""), facts))]
    if rows:
        caption = f"Where {number(total)} J went"
        text = f"{rows[0].name}: {rows[0].text} of the energy."
        blocks.append(Block(caption=caption, text=text, chart=bars(rows, alt=caption)))
    return Section("Energy and cost of the server", blocks)


def _fleet(data: Data) -> Section:
    table = Table(FLEET_COLUMNS, fleet_rows(data))
    return Section("Servers", [Block(text=fleet_words(data), table=table)])


def _definitions(words: Sequence[tuple[str, str]]) -> Section:
    return Section("Definitions", [Block(table=Table(("Word", "Meaning"), words, wide=True))])


def _compared_definitions(done: Sequence[Data], needed: Mapping[str, Data | None]) -> Section:
    words: dict[str, dict[str, list[str]]] = {}
    for one in done:
        for word, meaning in occurring(one).items():
            words.setdefault(word, {}).setdefault(meaning, []).append(one["server"])
    rows = [
        (word, meaning if len(servers) == len(done) else f"{', '.join(servers)}: {meaning}")
        for word, meanings in words.items()
        for meaning, servers in meanings.items()
    ]
    if needed:
        from hardwire.experiments.replay.fleet import NEEDED  # noqa: PLC0415 - the simulator

        rows.append(("needed", NEEDED))
    return _definitions(rows)


def _uncertainty(configuration: Data | None, done: Sequence[Data]) -> Section:
    blocks = []
    for one in done:
        if "intervals" in one:
            table = Table(("", "as filed", NINETY), interval_rows(one))
            blocks.append(Block(text=drawn_words(one), table=table))
    blocks = blocks or [Block(text=NO_INTERVAL)]
    if configuration is not None and calibration_text(configuration):
        blocks.append(Block(text=calibration_text(configuration)))
    return Section("Uncertainty", blocks)


def _joule(value: float | None) -> str:
    return number(value) if value is None else si(value, "J")


GOODPUT, MET = "Goodput, requests/s", "Met the SLO"
"""Rows of a comparison with goals only."""

_COMPARED: tuple[tuple[str, tuple[str, ...], Callable[[Any], str]], ...] = (
    (GOODPUT, ("goodput",), lambda v: number(v, 4)),
    ("Output tokens/s, served", ("output_tokens_per_s",), lambda v: number(v, 4)),
    ("Time to first token, p99", ("ttft_s", "p99"), seconds),
    ("Time per output token, p99", ("tpot_s", "p99"), seconds),
    ("Energy per output token", ("server_energy_j_per_output_token",), _joule),
    ("USD per million output tokens", ("usd_per_million_tokens",), number),
)
_NUMBERS = (
    ("Cards or GPUs", ("units",), count),
    ("Price, USD", ("price_usd",), count),
    (MET, ("slo_met",), percent),
    ("TTFT, p50", ("ttft_s", "p50"), seconds),
    ("TPOT, p50", ("tpot_s", "p50"), seconds),
    ("End to end, p50", ("e2e_s", "p50"), seconds),
    ("End to end, p99", ("e2e_s", "p99"), seconds),
    ("Adapter hit rate", ("adapter_hit_rate",), percent),
    ("Swaps", ("swaps",), count),
    ("Waiting for swaps", ("swap_wait_s",), seconds),
    ("Compute busy", ("utilization", "compute", "mean"), percent),
    ("Server power, W", ("server_power_w",), lambda v: number(v, 4)),
)


def _of(data: Data, path: Sequence[str]) -> Any:
    item: Any = data
    for key in path:
        item = item[key]
    return item


def _bars_section(done: Sequence[Data], colors: Mapping[str, str]) -> Section:
    blocks = []
    for title, path, show in _COMPARED:
        if title == GOODPUT and not goals(done[0]):
            continue
        rows = []
        for one in done:
            value = _of(one, path)
            rows.append(Bar(one["server"], value or 0.0, show(value), colors[one["server"]]))
        blocks.append(Block(caption=title, text=_apart(rows), chart=bars(rows, alt=title)))
    return Section("Side by side", blocks)


def _apart(rows: Sequence[Bar]) -> str:
    """How far the highest is above the lowest."""
    ordered = sorted((row for row in rows if row.value > 0), key=lambda row: row.value)
    if len(ordered) < 2:
        return ""
    low, high = ordered[0], ordered[-1]
    if high.text == low.text:
        return f"No difference: {low.text}."
    return f"{high.name} has {high.value / low.value:.3g} times that of {low.name}."


def _numbers(done: Sequence[Data], needed: Mapping[str, Data | None]) -> Section:
    servers = [one["server"] for one in done]
    rows = [
        (title, *(show(_of(one, path)) for one in done))
        for title, path, show in _NUMBERS
        if title != MET or goals(done[0])
    ]
    if needed:
        for title, key, write in NEEDED_ROWS:
            fleets = [needed.get(server) for server in servers]
            rows.append((title, *(NONE if one is None else write(one[key]) for one in fleets)))
    return Section("More numbers", [Block(table=Table(("", *servers), rows))])


def _frame(path: Path, columns: list[str]) -> dict[str, np.ndarray]:
    """Columns of a Parquet file, or of its parts, as arrays; empty ones where there is none."""
    paths = [path] if path.is_file() else sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))
    if not paths:
        return {column: np.empty(0) for column in columns}
    import pandas as pd  # noqa: PLC0415 - half a second that only these reports need

    frame = pd.concat([pd.read_parquet(one, columns=columns) for one in paths])
    return {
        column: np.asarray(frame[column].astype(object if column == "unit" else float))
        for column in columns
    }
