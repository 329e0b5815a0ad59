"""Tables of docs/serving-study.md from those that the study wrote, which are kept beside this file.

The text of the page is written by hand, the tables between its markers are not. To take over a new
run of the study, copy its CSV files to ``serving_tables`` and rewrite the pages.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hardwire.experiments.shared.marked import with_tables
from hardwire.experiments.studies.serving_bench import GPU, HARDWIRED, LOCAL, UNIFORM

PAGE = "serving-study.md"
TABLES = Path(__file__).parent / "serving_tables"
Line = dict[str, str]


def render(text: str) -> str:
    """The page with its tables written anew.

    Raises
    ------
    KeyError
        If it has a place for a table that there is not.
    """
    return with_tables(text, _WRITERS)


def read(name: str, folder: Path = TABLES) -> list[Line]:
    """A table of a study, cells as text."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _capacity() -> str:
    capacities, ratios = read("capacity"), read("ratios")

    def row(count: str) -> Iterable[str]:
        yield _whole(count)
        for server in HARDWIRED:
            of_server = only(capacities, popularity=UNIFORM, adapters=count, server=server)
            yield number(of_server["capacity_per_s"])
        for popularity in (UNIFORM, LOCAL):
            gpu = only(capacities, popularity=popularity, adapters=count, server=GPU)
            yield f"{number(gpu['capacity_per_s'])} ({gpu['slots']})"
        for server in HARDWIRED:
            found = only(ratios, popularity=UNIFORM, adapters=count, server=server)
            if server == HARDWIRED[0]:
                yield found["fleet_gpus"]
            for key in ("per_watt_of_fleet", "per_watt_published_of_fleet", "per_usd_of_fleet"):
                yield number(found[key])

    first, second = (f"`{name}`" for name in HARDWIRED)
    head = (
        "Adapters", first, second, f"one `{GPU}`, uniform", "local",
        f"GPUs for the rate of {first}", f"{first} per watt", "2.5 kW", "per $",
        "pipelined per watt", "2.5 kW", "per $",
    )  # fmt: skip
    return markdown(head, map(row, each(capacities, "adapters")), right=True)


def _goals() -> str:
    goals = read("goals")
    columns = [
        (f"`{HARDWIRED[0]}`, 0", HARDWIRED[0], "0"), ("64", HARDWIRED[0], "64"),
        ("pipelined, 0", HARDWIRED[1], "0"), ("64", HARDWIRED[1], "64"),
        (f"`{GPU}`, 0", GPU, "0"), ("8", GPU, "8"), ("64", GPU, "64"),
        ("`trtllm-h100`, 0", "trtllm-h100", "0"), ("`trtllm-h200`, 0", "trtllm-h200", "0"),
    ]  # fmt: skip

    def row(goal: tuple[str, str]) -> Iterable[str]:
        ttft_s, tpot_s = goal
        yield f"{ttft_s} s, {1000 * float(tpot_s):.0f} ms"
        for _, server, count in columns:
            found = only(goals, ttft_s=ttft_s, tpot_s=tpot_s, server=server, adapters=count)
            rate = found["capacity_per_s"]
            yield number(rate) if float(rate) else "none"

    pairs = dict.fromkeys((line["ttft_s"], line["tpot_s"]) for line in goals)
    return markdown(("TTFT, TPOT", *(one[0] for one in columns)), map(row, pairs))


def _policies() -> str:
    policies = read("policies")

    def row(variant: str) -> Iterable[str]:
        yield variant
        for server in HARDWIRED:
            found = only(policies, server=server, variant=variant)
            yield number(found["capacity_per_s"])
            yield _ms(found["ttft_p99_s"])
            yield _percent(found["hit_rate"])
            yield f"{float(found['swaps_per_request']):.2f}"

    shown = ("capacity", "TTFT p99, ms", "hits", "swaps per request")
    head = ("Variant", *_after(f"`{HARDWIRED[0]}`", shown), *_after("pipelined", shown))
    return markdown(head, map(row, each(policies, "variant")))


def _locality() -> str:
    locality = [line for line in read("locality") if line["routing"] != "affine_spill"]
    labels = {
        LOCAL: f"`{LOCAL}`", f"{LOCAL} shuffled": f"`{LOCAL}`, shuffled", UNIFORM: f"`{UNIFORM}`",
        "zipf:1": "`zipf:1`",
    }  # fmt: skip

    def row(popularity: str) -> Iterable[str]:
        yield labels[popularity]
        of_one = only(locality, server=HARDWIRED[0], popularity=popularity)
        yield _percent(of_one["lru8_hit_rate"])
        for server in (*HARDWIRED, GPU):
            found = only(locality, server=server, popularity=popularity)
            slots = f" ({found['slots']})" if server == GPU else ""
            yield f"{number(found['capacity_per_s'])}{slots}"
            yield _ms(found["ttft_p99_s"])
            yield _percent(found["hit_rate"])

    shown = ("capacity", "TTFT p99, ms", "hits")
    servers = (f"`{HARDWIRED[0]}`", "pipelined", f"`{GPU}` (slots)")
    head = ("Order", "LRU-8", *(name for server in servers for name in _after(server, shown)))
    return markdown(head, map(row, labels))


def _sram() -> str:
    splits = read("sram")

    def row(slots: str) -> Iterable[str]:
        yield slots
        for server in HARDWIRED:
            found = only(splits, server=server, slots=slots, share="0.9")
            yield f"{100 * float(found['refused']):.1f}%"
            yield _ms(found["ttft_p99_s"])
            yield _percent(found["hit_rate"])
            yield f"{100 * float(found['slo_met']):.1f}%"
        for server in HARDWIRED:
            yield _ms(only(splits, server=server, slots=slots, share="0.5")["ttft_p99_s"])

    shown = ("refused", "TTFT p99, ms", "hits", "SLO met")
    first = f"`{HARDWIRED[0]}`"
    head = (
        "Slots", *_after(first, shown), *_after("pipelined", shown),
        f"half load, {first}: TTFT p99, ms", "pipelined",
    )  # fmt: skip
    return markdown(head, map(row, each(splits, "slots")))


def _bands() -> str:
    def row(line: Line) -> Iterable[str]:
        yield f"`{line['server']}`"
        yield _whole(line["adapters"])
        for key in ("watt", "published", "usd"):
            low, high = number(line[f"{key}_low"]), number(line[f"{key}_high"])
            yield f"{number(line[key])} ({low} to {high})"

    shown = [line for line in read("bands") if line["adapters"] in ("1", "64", "1000")]
    head = ("Server", "Adapters", "per watt, as modelled", "per watt, 2.5 kW", "per dollar")
    return markdown(head, map(row, shown))


_WRITERS: dict[str, Callable[[], str]] = {
    "capacity": _capacity,
    "goals": _goals,
    "policies": _policies,
    "locality": _locality,
    "sram": _sram,
    "bands": _bands,
}
"""By name, what writes the table of the page."""


def only(lines: Sequence[Line], **cells: str) -> Line:
    """The line with these cells, which is one."""
    (found,) = (line for line in lines if all(line[k] == v for k, v in cells.items()))
    return found


def each(lines: Sequence[Line], column: str) -> list[str]:
    """The cells of a column, each once."""
    return list(dict.fromkeys(line[column] for line in lines))


def _after(server: str, names: Sequence[str]) -> list[str]:
    """Names of columns, the first behind that of the server that they are of."""
    return [f"{server}: {names[0]}", *names[1:]]


def markdown(head: Sequence[str], rows: Iterable[Iterable[str]], *, right: bool = False) -> str:
    """A table whose first column is of words, or of numbers where it is aligned ``right``, too."""
    marks = ["---:" if right else "---", *["---:"] * (len(head) - 1)]
    lines = ["| " + " | ".join(row) + " |\n" for row in (head, *rows)]
    return "".join([lines[0], "|" + "|".join(marks) + "|\n", *lines[1:]])


def number(text: str) -> str:
    """Three digits, and whole numbers from a hundred on."""
    value = float(text)
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _whole(text: str) -> str:
    return f"{int(text):,}"


def _ms(seconds: str) -> str:
    return f"{1000 * float(seconds):,.0f}"


def _percent(share: str) -> str:
    return f"{100 * float(share):.0f}%"
