"""A saved run taken apart for a comparison: its configuration and its results, from its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hardwire.experiments.report.diff_lines import Side, Value, Values
from hardwire.experiments.report.diff_sides import (
    chip_parameters,
    run_results,
    server_parameters,
)
from hardwire.experiments.shared.configuration import CONFIGURATION
from hardwire.experiments.shared.folder import read_json
from hardwire.experiments.shared.run_folder import SUMMARIES
from hardwire.experiments.sweep.metrics import CLOSED_FORM, REPLAY
from hardwire.models.errors import InputError
from hardwire.models.files import file_size, read_bytes

Data = Mapping[str, Any]
Read = tuple[dict[str, Values], tuple[str, ...]]
"""Results below their headings, and what stands in the way."""

_HEADLINE = (
    "goodput", "slo_met", "served.requests_per_s", "output_tokens_per_s", "ttft_s.p50",
    "ttft_s.p99", "tpot_s.p50", "tpot_s.p99", "server_power_w", "server_energy_j_per_output_token",
    "usd_per_million_tokens",
)  # fmt: skip
"""What a replay is compared by, whether it differs or not."""

_OPTIONS = {
    "search": ("study",),
    "sensitivity": ("chip", "calibrated", "samples", "seed"),
    "calibrate": ("chip", "seed"),
}
"""Options that stand beside the results of commands that save no configuration."""


def is_saved(folder: Path) -> bool:
    """Whether a folder is that of a saved run."""
    return any((folder / name).is_file() for name in SUMMARIES)


def saved_side(folder: Path) -> Side:
    """What a folder that ``--save`` wrote holds.

    Raises
    ------
    InputError
        If it is of several runs, or a file in it cannot be read or is of another version.
    """
    found = [name for name in SUMMARIES if (folder / name).is_file()]
    if len(found) > 1:
        raise InputError(f"{folder}: holds {' and '.join(found)}: save each into its own folder")
    (name,) = found
    command = SUMMARIES[name]
    path = folder / name
    data = read_json(path) if name.endswith(".json") else _read_csv(path)
    where = path
    try:
        results, obstacles = _READERS[command](data)
        where = folder / CONFIGURATION
        parameters = (
            _configuration(read_json(where))
            if where.is_file()
            else {"Options": {name: Value(data[name]) for name in _OPTIONS.get(command, ())}}
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{where}: is not what hardwire {command} --save writes today ({what}): save again"
        ) from None
    return Side(f"saved {command}", str(folder), parameters, results, obstacles)


def _configuration(data: Data) -> dict[str, Values]:
    """Options, model, servers and chips."""
    options = {"hardwire": data["hardwire"], **data["options"]}
    parts: dict[str, Values] = {
        "Options": {name: Value(_said(value)) for name, value in _flat(options).items()},
        "Model": {name: Value(value) for name, value in data["model"].items()},
    }
    servers, chips = data.get("servers", []), data.get("chips", [])
    for server in servers:
        alone = len(servers) == 1
        parts["Server" if alone else f"Server {server['name']}"] = server_parameters(server)
    for chip in chips:
        alone = len(chips) == 1
        for title, values in chip_parameters(chip).items():
            parts[title if alone else f"{title} of {chip['name']}"] = values
    return parts


def _run(data: Data) -> Read:
    return run_results(data), tuple(data["obstacles"])


_OF_A_SYSTEM = {
    "decode_tokens_per_s_user": "tokens/s", "decode_tokens_per_s_system": "tokens/s",
    "ttft_s": "s", "dies": "", "power_w": "W", "idle_w": "W", "energy_j_per_token": "J",
    "usd_per_million_tokens": "USD",
}  # fmt: skip
"""What an answer of a system is compared by, with units."""


def _system(data: Data) -> Read:
    rates = {name: Value(data[name], unit, headline=True) for name, unit in _OF_A_SYSTEM.items()}
    latency = {cause: Value(seconds, "s") for cause, seconds in data["latency_s"].items()}
    return {"Results": rates, "Time of a token": latency}, tuple(data["obstacles"])


def _replay(data: Data) -> Read:
    return {"Results": _replayed(data)}, ()


def _replayed(data: Data) -> Values:
    """The numbers of a replay's summary that studies know; those of goals where there are any."""
    flat = _flat(data)
    names = [*_HEADLINE, *(name for name in flat if name in REPLAY and name not in _HEADLINE)]
    return {
        name: Value(flat[name], REPLAY[name].unit, REPLAY[name].meaning, headline=name in _HEADLINE)
        for name in names
        if name not in ("goodput", "slo_met") or any(data["slo"].values())
    }


def _compare(data: Data) -> Read:
    results = {one["server"]: _replayed(one) for one in data["servers"]}
    lost = tuple(f"{server} did not run: {why}" for server, why in data["did_not_run"].items())
    return results, lost


def _sweep(data: Data) -> Read:
    counts = {name: Value(data[name], headline=True) for name in ("points", "failed", "feasible")}
    lost = {f"fails: {why}": Value(number) for why, number in data["infeasible"].items()}
    best = data["best"][0] if data["best"] else {}
    return {"Points": {**counts, **lost}, "The best point": _designed(best)}, ()


def _search(data: Data) -> Read:
    front = data["front"]
    counts = {
        "trials": Value(data["trials"], headline=True),
        "feasible": Value(data["feasible"], headline=True),
        "front": Value(len(front), "", "designs on the front", headline=True),
    }
    parts: dict[str, Values] = {"Trials": counts}
    for objective, side in data["objectives"].items():
        if front:
            best = (max if side == "max" else min)(front, key=lambda one: one[objective])
            parts[f"The {side} of {objective}"] = _designed(best)
    return parts, ()


def _designed(point: Data) -> Values:
    """A point of a sweep or a search: its axes and its metrics."""
    return {
        name: Value(value, known.unit if known else "", known.meaning if known else "",
                    headline=True)
        for name, value in point.items()
        if (known := CLOSED_FORM.get(name) or REPLAY.get(name)) or name != "trial"
    }  # fmt: skip


def _sensitivity(data: Data) -> Read:
    parts: dict[str, Values] = {}
    for metric, one in data["metrics"].items():
        known = CLOSED_FORM[metric]
        whole = {
            name: Value(one[name], known.unit, words, headline=True)
            for name, words in (
                ("filed", "as filed"),
                ("mean", "mean"),
                ("standard_deviation", "standard deviation"),
            )
        }
        shares = {
            f"total index of {name}": Value(effect["total"])
            for name, effect in one["inputs"].items()
        }
        parts[metric] = {**whole, **shares}
    return parts, ()


def _calibrate(data: Data) -> Read:
    def spread(one: Data, meaning: str) -> Value:
        low, median, high = one["posterior"]
        return Value(median, one["unit"] or "", meaning, range=(low, high), headline=True)

    parameters = {one["name"]: spread(one, "") for one in data["parameters"]}
    predictions = {one["key"]: spread(one, one["name"]) for one in data["predictions"]}
    return {"Parameters": parameters, "Predictions": predictions}, ()


def _formats(data: Data) -> Read:
    parts: dict[str, dict[str, Value]] = {}
    for row in data["rows"]:
        words = [value for name, value in row.items() if value and name in _FORMAT_NAMES]
        words += [value for name, value in row.items() if name == "kv_format" and value == "e4m3"]
        errors = {n: Value(float(v)) for n, v in row.items() if v and n in _FORMAT_ERRORS}
        parts.setdefault("Errors", {}).update(
            {f"{' '.join(words)} {name}": value for name, value in errors.items()}
        )
    return dict(parts), ()


_FORMAT_NAMES = ("weights", "kv_bits", "adapter_format", "rank")
_FORMAT_ERRORS = ("product_sqnr_db", "logits_sqnr_db", "kl_nats", "same_top")

_READERS: Mapping[str, Callable[[Data], Read]] = {
    "run": _run,
    "run --system": _system,
    "replay": _replay,
    "compare": _compare,
    "sweep": _sweep,
    "search": _search,
    "sensitivity": _sensitivity,
    "calibrate": _calibrate,
    "formats": _formats,
}


def _read_csv(path: Path) -> dict[str, Any]:
    try:
        text = read_bytes(path, count=file_size(path)).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    return {"rows": list(csv.DictReader(io.StringIO(text)))}


def _flat(data: Data, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def _said(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
