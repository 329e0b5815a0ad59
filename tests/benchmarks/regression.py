"""Compare the benchmarks' times with the committed record, as ratios to a reference loop.

``python tests/benchmarks/regression.py`` times the quick benchmarks and fails, with status 1, where
one takes longer than its bound allows or is gone; ``--accept`` rewrites ``record.json`` instead.
See ``docs/regression.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hardwire.experiments.guard.golden import table
from hardwire.experiments.shared.folder import write_all
from hardwire.experiments.shared.tables import si
from hardwire.models.errors import InputError
from hardwire.models.files import reason

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
RECORD = FOLDER / "record.json"
PREFIX = "tests/benchmarks/"

LEAST_BOUND = 1.25
"""No bound is tighter: five runs do not show the worst that a shared machine does."""

OTHER_MACHINE = 1.6
"""What bounds are multiplied by on another kind of processor: caches and vectors differ, and the
reference loops take out only the most of it. A judgement, not a measurement."""

ACCEPT_RUNS = 5
ATTEMPTS = 3
"""Times that a benchmark over its bound is measured in all; the least counts. Other programs make
a benchmark slower, never faster, but a slower program stays slower."""

BUSY = 1.25
"""The reference loop's median over its shortest time from which the machine was busy."""

COLUMNS = ("benchmark", "reference", "time", "record", "now", "now/record", "bound", "verdict")


@dataclass(frozen=True)
class Timing:
    """One benchmark in one run, seconds: its shortest time, and its reference loop's.

    The shortest, because what else runs on a machine only ever makes a program slower.
    """

    reference: str
    shortest_s: float
    reference_s: float
    reference_median_s: float

    @property
    def ratio(self) -> float:
        """Shortest time over that of the reference loop."""
        return self.shortest_s / self.reference_s

    @property
    def busy(self) -> bool:
        """Whether something else ran beside the reference loop."""
        return self.reference_median_s > BUSY * self.reference_s


@dataclass(frozen=True)
class Run:
    """What one run of pytest measured, by benchmark, and on which processor."""

    cpu: str
    timings: dict[str, Timing]


def parse(data: Mapping[str, Any]) -> Run:
    """What pytest-benchmark wrote; benchmarks without a reference loop's times are left out."""
    timings = {}
    for one in data["benchmarks"]:
        extra = one["extra_info"]
        if "reference" in extra:
            timings[one["fullname"].removeprefix(PREFIX)] = Timing(
                extra["reference"],
                extra.get("measured_s", one["stats"]["min"]),
                extra["reference_s"],
                extra["reference_median_s"],
            )
    return Run(data["machine_info"]["cpu"].get("brand_raw", "unknown"), timings)


def measure(names: Iterable[str] = ()) -> Run:
    """Time some benchmarks, or all quick ones.

    Raises
    ------
    InputError
        If a benchmark fails.
    """
    chosen = [f"{PREFIX}{name}" for name in names]
    if not chosen:
        chosen = [str(path) for path in sorted(FOLDER.glob("test_*_bench.py"))]
        chosen += ["-m", "not slow"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "now.json"
        command = [sys.executable, "-m", "pytest", *chosen, "-q", "--benchmark-enable"]
        command += ["--benchmark-only", "--benchmark-group-by=group", f"--benchmark-json={file}"]
        command += ["--benchmark-columns=min,median,iqr,rounds"]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if status:
            raise InputError(f"the benchmarks failed: pytest ended with status {status}")
        return parse(json.loads(file.read_text(encoding="utf-8")))


def make_record(runs: Sequence[Run], today: str) -> dict[str, Any]:
    """The record of some runs on one machine: median ratios, their spread, and bounds.

    A bound lets a benchmark go twice as far above its median as the highest run went, rounded up
    to 0.05, and not less than ``LEAST_BOUND``.
    """
    found = {}
    for name in sorted(set.intersection(*(set(run.timings) for run in runs))):
        timings = [run.timings[name] for run in runs]
        ratios = sorted(timing.ratio for timing in timings)
        ratio = statistics.median(ratios)
        reach = math.ceil(20 * (1 + 2 * (ratios[-1] / ratio - 1)) - 1e-9) / 20
        found[name] = {
            "reference": timings[0].reference,
            "ratio": float(f"{ratio:.4g}"),
            "lowest": float(f"{ratios[0]:.4g}"),
            "highest": float(f"{ratios[-1]:.4g}"),
            "bound": max(LEAST_BOUND, reach),
            "shortest_s": float(f"{min(timing.shortest_s for timing in timings):.4g}"),
        }
    return {"cpu": runs[0].cpu, "date": today, "runs": len(runs), "benchmarks": found}


@dataclass(frozen=True)
class Row:
    """One benchmark against the record; either side may lack it."""

    name: str
    recorded: Mapping[str, Any] | None
    now: Timing | None
    bound: float

    @property
    def change(self) -> float | None:
        """The ratio now over that of the record."""
        if self.recorded is None or self.now is None:
            return None
        return self.now.ratio / float(self.recorded["ratio"])

    @property
    def verdict(self) -> str:
        if self.recorded is None:
            return "new"
        if self.now is None:
            return "gone"
        if self.recorded["reference"] != self.now.reference:
            return "other reference"
        change = self.change
        assert change is not None
        if change > self.bound:
            return "slower"
        return "faster" if change < 1 / self.bound else "ok"

    @property
    def fails(self) -> bool:
        return self.verdict in ("slower", "gone", "other reference")

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        now, old = self.now, self.recorded
        verdict = f"**{self.verdict}**" if self.fails else self.verdict
        return (
            self.name,
            now.reference if now else str(old["reference"]) if old else "",
            si(now.shortest_s, "s") if now else "–",
            f"{old['ratio']:.4g}" if old else "–",
            f"{now.ratio:.4g}" if now else "–",
            f"{self.change:.2f}" if self.change is not None else "–",
            f"{self.bound:.2f}" if old else "–",
            verdict + (", busy" if now and now.busy else ""),
        )


def compare(record: Mapping[str, Any], run: Run) -> list[Row]:
    """Each benchmark of the record, of the run, or of both."""
    factor = 1.0 if record["cpu"] == run.cpu else OTHER_MACHINE
    recorded = record["benchmarks"]
    return [
        Row(name, old, run.timings.get(name), factor * float(old["bound"]) if old else math.inf)
        for name in sorted(recorded | run.timings)
        for old in [recorded.get(name)]
    ]


def render(record: Mapping[str, Any], run: Run, rows: Sequence[Row]) -> str:
    """The table and what it was measured on: Markdown that also reads well in a terminal."""
    failed = sum(row.fails for row in rows)
    lines = [
        f"{failed} of {len(rows)} benchmarks fail"
        if failed
        else f"None of {len(rows)} benchmarks fails",
        "",
        table(COLUMNS, [row.cells() for row in rows]),
        "",
        "`record` and `now` are shortest times over that of the reference loop in the same run.",
        f"Record: {record['cpu']}, {record['date']}, {record['runs']} runs. Now: {run.cpu}"
        + ("." if record["cpu"] == run.cpu else f", so bounds are {OTHER_MACHINE:g} times wider."),
    ]
    if any(row.now and row.now.busy for row in rows):
        lines.append(
            f"`busy`: half of the reference loop's calls took over {BUSY - 1:.0%} longer than its "
            "shortest."
        )
    return "\n".join(lines)


def read(path: Path = RECORD) -> dict[str, Any]:
    """The record.

    Raises
    ------
    InputError
        If it cannot be read or is no record.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    keys = {"cpu", "date", "runs", "benchmarks"}
    if not isinstance(data, dict) or not keys <= data.keys():
        raise InputError(f"{path}: must be an object with {', '.join(sorted(keys))}")
    return data


def measure_and_retry(record: Mapping[str, Any]) -> Run:
    """Time all quick benchmarks, and those over their bound again."""
    run = measure()
    for _ in range(ATTEMPTS - 1):
        slower = [row.name for row in compare(record, run) if row.verdict == "slower"]
        if not slower:
            break
        print(f"\nOver the bound, measured again: {', '.join(slower)}\n", flush=True)
        again = measure(slower).timings
        better = {
            name: timing for name, timing in again.items() if timing.ratio < run.timings[name].ratio
        }
        run = Run(run.cpu, run.timings | better)
    return run


def main(arguments: Sequence[str] | None = None, record: Path = RECORD) -> int:
    """Compare or accept. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="regression.py", description=__doc__)
    parser.add_argument(
        "--accept", action="store_true", help=f"measure {ACCEPT_RUNS} times, write {record.name}"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table there as well"
    )
    options = parser.parse_args(arguments)
    try:
        before = None if options.accept and not record.exists() else read(record)
        if options.accept:
            runs = [measure() for _ in range(ACCEPT_RUNS)]
            made = make_record(runs, date.today().isoformat())
            text = json.dumps(made, indent=1) + "\n"
            write_all(record.parent, {record.name: lambda file: file.write_text(text)})
            run, rows = runs[-1], compare(before or made, runs[-1])
            print(f"\n{render(before or made, run, rows)}\n\n{record.name} is written")
            return 0
        assert before is not None
        run = measure_and_retry(before)
        rows = compare(before, run)
        shown = render(before, run, rows)
        print(f"\n{shown}")
        if options.markdown:
            options.markdown.write_text(f"### Benchmarks\n\n{shown}\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"regression: {error}", file=sys.stderr)
        return 2
    return int(any(row.fails for row in rows))


if __name__ == "__main__":
    sys.exit(main())
